//! `#[derive(RpcError)]`: an error type that crosses the wire whole.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Attribute, Data, DeriveInput, Error, Field, Fields, Ident, LitInt, LitStr, Path, Result,
    ext::IdentExt, spanned::Spanned,
};

use crate::{case::Case, path::crate_path};

const STATUS: u16 = 400;

pub(crate) fn expand(input: TokenStream) -> Result<TokenStream> {
    let input: DeriveInput = syn::parse2(input)?;
    if !input.generics.params.is_empty() {
        return Err(Error::new(
            input.generics.span(),
            "an `RpcError` cannot be generic: both ends have to know what it is",
        ));
    }
    let options = Options::parse(&input.attrs)?;
    let cases = match &input.data {
        Data::Struct(data) => vec![Shape::new(
            quote!(Self),
            &input.ident,
            &data.fields,
            &options,
        )?],
        Data::Enum(data) => {
            options.only_crate()?;
            let mut cases = Vec::new();
            for variant in &data.variants {
                let own = Options::parse(&variant.attrs)?;
                if let Some(path) = own.krate {
                    return Err(Error::new_spanned(path, "`crate` stands above the enum"));
                }
                let ident = &variant.ident;
                cases.push(Shape::new(
                    quote!(Self::#ident),
                    ident,
                    &variant.fields,
                    &own,
                )?);
            }
            cases
        }
        Data::Union(_) => {
            return Err(Error::new(
                input.ident.span(),
                "an `RpcError` is an enum or a struct",
            ));
        }
    };
    refuse_same_codes(&cases)?;

    let krate = crate_path(options.krate.as_ref(), "dokit-client", "client");
    let ident = &input.ident;
    let reserved = cases.iter().filter_map(|case| case.refuse_reserved(&krate));
    let to = cases.iter().map(|case| case.arm_to_reply(&krate));
    let from = cases.iter().filter_map(|case| case.arm_from_reply(&krate));
    let within = cases.iter().filter_map(|case| case.ask_inner(&krate));
    // An enum without variants has no values, but a reference to it has to be looked through.
    let never = cases.is_empty().then(|| quote!(_ => match *self {},));
    Ok(quote! {
        #(#reserved)*

        #[automatically_derived]
        #[allow(deprecated)]
        impl #krate::RpcError for #ident {
            fn to_reply(&self) -> #krate::ErrorReply {
                match self {
                    #(#to)*
                    #never
                }
            }

            fn from_reply(reply: &#krate::ErrorReply) -> ::core::option::Option<Self> {
                match &*reply.code {
                    #(#from)*
                    _ => {}
                }
                #(#within)*
                ::core::option::Option::None
            }
        }
    })
}

/// What `#[rpc(..)]` says above a type or a variant.
#[derive(Default)]
struct Options {
    krate: Option<Path>,
    status: Option<LitInt>,
    code: Option<LitStr>,
    internal: Option<Span>,
    transparent: Option<Span>,
}

