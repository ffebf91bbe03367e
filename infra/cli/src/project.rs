//! The project's folder, which holds the template, the packs and everything that is built.
//!
//! It is the nearest folder with `template.yaml` and `infra/packs`, from the current folder upwards, and else from the
//! command's own file upwards: that is `target/debug/hoopoe` in the project, also when a link leads there. So the
//! command works in every folder. Defaults are found in the project's folder; a path that a person types is relative to
//! the current folder, as with any command.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::Context;

/// The folder, in the project's, in which the local stack keeps its state by default.
pub(crate) const STATE: &str = "target/local";

/// What the project's folder is known by.
const MARKS: [&str; 2] = ["template.yaml", "infra/packs"];

/// The project's folder, as an absolute path.
///
/// # Errors
///
/// If neither the current folder nor the command's own file is in one.
pub(crate) fn root() -> anyhow::Result<&'static Path> {
    static ROOT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let here = std::env::current_dir().ok();
        // A link is followed to the file it leads to.
        let command = std::env::current_exe().and_then(|file| file.canonicalize()).ok();
        [here, command].into_iter().flatten().find_map(|start| around(&start))
    };
    ROOT.get_or_init(find).as_deref().context(
        "the project's folder is not found: run this in the folder that holds template.yaml, or in one below it",
    )
}

/// A path of the project, as the default of an option: as it stands if the current folder is the project's, and absolute
/// elsewhere.
pub(crate) fn path(relative: &str) -> PathBuf {
    match root() {
        Ok(root) if !is_here(root) => root.join(relative),
        _ => relative.into(),
    }
}

/// Makes the project's folder the current one, for steps whose tools expect to run there.
///
/// # Errors
///
/// As [`root`], or if the folder may not be entered.
pub(crate) fn enter() -> anyhow::Result<()> {
    let root = root()?;
    if is_here(root) {
        return Ok(());
    }
    std::env::set_current_dir(root).with_context(|| format!("{} could not be entered", root.display()))
}

/// A path that a person typed, so that it means the same after [`enter`].
pub(crate) fn typed(path: PathBuf) -> PathBuf {
    match root() {
        Ok(root) if !is_here(root) => std::path::absolute(&path).unwrap_or(path),
        _ => path,
    }
}

fn around(start: &Path) -> Option<PathBuf> {
    let found = start.ancestors().find(|folder| MARKS.iter().all(|mark| folder.join(mark).exists()));
    found.map(Path::to_owned)
}

fn is_here(root: &Path) -> bool {
    std::env::current_dir().is_ok_and(|here| here == root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_nearest_folder_with_all_marks_is_the_projects() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let project = scratch.path().join("hoopoe");
        let deep = project.join("infra/packs/shop");
        fs::create_dir_all(&deep).expect("made");
        assert_eq!(around(&deep), None, "packs alone are not the project");
        fs::write(project.join("template.yaml"), "").expect("written");
        assert_eq!(around(&deep), Some(project.clone()));
        assert_eq!(around(&project.join("target/debug/hoopoe")), Some(project), "also from a file");
        assert_eq!(around(scratch.path()), None);
    }

    /// Tests run in the folder of their package.
    #[test]
    fn elsewhere_a_default_is_in_the_projects_folder() {
        let root = root().expect("the tests are in the project");
        assert_eq!(root, Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).canonicalize().expect("there"));
        assert_eq!(path("target/local"), root.join("target/local"));
        assert_eq!(typed("mine".into()), Path::new(env!("CARGO_MANIFEST_DIR")).join("mine"));
    }
}
