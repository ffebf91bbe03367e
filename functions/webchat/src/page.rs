//! The page: one file without external resources, whose script and style the browser runs by their hashes.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use lambda_http::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use lambda_http::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use lambda_http::{Body, Response};
use sha2::{Digest as _, Sha256};

const HTML: &str = include_str!("../page.html");

/// What the page has no use for.
const PERMISSIONS: &str = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()";

/// The page and the headers it is served with.
#[derive(Debug)]
pub(crate) struct Page {
    headers: HeaderMap,
}

impl Page {
    /// Hashes the page: once, when the function starts.
    pub(crate) fn new() -> Self {
        let etag = format!("\"{}\"", &URL_SAFE_NO_PAD.encode(Sha256::digest(HTML))[..22]);
        let value = |text: &str| HeaderValue::from_str(text).expect("hashes and constants are visible ASCII");
        let headers = HeaderMap::from_iter([
            (CONTENT_TYPE, value("text/html; charset=utf-8")),
            (ETAG, value(&etag)),
            // Kept, but asked for again each time: 304 costs nothing, and a new page shows at once.
            (CACHE_CONTROL, value("no-cache")),
            (CONTENT_SECURITY_POLICY, value(&policy(HTML))),
            (X_CONTENT_TYPE_OPTIONS, value("nosniff")),
            (REFERRER_POLICY, value("no-referrer")),
            (HeaderName::from_static("permissions-policy"), value(PERMISSIONS)),
            (HeaderName::from_static("cross-origin-opener-policy"), value("same-origin")),
            (HeaderName::from_static("cross-origin-resource-policy"), value("same-origin")),
        ]);
        Self { headers }
    }

    /// The page, or 304 where the browser has it.
    pub(crate) fn answer(&self, request: &HeaderMap) -> Response<Body> {
        let etag = self.headers[ETAG].as_bytes();
        let known = request.get(IF_NONE_MATCH).is_some_and(|tags| {
            let weakened = |tag: &[u8]| tag.trim_ascii().strip_prefix(b"W/").unwrap_or(tag.trim_ascii()) == etag;
            tags.as_bytes().split(|&byte| byte == b',').any(weakened)
        });
        let mut response = Response::new(if known { Body::Empty } else { Body::from(HTML) });
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        *response.headers_mut() = self.headers.clone();
        response
    }
}

/// Allows the page's own style and script, requests to its own origin, and nothing else.
fn policy(html: &str) -> String {
    let hash = |element: &str| {
        let content = content(html, element).expect("the page has one style and one script");
        format!("'sha256-{}'", STANDARD.encode(Sha256::digest(content)))
    };
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        hash("script"),
        hash("style"),
    )
}

/// What stands in the first element of this name.
fn content<'a>(html: &'a str, element: &str) -> Option<&'a str> {
    let (_, rest) = html.split_once(&format!("<{element}"))?;
    let (_, rest) = rest.split_once('>')?;
    Some(rest.split_once(&format!("</{element}>"))?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_the_hashes_of_what_stands_in_the_page() {
        let html = "<style>a{}</style><script type=\"module\">b()</script>";
        // printf 'a{}' | openssl dgst -sha256 -binary | base64, and the same for 'b()'
        let policy = policy(html);
        assert!(policy.contains("style-src 'sha256-X1RutGBrXCt9KkSaXMK7tHftWiRscFHOhxsS8tv8hBk='"), "{policy}");
        assert!(policy.contains("script-src 'sha256-cf242PFc/kb7xD0Qzhsmd9vvRkc+cWFmbi+k+YvtdKc='"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }

    #[test]
    fn the_page_has_nothing_that_its_policy_would_block() {
        assert_eq!((HTML.matches("<script").count(), HTML.matches("<style").count()), (1, 1));
        for blocked in [" style=\"", " onclick=\"", " src=\"", "innerHTML", "@import", "url("] {
            assert!(!HTML.contains(blocked), "{blocked}");
        }
        assert!(HTML.len() < 32 * 1024, "{} bytes", HTML.len());
    }

    #[test]
    fn a_browser_that_has_the_page_does_not_get_it_again() {
        let page = Page::new();
        let first = page.answer(&HeaderMap::new());
        assert_eq!((first.status(), first.body().len()), (StatusCode::OK, HTML.len()));
        for tags in ["{}", "W/{}", "\"other\", {}"] {
            let tags = tags.replace("{}", first.headers()[ETAG].to_str().expect("ASCII"));
            let request = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_str(&tags).expect("ASCII"))]);
            let second = page.answer(&request);
            assert_eq!((second.status(), second.body().len()), (StatusCode::NOT_MODIFIED, 0), "{tags}");
            assert_eq!(second.headers()[CONTENT_SECURITY_POLICY], first.headers()[CONTENT_SECURITY_POLICY]);
        }
        let request = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static("\"other\""))]);
        assert_eq!(page.answer(&request).status(), StatusCode::OK);
    }
}
