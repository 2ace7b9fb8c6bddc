//! Durable Objects as the `worker` crate writes them, each with one crate of dokit's toolkit in it:
//!
//! | module | crate | what it is |
//! |---|---|---|
//! | `visits` | `dokit-storage` | typed keys, a family of keys, a transaction |
//! | `tickets` | `dokit-fsm` | a state machine that is kept in storage |
//! | `reminders` | `dokit-alarms` | any number of alarms over the platform's one |
//! | `scores` | `dokit-client` | typed calls, both ends |
//!
//! What they share is `dokit_cloudflare::ObjectStore`, the store over the platform's storage. Each module's
//! header has its curl lines; `.ci/workerd-serve toolkit serve` serves them once `.ci/workerd` has run.

mod reminders;
mod scores;
mod tickets;
mod visits;

use worker::{Context, Env, Method, Request, RequestInit, Response, Result, event};

/// `/{binding}/{name}/..` goes to the object of that name; a GET of `/scores/{name}` is answered here,
/// by calls.
#[event(fetch)]
async fn fetch(mut request: Request, env: Env, _: Context) -> Result<Response> {
    let path = request.path();
    let mut parts = path.trim_start_matches('/').split('/');
    let (kind, name) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    if (kind, request.method()) == ("scores", Method::Get) {
        return scores::show(&env, name).await;
    }
    let binding = match kind {
        "visits" => "VISITS",
        "tickets" => "TICKETS",
        "reminders" => "REMINDERS",
        "scores" => "SCORES",
        _ => return Response::error("nothing is here", 404),
    };
    // The object sees the rest of the path. (To set a request's `path_mut` changes nothing that is sent.)
    let mut url = request.url()?;
    url.set_path(&parts.collect::<Vec<_>>().join("/"));
    let mut init = RequestInit::new();
    init.with_method(request.method())
        .with_headers(request.headers().clone());
    if request.method() == Method::Post {
        init.with_body(Some(request.text().await?.into()));
    }
    let object = env.durable_object(binding)?.get_by_name(name)?;
    let forwarded = Request::new_with_init(url.as_str(), &init)?;
    object.fetch_with_request(forwarded).await
}

/// An error of a crate of ours as one of the `worker` crate's, with its causes.
fn told(error: impl std::error::Error) -> worker::Error {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    worker::Error::RustError(text)
}
