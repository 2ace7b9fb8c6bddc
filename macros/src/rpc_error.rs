use proc_macro2::TokenStream;

pub(crate) fn expand(_input: TokenStream) -> syn::Result<TokenStream> {
    Ok(TokenStream::new())
}
