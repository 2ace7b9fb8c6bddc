//! The objects of the other examples, unchanged, on Cloudflare.

#[path = "../../counter.rs"]
mod counter;
#[path = "../../order_processing.rs"]
mod order_processing;
#[path = "../../preferences.rs"]
mod preferences;
#[path = "../../rate_limiter.rs"]
mod rate_limiter;
#[path = "../../session.rs"]
mod session;

use counter::Counter;
use order_processing::Order;
use preferences::Preferences;
use rate_limiter::RateLimiter;
use session::Session;

dokit_cloudflare::export!(Counter, Order, Preferences, RateLimiter, Session);
