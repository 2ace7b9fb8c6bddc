//! The objects of the other examples, unchanged, on Cloudflare.

#[path = "../../chat_room.rs"]
mod chat_room;
#[path = "../../counter.rs"]
mod counter;
#[path = "../../order_processing.rs"]
mod order_processing;
#[path = "../../rate_limiter.rs"]
mod rate_limiter;
#[path = "../../scheduled_jobs.rs"]
mod scheduled_jobs;

use chat_room::ChatRoom;
use counter::Counter;
use order_processing::Order;
use rate_limiter::RateLimiter;
use scheduled_jobs::ScheduledJobs;

dokit_cloudflare::export!(ChatRoom, Counter, Order, RateLimiter, ScheduledJobs);
