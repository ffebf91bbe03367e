//! What is wrong with a pack, each with its file and line.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::pack::{BACKGROUND, Intent, Lined, Pack, SETTINGS, TEST, Translated};
use crate::ranking::MAX_SUGGESTIONS;
use crate::{TextName, wording};

/// With fewer wordings in a language an intent is hardly told from others.
pub const MIN_UTTERANCES: usize = 6;

/// With fewer a pack learns little of what it should not answer.
pub const MIN_BACKGROUND: usize = 30;

/// Characters: what the model reads of a question, what a button shows, what every platform sends in one message.
const MAX_UTTERANCE: usize = 300;
const MAX_TITLE: usize = 60;
const MAX_ANSWER: usize = 2000;

/// Something about a pack that should be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file, from the pack's folder.
    pub file: PathBuf,
    /// The line in it, counted from 1.
    pub line: u64,
    /// What is wrong, and what to do.
    pub message: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The pack works, less well than it could.
    Warning,
    /// No index is built.
    Error,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{}:{}: {severity}: {}", self.file.display(), self.line, self.message)
    }
}

/// Everything that can be seen without the model, in the order of the files.
#[must_use]
pub fn check(pack: &Pack) -> Vec<Finding> {
    let mut findings = Findings::default();
    settings(pack, &mut findings);
    let mut ids = HashMap::new();
    for intent in &pack.intents {
        if let Some(first) = ids.insert(intent.id.as_str(), intent) {
            let at = place(&first.file, first.id.line);
            findings.error(&intent.file, intent.id.line, format!("the id {} is taken at {at}", *intent.id));
        }
    }
    if pack.intents.is_empty() {
        findings.error(Path::new(SETTINGS), 1, "the pack has no intents; write some to intents/<topic>.yaml".into());
    }
    for intent in &pack.intents {
        of_intent(pack, intent, &ids, &mut findings);
    }
    background(pack, &mut findings);
    wordings(pack, &mut findings);
    test(pack, &ids, &mut findings);
    let mut findings = findings.0;
    findings.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    findings
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn error(&mut self, file: &Path, line: u64, message: String) {
        self.0.push(Finding { severity: Severity::Error, file: file.to_owned(), line, message });
    }

    fn warning(&mut self, file: &Path, line: u64, message: String) {
        self.0.push(Finding { severity: Severity::Warning, file: file.to_owned(), line, message });
    }
}

pub(crate) fn place(file: &Path, line: u64) -> String {
    format!("{}:{line}", file.display())
}

fn settings(pack: &Pack, findings: &mut Findings) {
    let file = Path::new(SETTINGS);
    let settings = &pack.settings;
    let languages = &settings.languages;
    if settings.name.trim().is_empty() {
        findings.error(file, settings.name.line, "the name is empty".into());
    }
    if languages.iter().collect::<BTreeSet<_>>().len() < languages.len() {
        findings.error(file, languages.line, "a language is listed twice".into());
    }
    if !languages.contains(&settings.default_language) {
        let message = format!("the default language {} is not among the languages", *settings.default_language);
        findings.error(file, settings.default_language.line, message);
    }
    for name in TextName::ALL {
        match settings.texts.get(&name) {
            Some(texts) => translated(pack, file, settings.texts.line, &name.to_string(), texts, MAX_ANSWER, findings),
            None => findings.error(file, settings.texts.line, format!("the text {name} is missing")),
        }
    }
    match &settings.thresholds {
        Some(thresholds) if !thresholds.are_possible() => {
            let message = "temperature has to be above 0, answer, margin and suggest from 0 to 1";
            findings.error(file, thresholds.line, message.into());
        }
        Some(_) => {}
        None => {
            let message = "there are no thresholds; find them with `hoopoe knowledge eval --calibrate`";
            findings.warning(file, 1, message.into());
        }
    }
}

/// A text has to be there in the default language, and should be in the others.
fn translated(
    pack: &Pack,
    file: &Path,
    line: u64,
    what: &str,
    texts: &Translated,
    longest: usize,
    findings: &mut Findings,
) {
    let languages = &pack.settings.languages;
    for language in languages.iter().filter(|language| !texts.contains_key(language)) {
        let default = &*pack.settings.default_language;
        if language == default {
            findings.error(file, line, format!("{what} is missing in {language}, the default language"));
        } else {
            findings.warning(file, line, format!("{what} is missing in {language}; {default} will stand in for it"));
        }
    }
    for (language, text) in texts {
        if !languages.contains(language) {
            let message = format!("{what} is given in {language}, which is not among the languages of {SETTINGS}");
            findings.error(file, text.line, message);
        }
        length(file, text, &format!("{what} in {language}"), longest, findings);
    }
}

fn length(file: &Path, text: &Lined<String>, what: &str, longest: usize, findings: &mut Findings) {
    let characters = text.trim().chars().count();
    if characters == 0 {
        findings.error(file, text.line, format!("{what} is empty"));
    } else if characters > longest {
        findings.error(file, text.line, format!("{what} has {characters} characters, at most {longest} are allowed"));
    }
}

