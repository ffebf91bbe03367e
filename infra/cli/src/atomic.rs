//! Files and links that are replaced whole: a reader finds the old one or the new one, never half of one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Writes a file, and the folders above it that are missing.
///
/// # Errors
///
/// Names the file, which is as it was.
pub(crate) fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    replace(path, |scratch| fs::write(scratch, content))
}

/// Puts at `path` what `make` makes at the path that it is given, beside it.
///
/// # Errors
///
/// As [`write()`].
pub(crate) fn replace(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> anyhow::Result<()> {
    let scratch = scratch(path);
    let replaced = || {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        // One that a process of the same number left when it was killed.
        drop(fs::remove_file(&scratch));
        make(&scratch)?;
        fs::rename(&scratch, path)
    };
    replaced()
        .inspect_err(|_| drop(fs::remove_file(&scratch)))
        .with_context(|| format!("{} could not be written", path.display()))
}

/// A path in the same folder, which no other process uses.
fn scratch(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_or_link_is_replaced_or_stays_as_it_was() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let names = || {
            let entries = fs::read_dir(folder.path().join("deep")).expect("a folder");
            let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
            names.sort();
            names
        };
        let (file, link) = (folder.path().join("deep/file"), folder.path().join("deep/link"));
        for content in ["before", "after"] {
            write(&file, content.as_bytes()).expect("written");
            replace(&link, |scratch| symlink(content, scratch)).expect("written");
        }
        let failed = replace(&file, |scratch| {
            fs::write(scratch, "half")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        let error = format!("{:#}", failed.expect_err("the disk is full"));
        assert!(error.contains("deep/file could not be written"), "{error}");
        assert_eq!(fs::read_to_string(&file).expect("there"), "after");
        assert_eq!(fs::read_link(&link).expect("a link"), Path::new("after"));
        assert_eq!(names(), ["file", "link"], "nothing is left beside them");
    }
}
