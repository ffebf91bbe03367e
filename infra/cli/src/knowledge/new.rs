//! `hoopoe knowledge new`: a pack to begin with, from one of those in `infra/packs`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use hoopoe_knowledge::Pack;
use hoopoe_knowledge::pack::{Intent, Lined, Page, Translated};
use hoopoe_message::Language;

use crate::commands::quoted;
use crate::{Global, output, project};

const EXAMPLES: &str = "\
Examples:
  hoopoe knowledge new my-bot                          two questions to replace, in Chinese and English
  hoopoe knowledge new lotus --from restaurant         a restaurant's bot with 12 questions
  hoopoe knowledge new lotus --from restaurant --languages en

Then `hoopoe knowledge ask \"when are you open\" --pack lotus` tries it, and `hoopoe up --pack lotus` brings it live.
";

/// Write a pack that builds and answers, to begin with.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct New {
    /// The folder to write; it must not exist, or be empty.
    folder: PathBuf,
    /// The pack to begin with.
    #[arg(long, value_enum, default_value = "blank")]
    from: Template,
    /// The languages it answers in, the default one first.
    #[arg(long, value_name = "CODES", value_delimiter = ',', default_value = "zh,en")]
    languages: Vec<Language>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Template {
    /// Two questions, to be replaced.
    Blank,
    /// A restaurant: opening hours, bookings, menu, delivery and more.
    Restaurant,
    /// An online shop, with 45 utterances a question and language.
    Shop,
}

impl Template {
    fn name(self) -> &'static str {
        match self {
            Self::Blank => "blank",
            Self::Restaurant => "restaurant",
            Self::Shop => "shop",
        }
    }
}

impl New {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<()> {
        let name =
            self.folder.file_name().and_then(|name| name.to_str()).with_context(|| {
                format!("{} has no name to call the pack by; name a new folder", self.folder.display())
            })?;
        let occupied = fs::read_dir(&self.folder).is_ok_and(|mut entries| entries.next().is_some());
        ensure!(!occupied, "{} exists and is not empty; choose another folder", self.folder.display());
        ensure!(!self.folder.is_file(), "{} is a file; choose another name", self.folder.display());
        let template = project::path("infra/packs").join(self.from.name());
        let pack = Pack::read(&template)?;
        let known = &pack.settings.languages;
        if let Some(unknown) = self.languages.iter().find(|language| !known.contains(language)) {
            let known: Vec<String> = known.iter().map(ToString::to_string).collect();
            bail!(
                "there is no {unknown} in the pack {}, which has {}; begin with one of these, then add your own to languages, texts and intents",
                self.from.name(),
                known.join(" and ")
            );
        }
        let mut languages: Vec<Language> = Vec::new();
        for language in &self.languages {
            if !languages.contains(language) {
                languages.push(*language);
            }
        }
        let files = files(&template, &pack, name, &languages)?;
        for (file, text) in &files {
            let path = self.folder.join(file);
            let parent = path.parent().unwrap_or(Path::new("."));
            fs::create_dir_all(parent)
                .and_then(|()| fs::write(&path, text))
                .with_context(|| format!("{} could not be written", path.display()))?;
        }
        // What was written is what builds.
        let pack = Pack::read(&self.folder)?;
        if global.json {
            return output::json(&serde_json::json!({
                "pack": self.folder,
                "intents": pack.intents.len(),
                "files": files.iter().map(|(file, _)| file).collect::<Vec<_>>(),
            }));
        }
        let folder = quoted(&self.folder);
        output::line(format_args!(
            "{folder}: {} questions in {}. Change them, then\n\n  hoopoe knowledge ask \"{}\" --pack {folder}\n  hoopoe \
             knowledge check --pack {folder}\n  hoopoe up --pack {folder}",
            pack.intents.len(),
            languages.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "),
            pack.intents[0].title.values().next().map_or("", |title| title.as_str()),
        ))
    }
}

