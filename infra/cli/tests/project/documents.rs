//! The documents: links lead to something, ARCHITECTURE.md knows every folder, both READMEs agree.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::{files, read, root};

/// A Markdown document, cut into what is compared.
#[derive(Default)]
struct Document {
    /// The level of each heading.
    headings: Vec<usize>,
    /// The name that a link to each heading uses.
    anchors: BTreeSet<String>,
    /// The language of each fenced block, and its lines.
    blocks: Vec<(String, Vec<String>)>,
    /// Each table, as the cells of its rows.
    tables: Vec<Vec<Vec<String>>>,
    /// The targets of links and images.
    links: Vec<String>,
}

/// Of each table, row and cell: the links, and what is set in code.
type TableShapes = Vec<Vec<Vec<(Vec<String>, Vec<String>)>>>;

impl Document {
    fn parse(text: &str) -> Self {
        let mut document = Self::default();
        let (mut in_block, mut in_table) = (false, false);
        for line in text.lines() {
            if let Some(language) = line.trim_start().strip_prefix("```") {
                in_block = !in_block;
                if in_block {
                    document.blocks.push((language.to_owned(), Vec::new()));
                }
            } else if in_block {
                document.blocks.last_mut().expect("a block has begun").1.push(line.to_owned());
            } else {
                document.links.extend(targets(line));
                let level = line.chars().take_while(|letter| *letter == '#').count();
                if level > 0 && line[level..].starts_with(' ') {
                    document.headings.push(level);
                    document.anchors.insert(anchor(&line[level..]));
                }
                let is_row = line.starts_with('|');
                if is_row && !in_table {
                    document.tables.push(Vec::new());
                }
                if is_row {
                    let cells = line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
                    document.tables.last_mut().expect("a table has begun").push(cells.collect());
                }
                in_table = is_row;
            }
        }
        document
    }

    /// The commands to type, without what is said about them.
    fn commands(&self) -> Vec<Vec<String>> {
        let blocks = self.blocks.iter().filter(|(language, _)| language == "sh");
        blocks.map(|(_, lines)| lines.iter().map(|line| without_comment(line)).collect()).collect()
    }

    /// What must be the same in each language: the number of rows and cells of each table, and in them links and code.
    fn table_shapes(&self) -> TableShapes {
        let shape = |cell: &String| (targets(cell), code(cell));
        let row = |row: &Vec<String>| row.iter().map(shape).collect();
        self.tables.iter().map(|table| table.iter().map(row).collect()).collect()
    }
}

fn without_comment(line: &str) -> String {
    let end = if line.starts_with('#') { Some(0) } else { line.find(" #") };
    line[..end.unwrap_or(line.len())].trim_end().to_owned()
}

/// Where the links of a line lead.
fn targets(line: &str) -> Vec<String> {
    let links = line.split("](").skip(1);
    links.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned()).collect()
}

