//! Registering the slash commands ("Application Commands", `interactions/application-commands`).

use hoopoe_message::COMMANDS;
use hoopoe_message::command::{ArgumentSpec, Words};
use http::{HeaderMap, Method, StatusCode};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::send::Answer;
use super::settings::Settings;
use crate::contract::rejection::{Rejection, Retry};
use crate::contract::sender::ApiRequest;

impl Settings {
    /// Tells Discord the bot's commands, in place of all that the application had; once is enough. Without a
    /// [bot token](Settings::has_bot_token) Discord refuses it.
    ///
    /// # Errors
    ///
    /// Where the settings make no valid request.
    pub fn register_commands(&self) -> http::Result<ApiRequest> {
        let path = format!("/applications/{}/commands", self.send.application_id);
        let request = self.send.call(Method::PUT, &path, &commands())?;
        match &self.bot_token {
            Some(token) => request.authorized("Bot", token),
            None => Ok(request),
        }
    }

    /// Reads the answer to [`Settings::register_commands`]: how many commands there are now.
    ///
    /// # Errors
    ///
    /// What Discord says instead, mostly that the token is not valid.
    pub fn read_commands(status: StatusCode, body: &[u8]) -> Result<usize, Rejection> {
        if status.is_success() {
            let commands: Vec<IgnoredAny> = serde_json::from_slice(body)
                .map_err(|_| Rejection::refused("Discord named no commands", Retry::Never))?;
            return Ok(commands.len());
        }
        let answer: Answer = serde_json::from_slice(body).map_err(|_| Rejection::of_status(status, "Discord"))?;
        let hint = match status {
            StatusCode::UNAUTHORIZED => " (the bot_token is missing or not valid)",
            StatusCode::FORBIDDEN => " (the bot_token is of another application)",
            _ => "",
        };
        Err(answer.refused(status, Retry::of_status(status, &HeaderMap::new()), hint))
    }
}

/// All commands, for servers, private chats and groups. Their names are what the interactions tell; people with a
/// Chinese client see the others. `/ask` is how people ask: Discord posts nothing else that they write.
fn commands() -> Value {
    let question = Words { zh: "想知道什么", en: "What you would like to know" };
    let question = described(3, "question", "问题", question, json!({ "required": true, "choices": [] }));
    let ask = Words { zh: "问我一个问题", en: "Ask me something" };
    let ask = described(1, "ask", "提问", ask, json!({ "options": [question] }));
    let ours = COMMANDS.iter().map(|command| {
        let options: Vec<_> = command.argument.iter().map(option).collect();
        described(1, command.name, command.chinese_name, command.summary, json!({ "options": options }))
    });
    [ask].into_iter().chain(ours).collect()
}

fn option(argument: &ArgumentSpec) -> Value {
    let choices: Vec<_> =
        argument.choices.iter().map(|(value, name)| json!({ "name": name, "value": value })).collect();
    let more = json!({ "required": true, "choices": choices });
    described(3, argument.name, argument.chinese_name, argument.summary, more)
}

/// A command or an option of one, with what it has besides its names and descriptions.
fn described(kind: u8, name: &str, chinese_name: &str, summary: Words, mut more: Value) -> Value {
    more["type"] = kind.into();
    more["name"] = name.into();
    more["name_localizations"] = json!({ "zh-CN": chinese_name });
    more["description"] = summary.en.into();
    more["description_localizations"] = json!({ "zh-CN": summary.zh });
    more
}
