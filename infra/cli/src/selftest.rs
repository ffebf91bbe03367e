//! `hoopoe channel selftest`: a signed sample through the local stack, and what the platform would have received.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use clap::Args;
use hoopoe_channels::contract::counterpart::{Counterpart, Shown};
use hoopoe_channels::contract::settings::Settings;
use hoopoe_channels::with_platform;
use hoopoe_keyring::{KeyName, Purpose, Vault};
use hoopoe_message::{BotId, Channel, Timestamp};
use hoopoe_rotation::http::client;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::progress::Step;
use crate::stack::Stack;
use crate::{Global, channel, dlq, keys, output};

/// How long the reply may take; the emulator looks into its queues about once a second.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);
/// How long a test that was stopped waits for the reply on its way: without its bot, it would be a dead letter.
const GRACE: Duration = Duration::from_secs(15);

/// The largest request that the stand-in reads.
const MAX_REQUEST: usize = 1024 * 1024;

/// Send a signed sample through the local stack, and show what the platform would have received.
///
/// An invented bot is connected for the time of the test, with a stand-in for the platform's API on this machine. What
/// the platform would post is signed as it signs, goes to the bot's webhook, through the queues and functions, and the
/// reply is caught by the stand-in. No account on the platform is needed and nothing leaves this machine. However it ends,
/// also by Ctrl-C, the bot is removed again.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  hoopoe channel selftest slack\n  hoopoe channel selftest wecom --text 忘记密码怎么办\n  \
                        hoopoe channel selftest all"
)]
pub(crate) struct Selftest {
    /// The platform, or all.
    #[arg(value_name = "CHANNEL|all")]
    channel: String,
    /// What a person says to the bot.
    #[arg(long, default_value = "where is my parcel")]
    text: String,
}

impl Selftest {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// When the stack does not accept the sample, or no reply comes.
    pub(crate) async fn run(self, stack: &Stack, global: &Global) -> anyhow::Result<()> {
        ensure!(global.stack.is_none(), "a self-test is for the local stack: one on AWS cannot reach this machine");
        let channels = match self.channel.as_str() {
            "all" => Channel::ALL.into_iter().filter(|channel| stack.webhook(*channel, "main").is_ok()).collect(),
            name => vec![name.parse()?],
        };
        let mut results = Vec::new();
        for channel in channels {
            let reply = with_platform!(
                channel,
                P => self.test::<P>(stack).await.with_context(|| format!("the self-test of {channel} failed"))?,
                webchat => {
                    ensure!(self.channel == "all", "the web chat has no platform behind it; `hoopoe ask hello` tests it");
                    continue;
                }
            );
            if global.json {
                results.push(json!({
                    "channel": channel,
                    "request": reply.request,
                    "text": reply.shown.text,
                    "buttons": reply.shown.buttons,
                }));
                continue;
            }
            output::line(format_args!("{channel} would have received {}:\n\n{}", reply.request, reply.shown.text))?;
            for button in &reply.shown.buttons {
                output::line(format_args!("  [{button}]"))?;
            }
            output::line("")?;
        }
        if global.json { output::json(&results) } else { Ok(()) }
    }

