//! One exchange with a platform over HTTP.

use std::time::Duration;

use http::{HeaderMap, Request, StatusCode};

/// How long a connection to a platform, and its answer, may take.
pub const CONNECT: Duration = Duration::from_secs(3);
/// How long a platform may take to answer.
pub const ANSWER: Duration = Duration::from_secs(8);

/// The most of an answer that is read; platforms answer a send with a few hundred bytes.
pub const MAX_ANSWER: usize = 64 * 1024;

/// Takes a request to a platform.
pub trait Http: Clone + Send + Sync + 'static {
    /// Sends a request and waits for the answer, at most [`ANSWER`].
    ///
    /// # Errors
    ///
    /// Says how far it came.
    fn exchange(&self, request: Request<String>) -> impl Future<Output = Result<Answer, Broken>> + Send;
}

/// What a platform answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, at most [`MAX_ANSWER`] bytes of it.
    pub body: Vec<u8>,
}

/// Why there is no answer. It says nothing of the URL: some platforms have their tokens in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The request is none, and nothing was sent.
    #[error("the request to the platform is not valid")]
    Invalid,
    /// Nothing was sent.
    #[error("no connection to the platform")]
    NoConnection,
    /// The platform may have the request.
    #[error("the platform did not answer in time")]
    NoAnswer,
    /// The platform may have the request.
    #[error("the connection to the platform broke")]
    Broke,
}

/// The client of a function.
#[derive(Clone, Debug)]
pub struct Client(reqwest::Client);

impl Client {
    /// A client that follows no redirections.
    ///
    /// A connection that was idle for some seconds is not used again: Lambda freezes a function between two batches, and
    /// what the platform closed meanwhile would break the next request without saying whether it arrived.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up.
    pub fn new() -> Result<Self, reqwest::Error> {
        // Fails only where a provider is installed already, and nothing else installs one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .pool_idle_timeout(Duration::from_secs(4))
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(hoopoe_channels::USER_AGENT)
            .build()?;
        Ok(Self(client))
    }
}

impl Http for Client {
    async fn exchange(&self, request: Request<String>) -> Result<Answer, Broken> {
        let request = reqwest::Request::try_from(request).map_err(|_| Broken::Invalid)?;
        let mut response = self.0.execute(request).await.map_err(broken)?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            body.extend_from_slice(&chunk[..chunk.len().min(MAX_ANSWER - body.len())]);
            if body.len() == MAX_ANSWER {
                break;
            }
        }
        Ok(Answer { status, headers, body })
    }
}

fn broken(error: reqwest::Error) -> Broken {
    match () {
        () if error.is_connect() => Broken::NoConnection,
        () if error.is_builder() => Broken::Invalid,
        () if error.is_timeout() => Broken::NoAnswer,
        () => Broken::Broke,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_platform_is_told_who_calls_and_in_which_version() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/send", listener.local_addr().expect("its address"));
        let platform = std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().expect("a connection");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                connection.read_exact(&mut byte).expect("the head of a request");
                head.push(byte[0]);
            }
            connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").expect("an answer");
            String::from_utf8(head).expect("text")
        });
        let request = Request::get(url).body(String::new()).expect("a request");
        let answer = Client::new().expect("a client").exchange(request).await.expect("an answer");
        assert_eq!(answer.status, StatusCode::OK);
        let head = platform.join().expect("the platform has answered");
        let agent = format!("user-agent: hoopoe/{}\r\n", env!("CARGO_PKG_VERSION"));
        assert!(head.contains(&agent), "{head}");
    }
}
