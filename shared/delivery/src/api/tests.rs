//! What a refusal tells the other functions.

use hoopoe_channels::wecom::Wecom;
use hoopoe_keyring::Uses;

use super::*;
use crate::fake::Aws;

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
    let told = Aws::silent();
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
        assert!(written.iter().all(|(_, body)| body.contains("wecom/main/send") && body.contains("paused_until")));
    }
}
