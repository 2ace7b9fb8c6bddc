//! `#[derive(Schema)]`: a struct that describes keys becomes a constant for each of them.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Attribute, Data, DeriveInput, Error, ExprPath, Fields, GenericArgument, Ident, LitInt, LitStr,
    Path, PathArguments, Result, Type, Visibility, parse_quote, spanned::Spanned,
};

use crate::{case::Case, path::crate_path};

/// The longest key that every engine takes, in bytes (`Limits::default` of dokit-storage).
const KEY_BYTES: usize = 2048;

pub(crate) fn expand(input: TokenStream) -> Result<TokenStream> {
    let input: DeriveInput = syn::parse2(input)?;
    let options = Options::parse(&input.attrs)?;
    let fields = all(named_fields(&input)?
        .iter()
        .map(|field| Entry::parse(field, &options)))?;
    all(fields.iter().map(Entry::check_name))?;
    all((1..fields.len()).map(|at| fields[at].check_against(&fields[..at])))?;

    let name = &input.ident;
    let krate = crate_path(options.krate.as_ref(), "dokit-storage", "storage");
    let constants = fields.iter().map(|field| field.constant(&krate));
    let version = options.version;
    let idents: Vec<_> = fields.iter().map(|field| &field.ident).collect();
    Ok(quote! {
        #[allow(dead_code)]
        impl #name {
            #(#constants)*
        }

        impl #krate::Schema for #name {
            const VERSION: u32 = #version;
        }

        // The struct is only a description, so nothing else builds it or reads its fields, and the
        // compiler would call both dead.
        const _: () = {
            #[allow(dead_code, deprecated)]
            fn describe(schema: #name) -> #name {
                let #name { #(#idents),* } = schema;
                #name { #(#idents),* }
            }
        };
    })
}

/// The fields of a struct that can be a schema.
fn named_fields(input: &DeriveInput) -> Result<Vec<syn::Field>> {
    if !input.generics.params.is_empty() {
        return Err(Error::new(
            input.generics.span(),
            "a schema cannot be generic: its keys are constants",
        ));
    }
    let Data::Struct(data) = &input.data else {
        return Err(Error::new(
            input.ident.span(),
            "a schema is a struct with a named field for each key",
        ));
    };
    match &data.fields {
        Fields::Named(fields) => Ok(fields.named.iter().cloned().collect()),
        Fields::Unnamed(_) | Fields::Unit => Err(Error::new(
            input.ident.span(),
            "a schema needs named fields: `struct Name { key: Type }`",
        )),
    }
}

/// All the values, or all the errors.
fn all<T>(results: impl Iterator<Item = Result<T>>) -> Result<Vec<T>> {
    let mut values = Vec::new();
    let mut errors: Option<Error> = None;
    for result in results {
        match (result, &mut errors) {
            (Ok(value), _) => values.push(value),
            (Err(error), Some(errors)) => errors.combine(error),
            (Err(error), None) => errors = Some(error),
        }
    }
    errors.map_or(Ok(values), Err)
}

/// `#[schema(..)]` on the struct.
struct Options {
    rename_all: Option<Case>,
    version: u32,
    krate: Option<Path>,
}

impl Options {
    fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut options = Self {
            rename_all: None,
            version: 1,
            krate: None,
        };
        for attribute in own(attributes) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("rename_all") {
                    options.rename_all = Some(Case::parse(&meta.value()?.parse()?)?);
                } else if meta.path.is_ident("version") {
                    let version: LitInt = meta.value()?.parse()?;
                    options.version = version.base10_parse()?;
                    if options.version == 0 {
                        return Err(Error::new(version.span(), "versions count from 1"));
                    }
                } else if meta.path.is_ident("crate") {
                    options.krate = Some(meta.value()?.parse()?);
                } else {
                    return Err(meta.error(
                        "unknown option of a schema; expected rename_all, version or crate",
                    ));
                }
                Ok(())
            })?;
        }
        Ok(options)
    }
}

fn own(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("schema"))
}

/// One field: a key, or a family of keys under a prefix.
struct Entry {
    ident: Ident,
    constant: Ident,
    visibility: Visibility,
    docs: Vec<Attribute>,
    /// The key, or the prefix of the family.
    name: LitStr,
    family: bool,
    /// The type of the value.
    value: Type,
    check: Option<ExprPath>,
    validate: bool,
}

