#![doc = include_str!("../README.md")]
//!
//! # The guide
//!
//! Short chapters, each for somebody who wants one thing: [`guide`].

#[cfg(all(doc, feature = "embedded"))]
pub mod guide;

pub use dokit_alarms as alarms;
pub use dokit_client as client;
#[cfg(feature = "embedded")]
pub use dokit_embedded as embedded;
pub use dokit_fsm as fsm;
pub use dokit_object as object;
pub use dokit_storage as storage;

pub use dokit_client::{RpcError, rpc};
#[cfg(feature = "embedded")]
pub use dokit_embedded::Host;
pub use dokit_object::{
    Alarm, Context, DurableObject, Error, Request, Response, Result, durable_object,
};
