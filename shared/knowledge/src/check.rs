//! What is wrong with a pack, each with its file and line.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::builtin::builtin;
use crate::pack::{BACKGROUND, Intent, Lined, Pack, Page, SETTINGS, Settings, SmallTalk, TEST, Translated};
use crate::ranking::MAX_SUGGESTIONS;
use crate::{TextName, wording};

/// With more wordings than this many times those of the pack's median intent, an intent has more than it needs while
/// others want for some.
const MANY_TIMES: usize = 5;

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
    shown(Path::new(SETTINGS), "the welcome offers", &pack.settings.starters, &ids, &mut findings);
    builtin_use(pack, &mut findings);
    page(pack, &mut findings);
    uneven(pack, &mut findings);
    unread(pack, &mut findings);
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
    let known = &builtin().background;
    for language in languages.iter().filter(|language| !known.contains_key(language)) {
        let message = format!(
            "nothing is built in for {language}, and the default model reads Chinese and English well, other languages in \
             the Latin script less well, and others hardly; try it with `hoopoe knowledge ask QUESTION`"
        );
        findings.warning(file, languages.line, message);
    }
    for name in TextName::ALL {
        text(pack, name, findings);
    }
    if let Some(thresholds) = &settings.thresholds
        && !thresholds.are_possible()
    {
        findings.error(file, thresholds.line, "answer, scope and suggest are probabilities, from 0 to 1".into());
    }
}

