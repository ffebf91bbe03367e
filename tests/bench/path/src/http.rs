//! The servers of the stand-ins.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// A request that was read to its end.
pub(crate) struct Call {
    pub(crate) path: String,
    /// `X-Amz-Target`, which names the operation of an AWS call.
    pub(crate) target: String,
    pub(crate) body: Bytes,
}

pub(crate) type Answer = Response<Full<Bytes>>;

/// Serves on a port of this machine until the process ends, each connection in a task of its own.
pub(crate) async fn serve<H, F>(handler: H) -> std::io::Result<SocketAddr>
where
    H: Fn(Call) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let handler = Arc::new(handler);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Without it an answer that is written in two parts waits for the other side's delayed acknowledgement.
            let _ = stream.set_nodelay(true);
            let handler = Arc::clone(&handler);
            let service = service_fn(move |request: Request<Incoming>| {
                let handler = Arc::clone(&handler);
                async move {
                    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
                    let (target, path) = (target.unwrap_or_default().to_owned(), request.uri().path().to_owned());
                    let body = match request.into_body().collect().await {
                        Ok(body) => body.to_bytes(),
                        Err(_) => return Ok(answer(400, Vec::new())),
                    };
                    Ok::<_, Infallible>(handler(Call { path, target, body }).await)
                }
            });
            // A function that ends breaks its connections off.
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(address)
}

/// An answer with a JSON body.
pub(crate) fn answer(status: u16, body: impl Into<Bytes>) -> Answer {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Full::new(body.into()))
        .expect("a status and a body")
}
