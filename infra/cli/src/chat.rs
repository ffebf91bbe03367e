//! `hoopoe chat` and `hoopoe ask`: talking with the bot through the web chat's API.
//!
//! | module | what is in it |
//! |---|---|
//! | [`decision`] | how the bot came to its answers, which the API does not tell |

mod decision;

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use hoopoe_channels::webchat::api::{
    Accepted, Fault, MAX_WAIT_SECONDS, Message, Messages, PageEvent, Post, Said, Session, Speaker,
};
use hoopoe_message::{BotId, Channel, Language, MessageId};
use hoopoe_rotation::http;
use reqwest::{Client, Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::stack::Stack;
use crate::{Global, bots, keys, output};
use decision::Decisions;

/// How long an answer may take. A stack that has slept needs a second or two for its first one.
const PATIENCE: Duration = Duration::from_secs(15);

/// Between two attempts of a call.
const PAUSE: Duration = Duration::from_millis(500);

/// How long one call may take: the longest wait for an answer, and something on top.
const CALL: Duration = Duration::from_secs(MAX_WAIT_SECONDS + 5);

/// The largest answer read: many times [`MAX_MESSAGES`](hoopoe_channels::webchat::api::MAX_MESSAGES) of usual length.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// The longest line read from standard input, far above what the API takes.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// Ask the bot one question and print its answer.
#[derive(Args)]
#[command(after_help = "Examples:\n  hoopoe ask \"where is my parcel\"\n  hoopoe ask 忘记密码怎么办 --json")]
pub(crate) struct Ask {
    /// What to ask.
    question: String,
    #[command(flatten)]
    with: With,
}

/// Talk with the bot in the terminal.
///
/// Each line is a message; a number sends the suggestion of that number. /quit or the end of the input ends it.
#[derive(Args)]
pub(crate) struct Chat {
    #[command(flatten)]
    with: With,
}

/// Whom to talk with, and how.
#[derive(Args)]
struct With {
    /// The language to be answered in; without it, the bot goes by the words.
    #[arg(long, value_name = "CODE")]
    lang: Option<Language>,
    /// The bot's name on the web chat.
    #[arg(long, default_value_t)]
    bot: BotId,
}

impl Ask {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// When the stack does not take the question, or no answer comes in time.
    pub(crate) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let (mut talk, decisions) = self.with.open(global).await?;
        self.with.choose_language(&mut talk, &decisions).await?;
        let asked = Instant::now();
        let answer = talk.ask(&self.question).await?;
        if global.json {
            let milliseconds = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
            let decision = decisions.of(&answer).await?;
            output::json(&json!({
                "question": self.question,
                "answer": answer.text,
                "decision": decision.kind(),
                "intent": decision.intent(),
                "probability": decision.probability(),
                "suggestions": answer.suggestions,
                "milliseconds": milliseconds,
            }))
        } else {
            show(&answer)
        }
    }
}

impl Chat {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// When the stack cannot be reached.
    pub(crate) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let (mut talk, decisions) = self.with.open(global).await?;
        let print = async |answer: &Message| {
            if !global.json {
                return show(answer);
            }
            let decision = decisions.of(answer).await?;
            let mut row = json!(answer);
            row["decision"] = decision.kind().into();
            row["intent"] = decision.intent().into();
            row["probability"] = decision.probability().into();
            output::line(row)
        };
        let welcome = match self.with.choose_language(&mut talk, &decisions).await? {
            Some(answer) => answer,
            None => talk.say(Said::Event(PageEvent::Joined)).await?,
        };
        print(&welcome).await?;
        let mut suggestions = welcome.suggestions;
        while let Some(line) = read_line()? {
            let text = chosen(&suggestions, &line);
            match text {
                "" => continue,
                "/quit" => break,
                _ => {}
            }
            match talk.ask(text).await {
                Ok(answer) => {
                    print(&answer).await?;
                    suggestions = answer.suggestions;
                }
                // The next message may do better.
                Err(error) => eprintln!("{error:#}"),
            }
        }
        Ok(())
    }
}

