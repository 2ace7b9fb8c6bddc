//! The objects of the other examples, unchanged, on Cloudflare.

#[path = "../../counter.rs"]
mod counter;
#[path = "../../order_processing.rs"]
mod order_processing;
#[path = "../../rate_limiter.rs"]
mod rate_limiter;

use counter::Counter;
use order_processing::Order;
use rate_limiter::RateLimiter;

dokit_cloudflare::export!(Counter, Order, RateLimiter);