/// The files of a new pack: those of the template as they stand if all its languages are wanted, and else written anew.
fn files(template: &Path, pack: &Pack, name: &str, languages: &[Language]) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut names = vec![PathBuf::from("pack.yaml")];
    for intent in &pack.intents {
        if names.last() != Some(&intent.file) {
            names.push(intent.file.clone());
        }
    }
    names.extend(
        ["background.yaml", "test.yaml"].map(PathBuf::from).into_iter().filter(|name| template.join(name).exists()),
    );
    let whole = pack.settings.languages.iter().all(|language| languages.contains(language));
    let mut files = Vec::with_capacity(names.len());
    for file in names {
        let path = template.join(&file);
        let text = fs::read_to_string(&path).with_context(|| format!("{} could not be read", path.display()))?;
        let new = match file.to_str() {
            Some("pack.yaml") => settings(&text, pack, name, languages),
            _ if whole => text,
            Some("background.yaml") => background(&text, pack, languages),
            Some("test.yaml") => test(pack, languages),
            _ => intents(&text, pack, &file, languages),
        };
        files.push((file, new));
    }
    Ok(files)
}

/// The comment that a file begins with.
fn heading(text: &str) -> String {
    text.split_inclusive('\n').take_while(|line| line.starts_with('#')).collect()
}

fn settings(text: &str, pack: &Pack, name: &str, languages: &[Language]) -> String {
    let codes: Vec<String> = languages.iter().map(ToString::to_string).collect();
    let mut new = format!("{}name: {}\nlanguages: [{}]\n", heading(text), scalar(name), codes.join(", "));
    if languages.len() > 1 {
        line(&mut new, format_args!("default_language: {}", languages[0]));
    }
    new.push_str("\ntexts:\n");
    for (name, text) in &pack.settings.texts {
        words(&mut new, 2, name.as_str(), text, languages);
    }
    let starters: Vec<&str> = pack.settings.starters.iter().map(|id| id.as_str()).collect();
    line(&mut new, format_args!("\n# The questions that somebody new sees as buttons: up to three ids of intents."));
    line(&mut new, format_args!("starters: [{}]", starters.join(", ")));
    let Page { name, color, .. } = &pack.settings.page;
    if name.is_some() || color.is_some() {
        line(
            &mut new,
            format_args!(
                "\n# The page of the web chat. A picture of your own: logo: logo.png (or .svg, .webp), beside this file."
            ),
        );
        new.push_str("page:\n");
        if let Some(name) = name {
            words(&mut new, 2, "name", name, languages);
        }
        if let Some(color) = color {
            line(&mut new, format_args!("  color: {}", scalar(color)));
        }
    }
    new
}

fn intents(text: &str, pack: &Pack, file: &Path, languages: &[Language]) -> String {
    let mut new = heading(text);
    for Intent { id, title, utterances, answers, suggestions, .. } in
        pack.intents.iter().filter(|intent| intent.file == file)
    {
        line(&mut new, format_args!("\n- id: {}", **id));
        words(&mut new, 2, "title", title, languages);
        new.push_str("  utterances:\n");
        for language in languages {
            let indent = if languages.len() > 1 {
                line(&mut new, format_args!("    {language}:"));
                6
            } else {
                4
            };
            for text in utterances.get(language).into_iter().flatten() {
                line(&mut new, format_args!("{:indent$}- {}", "", scalar(text)));
            }
        }
        words(&mut new, 2, "answers", answers, languages);
        if !suggestions.is_empty() {
            let ids: Vec<&str> = suggestions.iter().map(|id| id.as_str()).collect();
            line(&mut new, format_args!("  suggestions: [{}]", ids.join(", ")));
        }
    }
    new
}

fn background(text: &str, pack: &Pack, languages: &[Language]) -> String {
    let mut new = heading(text);
    for (language, texts) in pack.background.iter().filter(|(language, _)| languages.contains(language)) {
        line(&mut new, format_args!("{language}:"));
        texts.iter().for_each(|text| line(&mut new, format_args!("  - {}", scalar(text))));
    }
    new
}

