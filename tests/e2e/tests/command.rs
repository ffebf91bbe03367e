//! What the command tells and refuses on a running stack.

use std::process::Stdio;

use e2e::wait::eventually;
use e2e::{Stack, TelegramBot};
use serde_json::Value;

async fn ask(stack: &Stack, arguments: &[&str]) -> Value {
    let answer = stack.hoopoe(&[&["ask", "--json"], arguments].concat(), "").await;
    serde_json::from_str(&answer).expect("JSON")
}

#[tokio::test]
async fn ask_tells_how_the_bot_came_to_its_answer() {
    let stack = Stack::open().await;
    let answer = ask(&stack, &["where is my parcel"]).await;
    assert_eq!((&answer["decision"], &answer["intent"]), (&"answer".into(), &"track_parcel".into()), "{answer}");
    let probability = answer["probability"].as_f64().expect("a number");
    assert!((0.0..=1.0).contains(&probability) && probability > 0.5, "{answer}");
    let answer = ask(&stack, &["what is the boiling point of tungsten in kelvin"]).await;
    assert_eq!((&answer["decision"], &answer["intent"]), (&"fallback".into(), &Value::Null), "{answer}");
    let lines = stack.hoopoe(&["chat", "--json"], "where is my parcel\n").await;
    let last: Value = lines.lines().last().map(serde_json::from_str).expect("a line").expect("JSON");
    assert_eq!((&last["from"], &last["intent"]), (&"bot".into(), &"track_parcel".into()), "{last}");
}

#[tokio::test]
async fn a_language_that_the_bot_does_not_speak_is_refused() {
    let stack = Stack::open().await;
    let answer = ask(&stack, &["where is my parcel", "--lang", "zh"]).await;
    assert!(answer["answer"].as_str().is_some_and(|text| text.contains("我的订单")), "{answer}");
    for command in [&["ask", "where is my parcel", "--lang", "fr"][..], &["chat", "--lang", "fr"]] {
        let refused = stack.hoopoe_fails(command, "").await;
        assert!(refused.contains("does not speak fr") && refused.contains("zh, en"), "{refused}");
    }
}

#[tokio::test]
async fn a_bot_that_is_not_there_is_answered_with_those_that_are() {
    let stack = Stack::open().await;
    let bot = TelegramBot::connect(&stack).await;
    let version = ["--purpose", "send", "--version", "1", "--yes"];
    for command in [
        &["keys", "rotate", "telegram"][..],
        &["keys", "verify", "telegram"],
        &["keys", "list", "telegram"],
        &["keys", "quota", "telegram", "--tier", "high"],
        &[&["keys", "revoke", "telegram"], &version[..]].concat(),
        &[&["keys", "destroy", "telegram"], &version[..]].concat(),
        &["channel", "remove", "telegram", "--yes"],
    ] {
        let refused = stack.hoopoe_fails(&[command, &["--bot", "nosuch"]].concat(), "").await;
        assert!(
            refused.contains("there is no bot \"nosuch\"") && refused.contains(&bot.name),
            "{command:?}: {refused}"
        );
    }
    let settings = r#"{"bot_token": "123456789:AAE2E-tests_of_hoopoe-0123456789abc", "secret_token": "a"}"#;
    let refused = stack.hoopoe_fails(&["keys", "add", "telegram", "--bot", "nosuch"], settings).await;
    assert!(refused.contains("there is no bot \"nosuch\" on telegram"), "{refused}");
    for command in [&["ask", "hello", "--bot", "nosuch"][..], &["chat", "--bot", "nosuch"]] {
        let refused = stack.hoopoe_fails(command, "").await;
        assert!(refused.contains("there is no bot \"nosuch\" on webchat; there are: main"), "{refused}");
    }
}

#[tokio::test]
async fn what_stops_a_bot_asks_first() {
    let stack = Stack::open().await;
    let bot = TelegramBot::connect(&stack).await;
    let version = ["--bot", &bot.name, "--purpose", "send", "--version", "1"];
    let revoke = [&["keys", "revoke", "telegram"], &version[..]].concat();
    let refused = stack.hoopoe_fails(&revoke, "").await;
    assert!(refused.contains("the bot stands still after that") && refused.contains("--yes"), "{refused}");
    let remove = ["channel", "remove", "telegram", "--bot", &bot.name];
    let refused = stack.hoopoe_fails(&remove, &format!("telegram/{}\n", bot.name)).await;
    assert!(refused.contains("Nothing was done: without a terminal"), "{refused}");
    bot.say(81, "where is my parcel").await;
    assert_eq!(bot.texts(81, 1).await.len(), 1, "it works as before");
    stack.hoopoe(&[&remove[..], &["--yes"]].concat(), "").await;
    assert!(!stack.hoopoe(&["channel", "list"], "").await.contains(&bot.name));
}

#[tokio::test]
async fn settings_that_are_empty_are_told_what_belongs_there() {
    let stack = Stack::open().await;
    for input in ["", "{}\n"] {
        let refused = stack.hoopoe_fails(&["channel", "add", "telegram", "--bot", "empty"], input).await;
        assert!(refused.contains("standard input has no settings") && refused.contains("bot_token"), "{refused}");
    }
}

/// The bots of self-tests that are connected.
async fn invented(stack: &Stack) -> Vec<String> {
    let keys = stack.dynamodb.scan().table_name(stack.output("KeysTableName")).send().await.expect("a table");
    let keys = keys.items().iter().filter(|item| item.contains_key("ciphertext"));
    let names = keys.filter_map(|item| Some(item.get("key")?.as_s().ok()?.clone()));
    names.filter(|name| name.contains("/selftest-")).collect()
}

#[tokio::test]
async fn a_self_test_that_is_stopped_leaves_nothing_behind() {
    let stack = Stack::open().await;
    // It may be done before it is stopped; then another one is.
    for _ in 0..10 {
        let mut command = stack.command(&["channel", "selftest", "telegram"]);
        let running = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let running = running.expect("the command starts");
        let pid = running.id().expect("it runs").to_string();
        let bots = eventually("the invented bot", async || {
            let bots = invented(&stack).await;
            (!bots.is_empty()).then_some(bots)
        })
        .await;
        let bot = bots[0].split('/').nth(1).expect("a bot").to_owned();
        tokio::process::Command::new("kill").args(["-INT", &pid]).status().await.expect("kill is there");
        let output = running.wait_with_output().await.expect("it ends");
        assert!(invented(&stack).await.is_empty(), "{output:?}");
        let letters = stack.hoopoe(&["dlq", "list", "--json"], "").await;
        assert!(!letters.contains(&bot), "{letters}");
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() && said.contains("stopped by Ctrl-C") {
            assert!(said.contains(&format!("The bot {bot} of this test was removed")), "{said}");
            return;
        }
    }
    panic!("it was never stopped in time");
}
