//! The objects of the other examples, unchanged, on Cloudflare.

#[path = "../../cart.rs"]
mod cart;
#[path = "../../chat_room.rs"]
mod chat_room;
#[path = "../../counter.rs"]
mod counter;
#[path = "../../order_processing.rs"]
mod order_processing;
#[path = "../../preferences.rs"]
mod preferences;
#[path = "../../rate_limiter.rs"]
mod rate_limiter;
#[path = "../../scheduled_jobs.rs"]
mod scheduled_jobs;
#[path = "../../session.rs"]
mod session;

use cart::{Cart, Shop};
use chat_room::ChatRoom;
use counter::Counter;
use order_processing::Order;
use preferences::Preferences;
use rate_limiter::RateLimiter;
use scheduled_jobs::ScheduledJobs;
use session::Session;

dokit_cloudflare::export!(
    Cart,
    ChatRoom,
    Counter,
    Order,
    Preferences,
    RateLimiter,
    ScheduledJobs,
    Session,
    Shop,
);
