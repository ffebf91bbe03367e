//! What every bot knows before its pack is read: texts, small talk, common questions, and a background.
//!
//! The words are in the folder `builtin`, in Chinese and English:
//!
//! | file | what is in it |
//! |---|---|
//! | `texts.yaml` | what the bot says of itself where a pack says nothing else |
//! | `small_talk.yaml` | intents that any bot answers: greeting, thanks, goodbye, who are you, are you human, rude words, test |
//! | `common_questions.yaml` | what customers ask of any company, topic by topic, without answers |
//! | `background.yaml` | what no company's bot answers, topic by topic |
//!
//! A pack of a few examples knows little of how people ask, and nothing of what they ask besides. The common questions
//! give it both: the [`corpus`](crate::corpus) lets a topic that means the same as one of the pack's intents teach that
//! intent, and lets the others stand for what the pack does not answer.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use hoopoe_message::{Language, command};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::TextName;

const FILES: [&str; 4] = [
    include_str!("../builtin/texts.yaml"),
    include_str!("../builtin/small_talk.yaml"),
    include_str!("../builtin/common_questions.yaml"),
    include_str!("../builtin/background.yaml"),
];

type ByLanguage<T> = BTreeMap<Language, T>;

/// The contents of the folder `builtin`.
#[derive(Debug)]
pub struct Builtin {
    /// What the bot says of itself.
    pub texts: BTreeMap<TextName, ByLanguage<String>>,
    /// The small talk, then the common questions.
    pub topics: Vec<Topic>,
    /// What no bot answers.
    pub background: ByLanguage<Vec<String>>,
}

/// A question in many wordings.
#[derive(Debug)]
pub struct Topic {
    /// Its name among the topics: `[a-z0-9_]+`.
    pub id: String,
    /// How people ask for it.
    pub wordings: ByLanguage<Vec<String>>,
    /// What the bot says to it without a pack: to small talk only.
    pub reply: Option<Reply>,
}

/// What the bot says to small talk.
#[derive(Debug)]
pub struct Reply {
    /// What a list of intents shows.
    pub title: ByLanguage<String>,
    /// The answer, in the same languages.
    pub answers: ByLanguage<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SmallTalk {
    id: String,
    title: ByLanguage<String>,
    utterances: ByLanguage<Vec<String>>,
    answers: ByLanguage<String>,
}

#[derive(Deserialize)]
struct CommonQuestion {
    id: String,
    #[serde(flatten)]
    wordings: ByLanguage<Vec<String>>,
}

static BUILTIN: LazyLock<Builtin> = LazyLock::new(|| {
    let [texts, small_talk, questions, background] = FILES;
    let small_talk: Vec<SmallTalk> = parse(small_talk);
    let questions: Vec<CommonQuestion> = parse(questions);
    let small_talk = small_talk.into_iter().map(|SmallTalk { id, title, utterances, answers }| Topic {
        id,
        wordings: utterances,
        reply: Some(Reply { title, answers }),
    });
    let questions = questions.into_iter().map(|CommonQuestion { id, wordings }| Topic { id, wordings, reply: None });
    Builtin { texts: read_texts(texts), topics: small_talk.chain(questions).collect(), background: parse(background) }
});

/// What every bot knows.
#[must_use]
pub fn builtin() -> &'static Builtin {
    &BUILTIN
}

/// SHA-256 over all of it.
#[must_use]
pub(crate) fn digest() -> [u8; 32] {
    let mut digest = Sha256::new();
    FILES.iter().for_each(|file| digest.update(file));
    [true, false].map(command::help).iter().for_each(|help| digest.update(help));
    digest.finalize().into()
}

/// The texts, with the commands where they belong.
fn read_texts(file: &str) -> BTreeMap<TextName, ByLanguage<String>> {
    let mut texts: BTreeMap<TextName, ByLanguage<String>> = parse(file);
    for (language, text) in texts.values_mut().flatten() {
        *text = text.replace("{commands}", &command::help(language.as_str() == "zh"));
    }
    texts
}

fn parse<T: serde::de::DeserializeOwned>(file: &str) -> T {
    serde_saphyr::from_str(file).unwrap_or_else(|error| panic!("the built-in files are tested to be readable: {error}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::wording;

    #[test]
    fn every_file_is_whole_in_both_languages() {
        let languages: Vec<Language> = ["en", "zh"].map(|code| code.parse().expect("a code")).into();
        let keys = |texts: &ByLanguage<String>| texts.keys().copied().collect::<Vec<_>>();
        let Builtin { texts, topics, background } = builtin();
        assert_eq!(texts.keys().copied().collect::<Vec<_>>(), TextName::ALL);
        assert!(texts.values().all(|text| keys(text) == languages));
        for topic in topics {
            assert_eq!(topic.wordings.keys().copied().collect::<Vec<_>>(), languages, "{}", topic.id);
            assert!(topic.wordings.values().all(|wordings| wordings.len() >= 14), "{}", topic.id);
            if let Some(reply) = &topic.reply {
                assert_eq!((keys(&reply.title), keys(&reply.answers)), (languages.clone(), languages.clone()));
            }
        }
        assert!(background.values().all(|texts| texts.len() >= 400));
    }

    #[test]
    fn no_wording_stands_twice_and_no_id() {
        let Builtin { topics, background, .. } = builtin();
        let ids: BTreeSet<&str> = topics.iter().map(|topic| topic.id.as_str()).collect();
        assert_eq!(ids.len(), topics.len());
        let mut seen = BTreeSet::new();
        let wordings = topics.iter().flat_map(|topic| topic.wordings.values().flatten());
        for text in wordings.chain(background.values().flatten()) {
            assert!(seen.insert(wording::key(text)), "{text} stands twice");
        }
    }
}
