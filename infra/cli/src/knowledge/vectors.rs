//! Vectors of texts, kept from one command to the next: encoding is what takes time.
//!
//! They are in one file, `target/knowledge/vectors`, a record after the other: the first 16 bytes of the SHA-256 of the
//! model's identity and the text, then the numbers, little endian. It can be deleted at any time.

use std::collections::HashMap;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use hoopoe_encoder::{Encoder, EncoderFiles, Options};
use sha2::{Digest, Sha256};

use crate::atomic;
use crate::progress::Step;

/// With more vectors than this, some 75 MB, only those of the last command are kept.
const MOST_KEPT: usize = 50_000;

type Key = [u8; 16];

/// The encoder, and what it has encoded already.
pub(crate) struct Vectors {
    encoder: Encoder,
    file: PathBuf,
    known: HashMap<Key, Box<[f32]>>,
}

impl Vectors {
    /// Loads the model of a folder, and the vectors that are kept in `file`.
    ///
    /// # Errors
    ///
    /// When there is no model.
    pub(crate) fn open(model: &Path, file: PathBuf) -> anyhow::Result<Self> {
        let encoder = Encoder::load(&EncoderFiles::in_build(model), Options::from_environment())
            .context("the model could not be loaded; build it with `make model`")?;
        let record = size_of::<Key>() + encoder.dimension() * size_of::<f32>();
        // What cannot be read is encoded again.
        let bytes = fs::read(&file).unwrap_or_default();
        let known = bytes.chunks_exact(record).filter_map(|record| {
            let (key, numbers) = record.split_first_chunk().expect("a record begins with its key");
            let numbers: Box<[f32]> = numbers.as_chunks().0.iter().map(|&number| f32::from_le_bytes(number)).collect();
            is_vector(&numbers).then_some((*key, numbers))
        });
        Ok(Self { known: known.collect(), encoder, file })
    }

    /// The identity of the model.
    pub(crate) fn model(&self) -> &str {
        self.encoder.model_id()
    }

    /// The numbers in a vector.
    pub(crate) fn dimension(&self) -> usize {
        self.encoder.dimension()
    }

    /// The vector of one text, which is not kept.
    ///
    /// # Errors
    ///
    /// When ONNX Runtime fails.
    pub(crate) fn encode(&mut self, text: &str) -> anyhow::Result<Vec<f32>> {
        Ok(self.encoder.encode(&[text])?.into_values())
    }

    /// The vectors of texts, one after the other. `what` says what they are to the person who waits.
    ///
    /// # Errors
    ///
    /// When ONNX Runtime fails.
    pub(crate) fn of(&mut self, what: &str, texts: &[&str]) -> anyhow::Result<Vec<f32>> {
        let keys: Vec<Key> = texts.iter().map(|text| key(self.model(), text)).collect();
        let mut new: Vec<(Key, &str)> =
            keys.iter().copied().zip(texts.iter().copied()).filter(|(key, _)| !self.known.contains_key(key)).collect();
        new.sort_unstable();
        new.dedup();
        if !new.is_empty() {
            let step = Mutex::new(Step::start("Knowledge", format_args!("encoding {} {what}", new.len())));
            let texts: Vec<&str> = new.iter().map(|(_, text)| *text).collect();
            let vectors = self.encoder.encode_watched(&texts, |done| {
                let step = step.lock().unwrap_or_else(PoisonError::into_inner);
                step.doing(format_args!("encoding {} {what}: {} %", texts.len(), done * 100 / texts.len()));
            })?;
            self.known.extend(new.iter().zip(vectors.rows()).map(|((key, _), vector)| (*key, vector.into())));
            let step = step.into_inner().unwrap_or_else(PoisonError::into_inner);
            step.done(format_args!("encoded {} {what}", new.len()));
            if self.known.len() > MOST_KEPT {
                self.known.retain(|key, _| keys.contains(key));
            }
            // It is a help and no more: a full disk does not keep anybody from an answer.
            drop(self.keep());
        }
        Ok(keys.iter().flat_map(|key| self.known[key].iter().copied()).collect())
    }

    fn keep(&self) -> anyhow::Result<()> {
        atomic::replace(&self.file, |scratch| {
            let mut file = BufWriter::new(fs::File::create(scratch)?);
            for (key, numbers) in &self.known {
                file.write_all(key)?;
                numbers.iter().try_for_each(|number| file.write_all(&number.to_le_bytes()))?;
            }
            file.flush()
        })
    }
}

/// Whether the numbers can be what an encoder gives: a vector of length 1.
fn is_vector(numbers: &[f32]) -> bool {
    let square: f32 = numbers.iter().map(|number| number * number).sum();
    (square - 1.0).abs() < 1e-3
}

fn key(model: &str, text: &str) -> Key {
    let digest = Sha256::new().chain_update(model).chain_update([0]).chain_update(text).finalize();
    *digest.first_chunk().expect("a SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_encoder_gives_is_not_believed() {
        assert!(is_vector(&[0.6, 0.8]));
        for damaged in [[0.0, 0.0], [0.6, 0.9], [f32::NAN, 0.8], [0.6, f32::INFINITY]] {
            assert!(!is_vector(&damaged), "{damaged:?}");
        }
    }
}
