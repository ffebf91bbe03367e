//! A pack as its authors write it, read from its folder.

mod format;
mod source;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hoopoe_message::Language;
use sha2::{Digest, Sha256};

use crate::{TextName, Thresholds, Validity, builtin};
use format::{IntentFile, SettingsFile, TestFile, background};
pub use source::{Lined, ReadError};
use source::{parse, read, read_bytes};
pub use words::Translated;

/// The most files of intents, and the most intents, a pack may have.
const MAX_INTENT_FILES: usize = 500;
const MAX_INTENTS: usize = 2000;

/// A folder of YAML files, read and typed. [`check`](crate::check::check) says whether it makes sense.
#[derive(Clone, Debug)]
pub struct Pack {
    /// The folder it was read from.
    pub folder: PathBuf,
    /// `pack.yaml`.
    pub settings: Settings,
    /// `intents/*.yaml`, by file name and then in the order of the file.
    pub intents: Vec<Intent>,
    /// `background.yaml`; empty where there is none.
    pub background: BTreeMap<Language, Vec<Lined<String>>>,
    /// `test.yaml`; empty where there is none.
    pub test: TestSet,
    /// SHA-256 over everything an index is made from: every file but `test.yaml`, and [`builtin`].
    pub digest: [u8; 32],
}

/// The contents of `pack.yaml`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the pack is called, in lists and logs.
    pub name: Lined<String>,
    /// The languages in which it answers; at least one.
    pub languages: Lined<Vec<Language>>,
    /// The one that stands in for a language it does not have; the first, where none is given.
    pub default_language: Lined<Language>,
    /// What the bot says of itself, where the pack says it otherwise than [`builtin`].
    pub texts: BTreeMap<TextName, Lined<Translated>>,
    /// Ids of the intents that the welcome offers.
    pub starters: Vec<Lined<String>>,
    /// What it takes over of [`builtin`].
    pub builtin: Builtin,
    /// How the web chat's page looks.
    pub page: Page,
    /// Where answers end and suggestions end; without them, [`Thresholds::of_evidence`].
    pub thresholds: Option<Lined<Thresholds>>,
}

/// What a pack takes over of [`builtin`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Builtin {
    /// Which small talk.
    pub small_talk: SmallTalk,
    /// The background and the common questions.
    pub background: bool,
}

/// Which of the built-in small talk a bot makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SmallTalk {
    /// All of it.
    All,
    /// The intents with these ids.
    Only(Vec<String>),
}

/// How the web chat's page looks: what is not given is as in every bot.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The heading.
    pub name: Option<Translated>,
    /// A picture, as a path from the pack's folder.
    pub logo: Option<Lined<PathBuf>>,
    /// The accent's colour, `#rrggbb`.
    pub color: Option<Lined<String>>,
}

/// Something a person can want, and what the bot says to it.
#[derive(Clone, Debug)]
pub struct Intent {
    /// The file it stands in, from the pack's folder: `intents/orders.yaml`.
    pub file: PathBuf,
    /// Its name within the pack: `[a-z0-9_]+`.
    pub id: Lined<String>,
    /// What a quick reply shows; counts as an utterance.
    pub title: Lined<Translated>,
    /// For its authors: the bot does not use them.
    pub tags: Vec<String>,
    /// The days on which it is answered; always, where none are given.
    pub valid: Option<Lined<Validity>>,
    /// How people ask for it, by language.
    pub utterances: Lined<BTreeMap<Language, Vec<Lined<String>>>>,
    /// What the bot says.
    pub answers: Lined<Translated>,
    /// Ids of the intents that are offered after the answer.
    pub suggestions: Vec<Lined<String>>,
}

/// The contents of `test.yaml`: labelled questions that nothing is built or calibrated with.
#[derive(Clone, Debug, Default)]
pub struct TestSet {
    /// Questions that an intent answers.
    pub in_scope: Vec<InScope>,
    /// Questions that none answers.
    pub out_of_scope: Vec<OutOfScope>,
}

impl TestSet {
    /// Every question: first those in scope, then those out of it.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let in_scope = self.in_scope.iter().map(|question| question.text.as_str());
        in_scope.chain(self.out_of_scope.iter().map(|question| question.text.as_str()))
    }
}

/// A question, and the intent that answers it.
#[derive(Clone, Debug)]
pub struct InScope {
    /// The question.
    pub text: Lined<String>,
    /// The language it is in.
    pub language: Language,
    /// The intent's id.
    pub intent: Lined<String>,
}

/// A question that the pack has no answer to.
#[derive(Clone, Debug)]
pub struct OutOfScope {
    /// The question.
    pub text: Lined<String>,
    /// The language it is in.
    pub language: Language,
}

/// A text that its authors gave for an intent or for the background.
#[derive(Clone, Copy, Debug)]
pub struct Example<'p> {
    /// The words.
    pub text: &'p str,
    /// The language they are in.
    pub language: Language,
    /// The place of the intent that they ask for; `None` for the background.
    pub intent: Option<usize>,
    /// The file they stand in, from the pack's folder.
    pub file: &'p Path,
    /// The line in it.
    pub line: u64,
}

