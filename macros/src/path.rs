//! Where generated code finds the crate that it talks to.

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Ident, Path};

/// The path of one of our crates as the user's crate sees it: the crate itself where it is a
/// dependency (`::dokit_storage`), else its module in the umbrella (`::dokit::storage`).
///
/// `chosen` is what the user wrote as `crate = path`, which wins.
pub(crate) fn crate_path(chosen: Option<&Path>, package: &str, module: &str) -> TokenStream {
    if let Some(path) = chosen {
        return quote!(#path);
    }
    let module = Ident::new(module, Span::call_site());
    match (crate_name(package), crate_name("dokit")) {
        (Ok(FoundCrate::Name(name)), _) => {
            let name = Ident::new(&name, Span::call_site());
            quote!(::#name)
        }
        // Inside our own crate: `extern crate self as dokit_storage;` makes this name hold in the
        // library, its tests and its doc examples alike.
        (Ok(FoundCrate::Itself), _) => {
            let name = Ident::new(&package.replace('-', "_"), Span::call_site());
            quote!(::#name)
        }
        (Err(_), Ok(FoundCrate::Name(name))) => {
            let name = Ident::new(&name, Span::call_site());
            quote!(::#name::#module)
        }
        // The umbrella's own tests and examples; and the best guess where nothing was found, whose
        // compiler error then names the crate that is missing.
        (Err(_), _) => quote!(::dokit::#module),
    }
}
