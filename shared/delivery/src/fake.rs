//! AWS as the tests of this crate want it: each call is remembered, and answered by a function.

use std::fmt;
use std::sync::{Arc, Mutex};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use aws_types::region::Region;
use hoopoe_aws::SdkConfig;

/// A call: the operation, such as `DynamoDB_20120810.UpdateItem`, and the body.
pub(crate) type Call = (String, String);

/// Answers an operation and its body with a status and a body.
type Answers = dyn Fn(&str, &str) -> (u16, String) + Send + Sync;

/// The services.
#[derive(Clone)]
pub(crate) struct Aws {
    calls: Arc<Mutex<Vec<Call>>>,
    answer: Arc<Answers>,
}

impl Aws {
    /// Services that answer an operation and its body so, with a status and a body.
    pub(crate) fn answering(answer: impl Fn(&str, &str) -> (u16, String) + Send + Sync + 'static) -> Self {
        Self { calls: Arc::default(), answer: Arc::new(answer) }
    }

    /// Services that do what they are told, and have nothing to say.
    pub(crate) fn silent() -> Self {
        Self::answering(|_, _| (200, "{}".to_owned()))
    }

    pub(crate) fn config(&self) -> SdkConfig {
        let connector = SharedHttpConnector::new(self.clone());
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test")))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .endpoint_url("http://aws")
            .build()
    }

    /// Takes note of what was asked elsewhere, among the calls.
    pub(crate) fn note(&self, what: &str, body: &str) {
        self.calls.lock().expect("nobody panics").push((what.to_owned(), body.to_owned()));
    }

    /// What was called since this was asked last.
    pub(crate) fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().expect("nobody panics"))
    }
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Aws")
    }
}

impl HttpConnector for Aws {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let operation = request.headers().get("x-amz-target").unwrap_or_default().to_owned();
        let body = request.body().bytes().expect("a body in memory").to_vec();
        let body = String::from_utf8(body).expect("JSON");
        self.note(&operation, &body);
        let (status, body) = (self.answer)(&operation, &body);
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status.try_into().expect("a status"), SdkBody::from(body))))
    }
}
