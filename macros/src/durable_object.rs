//! `#[durable_object]`: fills in what an `impl DurableObject` leaves out.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::{
    Error, Ident, ImplItem, ItemImpl, Path, Result, Type, parse::Parser, parse_quote,
    parse_quote_spanned,
};

use crate::{case::Case, path::crate_path};

const HANDLERS: [&str; 5] = [
    "fetch",
    "alarm",
    "websocket_message",
    "websocket_close",
    "websocket_error",
];

pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let mut chosen: Option<Path> = None;
    let mut state: Option<Ident> = None;
    syn::meta::parser(|meta| {
        if meta.path.is_ident("crate") {
            chosen = Some(meta.value()?.parse()?);
            return Ok(());
        }
        if meta.path.is_ident("state") {
            state = Some(meta.value()?.parse()?);
            return Ok(());
        }
        Err(meta.error(
            "unknown option; expected `state = field` or `crate = path` (a namespace is named in the block below, by \
             `const NAMESPACE: &'static str = \"..\";`)",
        ))
    })
    .parse2(attribute)?;
    let mut item: ItemImpl = syn::parse2(item).map_err(|error| {
        Error::new(
            error.span(),
            "`#[durable_object]` stands above an `impl DurableObject for ..` block",
        )
    })?;
    let names_trait = item.trait_.as_ref().is_some_and(|(path, _)| {
        path.segments
            .last()
            .is_some_and(|last| last.ident == "DurableObject")
    });
    if !names_trait {
        return Err(Error::new_spanned(
            &item.self_ty,
            "`#[durable_object]` stands above an `impl DurableObject for ..` block",
        ));
    }
    let krate = crate_path(chosen.as_ref(), "dokit-object", "object");

    if !has(&item, "NAMESPACE") {
        let namespace = Case::Kebab.apply(&type_name(&item.self_ty)?);
        item.items
            .push(parse_quote!(const NAMESPACE: &'static str = #namespace;));
    }
    if !has(&item, "Api") {
        item.items.push(parse_quote!(
            type Api = ();
        ));
    }
    if let Some(field) = state {
        // With the span of the field's name, an error about it points there.
        item.items.push(parse_quote_spanned! {field.span()=>
            fn saved_state(&mut self) -> ::core::option::Option<&mut dyn #krate::SavedState> {
                ::core::option::Option::Some(&mut self.#field)
            }
        });
    }
    if !has(&item, "HANDLERS") {
        let written = HANDLERS.iter().filter(|handler| has(&item, handler));
        let with = written.map(|handler| format_ident!("with_{handler}"));
        let handlers = quote!(#krate::engine::Handlers::NONE #(.#with())*);
        item.items
            .push(parse_quote!(const HANDLERS: #krate::engine::Handlers = #handlers;));
    }
    Ok(item.into_token_stream())
}

fn has(item: &ItemImpl, name: &str) -> bool {
    item.items.iter().any(|inner| match inner {
        ImplItem::Const(inner) => inner.ident == name,
        ImplItem::Fn(inner) => inner.sig.ident == name,
        ImplItem::Type(inner) => inner.ident == name,
        _ => false,
    })
}

/// The type's own name, without the path to it.
fn type_name(self_type: &Type) -> Result<String> {
    if let Type::Path(path) = self_type
        && let Some(last) = path.path.segments.last()
        && last.arguments.is_empty()
    {
        return Ok(last.ident.to_string());
    }
    Err(Error::new_spanned(
        self_type,
        "the namespace cannot be taken from this type's name; write `const NAMESPACE: &'static str = \"..\";`",
    ))
}
