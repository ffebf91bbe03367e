//! Replies of an account without a send API: answers to WeChat's own requests.

use hoopoe_channels::crypto::envelope::{self, Key};
use hoopoe_channels::wechat::Wechat;
use hoopoe_channels::{Response, Webhook};
use hoopoe_message::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

const ADDRESS: &str = r#"{"user":"oExample-0000_000000000000001","account":"gh_example00001","sent_at":1767225600}"#;
const NOW: Timestamp = Timestamp::from_secs(1_767_225_603);

type Keys = <Wechat as Webhook>::Keys;

fn keys(json: &Value) -> Keys {
    serde_json::from_value(json.clone()).expect("keys as they are stored")
}

fn plain() -> Keys {
    keys(&json!({ "app_id": "wxexample00000001", "token": "fixtureToken01", "passive": true }))
}

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../tests/fixtures/wechat/vectors.json")).expect("the vectors")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} in {value}"))
}

fn answer(keys: &Keys, text: &str) -> Response {
    Wechat::passive_answer(keys, ADDRESS, text, *b"0123456789abcdef", NOW).expect("its own address")
}

/// The words of an answer in plain text.
fn content(answer: &Response) -> String {
    let (_, content) = answer.body.split_once("<Content><![CDATA[").expect("a text message");
    content.split_once("]]></Content>").expect("its end").0.replace("]]]]><![CDATA[>", "]]>")
}

#[test]
fn answers_are_what_wechat_documents() {
    let words = "点击“忘记密码” ]]> & <a href=\"weixin://x\">wait</a>\u{0}🐦\n\n1. 联系人工\n";
    let made = &vectors()["made"];
    let shown = |answer: Response| json!({ "content_type": answer.content_type, "body": answer.body });
    let answers = json!({
        "in plain text": shown(answer(&plain(), words)),
        "sealed": shown(answer(&keys(&made["keys"]), words)),
        "nothing to say": shown(answer(&plain(), " \n\u{0}")),
    });
    insta::assert_json_snapshot!("answers", answers);
}

#[test]
fn an_independent_implementation_seals_the_same() {
    let made = &vectors()["made"];
    let expected = &made["answer"];
    let random = text(expected, "random").as_bytes().try_into().expect("16 bytes");
    let answer = |keys: &Keys| Wechat::passive_answer(keys, ADDRESS, text(expected, "text"), random, NOW);
    assert_eq!(answer(&plain()).expect("its own address").body, text(expected, "message"));
    assert_eq!(answer(&keys(&made["keys"])).expect("its own address").body, text(expected, "body"));
}

#[test]
fn each_answer_has_its_own_nonce_which_tells_nothing_of_what_is_inside() {
    let keys = keys(&vectors()["made"]["keys"]);
    let answer = |random| Wechat::passive_answer(&keys, ADDRESS, "hello", random, NOW).expect("its own address").body;
    assert_ne!(answer([1; 16]), answer([2; 16]));
    assert!(!answer([b'7'; 16]).contains("77777777"));
}

#[test]
fn a_long_answer_is_cut_where_a_reader_pauses() {
    let whole = "一句话。".repeat(170);
    assert_eq!(content(&answer(&plain(), &whole)), whole, "2040 bytes");
    let cut = content(&answer(&plain(), &"一句话。".repeat(171)));
    assert_eq!(cut, format!("{whole}…"));
    // The mark itself counts.
    assert_eq!(content(&answer(&plain(), &"x".repeat(2048))), "x".repeat(2048));
    assert_eq!(content(&answer(&plain(), &"x".repeat(2049))), format!("{}…", "x".repeat(2045)));
}

#[test]
fn only_an_address_of_this_channel_is_answered() {
    for address in [
        "",
        "oExample",
        "{}",
        r#"{"user":"o","account":"gh","sent_at":"soon"}"#,
        r#"{"user":"o","account":"gh","sent_at":7,"thread":1}"#,
        r#"{"user":"two words","account":"gh","sent_at":7}"#,
        r#"{"user":"o","account":"","sent_at":7}"#,
    ] {
        assert!(Wechat::passive_answer(&plain(), address, "hello", [0; 16], NOW).is_err(), "{address}");
        assert!(Wechat::is_last_try(address, NOW), "{address}");
    }
}

#[test]
fn the_third_try_is_the_last() {
    for (seconds, last) in
        [(0, false), (1, false), (5, false), (7, false), (8, false), (9, true), (10, true), (3600, true)]
    {
        let now = Timestamp::from_secs(1_767_225_600 + seconds);
        assert_eq!(Wechat::is_last_try(ADDRESS, now), last, "{seconds}");
    }
    // WeChat's clock may be ahead of ours.
    assert!(!Wechat::is_last_try(ADDRESS, Timestamp::from_secs(1_767_225_598)));
}

#[test]
fn the_keys_say_whether_replies_are_left_to_the_webhook() {
    assert!(plain().is_passive());
    assert!(!keys(&json!({ "app_id": "wx", "token": "t" })).is_passive());
}

proptest! {
    #[test]
    fn any_answer_fits_and_opens(part in "(.|\\PC|\\]\\]>|<a |。|\n){0,40}", parts in 0_usize..100, random: [u8; 16]) {
        let words = part.repeat(parts);
        let answered = answer(&plain(), &words);
        if answered.body == "success" {
            return Ok(());
        }
        let content = content(&answered);
        prop_assert!((1..=2048).contains(&content.len()), "{}", content.len());
        prop_assert!(!content.contains(|c: char| c.is_control() && c != '\n' && c != '\t'));

        let made = &vectors()["made"]["keys"];
        let sealed = Wechat::passive_answer(&keys(made), ADDRESS, &words, random, NOW).expect("its own address").body;
        let field = |name: &str| {
            let (_, rest) = sealed.split_once(&format!("<{name}><![CDATA[")).expect("an element");
            rest.split_once("]]>").expect("its end").0.to_owned()
        };
        let (encrypt, timestamp) = (field("Encrypt"), NOW.as_secs().to_string());
        prop_assert!(envelope::verify(text(made, "token"), &timestamp, &field("Nonce"), &encrypt, &field("MsgSignature")));
        let key = Key::decode(text(made, "encoding_aes_key")).expect("43 characters");
        let opened = envelope::open(&key, &encrypt, text(made, "app_id")).expect("it opens");
        prop_assert_eq!(String::from_utf8(opened).expect("UTF-8"), answered.body);
    }
}
