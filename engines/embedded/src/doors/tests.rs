//! Who is let in, and who is not.

use std::future::ready;

use super::*;

fn head(method: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = http::Request::builder().method(method).uri("/a/b/c");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

async fn refusal(doors: &Doors, head: &Parts) -> Option<Response> {
    let admitted = doors.admit(head, true).await;
    admitted.err().map(Refused::into_response)
}

/// The status and the code that a request gets; 200 where it is let in.
async fn told(doors: &Doors, head: &Parts) -> (u16, String) {
    match refusal(doors, head).await {
        None => (200, String::new()),
        Some(response) => {
            let status = response.status().as_u16();
            let reply = ErrorReply::from_body(status, response.body());
            (status, reply.code.into_owned())
        }
    }
}

#[tokio::test]
async fn on_loopback_only_names_that_lead_there_are_let_in() {
    let doors = Doors::default();
    for host in [
        "localhost",
        "LocalHost:8787",
        "app.localhost:1",
        "localhost.",
        "127.0.0.1:8787",
        "127.8.9.1",
        "[::1]:8787",
        "[::1]",
        "[::ffff:127.0.0.1]",
    ] {
        let head = head("POST", &[("host", host)]);
        assert_eq!(told(&doors, &head).await.0, 200, "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:8787",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "notlocalhost",
        "10.0.0.1",
        "[::2]",
        "",
        "\u{fc}",
    ] {
        let head = head("POST", &[("host", host)]);
        let refused = (403, "host_not_allowed".to_owned());
        assert_eq!(told(&doors, &head).await, refused, "{host}");
    }
    let two = head("POST", &[("host", "localhost"), ("host", "evil.example")]);
    assert_eq!(told(&doors, &two).await.0, 403);
    let mut of_target = head("POST", &[("host", "localhost")]);
    of_target.uri = "http://evil.example/a".parse().unwrap();
    assert_eq!(told(&doors, &of_target).await.0, 403);
    // A program that names none is no browser.
    assert_eq!(told(&doors, &head("POST", &[])).await.0, 200);
}

#[tokio::test]
async fn a_host_that_was_named_is_let_in_and_with_a_token_or_elsewhere_any() {
    let evil = head("POST", &[("host", "app.example:8787")]);
    let mut named = Doors::default();
    named.host("App.Example");
    assert_eq!(told(&named, &evil).await.0, 200);
    assert!(Doors::default().admit(&evil, false).await.is_ok());
    let mut guarded = Doors::default();
    guarded.token("s3cret");
    let head = head(
        "POST",
        &[("host", "a.example"), ("authorization", "Bearer s3cret")],
    );
    assert_eq!(told(&guarded, &head).await.0, 200);
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_whatever_it_sends() {
    let mut doors = Doors::default();
    doors.origin("https://app.example");
    doors.host("shop.example");
    for (method, headers, status) in [
        // No browser, an own page, an allowed one.
        ("POST", vec![], 200),
        ("POST", vec![("origin", "http://localhost:8787")], 200),
        ("POST", vec![("origin", "https://APP.example")], 200),
        (
            "POST",
            vec![
                ("origin", "https://app.example"),
                ("sec-fetch-site", "cross-site"),
            ],
            200,
        ),
        ("GET", vec![("sec-fetch-site", "same-origin")], 200),
        ("GET", vec![("sec-fetch-site", "none")], 200),
        // Others.
        ("POST", vec![("origin", "https://evil.example")], 403),
        ("POST", vec![("origin", "null")], 403),
        ("POST", vec![("origin", "")], 403),
        ("POST", vec![("origin", "http://localhost:3000")], 403),
        ("POST", vec![("origin", "http://localhost")], 403),
        ("POST", vec![("origin", "ftp://localhost:8787")], 403),
        (
            "POST",
            vec![("origin", "https://app.example.evil.example")],
            403,
        ),
        (
            "POST",
            vec![
                ("origin", "https://app.example"),
                ("origin", "https://evil.example"),
            ],
            403,
        ),
        (
            "POST",
            vec![
                ("origin", "http://localhost:8787"),
                ("sec-fetch-site", "cross-site"),
            ],
            403,
        ),
        (
            "GET",
            vec![("origin", "https://evil.example"), ("upgrade", "websocket")],
            403,
        ),
        (
            "GET",
            vec![
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "no-cors"),
            ],
            403,
        ),
        ("GET", vec![("sec-fetch-site", "same-site")], 403),
        ("POST", vec![("sec-fetch-site", "cross-site")], 403),
        (
            "OPTIONS",
            vec![
                ("origin", "https://evil.example"),
                ("access-control-request-method", "POST"),
            ],
            403,
        ),
    ] {
        let mut all = vec![("host", "localhost:8787")];
        all.extend(headers);
        let (answer, code) = told(&doors, &head(method, &all)).await;
        assert_eq!(answer, status, "{method} {all:?}");
        assert_eq!(code == "origin_not_allowed", status == 403, "{all:?}");
    }
    let port = [
        ("host", "shop.example"),
        ("origin", "https://shop.example:443"),
    ];
    assert_eq!(told(&doors, &head("POST", &port)).await.0, 200);
}

#[tokio::test]
async fn a_link_to_a_page_may_be_followed_and_not_embedded() {
    let doors = Doors::default();
    let link = |method: &str, dest: &str| {
        let headers = [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", dest),
        ];
        head(method, &headers)
    };
    assert_eq!(told(&doors, &link("GET", "document")).await.0, 200);
    assert_eq!(told(&doors, &link("GET", "iframe")).await.0, 403);
    assert_eq!(told(&doors, &link("POST", "document")).await.0, 403);
}

#[tokio::test]
async fn a_preflight_is_answered_without_a_token_and_the_answer_is_for_that_origin() {
    let mut doors = Doors::default();
    doors.origin("https://app.example");
    doors.token("s3cret");
    let asks = head(
        "OPTIONS",
        &[
            ("origin", "https://app.example"),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization"),
        ],
    );
    let answer = refusal(&doors, &asks).await.unwrap();
    assert_eq!(answer.status(), 204);
    for (name, value) in [
        ("access-control-allow-origin", "https://app.example"),
        ("access-control-allow-methods", "POST"),
        ("access-control-allow-headers", "authorization"),
        ("access-control-max-age", "600"),
    ] {
        assert_eq!(answer.headers()[name], value);
    }
    // A refusal is for the page to read, too.
    let call = head("POST", &[("origin", "https://app.example")]);
    let refused = refusal(&doors, &call).await.unwrap();
    assert_eq!(refused.status(), 401);
    let headers = refused.headers();
    assert_eq!(
        headers["access-control-allow-origin"],
        "https://app.example"
    );
    assert_eq!(headers["vary"], "origin");
    let own = head("POST", &[("authorization", "Bearer s3cret")]);
    let mut response = Response::default();
    doors.admit(&own, true).await.unwrap().sign(&mut response);
    assert_eq!(response.headers()["vary"], "origin");
    assert!(
        !response
            .headers()
            .contains_key("access-control-allow-origin")
    );
}

#[tokio::test]
async fn a_page_may_send_cookies_only_where_the_host_says_so() {
    let asks = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "POST"),
    ];
    let calls = head("POST", &asks[..1]);
    for allowed in [false, true] {
        let mut doors = Doors::default();
        doors.origin("https://app.example");
        if allowed {
            doors.credentials();
        }
        let preflight = refusal(&doors, &head("OPTIONS", &asks)).await.unwrap();
        let mut answer = Response::default();
        doors.admit(&calls, true).await.unwrap().sign(&mut answer);
        doors.token("s3cret");
        let refused = refusal(&doors, &calls).await.unwrap();
        for response in [preflight, answer, refused] {
            let headers = response.headers();
            let told = headers.get("access-control-allow-credentials");
            assert_eq!(told.is_some_and(|told| told == "true"), allowed);
            assert_eq!(
                headers["access-control-allow-origin"],
                "https://app.example"
            );
        }
    }
    let mut doors = Doors::default();
    doors.credentials();
    let foreign = refusal(&doors, &head("OPTIONS", &asks)).await.unwrap();
    assert_eq!(foreign.status(), 403);
    assert!(
        foreign
            .headers()
            .get("access-control-allow-credentials")
            .is_none()
    );
}

