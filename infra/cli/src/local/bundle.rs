//! A function's bundle: what it is made of, its files in a folder, and its zip.
//!
//! The Makefile collects the files, for `sam build` and here alike.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::build::{self, BINARIES};
use crate::knowledge::folder;

const MODEL: &str = "target/model/current";

/// The bundles of the functions that are deployed, with the knowledge in one folder.
pub(super) struct Bundles {
    knowledge: PathBuf,
    /// What stands for all that a function's bundle is made of: it changes when one of its parts does.
    digests: BTreeMap<String, String>,
}

impl Bundles {
    /// Those of the binaries and the model as they are now, with the built knowledge in `knowledge`.
    pub(super) fn of(functions: &[String], knowledge: PathBuf) -> anyhow::Result<Self> {
        let digest = |name: &String| Ok((name.clone(), digest(name, &knowledge)?));
        let digests = functions.iter().map(digest).collect::<anyhow::Result<_>>()?;
        Ok(Self { knowledge, digests })
    }

    /// The folder of the built knowledge.
    pub(super) fn knowledge(&self) -> &Path {
        &self.knowledge
    }

    /// Each function's name and its bundle's digest.
    pub(super) fn digests(&self) -> &BTreeMap<String, String> {
        &self.digests
    }

    /// The zip of a function's bundle, collected in the folder `scratch`.
    pub(super) fn zip(&self, function: &str, scratch: &Path) -> anyhow::Result<Vec<u8>> {
        let folder = scratch.join(function);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("{} could not be emptied", folder.display()))?;
        }
        build::run(
            Command::new("make")
                .args(["--silent", "--no-print-directory"])
                .arg(format!("build-{function}Function"))
                .env("ARTIFACTS_DIR", &folder)
                .env("BINARIES", "local")
                .env("KNOWLEDGE", &self.knowledge)
                .stdout(Stdio::null()),
        )
        .with_context(|| format!("the bundle of {function} could not be collected"))?;
        let zip = zip(&folder).with_context(|| format!("{} could not be zipped", folder.display()))?;
        fs::remove_dir_all(&folder).with_context(|| format!("{} could not be removed", folder.display()))?;
        Ok(zip)
    }
}

/// The digest of all that `build-<name>Function` in the Makefile reads, and of the Makefile.
fn digest(function: &str, knowledge: &Path) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    let mut files = vec![PathBuf::from("Makefile"), Path::new(BINARIES).join(function)];
    match function {
        "inference" => {
            let model = fs::canonicalize(MODEL).with_context(|| format!("{MODEL} could not be found"))?;
            // A built model's folder is named after what it was made of.
            hash.update(model.file_name().unwrap_or_default().as_encoded_bytes());
            files.push(knowledge.join(folder::INDEX));
        }
        "webchat" => files.extend(Some(knowledge.join(folder::PAGE)).filter(|page| page.exists())),
        _ => {}
    }
    for path in files {
        let content = fs::read(&path).with_context(|| format!("{} could not be read", path.display()))?;
        hash.update(Sha256::digest(content));
    }
    Ok(hex::encode(hash.finalize()))
}

/// The files of a folder as a zip, as they are: compressing takes longer than what it saves on the way to this machine.
fn zip(folder: &Path) -> anyhow::Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    add(&mut zip, folder, "")?;
    Ok(zip.finish()?.into_inner())
}

fn add(zip: &mut ZipWriter<Cursor<Vec<u8>>>, folder: &Path, prefix: &str) -> anyhow::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            add(zip, &entry.path(), &format!("{name}/"))?;
        } else {
            let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
            zip.start_file(name, options.unix_permissions(0o755))?;
            io::copy(&mut File::open(entry.path())?, zip)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zip_holds_the_files_of_a_folder_and_of_those_in_it() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        fs::create_dir(scratch.path().join("lib")).expect("a folder");
        fs::write(scratch.path().join("bootstrap"), "binary").expect("written");
        fs::write(scratch.path().join("lib/libonnxruntime.so"), "library").expect("written");
        let bytes = zip(scratch.path()).expect("zipped");
        let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).expect("a zip");
        assert_eq!(archive.len(), 2);
        assert!(archive.by_name("lib/libonnxruntime.so").is_ok());
        let mut binary = archive.by_name("bootstrap").expect("there");
        assert_eq!(binary.unix_mode().map(|mode| mode & 0o777), Some(0o755));
        assert_eq!(io::read_to_string(&mut binary).expect("text"), "binary");
    }
}