impl Options {
    fn parse(attrs: &[Attribute]) -> Result<Self> {
        let mut options = Self::default();
        for attr in attrs.iter().filter(|attr| attr.path().is_ident("rpc")) {
            attr.parse_nested_meta(|meta| {
                if meta.path.is_ident("crate") {
                    options.krate = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("status") {
                    options.status = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("code") {
                    options.code = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("internal") {
                    options.internal = Some(meta.path.span());
                } else if meta.path.is_ident("transparent") {
                    options.transparent = Some(meta.path.span());
                } else {
                    return Err(meta.error(
                        "unknown option; expected `status`, `code`, `internal`, `transparent` or `crate`",
                    ));
                }
                Ok(())
            })?;
        }
        let whole = options.internal.or(options.transparent);
        if let Some(span) = whole
            && (options.status.is_some()
                || options.code.is_some()
                || options.internal.is_some() && options.transparent.is_some())
        {
            return Err(Error::new(
                span,
                "`internal` and `transparent` each stand alone: they say the status and the code",
            ));
        }
        Ok(options)
    }

    /// Above an enum nothing else has a meaning.
    fn only_crate(&self) -> Result<()> {
        let span = (self.status.as_ref().map(LitInt::span))
            .or(self.code.as_ref().map(LitStr::span))
            .or(self.internal)
            .or(self.transparent);
        match span {
            Some(span) => Err(Error::new(
                span,
                "of an enum, each variant says this for itself",
            )),
            None => Ok(()),
        }
    }
}

/// A variant, or the struct.
struct Shape<'a> {
    path: TokenStream,
    fields: &'a Fields,
    kind: Kind,
}

enum Kind {
    Coded {
        status: u16,
        code: String,
        span: Span,
    },
    Internal,
    Transparent,
}

impl<'a> Shape<'a> {
    fn new(path: TokenStream, ident: &Ident, fields: &'a Fields, own: &Options) -> Result<Self> {
        let kind = if own.internal.is_some() {
            Kind::Internal
        } else if let Some(span) = own.transparent {
            if fields.len() != 1 {
                return Err(Error::new(
                    span,
                    "`transparent` needs one field, another `RpcError`",
                ));
            }
            Kind::Transparent
        } else {
            let status = own.status.as_ref().map_or(Ok(STATUS), parse_status)?;
            let (code, span) = match &own.code {
                Some(code) => (parse_code(code)?, code.span()),
                None => (Case::Snake.apply(&ident.unraw().to_string()), ident.span()),
            };
            Kind::Coded { status, code, span }
        };
        Ok(Self { path, fields, kind })
    }

    /// A code of dokit's own would never be decoded as this error. The table of codes is a constant
    /// of the client's, so the compiler has to ask there.
    fn refuse_reserved(&self, krate: &TokenStream) -> Option<TokenStream> {
        let Kind::Coded { code, span, .. } = &self.kind else {
            return None;
        };
        let message = format!(
            "the code `{code}` is one of dokit's own; choose another: `#[rpc(code = \"..\")]`"
        );
        Some(quote_spanned! {*span=>
            const _: () = ::core::assert!(!#krate::code::is_reserved(#code), #message);
        })
    }

    fn arm_to_reply(&self, krate: &TokenStream) -> TokenStream {
        let path = &self.path;
        let (status, code) = match &self.kind {
            Kind::Internal => {
                return quote!(#path { .. } => #krate::ErrorReply::internal(self),);
            }
            Kind::Transparent => {
                let member = self.fields.members().next();
                return quote!(#path { #member: inner } => #krate::RpcError::to_reply(inner),);
            }
            Kind::Coded { status, code, .. } => (status, code),
        };
        let reply = quote! {
            #krate::ErrorReply::new(#status, #code, ::std::string::ToString::to_string(self))
        };
        let bound = self.bound();
        let members = self.fields.members();
        // With its type written out, a field that cannot cross the wire is told where it stands.
        let types = self.fields.iter().map(|field| &field.ty);
        let values: Vec<_> = bound
            .iter()
            .zip(types)
            .map(|(bound, field)| quote!(#krate::__private::wire::<#field>(#bound)))
            .collect();
        let details = match self.fields {
            Fields::Unit => TokenStream::new(),
            Fields::Unnamed(fields) if fields.unnamed.is_empty() => TokenStream::new(),
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                quote!(.with_details(#(#values)*))
            }
            Fields::Unnamed(_) => quote!(.with_details((#(#values,)*))),
            Fields::Named(fields) => {
                let names = fields.named.iter().map(wire_name);
                quote! {
                    .with_details(#krate::__private::FieldsOut::new()#(.with(#names, #values))*)
                }
            }
        };
        quote!(#path { #(#members: #bound),* } => #reply #details,)
    }

    fn arm_from_reply(&self, krate: &TokenStream) -> Option<TokenStream> {
        let Kind::Coded { code, .. } = &self.kind else {
            return None;
        };
        let path = &self.path;
        let bound = self.bound();
        let members = self.fields.members();
        let types = self.fields.iter().map(|field| &field.ty);
        let whole = quote!(::core::option::Option::Some(#path { #(#members: #bound),* }));
        let read = match self.fields {
            Fields::Unit => whole,
            Fields::Unnamed(fields) if fields.unnamed.is_empty() => whole,
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => quote! {{
                let #(#bound)* = #krate::__private::field::<#(#types)*>(reply)?;
                #whole
            }},
            Fields::Unnamed(_) => quote! {{
                let (#(#bound,)*) = #krate::__private::field::<(#(#types,)*)>(reply)?;
                #whole
            }},
            Fields::Named(fields) => {
                let names = fields.named.iter().map(wire_name);
                quote! {{
                    let fields = #krate::__private::FieldsIn::of(reply)?;
                    #(let #bound = fields.get::<#types>(#names)?;)*
                    #whole
                }}
            }
        };
        Some(quote!(#code => return #read,))
    }

    /// Asks the error inside, once no code of this type's own has matched.
    fn ask_inner(&self, krate: &TokenStream) -> Option<TokenStream> {
        let Kind::Transparent = self.kind else {
            return None;
        };
        let path = &self.path;
        let member = self.fields.members().next();
        Some(quote! {
            if let ::core::option::Option::Some(inner) = #krate::RpcError::from_reply(reply) {
                return ::core::option::Option::Some(#path { #member: inner });
            }
        })
    }

    /// A name for each field that no user's item can be taken for.
    fn bound(&self) -> Vec<Ident> {
        (0..self.fields.len())
            .map(|at| format_ident!("field{at}", span = Span::mixed_site()))
            .collect()
    }
}

fn wire_name(field: &Field) -> String {
    let ident = field.ident.as_ref().map(|ident| ident.unraw().to_string());
    Case::Camel.apply(&ident.unwrap_or_default())
}

fn parse_status(status: &LitInt) -> Result<u16> {
    let value = status.base10_parse()?;
    if (400..600).contains(&value) {
        return Ok(value);
    }
    Err(Error::new(
        status.span(),
        "the status of an error is 400 to 599",
    ))
}

fn parse_code(code: &LitStr) -> Result<String> {
    let value = code.value();
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let first = value.bytes().next();
    if first.is_some_and(|first| first.is_ascii_lowercase()) && value.bytes().all(inner) {
        return Ok(value);
    }
    Err(Error::new(
        code.span(),
        "a code is lower-case letters, digits and underscores, beginning with a letter",
    ))
}

/// Two variants with one code could not be told apart.
fn refuse_same_codes(cases: &[Shape<'_>]) -> Result<()> {
    let mut seen: Vec<&str> = Vec::new();
    for case in cases {
        if let Kind::Coded { code, span, .. } = &case.kind {
            if seen.contains(&code.as_str()) {
                return Err(Error::new(
                    *span,
                    format!("the code `{code}` is that of another variant already"),
                ));
            }
            seen.push(code);
        }
    }
    Ok(())
}