impl Pack {
    /// Reads a pack's folder.
    ///
    /// # Errors
    /// Names the file, and the line where there is one, that cannot be read or is not of the pack's format.
    pub fn read(folder: &Path) -> Result<Self, ReadError> {
        let mut digest = Sha256::new();
        let mut take = |file: &Path| {
            let path = folder.join(file);
            let text = read(&path)?;
            digest.update(file.as_os_str().as_encoded_bytes());
            digest.update([0]);
            digest.update(text.len().to_le_bytes());
            digest.update(&text);
            Ok::<_, ReadError>((path, text))
        };

        let (path, text) = take(Path::new(SETTINGS))?;
        if let Some((line, _)) = (1..).zip(text.lines()).find(|(_, line)| line.trim_start().starts_with("color: #")) {
            let reason = "in YAML # begins a comment; write the color in quotes, such as \"#b4552d\"";
            return Err(ReadError::new(&path, Some(line), reason));
        }
        let settings = parse::<SettingsFile>(&path, &text)?.settings(&path)?;
        let languages = &settings.languages;
        let mut intents: Vec<Intent> = Vec::new();
        for file in intent_files(folder)? {
            let (path, text) = take(&file)?;
            for intent in parse::<Vec<IntentFile>>(&path, &text)? {
                intents.push(intent.intent(&file, &path, languages)?);
            }
            if intents.len() > MAX_INTENTS {
                return Err(ReadError::new(&path, None, format!("a pack has at most {MAX_INTENTS} intents")));
            }
        }
        let background = match folder.join(BACKGROUND).exists() {
            true => take(Path::new(BACKGROUND)).and_then(|(path, text)| background(&path, &text, languages))?,
            false => BTreeMap::new(),
        };
        if let Some(logo) = &settings.page.logo {
            digest.update(read_bytes(&folder.join(&logo.value))?);
        }
        digest.update(builtin::digest());
        let test = TestSet::default();
        let digest = digest.finalize().into();
        let mut pack = Self { folder: folder.to_owned(), settings, intents, background, test, digest };
        let test = folder.join(TEST);
        if test.exists() {
            pack.test = pack.read_test(&test)?;
        }
        Ok(pack)
    }

    /// Reads another file of the format of `test.yaml`.
    ///
    /// # Errors
    /// Names the file, and the line where there is one, that cannot be read or is not of the format.
    pub fn read_test(&self, file: &Path) -> Result<TestSet, ReadError> {
        parse::<TestFile>(file, &read(file)?)?.test(file, *self.settings.default_language)
    }

    /// The bytes of the page's logo; `None` where the pack has none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn logo(&self) -> Result<Option<Vec<u8>>, ReadError> {
        self.settings.page.logo.as_ref().map(|logo| read_bytes(&self.folder.join(&logo.value))).transpose()
    }

    /// What its authors gave for each intent and for the background, always in the same order: of each intent its titles
    /// and utterances, then the background.
    pub fn examples(&self) -> impl Iterator<Item = Example<'_>> {
        let intents = self.intents.iter().enumerate().flat_map(|(place, intent)| {
            let titles = intent.title.iter().map(|(&language, title)| (language, title));
            titles.chain(lines(&intent.utterances)).map(move |(language, text)| Example {
                text,
                language,
                intent: Some(place),
                file: &intent.file,
                line: text.line,
            })
        });
        intents.chain(lines(&self.background).map(|(language, text)| Example {
            text,
            language,
            intent: None,
            file: Path::new(BACKGROUND),
            line: text.line,
        }))
    }
}

/// The thresholds in the text of `pack.yaml`; `None` where there are none, or it cannot be read.
pub(crate) fn thresholds(file: &Path, text: &str) -> Option<Thresholds> {
    let settings = parse::<SettingsFile>(file, text).ok()?.settings(file).ok()?;
    settings.thresholds.map(|thresholds| *thresholds)
}

/// The names of files of a pack.
pub(crate) const SETTINGS: &str = "pack.yaml";
pub(crate) const BACKGROUND: &str = "background.yaml";
pub(crate) const TEST: &str = "test.yaml";

fn lines(texts: &BTreeMap<Language, Vec<Lined<String>>>) -> impl Iterator<Item = (Language, &Lined<String>)> {
    texts.iter().flat_map(|(&language, texts)| texts.iter().map(move |text| (language, text)))
}

/// `intents/*.yaml` in the order of their names, so that a pack is the same pack on every machine.
fn intent_files(folder: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let path = folder.join("intents");
    let mut files = Vec::new();
    for entry in path.read_dir().map_err(|error| ReadError::io(&path, &error))? {
        let name = entry.map_err(|error| ReadError::io(&path, &error))?.file_name();
        // Editors and macOS leave hidden files beside those they belong to.
        let is_hidden = name.as_encoded_bytes().starts_with(b".");
        if !is_hidden && Path::new(&name).extension().is_some_and(|extension| extension == "yaml") {
            files.push(Path::new("intents").join(name));
        }
        if files.len() > MAX_INTENT_FILES {
            return Err(ReadError::new(&path, None, format!("a pack has at most {MAX_INTENT_FILES} files of intents")));
        }
    }
    files.sort();
    Ok(files)
}
