//! A rate limiter for each client, with a sliding window: in any minute, say, at most so many requests. It
//! survives sleep and restarts, and leaves nothing behind for a client that does not come back.
//!
//! ```sh
//! cargo run --example rate_limiter                                     # listens, and then:
//! curl -i -X POST 'http://127.0.0.1:8787/rate-limiter/ada?limit=2&window=1m'   # allowed, 1 remaining
//! curl -i -X POST 'http://127.0.0.1:8787/rate-limiter/ada?limit=2&window=1m'   # allowed, 0 remaining
//! curl -i -X POST 'http://127.0.0.1:8787/rate-limiter/ada?limit=2&window=1m'   # 429, with retry-after
//! curl -d '[2, "1m"]' http://127.0.0.1:8787/rate-limiter/ada/check     # the same as a call
//! curl -d '[]' http://127.0.0.1:8787/rate-limiter/ada/reset            # null
//! curl -d '[0, "1m"]' http://127.0.0.1:8787/rate-limiter/ada/check     # 400, no limit
//! ```

use std::time::Duration;

use dokit::{
    Alarm, Context, DurableObject, Error, Request, Response, Result,
    alarms::parse_duration,
    client::header,
    durable_object,
    object::{Storage, json_response},
    rpc,
    storage::{Schema, Timestamp, TypedStorage},
};
use serde::{Deserialize, Serialize};

/// The log of a window has one time for each request in it, so this bounds what is stored.
const MOST: u32 = 1_000;
const LONGEST: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// What a limiter says to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Whether it may go on. Only then it counts.
    pub allowed: bool,
    /// How many more may follow at once.
    pub remaining: usize,
    /// When one more may follow than now, in milliseconds since 1970.
    pub reset_at: Timestamp,
}

/// What a limiter can be asked.
#[rpc]
pub trait RateLimiterApi {
    /// Counts a request, unless `limit` of them were counted within the last `window`, such as `1m`.
    ///
    /// A limiter has one rule, so ask it with the same `limit` and `window` each time: what is outside of
    /// this window is forgotten. Where a client has several rules, give each a limiter of its own.
    async fn check(&mut self, limit: u32, window: String) -> Result<Verdict>;
    /// Forgets all requests.
    async fn reset(&mut self) -> Result<()>;
}

#[derive(Schema)]
struct Stored {
    /// When each request came that counts, the oldest first.
    requests: Vec<Timestamp>,
}

pub(crate) struct RateLimiter {
    ctx: Context,
    storage: TypedStorage<Stored, Storage>,
}

#[durable_object]
impl DurableObject for RateLimiter {
    type Api = RateLimiterApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let storage = TypedStorage::new(ctx.storage());
        Ok(Self { ctx, storage })
    }

    /// A check over plain HTTP: POST with the limit and the window in the query.
    async fn fetch(&mut self, request: Request) -> Result<Response> {
        let (verb, path) = (request.method().as_str(), request.uri().path());
        if (verb, path) != ("POST", "/") {
            let message = format!("a check is POST /, not {verb} {path}");
            return Err(Error::new(404, "not_found", message));
        }
        let query = request.uri().query().unwrap_or_default();
        let limit = parameter(query, "limit").unwrap_or("10");
        let window = parameter(query, "window").unwrap_or("1m");
        let limit = limit.parse().map_err(|_| invalid_limit(limit))?;
        let verdict = self.check(limit, window.to_owned()).await?;
        if verdict.allowed {
            return json_response(200, &verdict);
        }
        let pause = verdict.reset_at.saturating_duration_since(self.ctx.now());
        let mut refused = json_response(429, &verdict)?;
        let seconds = header::write_retry_after(pause).parse();
        let seconds = seconds.map_err(Error::internal)?;
        refused.headers_mut().insert(header::RETRY_AFTER, seconds);
        Ok(refused)
    }

    /// The last request has left its window: nothing of this client is worth keeping.
    async fn alarm(&mut self, _: Alarm) -> Result<()> {
        self.reset().await
    }
}

impl RateLimiterApi for RateLimiter {
    async fn check(&mut self, limit: u32, window: String) -> Result<Verdict> {
        if !(1..=MOST).contains(&limit) {
            return Err(invalid_limit(limit));
        }
        let window = read_window(&window)?;
        let now = self.ctx.now();
        let mut requests = self
            .storage
            .get(Stored::REQUESTS)
            .await?
            .unwrap_or_default();
        requests.retain_mut(|at| {
            // Where the clock was set back, nobody has to wait for more than one window.
            *at = now.min(*at);
            at.saturating_add(window) > now
        });
        let places = limit as usize;
        let allowed = requests.len() < places;
        if allowed {
            requests.push(now);
            self.storage.put(Stored::REQUESTS, &requests).await?;
            self.storage.set_alarm(now.saturating_add(window)).await?;
        }
        // There is a place more when all but `places - 1` have left.
        let next = requests[requests.len().saturating_sub(places)];
        Ok(Verdict {
            allowed,
            remaining: places.saturating_sub(requests.len()),
            reset_at: next.saturating_add(window),
        })
    }

    async fn reset(&mut self) -> Result<()> {
        Ok(self.storage.delete_all().await?)
    }
}

fn read_window(text: &str) -> Result<Duration> {
    let refused = |reason| Error::new(400, "invalid_window", format!("invalid window: {reason}"));
    let window = parse_duration(text).map_err(|error| refused(error.to_string()))?;
    if window > LONGEST {
        return Err(refused(format!("{text} is longer than 31 days")));
    }
    Ok(window)
}

fn invalid_limit(limit: impl std::fmt::Display) -> Error {
    let message = format!("a limit is a number from 1 to {MOST}, not {limit}");
    Error::new(400, "invalid_limit", message)
}

/// The value of a parameter of a query.
fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(key, value)| (key == name).then_some(value))
}

#[cfg(not(any(test, target_arch = "wasm32")))]
#[path = "support/serve.rs"]
mod serve;

#[cfg(not(any(test, target_arch = "wasm32")))]
fn main() -> std::process::ExitCode {
    let host = dokit::Host::builder().object::<RateLimiter>();
    serve::main("rate_limiter", host, include_str!("rate_limiter.rs"))
}
