use hoopoe_channels::webchat::appearance::Logo;
use serde_json::{Value, json};

use super::*;

fn appearance(file: &Value) -> Appearance {
    Appearance::parse(file.to_string().as_bytes()).expect("a valid page.json")
}

fn body(page: &Page) -> &str {
    &page.html
}

/// What stands between the first `from` and the `to` after it.
fn between<'a>(html: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = html.split_once(from).expect(from);
    rest.split_once(to).expect(to).0
}

#[test]
fn the_policy_names_the_hashes_of_script_and_style() {
    // printf 'a{}' | openssl dgst -sha256 -binary | base64, and the same for 'b()'
    let policy = policy("b()", "a{}");
    assert!(policy.contains("style-src 'sha256-X1RutGBrXCt9KkSaXMK7tHftWiRscFHOhxsS8tv8hBk='"), "{policy}");
    assert!(policy.contains("script-src 'sha256-cf242PFc/kb7xD0Qzhsmd9vvRkc+cWFmbi+k+YvtdKc='"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
}

/// The browser hashes what stands between the tags.
#[test]
fn the_policy_is_that_of_the_composed_page() {
    for file in [
        json!({"name": {"en": "Lotus"}, "default_language": "en", "color": "#0a7f5c"}),
        json!({"name": {"en": "Lotus"}, "default_language": "en"}),
    ] {
        let page = Page::new(&appearance(&file));
        let script = between(body(&page), "<script type=\"module\">", "</script>");
        let style = between(body(&page), "<style>", "</style>");
        assert_eq!(page.headers[CONTENT_SECURITY_POLICY], policy(script, style));
    }
}

#[test]
fn the_page_has_nothing_that_its_policy_would_block() {
    let page = Page::new(&Appearance::default());
    let html = body(&page);
    assert_eq!((html.matches("<script type=\"module\">").count(), html.matches("<style").count()), (1, 1));
    assert_eq!(html.matches("<script").count(), 2, "the script and its data");
    for blocked in [" style=\"", " onclick=\"", " src=\"", "innerHTML", "@import", "url(", "{{"] {
        assert!(!html.contains(blocked), "{blocked}");
    }
    assert!(html.len() < 42_000, "{} bytes", html.len());
}

#[test]
fn without_an_owner_the_page_is_hoopoes() {
    let page = Page::new(&Appearance::default());
    let html = body(&page);
    assert!(html.contains("<title>Hoopoe</title>") && html.contains("<html lang=\"en\">"));
    assert!(html.contains(r#"{"default":"en","names":{"en":"Hoopoe","zh":"戴胜"}}"#));
    assert!(html.contains("--accent: #a8481c; --you: #a8481c; --on-you: #fffaf5;"));
    assert!(html.contains(BIRD));
}

#[test]
fn the_owners_name_colour_and_logo_are_in_the_page_once() {
    let png = Logo::from_file(b"\x89PNG\r\n\x1a\n...").expect("a picture");
    let file = json!({
        "name": {"zh": "莲园", "en": "Lotus Garden"}, "default_language": "zh",
        "logo": png.as_str(), "color": "#0a7f5c",
    });
    let page = Page::new(&appearance(&file));
    let html = body(&page);
    assert!(html.contains("<title>莲园</title>") && html.contains("<html lang=\"zh\">"));
    assert!(html.contains(">莲园</h1>"));
    assert!(html.contains("--you: #0a7f5c; --on-you: #ffffff;"), "{html}");
    assert_eq!(html.matches(png.as_str()).count(), 1, "it is long");
    assert!(!html.contains("<svg class=\"mark\""));
}

#[test]
fn without_a_logo_an_owner_has_the_first_letter() {
    let file = json!({"name": {"en": "éclair & co"}, "default_language": "en", "color": "#ffd400"});
    let page = Page::new(&appearance(&file));
    let mark = between(body(&page), "<svg class=\"mark\"", "</svg>");
    assert!(
        mark.contains(">É</text>") && mark.contains("fill=\"#ffd400\"") && mark.contains("fill=\"#000000\""),
        "{mark}"
    );
}

#[test]
fn a_hostile_name_stays_text() {
    for name in [
        "</script><script>alert(1)</script>",
        "</title><img src=x onerror=alert(1)>",
        "\"><svg onload=alert(1)>",
        "<!--<script>",
        "{{script}} }} {{",
        "'); alert(1); ('",
        "a\u{2028}&lt;b&gt;\u{2029}z",
        "*/ } body { display: none } /*",
    ] {
        let page = Page::new(&appearance(&json!({"name": {"en": name, "zh": name}, "default_language": "en"})));
        let usual = Page::new(&appearance(&json!({"name": {"en": "x", "zh": "x"}, "default_language": "en"})));
        let html = body(&page);
        for tag in ["<script", "</script", "<img", "<svg", "<!--", "</title", "</style"] {
            assert_eq!(html.matches(tag).count(), body(&usual).matches(tag).count(), "{tag} of {name}");
        }
        assert!(html.contains(&format!("<title>{}</title>", escaped(name))), "{name}");
        let data = between(html, "id=\"appearance\">", "</script>");
        let data: Value = serde_json::from_str(data).expect("JSON");
        assert_eq!(data["names"]["zh"], name);
        assert_eq!(page.headers[CONTENT_SECURITY_POLICY], usual.headers[CONTENT_SECURITY_POLICY]);
    }
}

#[test]
fn a_browser_that_has_the_page_does_not_get_it_again() {
    let page = Page::new(&Appearance::default());
    let first = page.answer(&HeaderMap::new());
    assert_eq!((first.status(), first.body().len()), (StatusCode::OK, body(&page).len()));
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

#[test]
fn another_look_is_another_page_to_the_browser() {
    let etag = |file: &Value| Page::new(&appearance(file)).headers[ETAG].clone();
    let (red, blue) = (
        json!({"name": {"en": "Lotus"}, "default_language": "en", "color": "#aa0000"}),
        json!({"name": {"en": "Lotus"}, "default_language": "en", "color": "#0000aa"}),
    );
    assert_ne!(etag(&red), etag(&blue));
}
