//! A pack and its vectors become an index.

use std::collections::BTreeMap;

use hoopoe_message::Language;

use crate::check::{Finding, Severity, check};
use crate::index::{Index, Intent};
use crate::neighbours::Neighbours;
use crate::pack::{Lined, Pack, Translated};
use crate::train::train;
use crate::vectors::matrix;
use crate::{Classifier, wording};

/// Vectors of [`Pack::examples`], in their order, and the model they come from.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'e> {
    /// The identity of the model.
    pub model: &'e str,
    /// One vector after the other.
    pub vectors: &'e [f32],
}

/// Why a pack gives no index.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The pack has errors.
    #[error("the pack has {} that `hoopoe knowledge check` lists, the first: {}", errors(.0.len()), .0[0])]
    Pack(Vec<Finding>),
    /// There is not one vector for each example.
    #[error("{texts} texts of the pack have {numbers} numbers of vectors, which do not divide evenly")]
    Vectors {
        /// The number of examples.
        texts: usize,
        /// The number of numbers.
        numbers: usize,
    },
}

fn errors(count: usize) -> String {
    if count == 1 { "an error".to_owned() } else { format!("{count} errors") }
}

/// The bytes of the pack's index. The same pack and vectors give the same bytes.
///
/// # Errors
/// When [`check`] finds errors, or the vectors are not those of the pack's examples.
pub fn build(pack: &Pack, encoded: Encoded<'_>) -> Result<Vec<u8>, BuildError> {
    let errors: Vec<Finding> = check(pack).into_iter().filter(|finding| finding.severity == Severity::Error).collect();
    if !errors.is_empty() {
        return Err(BuildError::Pack(errors));
    }
    let settings = &pack.settings;
    let places: BTreeMap<&str, u32> = pack.intents.iter().map(|intent| intent.id.as_str()).zip(0..).collect();
    let mut wordings: Vec<(String, u32)> = pack
        .examples()
        .filter_map(|example| Some((wording::key(example.text), places[pack.intents[example.intent?].id.as_str()])))
        .collect();
    wordings.sort();
    wordings.dedup();
    // The background is the last class.
    let labels: Vec<usize> = pack.examples().map(|example| example.intent.unwrap_or(pack.intents.len())).collect();
    let mismatch = || BuildError::Vectors { texts: pack.examples().count(), numbers: encoded.vectors.len() };
    let index = Index {
        name: settings.name.value.clone(),
        model: encoded.model.to_owned(),
        digest: pack.digest,
        languages: settings.languages.value.clone(),
        default_language: *settings.default_language,
        texts: settings.texts.iter().map(|(&name, texts)| (name, plain(texts))).collect(),
        thresholds: pack.thresholds(),
        intents: pack
            .intents
            .iter()
            .map(|intent| Intent {
                id: intent.id.value.clone(),
                valid: intent.valid.as_ref().map(|valid| **valid).unwrap_or_default(),
                titles: plain(&intent.title),
                answers: plain(&intent.answers),
                suggestions: intent.suggestions.iter().map(|other| places[other.as_str()]).collect(),
            })
            .collect(),
        wordings,
        topics: train(encoded.vectors, &labels, pack.intents.len() + 1).ok_or_else(mismatch)?,
        examples: Neighbours::new(encoded.vectors, &labels, pack.intents.len() + 1).ok_or_else(mismatch)?,
        tongues: tongues(pack, encoded.vectors).ok_or_else(mismatch)?,
    };
    Ok(index.validated().expect("a pack without errors gives a valid index").encode())
}

/// Tells the pack's languages apart, by what is written in them.
fn tongues(pack: &Pack, vectors: &[f32]) -> Option<Classifier> {
    let languages: &[Language] = &pack.settings.languages;
    let vectors = matrix(vectors, pack.examples().count())?;
    let (mut known, mut labels) = (Vec::new(), Vec::new());
    for (example, vector) in pack.examples().zip(vectors.rows()) {
        if let Some(label) = languages.iter().position(|&language| language == example.language) {
            known.extend(vector);
            labels.push(label);
        }
    }
    train(&known, &labels, languages.len())
}

fn plain(texts: &Translated) -> BTreeMap<Language, String> {
    texts.iter().map(|(&language, Lined { value, .. })| (language, value.trim().to_owned())).collect()
}