impl With {
    async fn open(&self, global: &Global) -> anyhow::Result<(Talk, Decisions)> {
        let stack = Stack::find(global).await?;
        match Talk::open(http::client()?, stack.webhook(Channel::Webchat, self.bot.as_str())?).await {
            Ok(talk) => {
                let decisions = Decisions::of_session(&stack, &self.bot, &talk.token)?;
                Ok((talk, decisions))
            }
            Err(CallError::Refused { status: StatusCode::NOT_FOUND, .. }) => {
                bots::require(&keys::tables(&stack).await?.vault, Channel::Webchat, &self.bot).await?;
                bail!("the bot \"{}\" has no key in force; `hoopoe keys list webchat` shows its keys", self.bot)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The bot's answer to being told the language, where one is chosen.
    async fn choose_language(&self, talk: &mut Talk, decisions: &Decisions) -> anyhow::Result<Option<Message>> {
        let Some(language) = self.lang else { return Ok(None) };
        let answer = talk.ask(&format!("/lang {language}")).await?;
        let Some(languages) = decisions.of(&answer).await?.languages_instead() else { return Ok(Some(answer)) };
        bail!("the bot does not speak {language}; --lang takes one of its languages: {languages}")
    }
}

/// The text of the suggestion whose number the line is, or the line.
fn chosen<'a>(suggestions: &'a [String], line: &'a str) -> &'a str {
    let number = line.trim().parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    number.and_then(|index| suggestions.get(index)).map_or(line.trim(), String::as_str)
}

/// A line of standard input, after a prompt where a person types it; `None` at its end.
fn read_line() -> io::Result<Option<String>> {
    if io::stdin().is_terminal() {
        write!(io::stdout(), "> ")?;
        io::stdout().flush()?;
    }
    let mut line = String::new();
    let read = io::stdin().lock().take(MAX_LINE_BYTES).read_line(&mut line)?;
    Ok((read > 0).then_some(line))
}

fn show(answer: &Message) -> anyhow::Result<()> {
    output::line(&answer.text)?;
    for (index, suggestion) in answer.suggestions.iter().enumerate() {
        output::line(format_args!("  {}. {suggestion}", index + 1))?;
    }
    Ok(())
}

/// A conversation with a bot.
struct Talk {
    http: Client,
    /// The bot's page, below which its API stands.
    url: String,
    token: String,
    /// How many messages were sent. The conversation is new, so their numbers do as ids.
    sent: u64,
    /// The last place at which the bot has spoken.
    heard: u64,
}

impl Talk {
    async fn open(http: Client, url: String) -> Result<Self, CallError> {
        let mut talk = Self { http, url, token: String::new(), sent: 0, heard: 0 };
        talk.token = talk.call::<Session>(Method::POST, "session", None).await?.token;
        Ok(talk)
    }

    /// The answer to a text.
    async fn ask(&mut self, text: &str) -> anyhow::Result<Message> {
        self.say(Said::Text(text.to_owned())).await
    }

    /// The answer to what is said.
    async fn say(&mut self, said: Said) -> anyhow::Result<Message> {
        let deadline = Instant::now() + PATIENCE;
        self.sent += 1;
        let id = MessageId::try_from(self.sent.to_string()).context("a number is a message id")?;
        let body = serde_json::to_string(&Post { id, language: None, said })?;
        let Accepted { seq } = loop {
            match self.call(Method::POST, "messages", Some(&body)).await {
                // Sent again under its id, it counts once.
                Err(error) if error.is_passing() && Instant::now() + PAUSE < deadline => sleep(PAUSE).await,
                result => break result?,
            }
        };
        self.answer(seq + 1, deadline).await
    }

    /// What the bot says at `seq`.
    async fn answer(&mut self, seq: u64, deadline: Instant) -> anyhow::Result<Message> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("no answer came within {} s; `hoopoe status` and `hoopoe logs` may say why", PATIENCE.as_secs());
            }
            let wait = MAX_WAIT_SECONDS.min(left.as_secs() + 1);
            let path = format!("messages?after={}&wait={wait}", self.heard);
            let messages = match self.call::<Messages>(Method::GET, &path, None).await {
                Ok(Messages { messages, retry_after_ms }) => {
                    sleep(Duration::from_millis(retry_after_ms.unwrap_or(0)).min(left)).await;
                    messages
                }
                Err(error) if error.is_passing() => {
                    sleep(PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            for message in messages.into_iter().filter(|message| message.from == Speaker::Bot) {
                self.heard = self.heard.max(message.seq);
                if message.seq == seq {
                    return Ok(message);
                }
            }
        }
    }

    async fn call<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<&str>) -> Result<T, CallError> {
        let mut request = self.http.request(method, format!("{}/{path}", self.url)).timeout(CALL);
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_owned());
        }
        let mut response = request.send().await.map_err(reqwest::Error::without_url)?;
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
            answer.extend_from_slice(&chunk);
            if answer.len() > MAX_ANSWER_BYTES {
                return Err(CallError::Answer);
            }
        }
        if response.status().is_success() {
            serde_json::from_slice(&answer).map_err(|_| CallError::Answer)
        } else {
            let message = serde_json::from_slice(&answer).map(|fault: Fault| fault.message);
            let message = message.unwrap_or_else(|_| "no reason given".to_owned());
            Err(CallError::Refused { status: response.status(), message })
        }
    }
}

