//! A conversation that the functions of the release before began: what they left in the tables and in the queues when
//! they were replaced.

use std::time::Duration;

use hoopoe_channels::Incoming;
use hoopoe_message::{Conversation, Timestamp};
use serde_json::{Value as Json, json};

use crate::history::World;
use crate::hoopoe::bot;
use crate::ledger::{Said, Tag};
use crate::platform::Platform;

/// How many messages they had taken in. All but the last were answered.
pub const MESSAGES: u32 = 3;

/// How long ago they took in the last one, and how long their items are kept.
const AGO: Duration = Duration::from_secs(3);
const EIGHT_DAYS: Duration = Duration::from_secs(8 * 24 * 3600);
const SESSION: Duration = Duration::from_secs(1800);

/// Leaves a conversation as the release before did. The last message stands in the inbound queue, or its reply in the
/// outbound one.
pub fn conversation(world: &World, platform: &Platform, conversation: u32) {
    let cloud = &world.cloud;
    let now = cloud.clock.now();
    let at = Timestamp::from_millis(now.as_millis() - u64::try_from(AGO.as_millis()).expect("seconds"));
    let told: Vec<(u64, Tag, Incoming)> = (1..=MESSAGES)
        .map(|message| {
            let tag = Tag::message(conversation, message);
            let mut posted = platform.posts(tag, "1", at, at).expect("it posts what its webhook reads");
            (u64::from(message), tag, posted.remove(0))
        })
        .collect();
    let key = Conversation { channel: platform.channel(), bot: bot(), chat: told[0].2.chat.clone() };
    let answered = cloud.dice.chance(0.5);
    let handled = if answered { &told[..] } else { &told[..told.len() - 1] };

    let mut claims = json!({
        "conversation": {"S": key.to_string()}, "next": {"N": MESSAGES.to_string()}, "at": {"N": at.as_millis().to_string()},
        "expires_at": {"N": at.plus(EIGHT_DAYS).as_secs().to_string()},
    });
    let mut sends = json!({
        "conversation": {"S": key.to_string()}, "last": {"N": (MESSAGES - 1).to_string()},
        "expires_at": {"N": at.plus(EIGHT_DAYS).as_secs().to_string()},
    });
    for (number, tag, incoming) in &told {
        let attribute = format!("m:{}", incoming.id.as_str());
        claims[&attribute] = json!({"N": number.to_string()});
        cloud.ledger.deliver(*tag, 1, 0);
        cloud.ledger.acknowledge(*tag, 0);
        if *number < u64::from(MESSAGES) {
            sends[&attribute] = json!({"M": {
                "state": {"S": "sent"}, "number": {"N": number.to_string()}, "attempt": {"N": "1"}, "part": {"N": "1"},
                "until": {"N": at.as_millis().to_string()},
            }});
            cloud.ledger.say(Said { at: 0, tag: tag.reply(1), to: Some(conversation), excuse: None });
        }
    }
    let turn = |(number, tag, incoming): &(u64, Tag, Incoming)| {
        json!({
            "id": incoming.id.as_str(), "number": number, "after": (*number > 1).then(|| number - 1), "question": "1",
            "answer": tag.reply(1).to_string(), "suggestions": [],
        })
    };
    let state = json!({
        "last": handled.len(), "answered": handled.len(), "chosen_language": null, "spoken_language": "en",
        "told_text_only": false, "handled": handled.iter().map(|(_, _, told)| told.id.as_str()).collect::<Vec<_>>(),
        "turns": handled.iter().map(turn).collect::<Vec<Json>>(),
    });
    let session = json!({
        "conversation": {"S": key.to_string()}, "version": {"N": handled.len().to_string()},
        "expires_at": {"N": at.plus(SESSION).as_secs().to_string()}, "state": {"S": state.to_string()},
    });
    for (table, item) in [("claims", claims), ("sends", sends), ("sessions", session)] {
        cloud.dynamodb.seed(table, item);
    }

    let (number, tag, last) = &told[told.len() - 1];
    let message = json!({
        "v": 1, "id": last.id.as_str(), "conversation": {"channel": key.channel.as_str(), "bot": key.bot.as_str(), "chat": key.chat},
        "address": last.address, "number": number, "received_at": at.as_millis(),
    });
    let with = |fields: Json| {
        let mut body = message.clone();
        body.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        body.to_string()
    };
    if answered {
        let reply = json!({
            "after": number - 1, "created_at": at.as_millis(), "text": tag.reply(1).to_string(), "suggestions": [],
        });
        cloud.sqs.put("outbound", &with(reply), now.as_millis(), &cloud.dice);
    } else {
        let asked = json!({"previous_at": at.as_millis(), "content": {"text": format!("1 {tag}")}});
        cloud.sqs.put("inbound", &with(asked), now.as_millis(), &cloud.dice);
    }
    cloud.tell();
}
