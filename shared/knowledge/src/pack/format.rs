//! The files of a pack as they are written, before plain words have a language and defaults are filled in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hoopoe_message::Language;
use serde::Deserialize;

use super::source::{Lined, ReadError, parse};
use super::words::{Text, Texts, Translated};
use super::{Builtin, InScope, Intent, OutOfScope, Page, Settings, SmallTalk, TestSet};
use crate::{TextName, Thresholds, Validity};

/// `pack.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettingsFile {
    name: Lined<String>,
    languages: Lined<Vec<Language>>,
    #[serde(default)]
    default_language: Option<Lined<Language>>,
    #[serde(default)]
    texts: BTreeMap<TextName, Lined<Text>>,
    #[serde(default)]
    starters: Vec<Lined<String>>,
    #[serde(default)]
    builtin: BuiltinFile,
    #[serde(default)]
    page: Option<PageFile>,
    #[serde(default)]
    thresholds: Option<Lined<Thresholds>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BuiltinFile {
    small_talk: SmallTalkFile,
    background: bool,
}

impl Default for BuiltinFile {
    fn default() -> Self {
        Self { small_talk: SmallTalkFile::All(true), background: true }
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "true, false, or a list such as [greeting, thanks]")]
enum SmallTalkFile {
    All(bool),
    These(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PageFile {
    #[serde(default)]
    name: Option<Lined<Text>>,
    #[serde(default)]
    logo: Option<Lined<PathBuf>>,
    #[serde(default)]
    color: Option<Lined<String>>,
}

/// An entry of `intents/*.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IntentFile {
    id: Lined<String>,
    title: Lined<Text>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    valid: Option<Lined<Validity>>,
    utterances: Lined<Texts>,
    answers: Lined<Text>,
    #[serde(default)]
    suggestions: Vec<Lined<String>>,
}

/// `test.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TestFile {
    #[serde(default)]
    in_scope: Vec<QuestionFile>,
    #[serde(default)]
    out_of_scope: Vec<QuestionFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuestionFile {
    text: Lined<String>,
    #[serde(default)]
    language: Option<Language>,
    #[serde(default)]
    intent: Option<Lined<String>>,
}

/// `background.yaml`: a list for each language, or one in a pack of one language.
pub(super) fn background(
    path: &Path,
    text: &str,
    languages: &[Language],
) -> Result<BTreeMap<Language, Vec<Lined<String>>>, ReadError> {
    let texts: Lined<Texts> = parse(path, text)?;
    let line = texts.line;
    let by_language = texts.value.in_language(only(languages));
    by_language.ok_or_else(|| languageless(path, line, "the list", languages))
}

/// The only language of a pack, which plain words are in.
fn only(languages: &[Language]) -> Option<Language> {
    match languages {
        [only] => Some(*only),
        _ => None,
    }
}

fn languageless(file: &Path, line: u64, what: &str, languages: &[Language]) -> ReadError {
    let codes: Vec<String> = languages.iter().map(|language| format!("{language}: …")).collect();
    let reason = format!("{what} has no language, and the pack has several: write {{{}}}", codes.join(", "));
    ReadError::new(file, Some(line), reason)
}

impl SettingsFile {
    /// `file` is where this stands, for errors.
    pub(super) fn settings(self, file: &Path) -> Result<Settings, ReadError> {
        let languages = self.languages;
        let Some(&first) = languages.first() else {
            return Err(ReadError::new(file, Some(languages.line), "a pack has at least one language"));
        };
        let mut texts = BTreeMap::new();
        for (name, Lined { value, line }) in self.texts {
            let text = value
                .in_language(only(&languages), line)
                .ok_or_else(|| languageless(file, line, &format!("the text {name}"), &languages))?;
            texts.insert(name, Lined { value: text, line });
        }
        let page = self.page.map_or_else(Page::default, |page| Page {
            // A name is often the same in every language.
            name: page.name.map(|Lined { value, line }| value.in_each(&languages, line)),
            logo: page.logo,
            color: page.color,
        });
        Ok(Settings {
            name: self.name,
            default_language: self.default_language.unwrap_or(Lined { value: first, line: languages.line }),
            languages,
            texts,
            starters: self.starters,
            builtin: Builtin {
                small_talk: match self.builtin.small_talk {
                    SmallTalkFile::All(true) => SmallTalk::All,
                    SmallTalkFile::All(false) => SmallTalk::Only(Vec::new()),
                    SmallTalkFile::These(these) => SmallTalk::Only(these),
                },
                background: self.builtin.background,
            },
            page,
            thresholds: self.thresholds,
        })
    }
}

impl IntentFile {
    /// `file` is where this stands, from the pack's folder; `path` the same for errors.
    pub(super) fn intent(self, file: &Path, path: &Path, languages: &[Language]) -> Result<Intent, ReadError> {
        let id = self.id;
        let text = |what: &str, Lined { value, line }: Lined<Text>| -> Result<Lined<Translated>, ReadError> {
            let value = value
                .in_language(only(languages), line)
                .ok_or_else(|| languageless(path, line, &format!("{what} of {}", *id), languages))?;
            Ok(Lined { value, line })
        };
        let (title, answers) = (text("the title", self.title)?, text("the answer", self.answers)?);
        let Lined { value, line } = self.utterances;
        let value = value
            .in_language(only(languages))
            .ok_or_else(|| languageless(path, line, &format!("the list of utterances of {}", *id), languages))?;
        Ok(Intent {
            file: file.to_owned(),
            id,
            title,
            tags: self.tags,
            valid: self.valid,
            utterances: Lined { value, line },
            answers,
            suggestions: self.suggestions,
        })
    }
}

impl TestFile {
    /// A question without a language is in that of a pack of one language, or else in `default`.
    pub(super) fn test(self, file: &Path, default: Language) -> Result<TestSet, ReadError> {
        let mut test = TestSet::default();
        for QuestionFile { text, language, intent } in self.in_scope {
            let intent = intent.ok_or_else(|| {
                ReadError::new(file, Some(text.line), "a question in scope names the intent that answers it")
            })?;
            test.in_scope.push(InScope { text, language: language.unwrap_or(default), intent });
        }
        for QuestionFile { text, language, intent } in self.out_of_scope {
            if let Some(intent) = intent {
                return Err(ReadError::new(file, Some(intent.line), "a question out of scope has no intent"));
            }
            test.out_of_scope.push(OutOfScope { text, language: language.unwrap_or(default) });
        }
        Ok(test)
    }
}
