//! The HTTP client, and one call of a platform's API.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use hoopoe_channels::{ApiRequest, Echo, USER_AGENT};
use reqwest::header::HeaderMap;
use reqwest::{Client, StatusCode};

/// How long a platform may take to answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What a platform answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// What of the request it may repeat.
    pub echo: Echo,
}

/// The platform's API cannot be reached. Its URL, which may hold a secret, is left out.
#[derive(Debug, thiserror::Error)]
#[error("the platform's API cannot be reached: {0}")]
pub struct Unreachable(String);

impl From<reqwest::Error> for Unreachable {
    fn from(error: reqwest::Error) -> Self {
        Self(error.without_url().to_string())
    }
}

/// An HTTP client that finds every name under `localhost` on this machine (RFC 6761, 6.3), as browsers and curl do and
/// the system's resolver often does not: the function URLs of a local stack have such names.
///
/// # Errors
///
/// When TLS cannot be set up.
pub fn client() -> Result<Client, reqwest::Error> {
    // Fails where a provider was installed before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(USER_AGENT)
        .dns_resolver(Arc::new(Resolver))
        .build()
}

/// Sends a request that needs no access token.
///
/// # Errors
///
/// Where the request is none, or no answer comes.
pub async fn call(client: &Client, request: ApiRequest) -> Result<Answer, Unreachable> {
    let request = request.into_http(None).map_err(|_| Unreachable("the settings make no valid request".into()))?;
    let echo = Echo::of(&request);
    let response = client.execute(reqwest::Request::try_from(request)?).await?;
    let (status, headers) = (response.status(), response.headers().clone());
    Ok(Answer { status, headers, body: response.bytes().await?.to_vec(), echo })
}

struct Resolver;

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let addresses: Vec<SocketAddr> = if is_localhost(&host) {
                vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))]
            } else {
                tokio::task::spawn_blocking(move || (host.as_str(), 0).to_socket_addrs()).await??.collect()
            };
            Ok(Box::new(addresses.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

fn is_localhost(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    host.eq_ignore_ascii_case("localhost")
        || host
            .len()
            .checked_sub(".localhost".len())
            .and_then(|at| host.get(at..))
            .is_some_and(|end| end.eq_ignore_ascii_case(".localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_under_localhost_is_this_machine() {
        for host in ["localhost", "a.b.localhost", "A.LOCALHOST", "a.localhost."] {
            assert!(is_localhost(host), "{host}");
        }
        for host in ["localhost.example.com", "notlocalhost", "localhos", "例.测试"] {
            assert!(!is_localhost(host), "{host}");
        }
    }
}
