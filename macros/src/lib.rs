//! The derives and attributes of dokit. Each is documented where its crate re-exports it: depend on
//! that crate, not on this one.

mod case;
mod durable_object;
mod machine;
mod path;
mod rpc;
mod rpc_error;
mod schema;

use proc_macro::TokenStream;

/// See `dokit_storage::Schema`.
#[proc_macro_derive(Schema, attributes(schema))]
pub fn derive_schema(input: TokenStream) -> TokenStream {
    expand(schema::expand(input.into()))
}

/// See `dokit_fsm::machine`.
#[proc_macro]
pub fn machine(input: TokenStream) -> TokenStream {
    expand(machine::expand(input.into()))
}

/// See `dokit_client::rpc`.
#[proc_macro_attribute]
pub fn rpc(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expand(rpc::expand(attribute.into(), item.into()))
}

/// See `dokit_client::RpcError`.
#[proc_macro_derive(RpcError, attributes(rpc))]
pub fn derive_rpc_error(input: TokenStream) -> TokenStream {
    expand(rpc_error::expand(input.into()))
}

/// See `dokit_object::durable_object`.
#[proc_macro_attribute]
pub fn durable_object(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expand(durable_object::expand(attribute.into(), item.into()))
}

fn expand(result: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    result
        .unwrap_or_else(|error| error.into_compile_error())
        .into()
}
