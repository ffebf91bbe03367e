//! The keys that Microsoft signs with, fetched from where it publishes them.

use std::sync::Arc;
use std::time::Duration;

use hoopoe_channels::teams::Teams;
use hoopoe_channels::teams::published::{MAX_DOCUMENT_BYTES, jwks_url, read_keys};
use hoopoe_channels::{PublishedKey, USER_AGENT};
use hoopoe_webhook::{Extension, UnpublishedError};
use reqwest::Client;

use crate::kept::Kept;

/// How long one document may take: Teams waits for the webhook.
const ANSWER: Duration = Duration::from_secs(3);

/// What was published, by the URL it was fetched from.
pub(crate) struct Published {
    http: Client,
    keys: Kept<Arc<[PublishedKey]>, UnpublishedError>,
}

impl Published {
    pub(crate) fn new() -> reqwest::Result<Self> {
        // Fails only where a provider is installed already, and nothing else installs one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .timeout(ANSWER)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(USER_AGENT)
            .build()?;
        Ok(Self { http, keys: Kept::default() })
    }

    async fn fetch(&self, url: &str) -> Result<Arc<[PublishedKey]>, UnpublishedError> {
        let unreadable = |error| UnpublishedError(format!("{error}"));
        let metadata = self.document(url).await?;
        let keys = self.document(&jwks_url(&metadata, url).map_err(unreadable)?).await?;
        Ok(read_keys(&keys).map_err(unreadable)?.into())
    }

    async fn document(&self, url: &str) -> Result<Vec<u8>, UnpublishedError> {
        let failed = |error: reqwest::Error| UnpublishedError(error.to_string());
        let mut response =
            self.http.get(url).send().await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
        let mut document = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            document.extend_from_slice(&chunk);
            if document.len() > MAX_DOCUMENT_BYTES {
                return Err(UnpublishedError(format!("the document at {url} is too large")));
            }
        }
        Ok(document)
    }
}

impl Extension<Teams> for Published {
    async fn published(&self, url: &str, anew: bool) -> Result<Arc<[PublishedKey]>, UnpublishedError> {
        let fetch = async {
            let fetched = self.fetch(url).await;
            if let Err(error) = &fetched {
                tracing::warn!(%error, "fetching the keys that Microsoft publishes failed");
            }
            fetched
        };
        self.keys.get(url, anew, fetch).await
    }
}
