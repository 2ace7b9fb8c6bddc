//! What an engine is built of. Who writes objects needs none of it.
//!
//! An engine has a [`Router`] to its objects and a [`Clock`](crate::Clock), which are its [`Surroundings`]. Of
//! each [`ObjectType`] that it serves it finds the object of a request by its [`Address`] and the call by
//! [`route`]. It wakes the object, runs each [`Call`] on the [`Activation`], and makes the writes of its
//! [`Outcome`] durable before it lets the reply out. Sockets are on its [`Switchboard`]: it passes on what
//! comes from a peer by the [`Connection`], and performs the [`SocketActions`] of an outcome with its reply.

pub use crate::{
    activation::Activation,
    address::{Address, NAME_KEY, deadline, route, traceparent},
    alarm::{fail_alarm, gives_up_alarm, postpone_alarm},
    call::{Call, Outcome, RpcCall, error_response, to_call_reply},
    chain::Chain,
    context::Surroundings,
    handlers::Handlers,
    namespace::Router,
    object_type::{InvalidNamespace, ObjectType},
    outbox::{Delivered, Delivery},
    sockets::{
        Connection, Outgoing, SocketAction, SocketActions, SocketCall, SocketEvent, SocketId,
        SocketLimits, Sockets, Switchboard, Wire,
    },
};
