//! A pack as its authors write it, read from its folder.

mod source;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hoopoe_message::Language;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{TextName, Thresholds, Validity};
pub use source::{Lined, ReadError};
use source::{parse, read};

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
    /// SHA-256 over everything an index is made from, which is every file but `test.yaml`.
    pub digest: [u8; 32],
}

/// The contents of `pack.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What the pack is called, in lists and logs.
    pub name: Lined<String>,
    /// The languages in which it answers.
    pub languages: Lined<Vec<Language>>,
    /// The one that stands in for a language it does not have.
    pub default_language: Lined<Language>,
    /// What the bot says of itself.
    pub texts: Lined<BTreeMap<TextName, Translated>>,
    /// Where answers end and suggestions end; without them, [`Thresholds::default`].
    #[serde(default)]
    pub thresholds: Option<Lined<Thresholds>>,
}

/// One text in several languages.
pub type Translated = BTreeMap<Language, Lined<String>>;

/// Something a person can want, and what the bot says to it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// The file it stands in, from the pack's folder: `intents/orders.yaml`.
    #[serde(skip)]
    pub file: PathBuf,
    /// Its name within the pack: `[a-z0-9_]+`.
    pub id: Lined<String>,
    /// What a quick reply shows; counts as an utterance.
    pub title: Lined<Translated>,
    /// For its authors: the bot does not use them.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The days on which it is answered; always, where none are given.
    #[serde(default)]
    pub valid: Option<Lined<Validity>>,
    /// How people ask for it, by language.
    pub utterances: Lined<BTreeMap<Language, Vec<Lined<String>>>>,
    /// What the bot says.
    pub answers: Lined<Translated>,
    /// Ids of the intents that are offered after the answer.
    #[serde(default)]
    pub suggestions: Vec<Lined<String>>,
}

/// The contents of `test.yaml`: labelled questions that nothing is built or calibrated with.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestSet {
    /// Questions that an intent answers.
    #[serde(default)]
    pub in_scope: Vec<InScope>,
    /// Questions that none answers.
    #[serde(default)]
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
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InScope {
    /// The question.
    pub text: Lined<String>,
    /// The language it is in.
    pub language: Language,
    /// The intent's id.
    pub intent: Lined<String>,
}

/// A question that the pack has no answer to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutOfScope {
    /// The question.
    pub text: Lined<String>,
    /// The language it is in.
    pub language: Language,
}

/// A text that teaches the classifier.
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
        let settings = parse(&path, &text)?;
        let mut intents: Vec<Intent> = Vec::new();
        for file in intent_files(folder)? {
            let (path, text) = take(&file)?;
            for mut intent in parse::<Vec<Intent>>(&path, &text)? {
                intent.file.clone_from(&file);
                intents.push(intent);
            }
            if intents.len() > MAX_INTENTS {
                return Err(ReadError::new(&path, None, format!("a pack has at most {MAX_INTENTS} intents")));
            }
        }
        let background = match folder.join(BACKGROUND).exists() {
            true => take(Path::new(BACKGROUND)).and_then(|(path, text)| parse(&path, &text))?,
            false => BTreeMap::new(),
        };
        let test = match folder.join(TEST) {
            path if path.exists() => parse(&path, &read(&path)?)?,
            _ => TestSet::default(),
        };
        Ok(Self { folder: folder.to_owned(), settings, intents, background, test, digest: digest.finalize().into() })
    }

    /// Reads another file of the format of `test.yaml`.
    ///
    /// # Errors
    /// Names the file, and the line where there is one, that cannot be read or is not of the format.
    pub fn read_test(file: &Path) -> Result<TestSet, ReadError> {
        parse(file, &read(file)?)
    }

    /// Everything the classifier learns from, always in the same order: of each intent its titles and utterances, then
    /// the background.
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

    /// The thresholds of `pack.yaml`, or the ones that stand in for them.
    #[must_use]
    pub fn thresholds(&self) -> Thresholds {
        self.settings.thresholds.as_ref().map_or_else(Thresholds::default, |thresholds| **thresholds)
    }
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
        if Path::new(&name).extension().is_some_and(|extension| extension == "yaml") {
            files.push(Path::new("intents").join(name));
        }
        if files.len() > MAX_INTENT_FILES {
            return Err(ReadError::new(&path, None, format!("a pack has at most {MAX_INTENT_FILES} files of intents")));
        }
    }
    files.sort();
    Ok(files)
}