/// A call of the API went wrong.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("the web chat cannot be reached")]
    Connection(#[from] reqwest::Error),
    #[error("the web chat refused the request: {message} ({status})")]
    Refused { status: StatusCode, message: String },
    #[error("what answered is not the web chat's API of this version")]
    Answer,
}

impl CallError {
    /// Whether the same call may go well a moment later.
    fn is_passing(&self) -> bool {
        match self {
            Self::Connection(_) => true,
            Self::Refused { status, .. } => status.is_server_error(),
            Self::Answer => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use wiremock::matchers::{body_json, header, method, path, query_param};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    async fn server() -> MockServer {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .and(path("/webchat/main/session"))
            .respond_with(ResponseTemplate::new(201).set_body_json(json!({"token": "t", "expires_at": 1})))
            .mount(&server)
            .await;
        server
    }

    async fn talk(server: &MockServer) -> Result<Talk, CallError> {
        Talk::open(http::client().expect("a client"), format!("{}/webchat/main", server.uri())).await
    }

    fn message(seq: u64, from: &str, text: &str) -> serde_json::Value {
        json!({"seq": seq, "from": from, "text": text, "suggestions": ["More"], "at": 1})
    }

    fn messages(messages: &[serde_json::Value]) -> ResponseTemplate {
        ResponseTemplate::new(200).set_body_json(json!({"messages": messages}))
    }

    #[tokio::test]
    async fn the_answer_is_the_one_at_the_place_after_the_question() {
        let server = server().await;
        let post = |id: &str, text: &str| {
            Mock::given(method("POST"))
                .and(path("/webchat/main/messages"))
                .and(header("authorization", "Bearer t"))
                .and(header("content-type", "application/json"))
                .and(body_json(json!({"id": id, "text": text})))
        };
        // The first attempt fails; the second carries the same id.
        post("1", "hello").respond_with(ResponseTemplate::new(503)).up_to_n_times(1).mount(&server).await;
        post("1", "hello")
            .respond_with(ResponseTemplate::new(202).set_body_json(json!({"seq": 4})))
            .mount(&server)
            .await;
        let get = |after: &str| Mock::given(method("GET")).and(query_param("after", after));
        get("0")
            .respond_with(messages(&[message(3, "bot", "welcome"), message(4, "you", "hello")]))
            .mount(&server)
            .await;
        get("3").respond_with(messages(&[message(4, "you", "hello"), message(5, "bot", "hi")])).mount(&server).await;

        let answer = talk(&server).await.expect("a session").ask("hello").await.expect("an answer");
        assert_eq!((answer.seq, answer.text.as_str()), (5, "hi"));
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_functions_words() {
        let server = server().await;
        let fault = json!({"error": "malformed", "message": "the text is empty"});
        Mock::given(path("/webchat/main/messages"))
            .respond_with(ResponseTemplate::new(400).set_body_json(fault))
            .expect(1)
            .mount(&server)
            .await;
        let error = talk(&server).await.expect("a session").ask(" ").await.expect_err("refused").to_string();
        assert!(error.contains("the text is empty"), "{error}");
    }

    #[tokio::test]
    async fn another_server_at_the_address_is_recognised() {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .respond_with(ResponseTemplate::new(200).set_body_string("<p>"))
            .mount(&server)
            .await;
        let error = talk(&server).await.map(|_| ()).expect_err("no API").to_string();
        assert!(error.contains("not the web chat's API"), "{error}");
    }

    #[test]
    fn a_number_chooses_a_suggestion() {
        let suggestions = ["Return".to_owned(), "Refund".to_owned()];
        for (line, text) in [("2\n", "Refund"), (" 1 ", "Return"), ("3", "3"), ("0", "0"), ("hi\n", "hi"), ("\n", "")] {
            assert_eq!(chosen(&suggestions, line), text);
        }
        assert_eq!(chosen(&[], "1"), "1");
    }
}