    async fn test<P: Counterpart + 'static>(&self, stack: &Stack) -> anyhow::Result<Reply> {
        let step = Step::start(P::CHANNEL.as_str(), "connecting an invented bot");
        let (api_base, received) = stand_in::<P>().await?;
        // A name of its own: functions remember the secrets of a name for minutes.
        let mut random = [0; 6];
        getrandom::fill(&mut random).context("the system has no random numbers")?;
        let bot: BotId = format!("selftest-{}", hex::encode(random)).parse()?;
        let tables = keys::tables(stack).await?;
        let posted = AtomicBool::new(false);
        let tested = tokio::select! {
            tested = async {
                connect::<P>(&tables.vault, &bot, &api_base).await?;
                self.post::<P>(stack, &bot, &api_base, &posted).await?;
                reply(&received, PATIENCE).await
            } => tested,
            _ = tokio::signal::ctrl_c() => Err(anyhow!("stopped by Ctrl-C")),
        };
        let late = if tested.is_err() && posted.load(Ordering::Relaxed) {
            step.doing("waiting for the reply on its way; Ctrl-C again leaves it behind");
            tokio::select! {
                late = reply(&received, GRACE) => late.is_err(),
                _ = tokio::signal::ctrl_c() => true,
            }
        } else {
            false
        };
        let removed = channel::remove(&tables, P::CHANNEL, &bot).await;
        let removed = removed.with_context(|| {
            format!("`hoopoe channel remove {} --bot {bot} --yes` removes the bot of this test", P::CHANNEL)
        });
        match tested {
            Ok(reply) => {
                removed?;
                step.done("answered");
                Ok(reply)
            }
            Err(error) => {
                removed.and(dlq::forget(stack, P::CHANNEL, &bot).await)?;
                let left = if late { ", and a reply that still comes is a dead letter" } else { "" };
                Err(anyhow!("{error:#}. The bot {bot} of this test was removed{left}"))
            }
        }
    }

    async fn post<P: Counterpart>(
        &self,
        stack: &Stack,
        bot: &BotId,
        api_base: &str,
        posted: &AtomicBool,
    ) -> anyhow::Result<()> {
        let request = P::says(4711, 1, &self.text, api_base, Timestamp::now());
        let url = stack.webhook(P::CHANNEL, bot.as_str())?;
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        let (head, body) = request.into_parts();
        let request = client()?.request(head.method, format!("{url}{query}")).headers(head.headers).body(body);
        // From here on it may be in the queue.
        posted.store(true, Ordering::Relaxed);
        let answer = request.send().await.context("the webhook cannot be reached")?;
        let status = answer.status();
        if !status.is_success() {
            posted.store(false, Ordering::Relaxed);
            bail!("the webhook answered {status}: {}", answer.text().await.unwrap_or_default());
        }
        Ok(())
    }
}

/// Waits for what the stand-in receives.
async fn reply(received: &Received, patience: Duration) -> anyhow::Result<Reply> {
    let began = Instant::now();
    loop {
        if let Some(reply) = received.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(reply);
        }
        ensure!(
            began.elapsed() < patience,
            "no reply came within {} s; `hoopoe logs` and `hoopoe dlq list` say why",
            patience.as_secs()
        );
        sleep(LOOK).await;
    }
}

/// What the platform would have received.
struct Reply {
    /// Method and path.
    request: String,
    shown: Shown,
}

type Received = Arc<Mutex<Vec<Reply>>>;

async fn connect<P: Counterpart>(vault: &Vault, bot: &BotId, api_base: &str) -> anyhow::Result<()> {
    let keys = P::Settings::parse(&P::settings(api_base).to_string())?.keys();
    for (purpose, secret) in [(Purpose::Send, &keys.send), (Purpose::Webhook, &keys.webhook)] {
        let key = KeyName { channel: P::CHANNEL, bot: bot.clone(), purpose };
        vault.add(&key, secret.expose_secret().as_bytes()).await?;
    }
    Ok(())
}

/// Starts the stand-in for the platform's API. It ends with this command.
async fn stand_in<P: Counterpart + 'static>() -> anyhow::Result<(String, Received)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .context("no port is free for the stand-in of the platform")?;
    let api_base = format!("http://{}", listener.local_addr()?);
    let received = Received::default();
    let heard = Arc::clone(&received);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let heard = Arc::clone(&heard);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(
                TokioIo::new(connection),
                service_fn(move |request| answer::<P>(request, Arc::clone(&heard))),
            ));
        }
    });
    Ok((api_base, received))
}

async fn answer<P: Counterpart>(
    request: http::Request<Incoming>,
    heard: Received,
) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let name = format!("{} {}", head.method, head.uri.path());
    let body = Limited::new(body, MAX_REQUEST).collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
    let answer = P::answer(&http::Request::from_parts(head, body));
    if let Some(shown) = answer.shown {
        heard.lock().unwrap_or_else(PoisonError::into_inner).push(Reply { request: name, shown });
    }
    let mut response = http::Response::new(Full::from(answer.body.to_string()));
    *response.status_mut() = answer.status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    Ok(response)
}
