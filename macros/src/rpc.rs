//! `#[rpc]`: one trait becomes the client and the dispatcher.

mod read;

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Block, Error, Ident, ItemTrait, Result, Type, ext::IdentExt, spanned::Spanned};

use self::read::{Api, Method, Options, is_option, result_arguments};
use crate::path::crate_path;

pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let options = Options::parse(attribute)?;
    let item: ItemTrait = syn::parse2(item)
        .map_err(|error| Error::new(error.span(), "`#[rpc]` stands above a trait"))?;
    let api = Api::read(&item, &options)?;
    let krate = crate_path(options.krate.as_ref(), "dokit-client", "client");
    let the_trait = api.the_trait(&krate);
    let server = api.server(&krate);
    let client = api.client(&krate);
    Ok(quote!(#the_trait #server #client))
}

impl Api<'_> {
    /// The trait as users implement it: a plain `async fn` in the `impl` fits each of its methods.
    fn the_trait(&self, krate: &TokenStream) -> TokenStream {
        let ItemTrait {
            attrs,
            vis,
            ident,
            supertraits,
            ..
        } = self.item;
        let message = format!("`{{Self}}` does not have the methods of `{ident}`");
        let note =
            format!("write `impl {ident} for {{Self}}`, with an `async fn` for each of them");
        let methods = self.methods.iter().map(|method| method.declaration(krate));
        let supertraits = supertraits.iter();
        quote! {
            #(#attrs)*
            #[diagnostic::on_unimplemented(message = #message, note = #note)]
            #vis trait #ident: #(#supertraits +)* #krate::MaybeSend + #krate::MaybeSync {
                #(#methods)*
            }
        }
    }

    fn server(&self, krate: &TokenStream) -> TokenStream {
        let ItemTrait { vis, ident, .. } = self.item;
        let server = self.server_ident();
        let doc = format!("Calls the methods of [`{ident}`] by name: the server's end of it.");
        let table_doc = format!("The methods of [`{ident}`], in its order.");
        let rows = self.methods.iter().map(|method| method.row(krate));
        let shared = self.methods.iter().filter(|method| !method.exclusive);
        let shared = shared.map(|method| method.arm(ident, krate));
        let all = self.methods.iter().map(|method| method.arm(ident, krate));
        let future = quote! {
            impl ::core::future::Future<Output = #krate::__private::Dispatched> + #krate::MaybeSend
        };
        let unknown = quote! {
            ::core::result::Result::Err(#krate::__private::unknown(#server::METHODS, method))
        };
        quote! {
            #[doc = #doc]
            #[derive(Clone, Copy, Debug, Default)]
            #vis struct #server;

            impl #server {
                #[doc = #table_doc]
                #vis const METHODS: &'static [#krate::Method] = &[#(#rows),*];
            }

            #[automatically_derived]
            #[allow(deprecated, unused_mut, unused_variables)]
            impl<T: #ident> #krate::Dispatch<T> for #server {
                const METHODS: &'static [#krate::Method] = #server::METHODS;

                fn call_shared(
                    object: &T,
                    method: &#krate::Method,
                    arguments: &[u8],
                ) -> #future {
                    async move {
                        match method.name() {
                            #(#shared)*
                            _ => #unknown,
                        }
                    }
                }

                fn call_exclusive(
                    object: &mut T,
                    method: &#krate::Method,
                    arguments: &[u8],
                ) -> #future {
                    async move {
                        match method.name() {
                            #(#all)*
                            _ => #unknown,
                        }
                    }
                }
            }
        }
    }

    fn client(&self, krate: &TokenStream) -> TokenStream {
        let ItemTrait { vis, ident, .. } = self.item;
        let client = format_ident!("{ident}Client");
        let server = self.server_ident();
        let doc = format!("Calls the methods of [`{ident}`] on an object, over a transport.");
        let methods = self.methods.iter().enumerate();
        let methods = methods.map(|(at, method)| method.call(at, vis, &server, krate));
        let options = client_options(vis, krate);
        quote! {
            #[doc = #doc]
            #[derive(Clone, Debug)]
            #vis struct #client<T> {
                caller: #krate::Caller<T>,
            }

            #[allow(dead_code)]
            impl<T> #client<T> {
                /// A client of the object that the transport leads to, with the default options.
                #vis const fn new(transport: T) -> Self {
                    Self { caller: #krate::Caller::new(transport) }
                }
            }

            #[allow(dead_code)]
            impl<T: ::core::clone::Clone> #client<T> {
                #options
            }

            #[allow(dead_code, deprecated)]
            impl<T: #krate::Transport> #client<T> {
                #(#methods)*
            }
        }
    }

    fn server_ident(&self) -> Ident {
        format_ident!("{}Server", self.item.ident)
    }
}

