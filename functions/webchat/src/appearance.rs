//! The owner's name, logo and colour, from the function's bundle.

use std::io::{self, ErrorKind};
use std::path::Path;

use hoopoe_channels::webchat::appearance::Appearance;

/// The file in the bundle. `make build-webchatFunction` copies it from the built knowledge pack.
const FILE: &str = "page.json";

/// Reads the file; Hoopoe's own appearance if there is none.
///
/// # Errors
///
/// If the file cannot be read or is not valid.
pub(crate) fn load(bundle: &Path) -> Result<Appearance, LoadError> {
    let path = bundle.join(FILE);
    let json = match std::fs::read(&path) {
        Ok(json) => json,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Appearance::default()),
        Err(error) => return Err(LoadError::Unreadable { path: path.display().to_string(), error }),
    };
    Appearance::parse(&json).map_err(|error| LoadError::Invalid { path: path.display().to_string(), error })
}

/// Why there is no appearance.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("{path} could not be read: {error}")]
    Unreadable { path: String, error: io::Error },
    #[error("{path} is not valid: {error}; build the knowledge pack again and deploy")]
    Invalid { path: String, error: serde_json::Error },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_means_the_default_and_a_broken_one_is_named() {
        let bundle = tempfile::tempdir().expect("a folder");
        assert_eq!(load(bundle.path()).expect("the default"), Appearance::default());

        let file = bundle.path().join(FILE);
        std::fs::write(&file, r#"{"name": {"en": "Lotus"}, "default_language": "en"}"#).expect("written");
        assert_eq!(load(bundle.path()).expect("valid").default_name().as_str(), "Lotus");

        std::fs::write(&file, r#"{"name": {"en": "Lotus"}, "default_language": "en", "color": "red"}"#)
            .expect("written");
        let error = load(bundle.path()).expect_err("no colour").to_string();
        assert!(
            error.contains("page.json is not valid") && error.contains("#b4552d") && error.contains("line 1"),
            "{error}"
        );

        std::fs::remove_file(&file).expect("removed");
        std::fs::create_dir(&file).expect("a folder in its place");
        assert!(load(bundle.path()).expect_err("a folder").to_string().contains("page.json could not be read"));
    }
}
