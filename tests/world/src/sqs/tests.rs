use super::*;
use crate::weather::Weather;

const SECOND: u64 = 1000;

fn sqs() -> Sqs {
    let letters =
        Setup { visibility: Duration::from_secs(30), dead_letters: None, retention: Duration::from_secs(1_209_600) };
    let work = Setup {
        visibility: Duration::from_secs(180),
        dead_letters: Some(("work-dlq", 3)),
        retention: Duration::from_secs(345_600),
    };
    Sqs::new([("work", work), ("work-dlq", letters)])
}

fn calm() -> Dice {
    Dice::new(Weather::calm(), 1)
}

fn call(sqs: &Sqs, operation: &str, mut request: Json, now: u64) -> Result<Json, String> {
    request["QueueUrl"] = json!("https://sqs.us-east-1.amazonaws.com/000000000000/work");
    let called = sqs.call(operation, request.to_string().as_bytes(), now, &calm());
    called.map(|(_, answer)| answer).map_err(|refusal| refusal.code.to_owned())
}

#[test]
fn a_message_comes_again_after_its_visibility_and_dies_after_its_last_receive() {
    let (sqs, dice) = (sqs(), calm());
    call(&sqs, "SendMessage", json!({"MessageBody": "x"}), 0).expect("it is taken");
    let mut now = 100;
    for receives in 1..=3 {
        let received = sqs.receive("work", 10, now, &dice);
        assert_eq!((received[0].message.receives, received[0].message.first_received), (receives, Some(100)));
        assert!(sqs.receive("work", 10, now + 179 * SECOND, &dice).is_empty(), "it is hidden");
        now += 180 * SECOND;
    }
    assert!(sqs.receive("work", 10, now, &dice).is_empty());
    let dead = sqs.messages("work-dlq");
    assert_eq!((sqs.is_empty("work"), dead.len(), dead[0].attributes.len()), (true, 1, 0));
}

#[test]
fn visibility_is_changed_by_the_last_receipt_and_only_while_it_is_hidden() {
    let (sqs, dice) = (sqs(), calm());
    call(&sqs, "SendMessage", json!({"MessageBody": "x"}), 0).expect("it is taken");
    let first = sqs.receive("work", 1, 100, &dice)[0].receipt.clone();
    let hide = |receipt: &str, seconds: u64, now| {
        call(&sqs, "ChangeMessageVisibility", json!({"ReceiptHandle": receipt, "VisibilityTimeout": seconds}), now)
    };
    assert!(hide(&first, 5, 200).is_ok());
    assert_eq!(sqs.next_visible("work"), Some(200 + 5 * SECOND));
    assert_eq!(hide(&first, 43_200, 200), Err("InvalidParameterValue".to_owned()));
    assert_eq!(hide(&first, 1, 200 + 5 * SECOND), Err("MessageNotInflight".to_owned()));
    let second = sqs.receive("work", 1, 10 * SECOND, &dice)[0].receipt.clone();
    assert_eq!(hide(&first, 1, 11 * SECOND), Err("MessageNotInflight".to_owned()));
    call(&sqs, "DeleteMessage", json!({"ReceiptHandle": first}), 11 * SECOND).expect("SQS says nothing");
    assert!(!sqs.is_empty("work"));
    call(&sqs, "DeleteMessageBatch", json!({"Entries": [{"Id": "1", "ReceiptHandle": second}]}), 11 * SECOND)
        .expect("done");
    assert!(sqs.is_empty("work"));
}

#[test]
fn what_the_real_one_refuses_is_refused() {
    let sqs = sqs();
    let contents = Err("InvalidMessageContents".to_owned());
    let value = Err("InvalidParameterValue".to_owned());
    for (request, expected) in [
        (json!({"MessageBody": "\u{FFFE}"}), &contents),
        (json!({"MessageBody": "\u{1}"}), &contents),
        (json!({"MessageBody": ""}), &contents),
        (json!({"MessageBody": "x".repeat(1024 * 1024 + 1)}), &value),
        (json!({"MessageBody": "x", "DelaySeconds": 901}), &value),
        (json!({"MessageBody": "x", "MessageGroupId": "a b"}), &value),
        (json!({"MessageBody": "x", "MessageGroupId": "a".repeat(129)}), &value),
        (
            json!({"MessageBody": "x", "MessageAttributes": {"reason": {"DataType": "String", "StringValue": "\u{2}"}}}),
            &value,
        ),
        (
            json!({"MessageBody": "x", "MessageAttributes": {"reason": {"DataType": "String", "StringValue": ""}}}),
            &value,
        ),
    ] {
        assert_eq!(&call(&sqs, "SendMessage", request.clone(), 0), expected, "{request:.80}");
    }
    let entries =
        |count: usize| (0..count).map(|id| json!({"Id": id.to_string(), "MessageBody": "x"})).collect::<Vec<_>>();
    assert!(call(&sqs, "SendMessageBatch", json!({"Entries": entries(11)}), 0).is_err());
    let twice = [entries(1), entries(1)].concat();
    assert!(call(&sqs, "SendMessageBatch", json!({ "Entries": twice }), 0).is_err());
    let mixed = json!({"Entries": [{"Id": "good", "MessageBody": "\t\u{FFFD}\u{10FFFF}"}, {"Id": "bad", "MessageBody": "\u{FFFF}"}]});
    let answer = call(&sqs, "SendMessageBatch", mixed, 0).expect("each for itself");
    assert_eq!((&answer["Successful"][0]["Id"], &answer["Failed"][0]["Id"]), (&json!("good"), &json!("bad")));
    assert_eq!(sqs.messages("work").len(), 1);
}

#[test]
fn weather_repeats_delays_and_shuffles() {
    let weather = Weather {
        repeated: 1.0,
        late: 0.5,
        late_by: Duration::from_secs(5),
        shuffled: 1.0,
        budget: 100,
        ..Weather::calm()
    };
    let (sqs, dice) = (sqs(), Dice::new(weather, 3));
    for number in 0..20 {
        sqs.put("work", &number.to_string(), 0, &dice);
    }
    assert!(!sqs.take_delayed().is_empty());
    let at_once = sqs.receive("work", 20, 40, &dice);
    assert!(at_once.len() < 20, "some are late");
    let later = sqs.receive("work", 100, 180 * SECOND, &dice);
    let bodies: Vec<usize> = later.iter().filter_map(|received| received.message.body.parse().ok()).collect();
    assert!(!bodies.is_sorted());
    sqs.delete("work", &later.iter().chain(&at_once).map(|received| received.receipt.clone()).collect::<Vec<_>>());
    assert!(!sqs.is_empty("work"), "copies are not deleted with what they are copies of");
}

#[test]
fn what_is_too_old_is_dropped() {
    let (sqs, dice) = (sqs(), calm());
    sqs.put("work", "x", 0, &dice);
    assert!(sqs.receive("work", 1, 345_600 * SECOND, &dice).is_empty());
    assert_eq!((sqs.dropped().len(), sqs.is_empty("work")), (1, true));
}