/// What is set in code in a line.
fn code(line: &str) -> Vec<String> {
    line.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The name by which GitHub's pages link to a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|letter| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

/// The links of a document that lead nowhere.
fn broken(file: &Path, document: &Document) -> Vec<String> {
    let folder = file.parent().expect("a file is in a folder");
    let mut broken = Vec::new();
    for link in document.links.iter().filter(|link| !link.starts_with("https://")) {
        let (path, heading) = link.split_once('#').unwrap_or((link, ""));
        let target = if path.is_empty() { file.to_owned() } else { folder.join(path) };
        let is_there = if heading.is_empty() || !path.ends_with(".md") && !path.is_empty() {
            target.exists()
        } else {
            fs::read_to_string(&target).is_ok_and(|text| Document::parse(&text).anchors.contains(heading))
        };
        if !is_there {
            broken.push(format!("{}: {link}", file.strip_prefix(root()).unwrap_or(file).display()));
        }
    }
    broken
}

#[test]
fn every_link_leads_somewhere() {
    let (mut count, mut faults) = (0, Vec::new());
    for file in files(&root(), ".md") {
        let document = Document::parse(&fs::read_to_string(&file).expect("a document"));
        count += document.links.len();
        faults.extend(broken(&file, &document));
    }
    assert!(faults.is_empty(), "these links lead nowhere:\n{}", faults.join("\n"));
    assert!(count > 50, "only {count} links were found");
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let file = root().join("SEMANTICS.md");
    let broken = |link: &str| !broken(&file, &Document::parse(&format!("# A heading\n[x]({link})"))).is_empty();
    for link in ["LICENSE", "infra/cli", "https://example.com/nowhere", "SEMANTICS.md#the-promises"] {
        assert!(!broken(link), "{link}");
    }
    for link in ["LICENCE", "infra/nothing", "SEMANTICS.md#the-threats", "http://example.com", "#nothing"] {
        assert!(broken(link), "{link}");
    }
}

#[test]
fn the_architecture_names_every_folder() {
    let document = Document::parse(&read("ARCHITECTURE.md"));
    let named: BTreeSet<String> = document.tables.iter().flatten().flat_map(|row| code(&row[0])).collect();
    let mut missing = Vec::new();
    for parent in ["shared", "infra", "tests"] {
        for entry in fs::read_dir(root().join(parent)).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            let folder = path.strip_prefix(root()).expect("below the root").display().to_string();
            if path.is_dir() && !named.contains(&folder) {
                missing.push(folder);
            }
        }
    }
    assert!(missing.is_empty(), "ARCHITECTURE.md's table of folders lacks {}", missing.join(", "));
}

/// Why the README and its translation disagree.
fn disagreements(english: &Document, chinese: &Document) -> Vec<&'static str> {
    let links = |document: &Document| -> BTreeSet<String> {
        // Each links to the other, and to its own headings.
        let others = document.links.iter().filter(|link| !link.starts_with("README") && !link.starts_with('#'));
        others.cloned().collect()
    };
    let sizes = |document: &Document| -> Vec<(String, usize)> {
        document.blocks.iter().map(|(language, lines)| (language.clone(), lines.len())).collect()
    };
    let checks = [
        (english.headings == chinese.headings, "headings"),
        (english.commands() == chinese.commands(), "commands"),
        (sizes(english) == sizes(chinese), "fenced blocks"),
        (english.table_shapes() == chinese.table_shapes(), "tables: their rows, cells, links or code"),
        (links(english) == links(chinese), "links"),
    ];
    checks.into_iter().filter(|(agree, _)| !agree).map(|(_, what)| what).collect()
}

#[test]
fn both_readmes_agree() {
    let [english, chinese] = ["README.md", "README.zh-CN.md"].map(|file| Document::parse(&read(file)));
    assert!(english.commands().len() > 2, "the README has commands");
    assert!(!english.tables.is_empty(), "the README has tables");
    let differ = disagreements(&english, &chinese);
    assert!(differ.is_empty(), "README.md and README.zh-CN.md differ in {}", differ.join("; "));
}

#[test]
fn a_translation_that_lags_behind_is_found() {
    let english = "# Bot\n```sh\nmake up   # start\n```\n| a | `b` |\n|---|---|\n| [c](LICENSE) | d |\n";
    let differ = |chinese: &str| disagreements(&Document::parse(english), &Document::parse(chinese));
    let chinese = english.replace("start", "启动").replace("| a |", "| 甲 |").replace("| d |", "| 丁 |");
    assert!(differ(&chinese).is_empty());
    for (from, to, what) in [
        ("make up", "make down", "commands"),
        ("# Bot", "## Bot", "headings"),
        ("LICENSE", "COPYING", "links"),
        ("| `b` |", "| `x` |", "tables"),
        (" | 丁 |", " |", "tables"),
        ("```sh", "```text", "fenced blocks"),
    ] {
        let found = differ(&chinese.replace(from, to));
        assert!(found.iter().any(|found| found.starts_with(what)), "{from} -> {to}: {found:?}");
    }
}
