//! The constant that a checked table becomes.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::{Ident, Path, spanned::Spanned as _};

use super::{
    parse::{Machine, Target},
    table::{Fixed, Move, State, Table, Timeout},
};
use crate::{case::Case, path::crate_path};

pub(super) fn constant(machine: &Machine, table: &Table<'_>) -> TokenStream {
    let krate = crate_path(machine.options.krate.as_ref(), "dokit-fsm", "fsm");
    let Machine {
        attributes,
        visibility,
        name,
        state,
        event,
        ..
    } = machine;
    let writer = Writer { machine, krate };
    let krate = &writer.krate;

    let variants: Vec<_> = table.states.iter().map(|state| state.variant).collect();
    let state_index = index(state, &variants);
    let event_index = index(event, &table.events);
    let event_names = table.events.iter().map(|event| writer.name(event));
    let states = table.states.iter().map(|state| writer.state(state, table));
    let initial = match &machine.options.initial {
        Some(expression) => quote!(#expression),
        None => writer.unit(variants[0]),
    };
    let title = Case::Snake.apply(&name.to_string().to_lowercase());
    let key = format!("__fsm:{title}");

    quote! {
        #(#attributes)*
        #visibility const #name: #krate::Machine<#state, #event> =
            #krate::Machine::__new(#krate::__private::Table {
                name: #title,
                key: #key,
                state_index: #state_index,
                event_index: #event_index,
                initial: || #initial,
                events: &[#(#event_names),*],
                states: &[#(#states),*],
            });
    }
}

struct Writer<'a> {
    machine: &'a Machine,
    krate: TokenStream,
}

impl Writer<'_> {
    fn state(&self, state: &State<'_>, table: &Table<'_>) -> TokenStream {
        let krate = &self.krate;
        let name = self.name(state.variant);
        let moves = state.moves.iter().map(|it| self.transition(it));
        let after = option(state.after.as_ref().map(|it| self.timeout(it, table)));
        quote!(#krate::__private::State { name: #name, moves: &[#(#moves),*], after: #after })
    }

    fn transition(&self, it: &Move<'_>) -> TokenStream {
        let Self { machine, krate } = self;
        let Machine { state, event, .. } = machine;
        let Move {
            event: index, to, ..
        } = it;
        let guard = option(it.guard.map(|path| {
            let name = path.segments.last().map(|last| last.ident.to_string());
            // `refusal` turns the user's reason into text, whatever its type.
            let [from, input] = ["from", "input"].map(|it| local(it, path.span()));
            let check = quote_spanned!(path.span()=> #path(#from, #input));
            quote! {
                #krate::__private::Guard {
                    name: #name,
                    check: |#from: &#state, #input: &#event| #krate::__private::refusal(#check),
                }
            }
        }));
        let (internal, make) = match it.target {
            Target::State(variant) => {
                let value = self.unit(variant);
                (false, quote!(|_: &#state, _: &#event| #value))
            }
            Target::Computed(function, _) => (false, quote!(#function)),
            Target::Internal(_, Some(function)) => (true, quote!(#function)),
            Target::Internal(place, None) => {
                let from = local("from", *place);
                let same = quote_spanned!(*place=> ::core::clone::Clone::clone(#from));
                (true, quote!(|#from: &#state, _: &#event| #same))
            }
        };
        quote! {
            #krate::__private::Move {
                event: #index,
                guard: #guard,
                internal: #internal,
                to: &[#(#to),*],
                make: #make,
            }
        }
    }

    fn timeout(&self, timeout: &Timeout<'_>, table: &Table<'_>) -> TokenStream {
        let krate = &self.krate;
        let Machine { state, event, .. } = self.machine;
        let length = match timeout.length {
            Fixed::Millis(millis) => quote!(::core::time::Duration::from_millis(#millis)),
            Fixed::Constant(path) => quote!(#path),
        };
        let index = timeout.event;
        let make = match timeout.function {
            Some(function) => quote!(#function),
            None => {
                let variant = table.events[index];
                let value = variant_of(event, variant);
                let value = quote_spanned!(variant.span()=> #value {});
                quote!(|_: &#state| #value)
            }
        };
        quote!(#krate::__private::Timeout { length: #length, event: #index, make: #make })
    }

    /// A state without data; of one with data, rustc names the field that is missing.
    fn unit(&self, variant: &Ident) -> TokenStream {
        let value = variant_of(&self.machine.state, variant);
        quote_spanned!(variant.span()=> #value {})
    }

    fn name(&self, variant: &Ident) -> String {
        self.machine.options.case.apply(&variant.to_string())
    }
}

/// A match over every variant: rustc refuses it, at the enum's name in the table, when the table
/// leaves one out, and at the variant when the enum has none of that name.
fn index(path: &Path, variants: &[&Ident]) -> TokenStream {
    let arms = variants.iter().enumerate().map(|(index, variant)| {
        let pattern = variant_of(path, variant);
        quote!(#pattern { .. } => #index)
    });
    let value = local("value", path.span());
    let body = quote_spanned!(path.span()=> match *#value { #(#arms),* });
    quote!(|#value: &#path| -> usize { #body })
}

/// `Enum::Variant`, all of it where the variant stands in the table, so that errors point there.
fn variant_of(path: &Path, variant: &Ident) -> TokenStream {
    let path = path.to_token_stream().into_iter().map(|mut token| {
        token.set_span(token.span().located_at(variant.span()));
        token
    });
    quote_spanned!(variant.span()=> #(#path)*::#variant)
}

/// A variable of ours, which nothing in the user's tokens can name.
fn local(name: &str, place: Span) -> Ident {
    Ident::new(name, Span::mixed_site().located_at(place))
}

fn option(value: Option<TokenStream>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}
