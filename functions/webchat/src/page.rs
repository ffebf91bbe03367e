//! The page: one file without external resources, whose script and style the browser runs by their hashes.
//!
//! It is composed once, when the function starts, of the parts in the folder `page` and of the [`Appearance`] of its
//! owner. The parts of the script stand in one `<script>` one after the other, so they see each other's names.
//!
//! | part | what is in it |
//! |---|---|
//! | `page.html` | the frame; `{{name}}` and its like mark what is filled in |
//! | `page.css` | the style |
//! | `bird.svg`, `letter.svg` | the mark beside the name, for who has no logo |
//! | `texts.js` | what the page itself says, in the reader's language |
//! | `links.mjs` | which parts of a message are addresses; `tests/browser/links.test.js` imports it |
//! | `api.js` | what is kept in the browser, and the calls of the API |
//! | `conversation.js` | sending, awaiting, restoring |
//! | `view.js` | what is seen, and what the person does |

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hoopoe_channels::webchat::appearance::Appearance;
use lambda_http::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use lambda_http::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use lambda_http::{Body, Response};
use sha2::{Digest as _, Sha256};

use crate::palette::{Colors, Palette};

const HTML: &str = include_str!("../page/page.html");
const CSS: &str = include_str!("../page/page.css");
const SCRIPT: &str = concat!(
    include_str!("../page/texts.js"),
    include_str!("../page/links.mjs"),
    include_str!("../page/api.js"),
    include_str!("../page/conversation.js"),
    include_str!("../page/view.js"),
);
/// The mark beside the name: Hoopoe's own, and the one of an owner without a logo.
const BIRD: &str = include_str!("../page/bird.svg");
const LETTER: &str = include_str!("../page/letter.svg");

/// What the page has no use for.
const PERMISSIONS: &str = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()";

/// The page and the headers it is served with.
#[derive(Debug)]
pub(crate) struct Page {
    html: String,
    headers: HeaderMap,
}

impl Page {
    /// Composes and hashes the page: once, when the function starts.
    pub(crate) fn new(appearance: &Appearance) -> Self {
        let style = style(appearance);
        let html = html(appearance, &style);
        let etag = format!("\"{}\"", &URL_SAFE_NO_PAD.encode(Sha256::digest(&html))[..22]);
        let value = |text: &str| HeaderValue::from_str(text).expect("hashes and constants are visible ASCII");
        let headers = HeaderMap::from_iter([
            (CONTENT_TYPE, value("text/html; charset=utf-8")),
            (ETAG, value(&etag)),
            // Kept, but asked for again each time: 304 costs nothing, and a new page shows at once.
            (CACHE_CONTROL, value("no-cache")),
            (CONTENT_SECURITY_POLICY, value(&policy(SCRIPT, &style))),
            (X_CONTENT_TYPE_OPTIONS, value("nosniff")),
            (REFERRER_POLICY, value("no-referrer")),
            (HeaderName::from_static("permissions-policy"), value(PERMISSIONS)),
            (HeaderName::from_static("cross-origin-opener-policy"), value("same-origin")),
            (HeaderName::from_static("cross-origin-resource-policy"), value("same-origin")),
        ]);
        Self { html, headers }
    }

    /// The page, or 304 where the browser has it.
    pub(crate) fn answer(&self, request: &HeaderMap) -> Response<Body> {
        let etag = self.headers[ETAG].as_bytes();
        let known = request.get(IF_NONE_MATCH).is_some_and(|tags| {
            let weakened = |tag: &[u8]| tag.trim_ascii().strip_prefix(b"W/").unwrap_or(tag.trim_ascii()) == etag;
            tags.as_bytes().split(|&byte| byte == b',').any(weakened)
        });
        let mut response = Response::new(if known { Body::Empty } else { Body::from(self.html.as_str()) });
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        *response.headers_mut() = self.headers.clone();
        response
    }
}

/// The style with the owner's colours.
fn style(appearance: &Appearance) -> String {
    let Palette { light, dark } = palette(appearance);
    let colors = |Colors { accent, you, on_you }| format!("--accent: {accent}; --you: {you}; --on-you: {on_you};");
    filled(CSS, &[("light", &colors(light)), ("dark", &colors(dark))])
}

fn palette(appearance: &Appearance) -> Palette {
    appearance.color().map_or(Palette::HOOPOE, Palette::of)
}

fn html(appearance: &Appearance, style: &str) -> String {
    let name = escaped(appearance.default_name().as_str());
    // The script chooses the name in the reader's language.
    let names = serde_json::json!({"names": appearance.names(), "default": appearance.default_language()});
    filled(
        HTML,
        &[
            ("language", appearance.default_language().as_str()),
            ("name", &name),
            ("mark", &mark(appearance)),
            ("appearance", &names.to_string().replace('<', "\\u003c")),
            ("style", style),
            ("script", SCRIPT),
        ],
    )
}

/// What stands beside the name: the owner's logo, else the first letter of the owner's name, else Hoopoe's bird. The
/// script makes it the page's icon, too.
fn mark(appearance: &Appearance) -> String {
    if let Some(logo) = appearance.logo() {
        return format!(r#"<img class="mark" id="mark" src="{}" alt="">"#, logo.as_str());
    }
    if appearance.names() == Appearance::default().names() {
        return BIRD.to_owned();
    }
    let letter: String = appearance.default_name().as_str().chars().take(1).flat_map(char::to_uppercase).collect();
    let Colors { you, on_you, .. } = palette(appearance).light;
    filled(LETTER, &[("letter", &escaped(&letter)), ("you", &you.to_string()), ("on-you", &on_you.to_string())])
}

/// A template with `{{name}}` replaced by the value of that name. Values are not looked into.
///
/// # Panics
///
/// If a name has no value: the templates are constants.
fn filled(template: &str, values: &[(&str, &str)]) -> String {
    let size = values.iter().map(|(_, value)| value.len()).sum::<usize>() + template.len();
    let mut parts = template.split("{{");
    let mut filled = String::with_capacity(size);
    filled.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (name, rest) = part.split_once("}}").expect("a mark ends");
        let (_, value) = values.iter().find(|(known, _)| *known == name).expect("a mark has a value");
        filled.push_str(value);
        filled.push_str(rest);
    }
    filled
}

/// A text for an element's content or a quoted attribute.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            character => escaped.push(character),
        }
    }
    escaped
}

/// Allows the page's own style and script, requests to its own origin, and nothing else.
fn policy(script: &str, style: &str) -> String {
    let hash = |content: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(content)));
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        hash(script),
        hash(style),
    )
}

#[cfg(test)]
mod tests;
