//! Packs as people write them: what is read, what is refused, and what is built from them. Needs no model: each text
//! gets a vector that is made from its letters.

use std::fs;
use std::path::Path;

use hoopoe_knowledge::build::{BuildError, Encoded, LearnError, build};
use hoopoe_knowledge::calibrate::{calibrate, store};
use hoopoe_knowledge::check::{Severity, check};
use hoopoe_knowledge::corpus::Corpus;
use hoopoe_knowledge::evaluate::evaluate;
use hoopoe_knowledge::held_out::{HeldOutError, held_out};
use hoopoe_knowledge::similar::similar;
use hoopoe_knowledge::{Date, Decision, Knowledge, Pack, Suggestion, TextName, Thresholds};
use hoopoe_message::Timestamp;
use tempfile::TempDir;

const SETTINGS: &str = "\
# a small one
name: small
languages: [zh, en]
default_language: en
texts:
  help: {zh: 帮助, en: help}
  handover: {zh: 人工, en: person}
builtin: {small_talk: false, background: false}
thresholds: {answer: 0.5, scope: 0.3, suggest: 0.3}
";

const PASSWORD: &str = "\
- id: password
  title: {zh: 忘记密码, en: Reset my password}
  utterances:
    zh: [密码忘了, 改密码, 密码不对, 重置密码, 密码错误, 找回密码]
    en: [forgot password, password lost, new password, wrong password, password please, change password]
  answers: {zh: 点忘记密码, en: Choose Forgot password}
  suggestions: [parcel]
";

const PARCEL: &str = "\
- id: parcel
  title: {zh: 我的包裹, en: My parcel}
  utterances:
    zh: [包裹在哪, 包裹到了吗, 查包裹, 包裹呢, 等包裹, 包裹丢了]
    en: [where is the parcel, parcel lost, parcel late, parcel please, find parcel, parcel status]
  answers: {zh: 在路上, en: On its way}
";

