//! Each example as a process of its own, driven as a user would drive it. A module has its example's
//! name.

#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]

mod analytics;
mod browser;
mod cart;
mod chat_room;
mod counter;
mod document;
mod order_processing;
mod preferences;
mod rate_limiter;
mod scheduled_jobs;
mod session;
mod socket;
mod stateful_workflow;
mod support;