impl Entry {
    fn parse(field: &syn::Field, container: &Options) -> Result<Self> {
        let ident = field
            .ident
            .clone()
            .ok_or_else(|| Error::new(field.span(), "a schema needs named fields"))?;
        let options = FieldOptions::parse(&field.attrs)?;
        let family = options.prefix.is_some();
        let (name, value) = match (options.prefix, is_family(&field.ty)) {
            (Some(prefix), true) => {
                if let Some(rename) = options.rename {
                    return Err(Error::new(
                        rename.span(),
                        "a family has a `prefix`, not a name",
                    ));
                }
                (prefix, member_type(&field.ty)?)
            }
            (Some(prefix), false) => {
                return Err(Error::new(
                    prefix.span(),
                    "only a `Family<V>` has a prefix; use `rename` to name a single key",
                ));
            }
            (None, true) => {
                return Err(Error::new(
                    field.ty.span(),
                    "a family needs the prefix of its keys: `#[schema(prefix = \"...\")]`",
                ));
            }
            (None, false) => {
                let renamed = options.rename.unwrap_or_else(|| {
                    let ident = ident.to_string();
                    let plain = ident.trim_start_matches("r#");
                    let name = container
                        .rename_all
                        .map_or_else(|| plain.to_owned(), |case| case.apply(plain));
                    LitStr::new(&name, field_span(field))
                });
                (renamed, field.ty.clone())
            }
        };
        let mut docs: Vec<Attribute> = field
            .attrs
            .iter()
            .filter(|attribute| attribute.path().is_ident("doc"))
            .cloned()
            .collect();
        if docs.is_empty() {
            let text = if family {
                format!("The keys under `{}`.", name.value())
            } else {
                format!("The key `{}`.", name.value())
            };
            docs.push(parse_quote!(#[doc = #text]));
        }
        Ok(Self {
            constant: constant_name(&ident),
            ident,
            visibility: field.vis.clone(),
            docs,
            name,
            family,
            value,
            check: options.check,
            validate: options.validate,
        })
    }

    /// Refuses names that no store takes or that are the library's.
    fn check_name(&self) -> Result<()> {
        let name = self.name.value();
        let what = self.what();
        let refuse = |reason: &str| Err(Error::new(self.name.span(), reason));
        if name.is_empty() {
            return refuse(&format!("the {what} is empty"));
        }
        if name.len() > KEY_BYTES {
            return refuse(&format!(
                "the {what} is {} bytes; the limit is {KEY_BYTES}",
                name.len()
            ));
        }
        // A family under "_" would hold the member "_x" under the library's "__x".
        if name.starts_with("__") || (self.family && name == "_") {
            return refuse(&format!(
                "the {what} {name:?} is reserved: keys that begin with `__` are the library's own"
            ));
        }
        Ok(())
    }

    /// Refuses a name that collides with an earlier one.
    fn check_against(&self, earlier: &[Self]) -> Result<()> {
        let name = self.name.value();
        for other in earlier {
            let others = other.name.value();
            let collision = if self.constant == other.constant {
                Some(format!(
                    "the fields `{}` and `{}` both give the constant `{}`",
                    other.ident, self.ident, self.constant
                ))
            } else if name == others {
                Some(format!(
                    "the {} {name:?} is already that of the field `{}`",
                    self.what(),
                    other.ident
                ))
            } else if self.family && others.starts_with(&name) {
                Some(shadow(&name, &other.ident, &others, other.what()))
            } else if other.family && name.starts_with(&others) {
                Some(shadow(&others, &self.ident, &name, self.what()))
            } else {
                None
            };
            if let Some(collision) = collision {
                return Err(Error::new(self.name.span(), collision));
            }
        }
        Ok(())
    }

    fn what(&self) -> &'static str {
        if self.family { "prefix" } else { "key" }
    }

    /// The constant that stands for this field.
    fn constant(&self, krate: &TokenStream) -> TokenStream {
        let Self {
            constant,
            visibility,
            docs,
            name,
            value,
            ..
        } = self;
        let kind = if self.family {
            quote!(#krate::Family::<#value, Self>)
        } else {
            quote!(#krate::Key::<Self, #value>)
        };
        // With the span of the type, an error about a bound points there.
        let validate = quote_spanned!(value.span()=> #krate::__private::validate::<#value>);
        let made = match (&self.check, self.validate) {
            (None, false) => quote!(new(#name)),
            (Some(check), false) => quote!(checked(#name, #check)),
            (None, true) => quote!(checked(#name, #validate)),
            (Some(check), true) => quote! {
                checked(#name, |value: &#value| match #check(value) {
                    ::core::result::Result::Ok(()) => #validate(value),
                    refused => refused,
                })
            },
        };
        quote! {
            #(#docs)*
            #visibility const #constant: #kind = #kind::#made;
        }
    }
}

fn shadow(prefix: &str, ident: &Ident, name: &str, what: &str) -> String {
    format!(
        "the {what} {name:?} of the field `{ident}` begins with the prefix {prefix:?}: a list of \
         that family would hold it"
    )
}

/// `#[schema(..)]` on a field.
struct FieldOptions {
    rename: Option<LitStr>,
    prefix: Option<LitStr>,
    check: Option<ExprPath>,
    validate: bool,
}

impl FieldOptions {
    fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut options = Self {
            rename: None,
            prefix: None,
            check: None,
            validate: false,
        };
        for attribute in own(attributes) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("rename") {
                    options.rename = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("prefix") {
                    options.prefix = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("check") {
                    options.check = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("validate") {
                    if !cfg!(feature = "garde") {
                        return Err(
                            meta.error("`validate` needs the feature `garde` of dokit-storage")
                        );
                    }
                    options.validate = true;
                } else {
                    return Err(meta.error(
                        "unknown option of a key; expected rename, prefix, check or validate",
                    ));
                }
                Ok(())
            })?;
        }
        Ok(options)
    }
}

fn field_span(field: &syn::Field) -> Span {
    field.ident.as_ref().map_or(field.span(), Ident::span)
}

/// The constant for a field: `last_updated` is `LAST_UPDATED`.
fn constant_name(field: &Ident) -> Ident {
    let name = Case::ScreamingSnake.apply(&field.to_string());
    if name.starts_with(|first: char| first.is_ascii_digit()) || name.is_empty() {
        return format_ident!("_{name}", span = field.span());
    }
    Ident::new(&name, field.span())
}

/// Whether a type is written as a family: a macro sees names, not types.
fn is_family(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Family"))
}

/// The `V` of `Family<V>`.
fn member_type(ty: &Type) -> Result<Type> {
    if let Type::Path(path) = ty
        && let Some(last) = path.path.segments.last()
        && let PathArguments::AngleBracketed(arguments) = &last.arguments
        && let (Some(GenericArgument::Type(member)), 1) =
            (arguments.args.first(), arguments.args.len())
    {
        return Ok(member.clone());
    }
    Err(Error::new(
        ty.span(),
        "a family names the type of its values and nothing else: `Family<V>`",
    ))
}