const TEST: &str = "\
in_scope:
  - {intent: password, language: en, text: \"old password\"}
  - {intent: parcel, language: zh, text: \"包裹包裹\"}
  - {intent: parcel, language: en, text: \"Parcel late!\"}
out_of_scope:
  - {language: en, text: \"hail 99\"}
";

/// A pack whose files are right but for what `change` makes of them.
fn folder(change: impl FnOnce(&mut Vec<(&str, String)>)) -> TempDir {
    let words = ["rain", "sun", "wind", "fog", "hail"];
    let weather: Vec<String> = (0..40).map(|nth| format!("{} {nth}", words[nth % 5])).collect();
    let background = format!("zh: [{}]\nen: [{}]\n", weather.join("天, ") + "天", weather.join(", "));
    let mut files = vec![
        ("pack.yaml", SETTINGS.to_owned()),
        ("intents/a.yaml", PASSWORD.to_owned()),
        ("intents/b.yaml", PARCEL.to_owned()),
        ("background.yaml", background),
        ("test.yaml", TEST.to_owned()),
    ];
    change(&mut files);
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(folder.path().join("intents")).expect("a new folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("a file in it");
    }
    folder
}

/// The same, with `from` replaced by `to` in one file.
fn changed(file: &str, from: &str, to: &str) -> TempDir {
    folder(|files| {
        let (_, text) = files.iter_mut().find(|(name, _)| *name == file).expect("one of the files");
        assert!(text.contains(from), "{from}");
        *text = text.replacen(from, to, 1);
    })
}

fn read(folder: &TempDir) -> Pack {
    Pack::read(folder.path()).expect("a readable pack")
}

fn findings(folder: &TempDir, severity: Severity) -> Vec<String> {
    check(&read(folder)).iter().filter(|found| found.severity == severity).map(ToString::to_string).collect()
}

/// Counts letters; like sentence vectors, all of length 1 and not far from each other.
fn vector(text: &str) -> Vec<f32> {
    let mut vector = vec![0.3; 64];
    text.to_lowercase().chars().for_each(|c| vector[u32::from(c) as usize % 64] += 1.0);
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    vector.iter().map(|number| number / length).collect()
}

fn vectors(pack: &Pack) -> Vec<f32> {
    Corpus::new(pack).texts().flat_map(vector).collect()
}

fn example_vectors(pack: &Pack) -> Vec<f32> {
    pack.examples().flat_map(|example| vector(example.text)).collect()
}

fn built(pack: &Pack) -> Vec<u8> {
    build(pack, Encoded { model: "letters", vectors: &vectors(pack) }).expect("a pack without errors")
}

#[test]
fn a_right_pack_has_nothing_to_be_said_about() {
    let pack = folder(|_| ());
    assert_eq!(findings(&pack, Severity::Error), [""; 0]);
    // That a test question stands in the pack.
    assert_eq!(findings(&pack, Severity::Warning).len(), 1);
}

#[test]
fn what_cannot_be_read_is_named_with_file_and_line() {
    for (file, from, to, line, said) in [
        ("pack.yaml", "name: small", "name: small\ncolour: red", ":3", "colour"),
        ("pack.yaml", "[zh, en]", "[zh, english]", ":3", "ISO 639"),
        ("pack.yaml", "  help:", "  halp:", ":6", "halp"),
        ("intents/b.yaml", "  answers:", "  answer:", ":6", "answer"),
        ("intents/b.yaml", "- id: parcel", "- id: parcel\n  valid: {until: 2026-02-30}", ":2", "2026-02-30"),
        ("intents/a.yaml", "[parcel]", "[parcel", "", ""),
        ("test.yaml", "intent: parcel, ", "", ":3", "intent"),
    ] {
        let error = Pack::read(changed(file, from, to).path()).expect_err(to).to_string();
        assert!(error.contains(&format!("{file}{line}")) && error.contains(said), "{error}");
    }
}

#[test]
fn a_huge_file_is_refused() {
    let pack = folder(|files| files[3].1 = format!("en: [{}]\n", "a ".repeat(600_000)));
    let error = Pack::read(pack.path()).expect_err("too large").to_string();
    assert!(error.contains("background.yaml") && error.contains("1 MiB"), "{error}");
}

#[test]
fn errors_are_named_with_file_and_line() {
    for (file, from, to, said) in [
        ("pack.yaml", "default_language: en", "default_language: fr", "pack.yaml:4: error: the default language fr"),
        ("pack.yaml", "[zh, en]", "[zh, en, zh]", "pack.yaml:3: error: a language is listed twice"),
        ("pack.yaml", "en: help", "en: ''", "pack.yaml:6: error: help in en is empty"),
        ("pack.yaml", "answer: 0.5", "answer: 1.5", "pack.yaml:9: error: answer, scope and suggest are probabilities"),
        ("intents/a.yaml", "id: password", "id: Password", "intents/a.yaml:1: error: the id \"Password\""),
        ("intents/a.yaml", "[parcel]", "[postcard]", "intents/a.yaml:7: error: password suggests postcard"),
        ("intents/a.yaml", "[parcel]", "[password]", "intents/a.yaml:7: error: password suggests itself"),
        ("intents/a.yaml", "[parcel]", "[parcel, parcel]", "password suggests parcel twice"),
        ("intents/a.yaml", "en: Choose", "fr: Choose", "the answer of password is missing in en"),
        ("intents/b.yaml", "id: parcel", "id: password", "intents/b.yaml:1: error: the id password is taken"),
        ("intents/b.yaml", "parcel late", "'  '", "intents/b.yaml:5: error: an utterance of parcel is empty"),
        ("intents/b.yaml", "parcel late", "'?!'", "intents/b.yaml:5: error: \"?!\" is only punctuation"),
        ("intents/b.yaml", "parcel late", "Wrong  password?", "in password"),
        ("intents/b.yaml", "id: parcel", "id: parcel\n  valid: {from: 2026-02-01, until: 2026-01-01}", "is never"),
        ("test.yaml", "intent: parcel", "intent: letter", "test.yaml:3: error: letter is no intent"),
    ] {
        let found = findings(&changed(file, from, to), Severity::Error);
        assert!(found.iter().any(|found| found.contains(said)), "{said}: {found:?}");
    }
}

#[test]
fn warnings_do_not_keep_an_index_from_being_built() {
    for (file, from, to, said) in [
        ("pack.yaml", "[zh, en]", "[zh, en, fr]", "pack.yaml:6: warning: the text help is missing in fr"),
        ("intents/a.yaml", "zh: 点忘记密码, ", "", "warning: the answer of password is missing in zh"),
        ("intents/b.yaml", "parcel late", "Find parcel", "intents/b.yaml:5: warning: \"find parcel\" stands already"),
    ] {
        let pack = changed(file, from, to);
        let found = findings(&pack, Severity::Warning);
        assert!(found.iter().any(|found| found.contains(said)), "{said}: {found:?}");
        built(&read(&pack));
    }
}

#[test]
fn a_pack_with_errors_or_without_its_vectors_gives_no_index() {
    let wrong = read(&changed("intents/a.yaml", "[parcel]", "[postcard]"));
    let error = build(&wrong, Encoded { model: "letters", vectors: &vectors(&wrong) });
    assert!(matches!(error, Err(BuildError::Pack(found)) if found.len() == 1));
    let pack = read(&folder(|_| ()));
    let mut vectors = vectors(&pack);
    let error = build(&pack, Encoded { model: "letters", vectors: &vectors[1..] });
    assert!(matches!(error, Err(BuildError::Learn(LearnError::Vectors { .. }))), "{error:?}");
    // The third of the numbers of the second text.
    vectors[64 + 2] = f32::NAN;
    let error = build(&pack, Encoded { model: "letters", vectors: &vectors }).expect_err("not a number").to_string();
    let second = Corpus::new(&pack).texts().nth(1).expect("a text").to_owned();
    assert!(error.contains(&format!("undefined number for the text \"{second}\"")), "{error}");
}

#[test]
fn a_background_too_small_to_be_held_out_is_named_as_the_cause() {
    let asked = |background: &str| {
        let pack = read(&folder(|files| files[3].1 = background.to_owned()));
        held_out(&pack, &vectors(&pack)).map(|asked| asked.texts.len())
    };
    assert_eq!(asked("en: [rain]\n"), Err(HeldOutError::Background));
    assert_eq!(asked("en: [rain]\nzh: [下雨]\n"), Err(HeldOutError::Background));
    assert_eq!(asked("en: [rain, sun]\n"), Ok(24 + 2), "what the message asks for is enough");
    assert_eq!(asked("{}\n"), Err(HeldOutError::Learn(LearnError::NoBackground)));
    // The index is built from all texts.
    built(&read(&folder(|files| files[3].1 = "en: [rain]\n".to_owned())));
}

fn titles<'k>(suggestions: &[Suggestion<'k>]) -> Vec<&'k str> {
    suggestions.iter().map(|suggestion| suggestion.title).collect()
}

#[test]
fn an_index_answers_what_its_pack_says_and_is_the_same_each_time() {
    let pack = read(&folder(|_| ()));
    let index = built(&pack);
    assert_eq!(index, built(&pack));
    let knowledge = Knowledge::from_bytes(&index, "letters").expect("an index");
    let (zh, en) = ("zh".parse().expect("a code"), "en".parse().expect("a code"));
    let today = Date::of(Timestamp::from_secs(1_780_000_000));
    assert_eq!(knowledge.text(TextName::Handover, zh), "人工");
    match knowledge.decide(&vector("reset my PASSWORD"), "reset my PASSWORD", en, today) {
        Decision::Answer { intent, text, suggestions, .. } => {
            assert_eq!(
                (intent, text, titles(&suggestions).as_slice()),
                ("password", "Choose Forgot password", &["My parcel"][..])
            );
        }
        other => panic!("{other:?}"),
    }
    let report = evaluate(
        &knowledge,
        &pack,
        &pack.test,
        pack.test.texts().map(vector).collect::<Vec<_>>().iter().map(Vec::as_slice),
        today,
    );
    // The third question in scope stands in the pack.
    assert_eq!((report.left_out, report.overall.in_scope, report.overall.out_of_scope), (1, 2, 1));
    assert_eq!((report.overall.right, report.overall.false_answers), (2, 0), "{report:?}");
}

#[test]
fn the_digest_follows_everything_but_the_tests() {
    let digest = |folder: TempDir| read(&folder).digest;
    let same = digest(folder(|_| ()));
    assert_eq!(digest(folder(|_| ())), same);
    assert_eq!(digest(changed("test.yaml", "hail 99", "ice")), same);
    assert_ne!(digest(changed("background.yaml", "rain", "snow")), same);
    assert_ne!(digest(changed("intents/a.yaml", "en: Choose", "en: Press")), same);
}

#[test]
fn near_duplicates_across_intents_are_found_with_their_places() {
    let pack = read(&changed("intents/b.yaml", "parcel late", "lost letter"));
    let found: Vec<String> = similar(&pack, &example_vectors(&pack)).iter().map(ToString::to_string).collect();
    assert_eq!(found.iter().filter(|found| found.contains("lost letter")).count(), 0, "{found:?}");
    let pack = read(&changed("intents/b.yaml", "parcel late", "lost password"));
    let found: Vec<String> = similar(&pack, &example_vectors(&pack)).iter().map(ToString::to_string).collect();
    let said =
        "intents/b.yaml:5: warning: \"lost password\" is nearly \"password lost\" at intents/a.yaml:5, in password";
    assert!(found.iter().any(|found| found.starts_with(said)), "{found:?}");
}

#[test]
fn calibration_stays_near_the_usual_thresholds_and_stores_them_beside_the_comments() {
    let folder = folder(|_| ());
    let pack = read(&folder);
    let asked = held_out(&pack, &vectors(&pack)).expect("texts to ask");
    assert_eq!(asked.texts.iter().filter(|text| text.intent.is_some()).count(), 24, "every utterance is asked");
    assert_eq!(asked.texts.iter().filter(|text| text.intent.is_none()).count(), 80, "and all of the background");
    let thresholds = calibrate(&asked.texts, asked.usual);
    assert!((thresholds.answer - asked.usual.answer).abs() < 0.09, "{thresholds:?}");
    assert_eq!((thresholds.scope, thresholds.suggest), (asked.usual.scope, asked.usual.suggest));
    store(folder.path(), &thresholds).expect("a writable pack");
    assert_eq!(read(&folder).settings.thresholds.map(|stored| *stored), Some(thresholds));
    let text = fs::read_to_string(folder.path().join(Path::new("pack.yaml"))).expect("the settings");
    assert!(text.starts_with("# a small one\nname: small\n"));
}

#[test]
fn a_file_that_would_not_say_the_thresholds_stays_as_it_is() {
    let thresholds = Thresholds { answer: 0.4, scope: 0.3, suggest: 0.02 };
    let block = "thresholds:\n  answer: 0.5\n\n  scope: 0.3\n  suggest: 0.3\n";
    for to in [block.to_owned(), block.replace("\n\n", "\n# why\n"), block.replace("thresholds", "\"thresholds\"")] {
        let folder = changed("pack.yaml", "thresholds: {answer: 0.5, scope: 0.3, suggest: 0.3}\n", &to);
        let before = fs::read_to_string(folder.path().join("pack.yaml")).expect("the settings");
        match store(folder.path(), &thresholds) {
            Ok(()) => assert_eq!(read(&folder).settings.thresholds.map(|stored| *stored), Some(thresholds)),
            Err(error) => {
                assert!(error.to_string().contains("write this line to it: thresholds: {answer: 0.4"), "{error}");
                assert_eq!(fs::read_to_string(folder.path().join("pack.yaml")).expect("the settings"), before);
            }
        }
    }
}

#[test]
fn a_pack_of_one_language_is_written_plainly() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(folder.path().join("intents")).expect("a new folder");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
    write("pack.yaml", "name: plain\nlanguages: [en]\ntexts: {welcome: Welcome!}\nstarters: [hours]\n");
    write(
        "intents/a.yaml",
        "- id: hours\n  title: Opening hours\n  utterances: [when are you open, closing time]\n  answers: 9 to 5.\n",
    );
    write("test.yaml", "in_scope:\n  - {intent: hours, text: are you open}\n");
    let pack = Pack::read(folder.path()).expect("a readable pack");
    assert_eq!(check(&pack).iter().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
    let en = "en".parse().expect("a code");
    assert_eq!(pack.test.in_scope[0].language, en);
    let knowledge = Knowledge::from_bytes(&built(&pack), "letters").expect("an index");
    let today = Date::of(Timestamp::from_secs(1_780_000_000));
    assert_eq!(knowledge.text(TextName::Welcome, en), "Welcome!");
    assert!(!knowledge.text(TextName::LanguageSet, en).is_empty(), "what is not written is built in");
    assert_eq!(titles(&knowledge.starters(en, today)), ["Opening hours"]);
    let said = knowledge.decide(&vector("Opening hours"), "Opening hours", en, today);
    assert!(matches!(said, Decision::Answer { text: "9 to 5.", .. }), "{said:?}");
    // Small talk is answered without a word of the pack.
    let hello = knowledge.decide(&vector("hello there"), "Hello there!", en, today);
    assert!(matches!(hello, Decision::Answer { intent: "greeting", .. }), "{hello:?}");

    write("background.yaml", "[do you sell shoes]\n");
    write("intents/.#a.yaml", "what an editor leaves behind\n");
    let pack = Pack::read(folder.path()).expect("a readable pack");
    assert_eq!(pack.background[&en][0].value, "do you sell shoes");
    fs::remove_file(folder.path().join("background.yaml")).expect("the file");

    write("pack.yaml", "name: plain\nlanguages: [en]\npage:\n  color: #b4552d\n");
    let error = Pack::read(folder.path()).expect_err("a comment").to_string();
    assert!(error.contains("pack.yaml:4: in YAML # begins a comment"), "{error}");

    write("pack.yaml", "name: plain\nlanguages: [en, zh]\n");
    let error = Pack::read(folder.path()).expect_err("words without a language").to_string();
    assert!(error.contains("intents/a.yaml:2") && error.contains("write {en: …, zh: …}"), "{error}");
}

#[test]
fn a_pack_switches_small_talk_off_or_answers_it_itself() {
    let today = Date::of(Timestamp::from_secs(1_780_000_000));
    let en = "en".parse().expect("a code");
    let said = |folder: &TempDir, text: &str| {
        let knowledge = Knowledge::from_bytes(&built(&read(folder)), "letters").expect("an index");
        match knowledge.decide(&vector(text), text, en, today) {
            Decision::Answer { intent, text, .. } => format!("{intent}: {text}"),
            other => format!("{other:?}"),
        }
    };
    let builtin = "builtin: {small_talk: false, background: false}";
    let some = changed("pack.yaml", builtin, "builtin: {small_talk: [thanks], background: false}");
    assert!(said(&some, "thank you").starts_with("thanks: "));
    assert!(!said(&some, "good evening").starts_with("greeting: "));
    let own = folder(|files| {
        files[0].1 = SETTINGS.replace(builtin, "builtin: {background: false}");
        files[1].1 = PASSWORD.replace("id: password", "id: greeting").replace("[parcel]", "[]");
        files[4].1 = String::new();
    });
    assert_eq!(said(&own, "forgot password"), "greeting: Choose Forgot password");
    for (to, message) in [
        ("builtin: {small_talk: [thank], background: false}", "thank is no built-in small talk; there are greeting"),
        (
            "builtin: {small_talk: false, background: false}\nstarters: [nothing]",
            "the welcome offers nothing, which is no",
        ),
        ("page: {color: red}", "pack.yaml:8: error: red is no color"),
    ] {
        let pack = changed("pack.yaml", builtin, to);
        let found = findings(&pack, Severity::Error);
        assert!(found.iter().any(|found| found.contains(message)), "{message}: {found:?}");
    }
    let nothing = folder(|files| drop(files.remove(3)));
    let found = findings(&nothing, Severity::Error);
    assert!(found[0].contains("the built-in background is switched off and there is no background.yaml"), "{found:?}");
}
