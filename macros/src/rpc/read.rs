//! Reads the trait below `#[rpc]`, and refuses what cannot be called over the wire.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    Attribute, Error, FnArg, GenericArgument, Ident, ItemTrait, LitStr, Pat, Path, PathArguments,
    ReceiverKind, Result, ReturnType, TraitItem, TraitItemFn, Type, ext::IdentExt, parse::Parser,
    spanned::Spanned,
};

use crate::case::Case;

/// Names that the platform, the host or the generated client has a use for. They are compared
/// without underscores and in lower case, so that every spelling is found.
const RESERVED: [&str; 18] = [
    "alarm",
    "connect",
    "constructor",
    "dup",
    "fetch",
    "new",
    "then",
    "tojson",
    "tostring",
    "valueof",
    "websocketclose",
    "websocketerror",
    "websocketmessage",
    "withdeadline",
    "withidempotencykey",
    "withretry",
    "withtimer",
    "withtraceparent",
];

/// What stands in `#[rpc(..)]` above the trait.
#[derive(Default)]
pub(super) struct Options {
    pub(super) krate: Option<Path>,
    rename_all: Option<Case>,
}

impl Options {
    pub(super) fn parse(attribute: TokenStream) -> Result<Self> {
        let mut options = Self::default();
        syn::meta::parser(|meta| {
            if meta.path.is_ident("crate") {
                options.krate = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("rename_all") {
                options.rename_all = Some(Case::parse(&meta.value()?.parse()?)?);
            } else {
                return Err(meta.error("unknown option; expected `rename_all` or `crate`"));
            }
            Ok(())
        })
        .parse2(attribute)?;
        Ok(options)
    }
}

/// The trait, read.
pub(super) struct Api<'a> {
    pub(super) item: &'a ItemTrait,
    pub(super) methods: Vec<Method<'a>>,
}

/// A method, read.
pub(super) struct Method<'a> {
    pub(super) item: &'a TraitItemFn,
    pub(super) docs: Vec<&'a Attribute>,
    pub(super) wire: LitStr,
    pub(super) exclusive: bool,
    pub(super) idempotent: bool,
    pub(super) arguments: Vec<(&'a Ident, &'a Type)>,
    pub(super) returned: &'a Type,
}

impl<'a> Api<'a> {
    pub(super) fn read(item: &'a ItemTrait, options: &Options) -> Result<Self> {
        if !item.generics.params.is_empty() {
            return Err(Error::new(
                item.generics.span(),
                "an `#[rpc]` trait cannot be generic: both ends have to know its types",
            ));
        }
        if let Some(bounds) = &item.generics.where_clause {
            return Err(Error::new_spanned(
                bounds,
                "write what an object has to be after the trait's name: `trait Api: Bound`",
            ));
        }
        if let Some(keyword) = &item.unsafety {
            return Err(Error::new_spanned(
                keyword,
                "an `#[rpc]` trait is safe: whoever can send a request calls it",
            ));
        }
        let mut methods = Vec::new();
        let mut errors = Errors::default();
        for inner in &item.items {
            match inner {
                TraitItem::Fn(method) => {
                    methods.extend(errors.keep(Method::read(method, options)));
                }
                other => errors.push(Error::new_spanned(
                    other,
                    "an `#[rpc]` trait has only methods",
                )),
            }
        }
        for (at, method) in methods.iter().enumerate() {
            let same = |other: &&Method<'_>| other.wire.value() == method.wire.value();
            if let Some(other) = methods[..at].iter().find(same) {
                errors.push(Error::new(
                    method.wire.span(),
                    format!(
                        "the wire name `{}` is that of `{}` already",
                        method.wire.value(),
                        other.ident()
                    ),
                ));
            }
        }
        errors.finish()?;
        Ok(Self { item, methods })
    }
}

impl<'a> Method<'a> {
    pub(super) fn read(item: &'a TraitItemFn, options: &Options) -> Result<Self> {
        let signature = &item.sig;
        let (rename, idempotent) = method_options(&item.attrs)?;
        if let Some(cfg) = item.attrs.iter().find(|attr| attr.path().is_ident("cfg")) {
            return Err(Error::new_spanned(
                cfg,
                "a method is there for every caller or for none: put the `cfg` on the trait",
            ));
        }
        if signature.asyncness.is_none() {
            return Err(Error::new_spanned(
                signature.fn_token,
                "a method of an `#[rpc]` trait is an `async fn`",
            ));
        }
        if !signature.generics.params.is_empty() || signature.generics.where_clause.is_some() {
            return Err(Error::new_spanned(
                &signature.generics,
                "a method cannot be generic: both ends have to know its types",
            ));
        }
        if let Some(variadic) = &signature.variadic {
            return Err(Error::new_spanned(variadic, "a method has named arguments"));
        }
        let exclusive = receiver(item)?;
        let arguments = signature.inputs.iter().skip(1).map(argument);
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        Ok(Self {
            item,
            docs: docs(&item.attrs),
            wire: wire_name(&signature.ident, rename, options)?,
            exclusive,
            idempotent,
            arguments,
            returned: returned(item)?,
        })
    }

    pub(super) fn ident(&self) -> &'a Ident {
        &self.item.sig.ident
    }
}

