//! Where the built knowledge of a pack is: a folder for each pack, so that no pack's index overwrites another's.
//!
//! `infra/packs/shop` is built into `target/knowledge/shop`, and so is each pack of this repository by its name. A pack
//! elsewhere has eight digits of its path in the name as well: two packs called `bot` stay apart. With `--out` a person
//! chooses the folder; [`refuse_others`] keeps it from being one that another pack is built into.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use crate::project;

/// The pack that is built and deployed where no other is named.
pub(crate) const DEFAULT_PACK: &str = "infra/packs/shop";
/// The index in the folder, for the inference function.
pub(crate) const INDEX: &str = "knowledge.idx";
/// What the pack says of the web chat page, for the webchat function; in the folder if the pack says something.
pub(crate) const PAGE: &str = "page.json";
/// The absolute path of the pack that the folder is built from.
pub(crate) const ORIGIN: &str = "built-from";
/// The packs of this repository.
const PACKS: &str = "infra/packs";
const FOLDERS: &str = "target/knowledge";

/// The folder for the built knowledge of the pack in `pack`; nobody has to have made it yet.
///
/// # Errors
///
/// When there is no such pack.
pub(crate) fn of(pack: &Path) -> anyhow::Result<PathBuf> {
    let pack = absolute(pack)?;
    let ours = fs::canonicalize(project::path(PACKS)).is_ok_and(|packs| pack.parent() == Some(packs.as_path()));
    Ok(project::path(FOLDERS).join(name(&pack, ours)))
}

/// The pack's folder by the path that [`ORIGIN`] holds.
///
/// # Errors
///
/// When there is no such pack.
pub(crate) fn absolute(pack: &Path) -> anyhow::Result<PathBuf> {
    fs::canonicalize(pack).with_context(|| format!("there is no knowledge pack {}", pack.display()))
}

/// Fails if `folder` holds what was built from another pack than `pack`, or from an unknown one.
///
/// # Errors
///
/// Says which pack, and what to do. Also when there is no such pack.
pub(super) fn refuse_others(folder: &Path, pack: &Path) -> anyhow::Result<()> {
    let ours = absolute(pack)?;
    let from = match fs::read(folder.join(ORIGIN)) {
        Ok(origin) if origin == ours.as_os_str().as_encoded_bytes() => return Ok(()),
        Ok(origin) => format!("the knowledge pack {}", String::from_utf8_lossy(&origin)),
        Err(_) if ![INDEX, PAGE].iter().any(|file| folder.join(file).exists()) => return Ok(()),
        Err(_) => "an unknown knowledge pack".to_owned(),
    };
    bail!(
        "{} holds what was built from {from}: choose another folder with --out, or remove this one first; nothing was \
         changed",
        folder.display()
    )
}

/// The file that keeps the vectors of all packs.
pub(crate) fn vectors() -> PathBuf {
    project::path(FOLDERS).join("vectors")
}

/// A name that a shell and `make` read as one word.
fn name(pack: &Path, ours: bool) -> String {
    let name = pack.file_name().unwrap_or_default().to_string_lossy();
    let plain = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_');
    let word: String = name.chars().map(|letter| if plain(letter) { letter } else { '-' }).collect();
    if ours && word == name {
        return word;
    }
    let digest = hex::encode(Sha256::digest(pack.as_os_str().as_encoded_bytes()));
    format!("{word}-{}", &digest[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_of_one_name_have_folders_of_their_own() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let [one, other] = ["one/bot", "other/bot"].map(|pack| scratch.path().join(pack));
        for pack in [&one, &other] {
            fs::create_dir_all(pack).expect("a folder");
        }
        let folder = of(&one).expect("a pack");
        assert_ne!(folder, of(&other).expect("a pack"));
        assert_eq!(folder, of(&scratch.path().join("other/../one/bot")).expect("the same by another way"));
        let name = folder.file_name().and_then(|name| name.to_str()).expect("a name");
        assert!(name.starts_with("bot-") && name.len() == "bot-".len() + 8, "{name}");
        let error = of(&scratch.path().join("none")).expect_err("no pack").to_string();
        assert!(error.starts_with("there is no knowledge pack"), "{error}");
    }

    #[test]
    fn a_chosen_folder_is_not_another_packs() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let [one, other, out] = ["one", "other", "out"].map(|name| scratch.path().join(name));
        for folder in [&one, &other, &out] {
            fs::create_dir(folder).expect("a folder");
        }
        refuse_others(&scratch.path().join("new"), &one).expect("nothing is there");
        refuse_others(&out, &one).expect("it is empty");
        fs::write(out.join(PAGE), "{}").expect("a file");
        let error = refuse_others(&out, &one).expect_err("nobody knows whose").to_string();
        assert!(error.contains("out holds what was built from an unknown knowledge pack"), "{error}");
        fs::write(out.join(ORIGIN), absolute(&one).expect("a pack").as_os_str().as_encoded_bytes()).expect("a file");
        refuse_others(&out, &scratch.path().join("other/../one")).expect("the pack itself");
        let error = refuse_others(&out, &other).expect_err("another").to_string();
        assert!(error.contains("/one: choose another folder with --out, or remove this one"), "{error}");
    }

    #[test]
    fn names_are_one_word_and_those_of_this_repository_plain() {
        assert_eq!(name(Path::new("/hoopoe/infra/packs/shop"), true), "shop");
        assert!(name(Path::new("/hoopoe/infra/packs/my shop"), true).starts_with("my-shop-"));
        assert!(name(Path::new("/home/me/shop"), false).starts_with("shop-"));
        assert!(name(Path::new("/home/me/荷花餐厅 $(x)"), false).starts_with("荷花餐厅---x--"));
    }
}
