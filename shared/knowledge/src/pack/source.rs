//! Files of a pack: bounded reading, and values that know their line.

use std::fs::File;
use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_saphyr::Spanned;

/// The largest file of a pack.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A value and the line of its file on which it begins, counted from 1.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Spanned<T>", bound(deserialize = "T: Deserialize<'de>"))]
pub struct Lined<T> {
    /// What stands there.
    pub value: T,
    /// Where.
    pub line: u64,
}

impl<T> From<Spanned<T>> for Lined<T> {
    fn from(spanned: Spanned<T>) -> Self {
        Self { line: spanned.referenced.line(), value: spanned.value }
    }
}

impl<T> Deref for Lined<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Why a pack could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {reason}", path.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct ReadError {
    /// The file or folder.
    pub path: PathBuf,
    /// The line in it, counted from 1, where one can be named.
    pub line: Option<u64>,
    /// What is wrong there.
    pub reason: String,
}

impl ReadError {
    pub(super) fn new(path: &Path, line: Option<u64>, reason: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, reason: reason.into() }
    }

    pub(super) fn io(path: &Path, error: &std::io::Error) -> Self {
        Self::new(path, None, error.to_string())
    }
}

/// The text of a file.
pub(super) fn read(path: &Path) -> Result<String, ReadError> {
    let bytes = read_bytes(path)?;
    String::from_utf8(bytes).map_err(|_| ReadError::new(path, None, "the file is not UTF-8; save it as UTF-8"))
}

/// The bytes of a file.
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| ReadError::io(path, &error))?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| ReadError::io(path, &error))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(ReadError::new(path, None, "the file is larger than 1 MiB; divide it"));
    }
    Ok(bytes)
}

/// What a file's text says.
pub(super) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ReadError> {
    serde_saphyr::from_str(text).map_err(|error| {
        let error = error.without_snippet();
        let line = error.location().map(|location| location.line());
        ReadError::new(path, line, error.to_string())
    })
}
