//! What a built folder says of itself.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::check::Figures;

/// The file's name.
pub(super) const NAME: &str = "manifest.json";

/// `manifest.json`: written last, so a folder that has it is whole.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// What the model was made of, as a hash: source, options, scripts, tools. The folder's name.
    pub(super) id: String,
    /// The command's version.
    pub(super) hoopoe: String,
    /// Languages whose pieces were kept, or `all`.
    pub(super) languages: String,
    /// What the Python build says of the source and itself.
    pub(super) source: Source,
    /// The files that ship, and ONNX Runtime's library.
    pub(super) files: BTreeMap<String, FileFacts>,
    /// INT8 against FP32.
    pub(super) check: Figures,
}

/// What `infra/model/build.py` writes as `build.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Source {
    pub(super) model: String,
    /// The pinned package, or none when it came from a folder.
    pub(super) package: Option<String>,
    /// Of the file that the weights were read from.
    pub(super) sha256: String,
    pub(super) licence: String,
    pub(super) tokenizer: String,
    pub(super) pieces: usize,
    pub(super) pieces_of_source: usize,
    pub(super) architecture: serde_json::Value,
    pub(super) tools: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FileFacts {
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

impl FileFacts {
    pub(super) fn of(path: &Path) -> anyhow::Result<Self> {
        let data = fs::read(path).with_context(|| format!("{} could not be read", path.display()))?;
        Ok(Self { bytes: data.len() as u64, sha256: hex::encode(Sha256::digest(&data)) })
    }
}

impl Manifest {
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(NAME);
        let text = fs::read(&path)
            .with_context(|| format!("there is no built model at {}; run `make model`", folder.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is damaged; remove its folder and run `make model`", path.display()))
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = &self.source;
        writeln!(f, "model      {} ({})", source.model, source.licence)?;
        writeln!(f, "source     {}, sha256 {}", source.package.as_deref().unwrap_or("a folder"), source.sha256)?;
        writeln!(f, "id         {}", self.id)?;
        writeln!(f, "languages  {}: {} of {} pieces", self.languages, source.pieces, source.pieces_of_source)?;
        for (name, file) in &self.files {
            writeln!(f, "{:>10} MB  {name}", format!("{:.1}", file.bytes as f64 / 1e6))?;
        }
        write!(f, "check      {}", self.check)
    }
}