/// A text that the pack does not give has to be built in, in the default language at least.
fn text(pack: &Pack, name: TextName, findings: &mut Findings) {
    let file = Path::new(SETTINGS);
    let Settings { languages, default_language, texts, .. } = &pack.settings;
    let builtin = &builtin().texts[&name];
    let own = texts.get(&name);
    for language in languages.iter().filter(|language| !builtin.contains_key(language)) {
        if own.is_none_or(|own| !own.contains_key(language)) {
            let line = own.map_or(languages.line, |own| own.line);
            let message = format!("the text {name} is missing in {language}; write it under texts");
            if *language == **default_language {
                findings.error(file, line, message);
            } else {
                findings.warning(file, line, format!("{message}, or {} stands in for it", **default_language));
            }
        }
    }
    for (language, text) in own.iter().flat_map(|own| own.iter()) {
        if !languages.contains(language) {
            let message = format!("{name} is given in {language}, which is not among the languages of {SETTINGS}");
            findings.error(file, text.line, message);
        }
        length(file, text, &format!("{name} in {language}"), MAX_ANSWER, findings);
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
    for text in utterances.values().filter(|texts| texts.len() == 1).flatten().filter(|text| text.contains('，')) {
        let message = format!("{} has one utterance here; between two, YAML wants the comma , and not ，", **id);
        findings.warning(file, text.line, message);
    }
    if utterances.values().all(Vec::is_empty) {
        let message = format!("{} has no utterances; how do people ask for it?", **id);
        findings.warning(file, utterances.line, message);
    }
    shown(file, &format!("{} suggests", **id), suggestions, ids, findings);
    if let Some(itself) = suggestions.iter().find(|other| ***other == **id) {
        findings.error(file, itself.line, format!("{} suggests itself", **id));
    }
}

/// Intents that are shown as buttons.
fn shown(file: &Path, what: &str, shown: &[Lined<String>], ids: &HashMap<&str, &Intent>, findings: &mut Findings) {
    if let Some(beyond) = shown.get(MAX_SUGGESTIONS) {
        let message = format!("{what} {} intents; at most {MAX_SUGGESTIONS} are shown", shown.len());
        findings.error(file, beyond.line, message);
    }
    for (nth, other) in shown.iter().enumerate() {
        if !ids.contains_key(other.as_str()) {
            findings.error(file, other.line, format!("{what} {}, which is no intent of the pack", **other));
        } else if shown[..nth].iter().any(|earlier| **earlier == **other) {
            findings.error(file, other.line, format!("{what} {} twice", **other));
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
    if !pack.settings.builtin.background && pack.background.values().all(Vec::is_empty) {
        let message = format!(
            "the built-in background is switched off and there is no {BACKGROUND}, so nothing tells the bot what not to \
             answer; write the file, or remove `background: false`"
        );
        findings.error(Path::new(SETTINGS), 1, message);
    }
}

/// Files that look like a part of the pack and are not read.
fn unread(pack: &Pack, findings: &mut Findings) {
    let names = |folder: &str| -> Vec<PathBuf> {
        let entries = pack.folder.join(folder).read_dir().into_iter().flatten().flatten();
        let mut names: Vec<PathBuf> = entries.map(|entry| Path::new(folder).join(entry.file_name())).collect();
        names.sort();
        names
    };
    let is_yaml = |file: &Path| {
        file.extension().is_some_and(|kind| kind.eq_ignore_ascii_case("yaml") || kind.eq_ignore_ascii_case("yml"))
    };
    let is_read = |file: &Path| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let in_intents = file.starts_with("intents");
        name.ends_with(".yaml") && (in_intents || [SETTINGS, BACKGROUND].contains(&&*name) || name.starts_with("test"))
    };
    for file in names("").into_iter().chain(names("intents")).filter(|file| is_yaml(file) && !is_read(file)) {
        let message = format!(
            "this file is not read; a pack has {SETTINGS}, intents/*.yaml, and if you like {BACKGROUND} and {TEST}"
        );
        findings.warning(&file, 1, message);
    }
}

fn builtin_use(pack: &Pack, findings: &mut Findings) {
    let SmallTalk::Only(ids) = &pack.settings.builtin.small_talk else { return };
    let small_talk: Vec<&str> = small_talk_ids().collect();
    for id in ids.iter().filter(|id| !small_talk.contains(&id.as_str())) {
        let message = format!("{id} is no built-in small talk; there are {}", small_talk.join(", "));
        findings.error(Path::new(SETTINGS), 1, message);
    }
}

/// The name stands in the page's heading.
const MAX_PAGE_NAME: usize = 60;

fn page(pack: &Pack, findings: &mut Findings) {
    let file = Path::new(SETTINGS);
    // Whether the logo can be shown is for the page to say.
    let Page { name, color, .. } = &pack.settings.page;
    if let Some(name) = name {
        translated(pack, file, pack.settings.name.line, "the page's name", name, MAX_PAGE_NAME, findings);
    }
    if let Some(color) = color {
        let digits = color.strip_prefix('#').unwrap_or_default();
        if digits.len() != 6 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            let message = format!("{} is no color; write six digits in quotes, such as \"#b4552d\"", **color);
            findings.error(file, color.line, message);
        }
    }
}

fn small_talk_ids() -> impl Iterator<Item = &'static str> {
    builtin().topics.iter().filter(|topic| topic.reply.is_some()).map(|topic| topic.id.as_str())
}

/// Intents that have far more wordings than most: more of them help nobody while others want for some.
fn uneven(pack: &Pack, findings: &mut Findings) {
    let count = |intent: &Intent| intent.utterances.values().map(Vec::len).sum::<usize>();
    let mut counts: Vec<usize> = pack.intents.iter().map(count).collect();
    counts.sort_unstable();
    let Some(&median) = counts.get(counts.len() / 2) else { return };
    for intent in pack.intents.iter().filter(|intent| count(intent) > MANY_TIMES * median.max(1)) {
        let message = format!(
            "{} has {} utterances, half of the intents have {median} or fewer; add to those before adding here",
            *intent.id,
            count(intent)
        );
        findings.warning(&intent.file, intent.utterances.line, message);
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
        let id = question.intent.as_str();
        if !ids.contains_key(id) && small_talk_ids().all(|small_talk| small_talk != id) {
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