fn of_intent(pack: &Pack, intent: &Intent, ids: &HashMap<&str, &Intent>, findings: &mut Findings) {
    let Intent { file, id, title, valid, utterances, answers, suggestions, .. } = intent;
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if id.is_empty() || !id.bytes().all(legal) {
        findings.error(file, id.line, format!("the id \"{}\" is not made of a-z, 0-9 and _", **id));
    }
    translated(pack, file, title.line, &format!("the title of {}", **id), title, MAX_TITLE, findings);
    translated(pack, file, answers.line, &format!("the answer of {}", **id), answers, MAX_ANSWER, findings);
    if let Some(valid) = valid
        && let (Some(from), Some(until)) = (valid.from, valid.until)
        && from > until
    {
        findings.error(file, valid.line, format!("{} is valid from {from} until {until}, which is never", **id));
    }
    for text in utterances.values().flatten() {
        length(file, text, &format!("an utterance of {}", **id), MAX_UTTERANCE, findings);
    }
    for language in pack.settings.languages.iter() {
        let count = utterances.get(language).map_or(0, Vec::len);
        if count < MIN_UTTERANCES {
            let message = format!("{} has {count} utterances in {language}; {MIN_UTTERANCES} are the least", **id);
            findings.warning(file, utterances.line, message);
        }
    }
    if suggestions.len() > MAX_SUGGESTIONS {
        let message = format!("{} suggests {} intents; {MAX_SUGGESTIONS} are shown", **id, suggestions.len());
        findings.error(file, suggestions[MAX_SUGGESTIONS].line, message);
    }
    for (nth, other) in suggestions.iter().enumerate() {
        if !ids.contains_key(other.as_str()) {
            findings.error(file, other.line, format!("{} suggests {}, which is no intent", **id, **other));
        } else if **other == **id {
            findings.error(file, other.line, format!("{} suggests itself", **id));
        } else if suggestions[..nth].iter().any(|earlier| **earlier == **other) {
            findings.error(file, other.line, format!("{} suggests {} twice", **id, **other));
        }
    }
}

fn background(pack: &Pack, findings: &mut Findings) {
    let file = Path::new(BACKGROUND);
    for (language, texts) in &pack.background {
        for text in texts {
            length(file, text, &format!("a background text in {language}"), MAX_UTTERANCE, findings);
        }
    }
    for language in pack.settings.languages.iter() {
        let count = pack.background.get(language).map_or(0, Vec::len);
        if count < MIN_BACKGROUND {
            let message = format!(
                "there are {count} background texts in {language}; from {MIN_BACKGROUND} over many topics the bot \
                 learns what not to answer"
            );
            findings.warning(file, 1, message);
        }
    }
}

/// The same words twice teach nothing within an intent, and cannot be right between two.
fn wordings(pack: &Pack, findings: &mut Findings) {
    let mut seen = HashMap::new();
    for example in pack.examples() {
        let key = wording::key(example.text);
        if key.is_empty() {
            if example.intent.is_some() && !example.text.trim().is_empty() {
                let message = format!("\"{}\" is only punctuation", example.text);
                findings.error(example.file, example.line, message);
            }
            continue;
        }
        let Some(first) = seen.get(&key) else {
            seen.insert(key, example);
            continue;
        };
        let message = format!("\"{}\" stands already at {}", example.text, place(first.file, first.line));
        match (first.intent, example.intent) {
            (a, b) if a != b => {
                let owner =
                    |intent: Option<usize>| intent.map_or("the background", |place| pack.intents[place].id.as_str());
                let message = format!("{message}, in {}", owner(a));
                findings.error(example.file, example.line, message);
            }
            // A title may be an utterance as well, and the same in two languages.
            _ if is_title(pack, first.intent, first.text) => {}
            _ => findings.warning(example.file, example.line, message),
        }
    }
}

fn is_title(pack: &Pack, intent: Option<usize>, text: &str) -> bool {
    intent.is_some_and(|place| pack.intents[place].title.values().any(|title| title.value == text))
}

fn test(pack: &Pack, ids: &HashMap<&str, &Intent>, findings: &mut Findings) {
    let file = Path::new(TEST);
    let known: BTreeMap<String, String> =
        pack.examples().map(|example| (wording::key(example.text), place(example.file, example.line))).collect();
    for question in &pack.test.in_scope {
        if !ids.contains_key(question.intent.as_str()) {
            let message = format!("{} is no intent", *question.intent);
            findings.error(file, question.intent.line, message);
        }
    }
    let in_scope = pack.test.in_scope.iter().map(|question| (&question.text, question.language));
    let out_of_scope = pack.test.out_of_scope.iter().map(|question| (&question.text, question.language));
    let mut seen: HashMap<String, u64> = HashMap::new();
    for (text, language) in in_scope.chain(out_of_scope) {
        let key = wording::key(text);
        if !pack.settings.languages.contains(&language) {
            let message = format!("{language} is not among the languages of {SETTINGS}");
            findings.warning(file, text.line, message);
        }
        if let Some(known) = known.get(&key) {
            let message = format!("\"{}\" stands at {known}, so it measures nothing; eval leaves it out", **text);
            findings.warning(file, text.line, message);
        }
        if let Some(line) = seen.insert(key, text.line) {
            findings.warning(file, text.line, format!("\"{}\" stands already on line {line}", **text));
        }
    }
}
