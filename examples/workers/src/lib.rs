//! The objects of the other examples, unchanged, on Cloudflare.
//!
//! Whoever exports another one here has it written into the configuration:
//! `cargo run --manifest-path examples/workers/Cargo.toml --bin workers-config -- write`.

#![cfg_attr(
    not(target_arch = "wasm32"),
    expect(dead_code, reason = "the examples' own main, which serves with the embedded engine")
)]

#[path = "../../analytics.rs"]
mod analytics;
#[path = "../../cart.rs"]
mod cart;
#[path = "../../chat_room.rs"]
mod chat_room;
#[path = "../../counter.rs"]
mod counter;
#[path = "../../document.rs"]
mod document;
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
#[path = "../../stateful_workflow.rs"]
mod stateful_workflow;

use analytics::Analytics;
use cart::{Cart, Shop};
use chat_room::ChatRoom;
use counter::Counter;
use document::Document;
use order_processing::Order;
use preferences::Preferences;
use rate_limiter::RateLimiter;
use scheduled_jobs::ScheduledJobs;
use session::Session;
use stateful_workflow::{StatefulWorkflow, StepRunner};

dokit_cloudflare::export!(
    Analytics,
    Cart,
    ChatRoom,
    Counter,
    Document,
    Order,
    Preferences,
    RateLimiter,
    ScheduledJobs,
    Session,
    Shop,
    StatefulWorkflow,
    StepRunner,
);
