//! Registering the slash commands ("Application Commands", `interactions/application-commands`).

use http::{HeaderMap, Method, StatusCode};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::send::Answer;
use super::settings::Settings;
use crate::contract::sender::{ApiRequest, Rejection, Retry};

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
/// Chinese client see the others.
fn commands() -> Value {
    let command = |name: &str, chinese: &str, description: &str, in_chinese: &str, options: Value| {
        json!({
            "type": 1,
            "name": name,
            "name_localizations": { "zh-CN": chinese },
            "description": description,
            "description_localizations": { "zh-CN": in_chinese },
            "options": options,
        })
    };
    let option = |name: &str, chinese: &str, description: &str, in_chinese: &str, choices: Value| {
        json!([{
            "type": 3,
            "name": name,
            "name_localizations": { "zh-CN": chinese },
            "description": description,
            "description_localizations": { "zh-CN": in_chinese },
            "required": true,
            "choices": choices,
        }])
    };
    let languages = json!([{ "name": "中文", "value": "zh" }, { "name": "English", "value": "en" }]);
    json!([
        command(
            "ask",
            "提问",
            "Ask me something",
            "问我一个问题",
            option("question", "问题", "What you would like to know", "想知道什么", json!([])),
        ),
        command("start", "开始", "Say hello", "打个招呼", json!([])),
        command("help", "帮助", "See what I can do", "看看我能做什么", json!([])),
        command("new", "新对话", "Start over", "重新开始", json!([])),
        command(
            "lang",
            "语言",
            "Choose the language of my answers",
            "选择回答的语言",
            option("code", "语言", "The language", "回答用的语言", languages),
        ),
    ])
}
