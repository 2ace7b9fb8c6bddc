//! An API can be written anywhere, and its client be used from anywhere that sees it.
#![deny(missing_docs, unused, deprecated)]

mod inner {
    use dokit_client as renamed;

    /// An API of a crate that knows this one by another name.
    #[renamed::rpc(crate = renamed)]
    pub(super) trait Renamed: std::fmt::Debug + 'static {
        /// Adds two numbers.
        async fn add(&self, left: u8, right: u8) -> Result<u8, std::convert::Infallible>;
        /// Was once more.
        #[deprecated]
        async fn old(&self) -> Result<(), std::convert::Infallible>;
    }

    /// An error of such a crate.
    #[derive(Debug, PartialEq, thiserror::Error, renamed::RpcError)]
    #[error("no")]
    #[rpc(crate = renamed, status = 418)]
    pub(super) struct No;
}

use std::convert::Infallible;

use dokit_client::{InProcess, RpcError, rpc};
use futures_executor::block_on;
use inner::{No, Renamed, RenamedClient, RenamedServer};

#[derive(Debug)]
struct Object;

impl Renamed for Object {
    async fn add(&self, left: u8, right: u8) -> std::result::Result<u8, Infallible> {
        Ok(left + right)
    }
    async fn old(&self) -> std::result::Result<(), Infallible> {
        Ok(())
    }
}

#[test]
fn a_crate_may_know_this_one_by_another_name() {
    let client = RenamedClient::new(InProcess::new(RenamedServer, Object));
    assert_eq!(block_on(client.add(1, 2)).unwrap(), 3);
    assert_eq!(No::from_reply(&No.to_reply()), Some(No));
    assert_eq!(No.to_reply().status, 418);
}

/// Names that generated code must not stumble over.
#[expect(dead_code, reason = "what matters is that they are there")]
mod shadowing {
    pub(super) struct Result;
    pub(super) struct Option;
    pub(super) struct Some;
    pub(super) struct Ok;
    pub(super) struct Method;
    pub(super) struct Transport;
    pub(super) struct String;
}

#[test]
fn an_api_may_stand_in_a_function_among_names_of_every_kind() {
    #[expect(unused_imports, reason = "the macro names everything in full")]
    use shadowing::*;

    #[rpc]
    trait Local {
        async fn object(
            &self,
            object: u8,
            read: u8,
            written: u8,
        ) -> std::result::Result<u8, Infallible>;
        async fn method(
            &mut self,
            method: u8,
            arguments: u8,
        ) -> std::result::Result<u8, Infallible>;
    }

    impl Local for Object {
        async fn object(
            &self,
            object: u8,
            read: u8,
            written: u8,
        ) -> std::result::Result<u8, Infallible> {
            std::result::Result::Ok(object + read + written)
        }
        async fn method(
            &mut self,
            method: u8,
            arguments: u8,
        ) -> std::result::Result<u8, Infallible> {
            std::result::Result::Ok(method + arguments)
        }
    }

    let client = LocalClient::new(InProcess::new(LocalServer, Object));
    assert_eq!(block_on(client.object(1, 2, 3)).unwrap(), 6);
    assert_eq!(block_on(client.method(1, 2)).unwrap(), 3);
}

/// An API from a macro of one's own, where every token has a place of its own.
macro_rules! api {
    ($name:ident, $method:ident($argument:ident: $type:ty)) => {
        #[rpc]
        trait $name {
            async fn $method(
                &self,
                $argument: $type,
                other: $type,
            ) -> std::result::Result<$type, Infallible>;
        }
    };
}

api!(FromMacro, double(value: u32));

impl FromMacro for Object {
    async fn double(&self, value: u32, other: u32) -> std::result::Result<u32, Infallible> {
        Ok(value * 2 + other)
    }
}

#[test]
fn an_api_may_come_out_of_a_macro() {
    let client = FromMacroClient::new(InProcess::new(FromMacroServer, Object));
    assert_eq!(block_on(client.double(4, 1)).unwrap(), 9);
}

#[rpc]
trait Empty {}

impl Empty for Object {}

#[test]
fn an_api_without_methods_is_one() {
    let _ = EmptyClient::new(InProcess::new(EmptyServer, Object));
    assert!(EmptyServer::METHODS.is_empty());
}