#[tokio::test]
async fn one_of_the_tokens_has_to_be_there_whole() {
    let mut doors = Doors::default();
    doors.token("first token");
    doors.token("second");
    for value in ["Bearer first token", "bearer second", "BEARER  second "] {
        let head = head("POST", &[("authorization", value)]);
        assert_eq!(told(&doors, &head).await.0, 200, "{value}");
    }
    for value in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer secon",
        "Bearer second2",
        "Basic second",
        "second",
    ] {
        let head = head("POST", &[("authorization", value)]);
        let refused = (401, "unauthorized".to_owned());
        assert_eq!(told(&doors, &head).await, refused, "{value}");
    }
    let refused = refusal(&doors, &head("POST", &[])).await.unwrap();
    assert_eq!(refused.headers()["www-authenticate"], "Bearer");
}

#[tokio::test]
async fn a_check_sees_the_head_and_comes_after_the_token() {
    let mut doors = Doors::default();
    doors.token("s3cret");
    doors.check(Arc::new(|head| {
        let good = head.headers().contains_key("x-staff") && head.uri().path() == "/a/b/c";
        let answer = match good {
            true => Ok(()),
            false => Err(Error::new(403, "forbidden", "staff only")),
        };
        Box::pin(ready(answer))
    }));
    let token = ("authorization", "Bearer s3cret");
    for (headers, status) in [
        (vec![token, ("x-staff", "1")], 200),
        (vec![token], 403),
        (vec![("x-staff", "1")], 401),
    ] {
        let told = told(&doors, &head("POST", &headers)).await;
        assert_eq!(told.0, status, "{headers:?}");
    }
}

#[test]
fn an_origin_is_a_scheme_a_host_and_perhaps_a_port() {
    for good in [
        "https://app.example",
        "http://localhost:3000",
        "tauri://localhost",
        "http://[::1]:1",
    ] {
        assert!(is_origin(good), "{good}");
    }
    for bad in [
        "*",
        "",
        "app.example",
        "https://",
        "https://app.example/",
        "https://a@b",
        "https://*.example",
        "null",
    ] {
        assert!(!is_origin(bad), "{bad}");
    }
}