/// What `#[rpc(..)]` says above a method: its name on the wire, and whether it is idempotent.
fn method_options(attrs: &[Attribute]) -> Result<(Option<LitStr>, bool)> {
    let (mut rename, mut idempotent) = (None, false);
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("rpc")) {
        attr.parse_nested_meta(|meta| {
            if meta.path.is_ident("rename") {
                rename = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("idempotent") {
                idempotent = true;
            } else {
                return Err(meta.error("unknown option; expected `rename` or `idempotent`"));
            }
            Ok(())
        })?;
    }
    Ok((rename, idempotent))
}

/// The name on the wire, which has to fit into a path as it is.
fn wire_name(ident: &Ident, rename: Option<LitStr>, options: &Options) -> Result<LitStr> {
    let name = ident.unraw().to_string();
    let wire = rename.unwrap_or_else(|| {
        let wire = match options.rename_all {
            Some(case) => case.apply(&name),
            None => name.clone(),
        };
        LitStr::new(&wire, ident.span())
    });
    for (name, span) in [(&name, ident.span()), (&wire.value(), wire.span())] {
        let plain = name.replace(['_', '-'], "").to_lowercase();
        if RESERVED.contains(&plain.as_str()) {
            return Err(Error::new(
                span,
                format!("`{name}` is a reserved name; choose another"),
            ));
        }
    }
    let value = wire.value();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if value.is_empty() || !value.bytes().all(fits) {
        return Err(Error::new(
            wire.span(),
            format!("the wire name `{value}` is not ASCII letters, digits, `-` and `_`"),
        ));
    }
    Ok(wire)
}

/// Whether the method takes `&mut self`; everything but that and `&self` is refused.
fn receiver(item: &TraitItemFn) -> Result<bool> {
    let Some(receiver) = item.sig.receiver() else {
        return Err(Error::new_spanned(
            &item.sig.ident,
            "a method takes `&self` or `&mut self`",
        ));
    };
    match &receiver.kind {
        ReceiverKind::Reference(_, None, exclusive) => Ok(exclusive.is_some()),
        _ => Err(Error::new_spanned(
            receiver,
            "a method takes `&self` or `&mut self`; the object stays where it is",
        )),
    }
}

fn argument(argument: &FnArg) -> Result<(&Ident, &Type)> {
    let FnArg::Typed(argument) = argument else {
        return Err(Error::new_spanned(argument, "`self` stands first"));
    };
    let Pat::Ident(name) = &*argument.pat else {
        return Err(Error::new_spanned(
            &argument.pat,
            "an argument has a name: callers are told it",
        ));
    };
    if let Some(span) = borrowed(argument.ty.to_token_stream()) {
        return Err(Error::new(
            span,
            "an argument is owned: it is read from the wire (`String`, `Vec<T>`)",
        ));
    }
    if let Type::ImplTrait(unknown) = &*argument.ty {
        return Err(Error::new_spanned(
            unknown,
            "a method cannot be generic: both ends have to know its types",
        ));
    }
    Ok((&name.ident, &argument.ty))
}

/// Where a type borrows: a reference, or a lifetime other than `'static`.
fn borrowed(tokens: TokenStream) -> Option<Span> {
    let mut lifetime = false;
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let inner = borrowed(group.stream());
                if inner.is_some() {
                    return inner;
                }
            }
            TokenTree::Punct(punct) if punct.as_char() == '&' => return Some(punct.span()),
            TokenTree::Punct(punct) => lifetime = punct.as_char() == '\'',
            TokenTree::Ident(ident) => {
                if lifetime && ident != "static" {
                    return Some(ident.span());
                }
                lifetime = false;
            }
            TokenTree::Literal(_) => {}
        }
    }
    None
}

fn returned(item: &TraitItemFn) -> Result<&Type> {
    let missing = "a method returns `Result<T, E>`, where `E` is an `RpcError`; \
                   `std::convert::Infallible` is one that never happens";
    let ReturnType::Type(_, returned) = &item.sig.output else {
        return Err(Error::new_spanned(&item.sig, missing));
    };
    match result_arguments(returned) {
        Some(_) => Ok(returned),
        None => Err(Error::new_spanned(returned, missing)),
    }
}

/// The types in `Result<..>`; `None` for what is no `Result`.
pub(super) fn result_arguments(returned: &Type) -> Option<Vec<&Type>> {
    let Type::Path(path) = returned else {
        return None;
    };
    let last = path.path.segments.last()?;
    if last.ident != "Result" {
        return None;
    }
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    arguments
        .args
        .iter()
        .map(|argument| match argument {
            GenericArgument::Type(argument) => Some(argument),
            _ => None,
        })
        .collect()
}

pub(super) fn is_option(argument: &Type) -> bool {
    matches!(argument, Type::Path(path)
        if path.path.segments.last().is_some_and(|last| last.ident == "Option"))
}

/// What the client's method takes over of the trait's.
fn docs(attrs: &[Attribute]) -> Vec<&Attribute> {
    let kept = |attr: &&Attribute| {
        let path = attr.path();
        ["doc", "deprecated"].iter().any(|kept| path.is_ident(kept))
    };
    attrs.iter().filter(kept).collect()
}

/// Errors, all told at once.
#[derive(Default)]
struct Errors(Option<Error>);

impl Errors {
    fn push(&mut self, error: Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            none => *none = Some(error),
        }
    }

    fn keep<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    fn finish(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}
