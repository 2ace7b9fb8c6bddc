//! `machine!`: a table of states, events and transitions, checked and turned into a constant.
//!
//! The macro sees the table and not the enums. What only the enums can tell (a variant that the table
//! names and the enum lacks, or the other way round) is left to matches that rustc checks, with the
//! user's own tokens in them, so that its errors point into the table.

mod duration;
mod generate;
mod parse;
mod table;

use proc_macro2::TokenStream;

pub(crate) fn expand(input: TokenStream) -> syn::Result<TokenStream> {
    let machine: parse::Machine = syn::parse2(input)?;
    let table = table::Table::check(&machine)?;
    Ok(generate::constant(&machine, &table))
}
