//! `hoopoe knowledge build`: a pack becomes what the functions read.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use hoopoe_channels::webchat::appearance::{Appearance, Color, InvalidAppearance, Logo, Name};
use hoopoe_knowledge::build::{self, Encoded};
use hoopoe_knowledge::check::{Finding, Severity, check};
use hoopoe_knowledge::corpus::Corpus;
use hoopoe_knowledge::pack::Page;
use hoopoe_knowledge::{Knowledge, Pack};

use super::folder::{self, INDEX, ORIGIN, PAGE};
use super::vectors::Vectors;
use crate::atomic;
use crate::progress::{self, Step};

/// Builds a pack's index into a folder, or finds that it is up to date, and loads it.
///
/// # Errors
///
/// When the pack has errors, of which the first is named, or the folder cannot be written.
pub(super) fn built(pack: &Pack, vectors: &mut Vectors, folder: &Path) -> anyhow::Result<Knowledge> {
    refuse_errors(pack)?;
    let appearance = appearance(pack)?;
    let file = folder.join(INDEX);
    let origin = || atomic::write(&folder.join(ORIGIN), folder::absolute(&pack.folder)?.as_os_str().as_encoded_bytes());
    if let Ok(knowledge) = Knowledge::load(&file, vectors.model())
        && *knowledge.digest() == pack.digest
    {
        origin()?;
        page(appearance, &folder.join(PAGE))?;
        progress::line("Knowledge", format_args!("{} is up to date", file.display()));
        return Ok(knowledge);
    }
    let index = index(pack, vectors)?;
    origin()?;
    page(appearance, &folder.join(PAGE))?;
    atomic::write(&file, &index)?;
    progress::line("Knowledge", format_args!("{}: {} KB", file.display(), index.len() / 1000));
    Ok(Knowledge::from_bytes(&index, vectors.model())?)
}

/// The bytes of a pack's index.
///
/// # Errors
///
/// When ONNX Runtime fails.
pub(super) fn index(pack: &Pack, vectors: &mut Vectors) -> anyhow::Result<Vec<u8>> {
    let encoded = encoded(pack, vectors)?;
    let step = Step::start("Knowledge", format_args!("learning {} intents", pack.intents.len()));
    let index = build::build(pack, Encoded { model: vectors.model(), vectors: &encoded })?;
    step.done(format_args!("learned {} intents", pack.intents.len()));
    Ok(index)
}

/// The vectors of everything that a pack's decision is learned from.
///
/// # Errors
///
/// When ONNX Runtime fails.
pub(super) fn encoded(pack: &Pack, vectors: &mut Vectors) -> anyhow::Result<Vec<f32>> {
    vectors.of("texts", &Corpus::new(pack).texts().collect::<Vec<_>>())
}

/// Writes how the web chat's page looks, if the pack says anything about it.
fn page(appearance: Option<Appearance>, file: &Path) -> anyhow::Result<()> {
    match appearance {
        Some(appearance) => atomic::write(file, &serde_json::to_vec_pretty(&appearance)?),
        // The page of an earlier build is removed.
        None => match fs::remove_file(file) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{} could not be removed", file.display()))
            }
            _ => Ok(()),
        },
    }
}

/// How the web chat's page looks; `None` where the pack says nothing about it.
///
/// # Errors
///
/// When the name, the logo or the color is not one.
pub(super) fn appearance(pack: &Pack) -> anyhow::Result<Option<Appearance>> {
    let Page { name, logo, color } = &pack.settings.page;
    if name.is_none() && logo.is_none() && color.is_none() {
        return Ok(None);
    }
    let (names, default_language) = match name {
        Some(names) => {
            let names = names.iter().map(|(&language, name)| Ok((language, Name::try_from(name.trim().to_owned())?)));
            (names.collect::<Result<_, InvalidAppearance>>()?, *pack.settings.default_language)
        }
        None => (Appearance::default().names().clone(), Appearance::default().default_language()),
    };
    let color = color.as_ref().map(|color| Color::try_from(color.value.clone())).transpose()?;
    let picture = pack.logo()?.map(|bytes| Logo::from_file(&bytes)).transpose().with_context(|| {
        let path = logo.as_ref().map(|logo| pack.folder.join(&logo.value)).unwrap_or_default();
        format!("the logo {} cannot be shown", path.display())
    })?;
    Ok(Some(Appearance::new(names, default_language, picture, color)?))
}

/// The finding with a path that an editor can open from here.
pub(super) fn located(pack: &Path, finding: &Finding) -> String {
    pack.join(finding.to_string()).display().to_string()
}

/// Fails where a pack has errors.
pub(super) fn refuse_errors(pack: &Pack) -> anyhow::Result<()> {
    let findings = check(pack);
    let mut errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    let Some(first) = errors.next() else { return Ok(()) };
    let first = located(&pack.folder, first);
    match errors.count() {
        0 => bail!("{first}"),
        more => bail!("{first}\n{more} more; `hoopoe knowledge check --pack {}` lists them", pack.folder.display()),
    }
}

/// Reads a pack, or says how to get one.
///
/// # Errors
///
/// When there is none, or it cannot be read.
pub(super) fn read(pack: &Path) -> anyhow::Result<Pack> {
    if pack.is_file() {
        bail!("{} is a file; name the folder of the knowledge pack", pack.display());
    }
    if !pack.join("pack.yaml").exists() {
        bail!(
            "there is no knowledge pack in {0}: it has no pack.yaml; `hoopoe knowledge new {0}` writes one",
            pack.display()
        );
    }
    Ok(Pack::read(pack)?)
}

/// The folder that a pack is built into.
///
/// # Errors
///
/// When there is no such pack, or `out` holds another pack's.
pub(super) fn folder(out: Option<PathBuf>, pack: &Path) -> anyhow::Result<PathBuf> {
    match out {
        Some(out) => folder::refuse_others(&out, pack).map(|()| out),
        None => folder::of(pack),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logo_that_the_page_cannot_show_is_named_with_its_file() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let write = |file: &str, content: &str| atomic::write(&scratch.path().join(file), content.as_bytes());
        let intent = "- {id: hours, title: Hours, utterances: [when], answers: At nine}";
        write("pack.yaml", "name: small\nlanguages: [en]\npage: {logo: logo.png}\n").expect("written");
        write("intents/a.yaml", intent).expect("written");
        write("logo.png", "GIF89a").expect("written");
        let pack = read(scratch.path()).expect("a pack");
        let error = format!("{:#}", appearance(&pack).expect_err("a GIF, whatever its name"));
        assert!(error.contains("logo.png cannot be shown: the logo is not the SVG, PNG or WebP"), "{error}");
        // The page goes by the content alone.
        fs::write(scratch.path().join("logo.png"), b"\x89PNG\r\n\x1a\n").expect("written");
        assert!(appearance(&pack).expect("a picture").is_some());
    }
}