fn test(pack: &Pack, languages: &[Language]) -> String {
    let mut new = String::from("in_scope:\n");
    for question in pack.test.in_scope.iter().filter(|question| languages.contains(&question.language)) {
        let text = scalar_in_braces(&question.text);
        line(
            &mut new,
            format_args!("  - {{intent: {}, language: {}, text: {text}}}", *question.intent, question.language),
        );
    }
    new.push_str("out_of_scope:\n");
    for question in pack.test.out_of_scope.iter().filter(|question| languages.contains(&question.language)) {
        line(
            &mut new,
            format_args!("  - {{language: {}, text: {}}}", question.language, scalar_in_braces(&question.text)),
        );
    }
    new
}

/// A key with its text, by language where there are several.
fn words(new: &mut String, indent: usize, key: &str, text: &Translated, languages: &[Language]) {
    let text = |language: &Language| text.get(language).map(|Lined { value, .. }| scalar(value.trim()));
    match languages {
        [only] => line(new, format_args!("{:indent$}{key}: {}", "", text(only).unwrap_or_default())),
        several => {
            line(new, format_args!("{:indent$}{key}:", ""));
            for (language, text) in several.iter().filter_map(|language| Some((language, text(language)?))) {
                line(new, format_args!("{:indent$}  {language}: {text}", ""));
            }
        }
    }
}

fn line(new: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(new, "{text}").expect("a string takes what is written");
}

/// A text as a YAML scalar: plain where nothing in it means something else, and else in quotes as in JSON, which YAML
/// reads.
fn scalar(text: &str) -> String {
    let is_word = |c: char| c.is_alphabetic();
    let is_plain = |c: char| {
        c.is_alphanumeric()
            || matches!(
                c,
                ' ' | ','
                    | '.'
                    | '?'
                    | '!'
                    | '\''
                    | '-'
                    | '/'
                    | '('
                    | ')'
                    | '，'
                    | '。'
                    | '？'
                    | '！'
                    | '、'
                    | '；'
                    | '“'
                    | '”'
            )
    };
    let keywords = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    if text.starts_with(is_word) && text.chars().all(is_plain) && !keywords.contains(&text.to_lowercase().as_str()) {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

/// The same where a comma or a bracket ends the scalar.
fn scalar_in_braces(text: &str) -> String {
    if text.contains(',') { serde_json::Value::from(text).to_string() } else { scalar(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hoopoe_knowledge::check::{Severity, check};

    #[test]
    fn every_template_in_every_language_is_a_pack_without_errors() {
        for template in ["blank", "restaurant", "shop"] {
            let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../packs")).join(template);
            let pack = Pack::read(&folder).expect("a template");
            for codes in ["zh,en", "en,zh", "zh", "en"] {
                let languages: Vec<Language> = codes.split(',').map(|code| code.parse().expect("a code")).collect();
                let scratch = tempfile::tempdir().expect("a scratch folder");
                for (file, text) in files(&folder, &pack, "mine: a", &languages).expect("files") {
                    let path = scratch.path().join(file);
                    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
                    fs::write(path, text).expect("a file");
                }
                let new = Pack::read(scratch.path()).unwrap_or_else(|error| panic!("{template} {codes}: {error}"));
                let found = check(&new);
                let errors: Vec<_> = found.iter().filter(|finding| finding.severity == Severity::Error).collect();
                assert!(errors.is_empty(), "{template} {codes}: {errors:?}");
                assert_eq!((new.settings.name.as_str(), new.intents.len()), ("mine: a", pack.intents.len()));
                for (ours, theirs) in new.intents.iter().zip(&pack.intents) {
                    for language in &languages {
                        assert_eq!(*ours.answers[language].trim(), *theirs.answers[language].trim());
                        let texts = |intent: &Intent| {
                            intent.utterances[language].iter().map(|text| text.value.clone()).collect::<Vec<_>>()
                        };
                        assert_eq!(texts(ours), texts(theirs));
                    }
                }
                assert_eq!(new.test.texts().count() > 0, template == "shop");
            }
        }
    }
}