/// The options of a client's calls, each a copy of the client with one changed.
fn client_options(vis: &syn::Visibility, krate: &TokenStream) -> TokenStream {
    let options = [
        (
            "with_deadline",
            "A copy whose calls may take this long, retries included. Default: 30 s.",
            quote!(deadline: ::core::time::Duration),
            quote!(deadline),
        ),
        (
            "with_idempotency_key",
            "A copy whose call runs once, however often it is made with this key.",
            quote!(key: impl ::core::convert::Into<::std::string::String>),
            quote!(key),
        ),
        (
            "with_retry",
            "A copy that tries again like this, where that is safe.",
            quote!(retry: #krate::Retry),
            quote!(retry),
        ),
        (
            "with_traceparent",
            "A copy whose calls belong to this trace, as W3C Trace Context writes it.",
            quote!(traceparent: impl ::core::convert::Into<::std::string::String>),
            quote!(traceparent),
        ),
        (
            "with_timer",
            "A copy that measures deadlines and pauses by this timer.",
            quote!(timer: impl #krate::Timer + 'static),
            quote!(timer),
        ),
    ];
    let options = options.into_iter().map(|(name, doc, parameter, value)| {
        let name = format_ident!("{name}");
        quote! {
            #[doc = #doc]
            #[must_use]
            #vis fn #name(&self, #parameter) -> Self {
                let caller = ::core::clone::Clone::clone(&self.caller);
                Self { caller: caller.#name(#value) }
            }
        }
    });
    quote!(#(#options)*)
}

impl Method<'_> {
    /// The method in the trait.
    fn declaration(&self, krate: &TokenStream) -> TokenStream {
        let attrs = self.item.attrs.iter();
        let attrs = attrs.filter(|attr| !attr.path().is_ident("rpc"));
        let ident = self.ident();
        let inputs = &self.item.sig.inputs;
        let returned = self.returned;
        let body = match &self.item.default {
            Some(Block { stmts, .. }) => quote!({ async move { #(#stmts)* } }),
            None => quote!(;),
        };
        quote! {
            #(#attrs)*
            fn #ident(#inputs)
                -> impl ::core::future::Future<Output = #returned> + #krate::MaybeSend #body
        }
    }

    /// The method in the table.
    fn row(&self, krate: &TokenStream) -> TokenStream {
        let wire = &self.wire;
        let access = if self.exclusive {
            quote!(Exclusive)
        } else {
            quote!(Shared)
        };
        let names = self
            .arguments
            .iter()
            .map(|(name, _)| name.unraw().to_string());
        let all = self.arguments.len();
        let left_out = self.arguments.iter().rev();
        let left_out = left_out
            .take_while(|(_, argument)| is_option(argument))
            .count();
        let required = (left_out > 0).then(|| {
            let required = all - left_out;
            quote!(.with_required(#required))
        });
        let idempotent = self.idempotent.then(|| quote!(.with_idempotent()));
        quote! {
            #krate::Method::new(#wire, #krate::Access::#access, &[#(#names),*])
                #required
                #idempotent
        }
    }

    /// What the dispatcher does for the method.
    fn arm(&self, api: &Ident, krate: &TokenStream) -> TokenStream {
        let wire = &self.wire;
        let ident = self.ident();
        let values: Vec<_> = (0..self.arguments.len())
            .map(|at| format_ident!("argument{at}", span = Span::mixed_site()))
            .collect();
        let read = self.arguments.iter().map(|(_, argument)| {
            let expected = type_text(argument);
            // A type that cannot be read is told at the place where it is written.
            let here = Span::call_site().located_at(argument.span());
            quote_spanned!(here=> read.next::<#argument>(#expected))
        });
        let (value, error) = value_and_error(self.returned, krate);
        quote! {
            #wire => {
                let mut read = #krate::__private::Arguments::read(method, arguments)?;
                #(let #values = #read?;)*
                ::core::mem::drop(read);
                #krate::__private::answer::<#value, #error>(
                    <T as #api>::#ident(object, #(#values),*).await
                )
            }
        }
    }

    /// The method of the client.
    fn call(
        &self,
        at: usize,
        vis: &syn::Visibility,
        server: &Ident,
        krate: &TokenStream,
    ) -> TokenStream {
        let docs = &self.docs;
        let ident = self.ident();
        let doc = docs.is_empty().then(|| {
            let doc = format!("Calls `{}`.", self.wire.value());
            quote!(#[doc = #doc])
        });
        let parameters = self.arguments.iter();
        let parameters = parameters.map(|(name, argument)| quote!(#name: #argument));
        // The user's names are only in the parameters and here, where no name of ours is in the way.
        let written = format_ident!("written", span = Span::mixed_site());
        let pushes = self.arguments.iter().map(|(name, argument)| {
            let here = Span::call_site().located_at(argument.span());
            quote_spanned!(here=> #written.push(&#name))
        });
        let (value, error) = value_and_error(self.returned, krate);
        quote! {
            #doc
            #(#docs)*
            #vis async fn #ident(
                &self,
                #(#parameters),*
            ) -> ::core::result::Result<#value, #krate::CallError<#error>> {
                let mut #written = #krate::__private::ArgumentsOut::new(&#server::METHODS[#at]);
                #(#pushes?;)*
                #krate::__private::call::<_, #value, #error>(&self.caller, #written).await
            }
        }
    }
}

/// The types of the result and of the error. Of an alias with one of them, the compiler is asked.
fn value_and_error(returned: &Type, krate: &TokenStream) -> (TokenStream, TokenStream) {
    match result_arguments(returned).as_deref() {
        Some([value, error]) => (value.to_token_stream(), error.to_token_stream()),
        _ => (
            quote!(<#returned as #krate::__private::Returned>::Value),
            quote!(<#returned as #krate::__private::Returned>::Error),
        ),
    }
}

/// A type as one writes it: `Option<Vec<u64>>`.
fn type_text(argument: &Type) -> String {
    let mut text = String::new();
    for token in argument.to_token_stream() {
        push_token(&mut text, token);
    }
    text
}

fn push_token(text: &mut String, token: TokenTree) {
    match token {
        TokenTree::Group(group) => {
            let (open, close) = match group.delimiter() {
                Delimiter::Parenthesis => ("(", ")"),
                Delimiter::Bracket => ("[", "]"),
                Delimiter::Brace => ("{", "}"),
                Delimiter::None => ("", ""),
            };
            text.push_str(open);
            for token in group.stream() {
                push_token(text, token);
            }
            text.push_str(close);
        }
        TokenTree::Punct(punct) => {
            text.push(punct.as_char());
            if matches!(punct.as_char(), ',' | ';') {
                text.push(' ');
            }
        }
        other => {
            if text.ends_with(|last: char| last.is_alphanumeric()) {
                text.push(' ');
            }
            text.push_str(&other.to_string());
        }
    }
}
