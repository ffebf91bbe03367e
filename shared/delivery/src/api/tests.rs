//! What a refusal tells the other functions.

use std::fmt;
use std::sync::Mutex;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use aws_types::region::Region;
use hoopoe_aws::SdkConfig;
use hoopoe_channels::wecom::Wecom;
use hoopoe_keyring::Uses;

use super::*;

/// A DynamoDB that does what it is told, and remembers it.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

impl HttpConnector for Told {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = request.body().bytes().expect("a body in memory").to_vec();
        self.0.lock().expect("nobody panics").push(String::from_utf8(body).expect("JSON"));
        let answer = HttpResponse::new(200.try_into().expect("a status"), SdkBody::from("{}"));
        HttpConnectorFuture::ready(Ok(answer))
    }
}

impl Told {
    fn config(&self) -> SdkConfig {
        let connector = SharedHttpConnector::new(self.clone());
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test")))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .endpoint_url("http://aws")
            .build()
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("nobody panics"))
    }
}

/// A platform that nobody asks.
#[derive(Clone)]
struct Silent;

impl Http for Silent {
    async fn exchange(&self, _request: http::Request<String>) -> Result<Answer, Broken> {
        Err(Broken::NoConnection)
    }
}

#[tokio::test]
async fn a_limit_of_the_bot_is_told_to_the_other_functions() {
    let told = Told::default();
    let config = told.config();
    let place = Place::at(&config, "keys".into(), Uses::new(&config, "usage".into()), Duration::from_secs(300));
    let means = Means {
        http: Silent,
        clock: Clock::new(&config),
        tokens: Tokens::new(&config, "tokens".into(), "key".into()),
        quotas: Quotas::new(&config, "usage".into()),
        transcripts: Transcripts::new(&config, "transcripts".into()),
    };
    let api = Api::<Wecom, _>::new(place, Arc::new(means));
    let bot: BotId = "main".parse().expect("a name");
    let minute = Duration::from_secs(60);
    for (retry, writes) in [
        (Retry::BotAfter(minute), 1),
        (Retry::BotAfter(Duration::from_millis(900)), 0),
        (Retry::After(minute), 0),
        (Retry::Backoff, 0),
    ] {
        let End::Failed { kind, .. } = api.refused(&bot, "45009".into(), retry).await else { panic!("{retry:?}") };
        assert_eq!(kind, Kind::Refused(retry));
        let written = told.take();
        assert_eq!(written.len(), writes, "{retry:?}");
        assert!(written.iter().all(|body| body.contains("wecom/main/send") && body.contains("paused_until")));
    }
}
