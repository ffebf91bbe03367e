//! Batches of replies, with AWS in memory.

use ::http::{HeaderMap, Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hoopoe_keyring::Uses;
use hoopoe_message::{BotId, Conversation, MessageId};
use serde_json::{Value, json};

use super::*;
use crate::fake::Aws;
use crate::http::{Answer, Broken};

const GAP: Duration = Duration::from_secs(2);

/// A platform by the paths that are asked, which answers each.
#[derive(Clone)]
struct Platforms {
    aws: Aws,
    answers: fn(&str) -> Result<&'static str, Broken>,
}

impl Http for Platforms {
    async fn exchange(&self, request: Request<String>) -> Result<Answer, Broken> {
        self.aws.note(request.uri().path(), request.body());
        let body = (self.answers)(request.uri().path())?;
        Ok(Answer { status: StatusCode::OK, headers: HeaderMap::new(), body: body.into() })
    }
}

fn delivery(aws: &Aws, answers: fn(&str) -> Result<&'static str, Broken>) -> Delivery<Platforms> {
    let config = aws.config();
    let queue = |name: &str| format!("http://aws/0/{name}");
    Delivery {
        clock: Clock::new(&config),
        outbound: Consumer::new(&config, queue("outbound"), queue("outbound-dlq")),
        sends: Sends::new(&config, "sends".into(), GAP),
        keys: Place::at(&config, "keys".into(), Uses::new(&config, "usage".into()), Duration::from_secs(300)),
        gap: GAP,
        means: Arc::new(Means {
            http: Platforms { aws: aws.clone(), answers },
            clock: Clock::new(&config),
            tokens: Tokens::new(&config, "tokens".into(), "key".into()),
            quotas: Quotas::new(&config, "usage".into()),
            transcripts: Transcripts::new(&config, "transcripts".into()),
        }),
        platforms: Mutex::default(),
    }
}

fn reply(channel: Channel, chat: &str) -> Reply {
    Reply {
        id: MessageId::try_from("e1".to_owned()).expect("a valid id"),
        conversation: Conversation { channel, bot: BotId::default(), chat: chat.into() },
        address: json!({ "user": "mia" }).to_string(),
        number: 1,
        after: None,
        complete: true,
        pending_until: None,
        received_at: Timestamp::now(),
        created_at: Timestamp::now(),
        text: "hello".into(),
        suggestions: vec![],
        decision: None,
    }
}

/// Replies as they come out of the queue for the first time.
fn batch(replies: &[Reply]) -> Batch {
    let records: Vec<Value> = replies
        .iter()
        .map(|reply| {
            let chat = &reply.conversation.chat;
            json!({"messageId": chat, "receiptHandle": format!("receipt of {chat}"), "body": wire::encode(reply)})
        })
        .collect();
    Batch { records: serde_json::from_value(Value::Array(records)).expect("records") }
}

fn deadline() -> Timestamp {
    Timestamp::now().plus(Duration::from_secs(30))
}

/// The records that stay in the queue.
fn kept(response: &BatchResponse) -> Vec<String> {
    let response = serde_json::to_value(response).expect("JSON");
    let failures = response["batchItemFailures"].as_array().expect("a list");
    failures.iter().map(|failure| failure["itemIdentifier"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test]
async fn what_panics_stays_with_its_conversation() {
    let aws = Aws::answering(|_, body| {
        assert!(!(body.contains("transcripts") && body.contains("webchat/main/second")), "this test means it");
        (200, "{}".to_owned())
    });
    let delivery = delivery(&aws, |_| Err(Broken::Invalid));
    let replies = ["first", "second", "third"].map(|chat| reply(Channel::Webchat, chat));
    assert_eq!(kept(&delivery.handle(batch(&replies), deadline()).await), ["second"]);
    let calls = aws.take();
    let left = |chat: &str| calls.iter().any(|(_, body)| body.contains("transcripts") && body.contains(chat));
    assert!(left("webchat/main/first") && left("webchat/main/third"));
    let again = calls.iter().find(|(operation, _)| operation == "AmazonSQS.ChangeMessageVisibility");
    let (_, again) = again.expect("it comes again in seconds, and not after the queue's timeout");
    assert!(again.contains("receipt of second") && again.contains(r#""VisibilityTimeout":5"#), "{again}");
}

/// One key of a bot on WeCom, which needs an access token, and a turn within its quota at once.
fn with_key(operation: &str, body: &str) -> (u16, String) {
    // Those of LINE beside those of WeCom: each reads its own.
    let keys = json!({
        "corp_id": "ww0", "agent_id": 1, "secret": "s", "api_base": "https://api.example", "channel_access_token": "t",
    });
    let answer = match operation {
        "DynamoDB_20120810.Query" => json!({"Items": [{
            "key": {"S": "wecom/main/send"}, "version": {"N": "1"}, "state": {"S": "current"}, "watched": {"BOOL": false},
            "created_at": {"N": "1760000000"}, "since": {"N": "1760000000"}, "noticed": {"N": "0"}, "ciphertext": {"B": "eA=="},
        }], "Count": 1, "ScannedCount": 1}),
        "TrentService.Decrypt" => json!({"KeyId": "key", "Plaintext": BASE64.encode(keys.to_string())}),
        "DynamoDB_20120810.UpdateItem" if body.contains(r#""TableName":"usage""#) => {
            json!({"Attributes": {"next_at": {"N": (Timestamp::now().as_millis() * 1000).to_string()}}})
        }
        // The item after a begin.
        "DynamoDB_20120810.UpdateItem" if body.contains("#before") => {
            let values = &serde_json::from_str::<Value>(body).expect("JSON")["ExpressionAttributeValues"];
            json!({"Attributes": {"open": values[":open"], "at": values[":at"]}})
        }
        _ => json!({}),
    };
    (200, answer.to_string())
}

/// What is done with the send record, and what the platform is asked.
fn steps(aws: &Aws) -> Vec<String> {
    let step = |(operation, body): (String, String)| match operation.as_str() {
        "DynamoDB_20120810.UpdateItem" if body.contains(r#""TableName":"sends""#) => {
            Some(if body.contains("#before") { "is being sent" } else { "is settled" }.to_owned())
        }
        path if path.starts_with('/') => Some(operation),
        _ => None,
    };
    aws.take().into_iter().filter_map(step).collect()
}

#[tokio::test]
async fn the_record_says_sending_right_before_the_bytes_leave() {
    let aws = Aws::answering(with_key);
    let answers = |path: &str| match path {
        "/cgi-bin/gettoken" => Ok(r#"{"errcode":0,"access_token":"token","expires_in":7200}"#),
        _ => Ok(r#"{"errcode":0,"errmsg":"ok","msgid":"1"}"#),
    };
    let response = delivery(&aws, answers).handle(batch(&[reply(Channel::Wecom, "mia")]), deadline()).await;
    assert_eq!(kept(&response), [""; 0]);
    assert_eq!(steps(&aws), ["/cgi-bin/gettoken", "is being sent", "/cgi-bin/message/send", "is settled"]);
}

#[tokio::test]
async fn without_an_access_token_nothing_is_begun() {
    let aws = Aws::answering(with_key);
    let delivery = delivery(&aws, |_| Err(Broken::NoAnswer));
    let replies = ["a", "b", "c"].map(|chat| reply(Channel::Wecom, chat));
    assert_eq!(kept(&delivery.handle(batch(&replies), deadline()).await), ["a", "b", "c"]);
    assert_eq!(steps(&aws), ["/cgi-bin/gettoken"], "it is asked for once, and no record says that a reply left");
}

#[tokio::test]
async fn one_that_waits_for_long_is_not_asked_for_again_and_again() {
    let until = deadline().as_millis();
    let aws = Aws::answering(move |operation, _| match operation {
        "DynamoDB_20120810.UpdateItem" => {
            let item = json!({
                "conversation": {"S": "webchat/main/a"}, "at": {"N": "1"},
                "open": {"S": format!(r#"[[1,"s",0,0,{until},7,false,null]]"#)},
            });
            let refused = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
            (400, json!({"__type": refused, "message": "The conditional request failed", "Item": item}).to_string())
        }
        _ => (200, "{}".to_owned()),
    });
    let delivery = delivery(&aws, |_| Err(Broken::Invalid));
    assert_eq!(kept(&delivery.handle(batch(&[reply(Channel::Webchat, "a")]), deadline()).await), ["a"]);
    let calls = aws.take();
    let begins = calls.iter().filter(|(_, body)| body.contains("#before")).count();
    assert_eq!(begins, 1, "another function sends it for up to 30 s: {calls:?}");
}

/// On LINE a reply leaves by its token, of which LINE does not say whether it was used, and later as a push, which may be
/// repeated.
#[tokio::test]
async fn what_was_left_in_doubt_by_its_reply_token_is_not_pushed() {
    let old = Timestamp::now().as_millis() - 200_000;
    let begun = |repeatable_until: Option<u64>| {
        Aws::answering(move |operation, body| match operation {
            "DynamoDB_20120810.UpdateItem" if body.contains("#before") => {
                let open = json!([[1, "s", 0, 0, old, 7, false, repeatable_until]]).to_string();
                let item =
                    json!({"conversation": {"S": "line/main/mia"}, "at": {"N": old.to_string()}, "open": {"S": open}});
                let refused = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
                (400, json!({"__type": refused, "message": "", "Item": item}).to_string())
            }
            _ => with_key(operation, body),
        })
    };
    let mut reply = reply(Channel::Line, "mia");
    reply.address = json!({"to": "U1", "reply_token": "token"}).to_string();
    // The token was good when the function began that was ended, and is not any more.
    reply.received_at = Timestamp::from_millis(old - 1000);
    for (repeatable_until, asked) in [(None, 0), (Some(Timestamp::now().as_millis() + 3_600_000), 1)] {
        let aws = begun(repeatable_until);
        let response = delivery(&aws, |_| Ok("{}")).handle(batch(std::slice::from_ref(&reply)), deadline()).await;
        assert_eq!(kept(&response), [""; 0]);
        let calls = aws.take();
        let requests = calls.iter().filter(|(operation, _)| operation.starts_with('/')).count();
        let letter = calls.iter().find(|(operation, _)| operation == "AmazonSQS.SendMessage");
        assert_eq!((requests, letter.is_none()), (asked, asked > 0), "{calls:?}");
        assert!(letter.is_none_or(|(_, body)| body.contains("the platform may have it")));
    }
}
