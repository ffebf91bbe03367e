//! `hoopoe model build`.
//!
//! Everything is made in one scratch folder, which is moved into place when it is whole and accepted. The place is
//! named after what went in, so that a second build finds it there.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
use hoopoe_encoder::{
    Options,
    tokenizer::{MAGIC, compile::compile},
};
use sha2::{Digest, Sha256};

use super::{
    BuildOptions, Preset, check, files, load,
    manifest::{self, FileFacts, Manifest, Source},
};
use crate::{atomic, progress::Step, project, python};

const SCRIPTS: &str = "infra/model";
const ENVIRONMENT: &str = "target/venv/model";
/// The files of a built model, and what stands beside it for running it.
const SHIPPED: [&str; 4] = ["model.onnx", "weights.bin", "tokenizer.bin", "lib/libonnxruntime.so"];

/// Builds, and returns the folder of the model.
pub(super) async fn run(options: BuildOptions) -> anyhow::Result<PathBuf> {
    project::root()?;
    fs::create_dir_all(&options.out).with_context(|| format!("{} could not be made", options.out.display()))?;
    // Held until the end: a second build waits, and then finds this one's result.
    let lock = File::create(options.out.join("lock"))?;
    lock.lock().context("another build could not be waited for")?;

    let scratch = options.out.join("building");
    let (finish, finished) = tokio::sync::oneshot::channel();
    let folder = scratch.clone();
    std::thread::spawn(move || {
        let result = build(&options, &folder);
        // Nobody listens only when the process is ending.
        let _ = finish.send(result);
    });
    let result = tokio::select! {
        result = finished => result.context("the build ended without a result")?,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("stopped; nothing was changed")),
    };
    if scratch.exists() {
        fs::remove_dir_all(&scratch).with_context(|| format!("{} could not be removed", scratch.display()))?;
    }
    result
}

fn build(options: &BuildOptions, scratch: &Path) -> anyhow::Result<PathBuf> {
    let languages = languages(options);
    let id = id(options, &languages)?;
    let folder = options.out.join(&id);
    let whole = folder.join(manifest::NAME).exists() && (!options.keep_fp32 || folder.join("fp32").exists());
    if !whole {
        if scratch.exists() {
            fs::remove_dir_all(scratch)?;
        }
        fs::create_dir(scratch)?;
        make(options, &languages, &id, scratch)?;
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::rename(scratch, &folder)?;
    }
    atomic::replace(&options.out.join("current"), |scratch| symlink(&id, scratch))?;
    Ok(folder)
}

fn make(options: &BuildOptions, languages: &str, id: &str, scratch: &Path) -> anyhow::Result<()> {
    let mut command = Command::new(environment()?.join("python"));
    command.arg(project::path(SCRIPTS).join("build.py")).args(["--languages", languages]).arg("--out").arg(scratch);
    match &options.folder {
        Some(folder) => command.arg("--from").arg(folder).args(["--prefix", &options.prefix]),
        None => command.args(["--preset", options.preset.name()]),
    };
    if let Some(count) = options.ascii_pieces {
        command.args(["--ascii-pieces", &count.to_string()]);
    }
    follow(&mut command)?;

    let vocabulary = scratch.join("vocabulary.json");
    fs::write(scratch.join("tokenizer.bin"), compile(&fs::read(&vocabulary)?, id)?)?;

    let step = Step::start("Check", "comparing INT8 with FP32");
    let questions = check::read(&project::path(SCRIPTS).join("check/questions.tsv"), languages)?;
    let threads = Options::from_environment();
    let exact = check::measure(&mut load(&files(scratch, true)?, threads)?, &questions)?;
    let figures =
        check::compare(&questions, &exact, &check::measure(&mut load(&files(scratch, false)?, threads)?, &questions)?);
    figures.accept()?;
    step.done(&figures);

    let about = scratch.join("build.json");
    let source: Source = serde_json::from_slice(&fs::read(&about)?).context("build.json is not as expected")?;
    let facts = SHIPPED.map(|name| Ok((name.to_owned(), FileFacts::of(&scratch.join(name))?)));
    let manifest = Manifest {
        id: id.to_owned(),
        hoopoe: env!("CARGO_PKG_VERSION").to_owned(),
        languages: languages.to_owned(),
        source,
        files: facts.into_iter().collect::<anyhow::Result<_>>()?,
        check: figures,
    };
    fs::remove_file(vocabulary)?;
    fs::remove_file(about)?;
    if !options.keep_fp32 {
        fs::remove_dir_all(scratch.join("fp32"))?;
    }
    fs::write(scratch.join(manifest::NAME), serde_json::to_vec_pretty(&manifest)?)?;
    Ok(())
}

fn environment() -> anyhow::Result<PathBuf> {
    let mut step = None;
    let announce = || step = Some(Step::start("Python", format!("making {ENVIRONMENT}, about 120 MB to fetch")));
    let bin =
        python::environment(&project::path(ENVIRONMENT), &project::path(SCRIPTS).join("requirements.txt"), announce)?;
    if let Some(step) = step {
        step.done(ENVIRONMENT);
    }
    Ok(bin)
}

/// Runs the Python build; its standard output is a line for each step.
fn follow(command: &mut Command) -> anyhow::Result<()> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{command:?} could not be started"))?;
    let lines = child.stdout.take().context("the build's output was not captured")?;
    let mut under_way: Option<(Step, String)> = None;
    for line in BufReader::new(lines).lines() {
        let line = line?;
        if let Some((step, text)) = under_way.take() {
            step.done(text);
        }
        under_way = Some((Step::start("Model", &line), line));
    }
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    if let Some((step, text)) = under_way {
        step.done(text);
    }
    Ok(())
}

fn languages(options: &BuildOptions) -> String {
    match &options.languages {
        Some(list) => list.clone(),
        None if options.folder.is_none() && options.preset == Preset::Multilingual => "zh,en".to_owned(),
        None => "all".to_owned(),
    }
}

/// A hash of everything that the result depends on.
fn id(options: &BuildOptions, languages: &str) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    let mut add = |name: &str, content: &[u8]| {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(content);
    };
    add("hoopoe", env!("CARGO_PKG_VERSION").as_bytes());
    add("tokenizer", &MAGIC.to_le_bytes());
    add("processor", std::env::consts::ARCH.as_bytes());
    add("languages", languages.as_bytes());
    add("ascii pieces", format!("{:?}", options.ascii_pieces).as_bytes());
    add("prefix", options.prefix.as_bytes());
    let folder = project::path(SCRIPTS);
    for path in scripts(&folder)? {
        // The same name from whatever folder the command is run.
        let name = Path::new(SCRIPTS).join(path.strip_prefix(&folder)?);
        add(&name.to_string_lossy(), &fs::read(&path)?);
    }
    match &options.folder {
        None => add("preset", options.preset.name().as_bytes()),
        Some(folder) => {
            for name in ["config.json", "model.safetensors", "tokenizer.json"] {
                let path = folder.join(name);
                add(name, &fs::read(&path).with_context(|| format!("{} could not be read", path.display()))?);
            }
        }
    }
    Ok(hex::encode(&hash.finalize()[..8]))
}

/// The files that decide what is built: code, requirements, the check's questions.
fn scripts(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("{} could not be read", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            paths.extend(scripts(&path)?);
        } else {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let decides = [".py", ".txt", ".tsv"].iter().any(|kind| name.ends_with(kind)) && !name.starts_with("test_");
            paths.extend(decides.then_some(path));
        }
    }
    paths.sort();
    Ok(paths)
}
