//! Commands that the project names, in messages, help texts and documents, are commands that there are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::Cli;

/// What is read: folders, and files.
const SOURCES: [&str; 13] = [
    "infra",
    "shared",
    "functions",
    "docs",
    "template.yaml",
    "README.md",
    "README.zh-CN.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "SEMANTICS.md",
    "Makefile",
];

/// What stands for a value, by a part of its name.
const NAMED: [(&str, &str); 7] = [
    ("channel", "telegram"),
    ("bot", "main"),
    ("purpose", "send"),
    ("version", "2"),
    ("number", "2"),
    ("count", "2"),
    ("stack", "shop"),
];

/// What stands for a value without a telling name is replaced by one of these.
const VALUES: [&str; 4] = ["telegram", "main", "2", "send"];

/// Stands for a quotation mark within a string literal.
const QUOTE: char = '\u{1}';

/// A command as it is printed or written down.
#[derive(Debug, PartialEq)]
struct Printed {
    words: Vec<String>,
    /// In a comment or a document's sentence, which may name a command without its arguments.
    mentioned: bool,
}

#[test]
fn every_command_that_is_named_can_be_run_as_it_stands() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    SOURCES.iter().for_each(|source| collect(&root.join(source), &mut files));
    let (mut count, mut wrong) = (0, Vec::new());
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for printed in commands(&text, file.extension().is_some_and(|kind| kind == "rs")) {
            count += 1;
            if let Err(error) = check(&printed) {
                let shown = file.strip_prefix(&root).unwrap_or(&file).display();
                wrong.push(format!("{shown}: `{}`: {error}", printed.words.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 100, "only {count} were found");
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_file() {
        files.push(path.to_owned());
        return;
    }
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for entry in entries {
        let path = entry.expect("an entry").path();
        let text = path.extension().is_some_and(|kind| kind == "rs" || kind == "md");
        // Tests drive the command themselves, and this file quotes what is wrong.
        let skipped = path.ends_with("tests") || path.ends_with("printed.rs");
        if !skipped && (path.is_dir() || text) {
            collect(&path, files);
        }
    }
}

/// The commands in a text.
fn commands(text: &str, is_rust: bool) -> Vec<Printed> {
    let known: BTreeSet<String> = Cli::command().get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let text = if is_rust { without_escapes(text) } else { text.to_owned() };
    let mut found = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        let comment = ["//", "#"].iter().any(|mark| line.trim_start().starts_with(mark));
        for (at, _) in line.match_indices("hoopoe ") {
            let before = line[..at].chars().next_back();
            let quoted = before == Some('`');
            if !quoted && before.is_some_and(|before| !before.is_whitespace() && !"\"/(".contains(before)) {
                continue;
            }
            // `/hoopoe` is Slack's, but for the built command; the others are a stack and a package of this name.
            let elsewhere = ["--stack ", "--package ", "-p "].iter().any(|option| line[..at].ends_with(option));
            if elsewhere || (before == Some('/') && !line[..at].ends_with("target/debug/")) {
                continue;
            }
            let ends: &[&str] = match (quoted, is_rust) {
                (true, _) => &["`"],
                (false, true) => &["  ", "`", "\""],
                (false, false) => &["  ", "`"],
            };
            let end = |rest: &str| ends.iter().filter_map(|end| rest.find(end)).min();
            let rest = &line[at..];
            let words = words(&rest[..end(rest).unwrap_or(rest.len())]);
            let is_command = words.get(1).is_some_and(|word| known.contains(word));
            // A backtick says that it is a command, known or not; without one it may be a sentence.
            let option = words.get(1).is_some_and(|word| word.starts_with("--"));
            if is_command || quoted || option {
                let mentioned = comment || (quoted && !is_rust && !fenced);
                found.push(Printed { words, mentioned });
            }
        }
    }
    found
}

/// Rust's source up to its tests, with the lines of a literal that goes on joined.
fn without_escapes(source: &str) -> String {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let mut text = String::with_capacity(source.len());
    let mut characters = source.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, characters.peek()) {
            ('\\', Some('\n')) => while characters.next_if(|next| next.is_whitespace()).is_some() {},
            ('\\', Some('n')) => {
                characters.next();
                text.push('\n');
            }
            ('\\', Some('"')) => {
                characters.next();
                text.push(QUOTE);
            }
            _ => text.push(character),
        }
    }
    text
}

/// Splits as a shell does, up to what is the shell's.
fn words(command: &str) -> Vec<String> {
    let command = command.replace(QUOTE, "\"");
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for character in command.chars().chain([' ']) {
        match quote {
            Some(open) if character == open => quote = None,
            None if character == '"' || character == '\'' => quote = Some(character),
            None if character.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(character),
        }
    }
    let shell = |word: &String| ["<", "|", "#", "&&", "...", "…"].contains(&word.as_str()) || word.starts_with('>');
    let end = words.iter().position(shell).unwrap_or(words.len());
    words.truncate(end);
    words
}

/// Tries the command with values in place of what stands for them.
fn check(printed: &Printed) -> Result<(), String> {
    let is_open = |word: &str| {
        let capitals = word.len() > 1 && word.chars().all(|letter| letter.is_ascii_uppercase());
        capitals || word.contains('{') || (word.starts_with('<') && word.ends_with('>'))
    };
    let mut words = printed.words.clone();
    for word in words.iter_mut().filter(|word| is_open(word)) {
        let name = word.to_lowercase();
        if let Some((_, value)) = NAMED.iter().find(|(part, _)| name.contains(part)) {
            *word = (*value).to_owned();
        }
    }
    let open: Vec<usize> = (0..words.len()).filter(|&at| is_open(&words[at])).collect();
    let mut last = String::new();
    for choice in 0..VALUES.len().pow(u32::try_from(open.len()).expect("a few")) {
        let mut filled = words.clone();
        let mut rest = choice;
        for &at in &open {
            filled[at] = VALUES[rest % VALUES.len()].to_owned();
            rest /= VALUES.len();
        }
        let Err(error) = Cli::try_parse_from(&filled) else { return Ok(()) };
        let accepted = match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => true,
            ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => printed.mentioned,
            _ => false,
        };
        if accepted {
            return Ok(());
        }
        last = error.to_string().lines().take(2).collect::<Vec<_>>().join(" ");
    }
    Err(last)
}

#[test]
fn a_command_that_lacks_something_is_found() {
    let found = |text: &str| commands(text, true);
    let message = found(r#"bail!("give it up with `hoopoe keys destroy --version {0}`")"#);
    assert!(check(&message[0]).is_err());
    let whole = r#"bail!("`hoopoe keys destroy {channel} --bot {bot} --purpose {purpose} \
                   --version {0}` gives it up")"#;
    assert_eq!(check(&found(whole)[0]), Ok(()));
    assert!(check(&found(r#"("look with `hoopoe keyes list`")"#)[0]).is_err());
    assert!(check(&found(r#""1. hoopoe keys rotate --bot <bot>    (tries it)""#)[0]).is_err());
    let quoted = found(r#""Examples:\n  hoopoe ask \"where is it\"\n  hoopoe logs --json | jq '.level'""#);
    assert_eq!(quoted[0].words, ["hoopoe", "ask", "where is it"]);
    assert_eq!(quoted[1].words, ["hoopoe", "logs", "--json"]);
    // A comment may name a command without its arguments, but not one that is not there.
    assert_eq!(check(&found("/// See `hoopoe channel add`.")[0]), Ok(()));
    assert!(check(&found("/// See `hoopoe channel ad`.")[0]).is_err());
}
