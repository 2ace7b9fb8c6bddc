//! The grammar of `machine!`.

use proc_macro2::Span;
use syn::{
    Attribute, Error, Expr, Ident, LitStr, Path, Result, Token, Visibility, braced, bracketed,
    ext::IdentExt as _,
    parenthesized,
    parse::{Parse, ParseStream},
    punctuated::Punctuated,
};

use crate::case::Case;

/// `#[attributes] vis NAME: State, Event { blocks }`.
pub(super) struct Machine {
    pub(super) attributes: Vec<Attribute>,
    pub(super) options: Options,
    pub(super) visibility: Visibility,
    pub(super) name: Ident,
    pub(super) state: Path,
    pub(super) event: Path,
    pub(super) blocks: Vec<Block>,
}

/// What `#[machine(..)]` says.
pub(super) struct Options {
    pub(super) krate: Option<Path>,
    pub(super) case: Case,
    pub(super) initial: Option<Expr>,
    pub(super) unhandled: Vec<Ident>,
}

/// `State => { rules } after .. => ..`.
pub(super) struct Block {
    pub(super) source: Source,
    pub(super) rules: Vec<Rule>,
    pub(super) after: Option<After>,
}

pub(super) enum Source {
    State(Ident),
    Wildcard(Span),
}

/// `Event | Event if guard => target`.
pub(super) struct Rule {
    pub(super) events: Vec<Ident>,
    pub(super) guard: Option<Path>,
    pub(super) target: Target,
}

pub(super) enum Target {
    /// `State`: a variant without data.
    State(Ident),
    /// `function -> State` or `function -> [State, State]`.
    Computed(Path, Vec<Ident>),
    /// `internal`, or `function -> internal`.
    Internal(Span, Option<Path>),
}

/// `after "1d" => Event`, or `after "1d" => function -> Event`.
pub(super) struct After {
    pub(super) length: Length,
    pub(super) function: Option<Path>,
    pub(super) event: Ident,
}

pub(super) enum Length {
    Text(LitStr),
    Constant(Path),
}

impl Parse for Machine {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let (own, attributes) = Attribute::parse_outer(input)?
            .into_iter()
            .partition::<Vec<_>, _>(|attribute| attribute.path().is_ident("machine"));
        let options = Options::parse(&own)?;
        let visibility = input.parse()?;
        let name = input.parse()?;
        input.parse::<Token![:]>()?;
        let state = input.call(Path::parse_mod_style)?;
        input.parse::<Token![,]>()?;
        let event = input.call(Path::parse_mod_style)?;
        let content;
        braced!(content in input);
        let mut blocks = Vec::new();
        while !content.is_empty() {
            blocks.push(content.parse()?);
            content.parse::<Option<Token![,]>>()?;
        }
        if !input.is_empty() {
            return Err(input.error("expected the end: one `machine!` is one machine"));
        }
        Ok(Self {
            attributes,
            options,
            visibility,
            name,
            state,
            event,
            blocks,
        })
    }
}

impl Options {
    fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut options = Self {
            krate: None,
            case: Case::Snake,
            initial: None,
            unhandled: Vec::new(),
        };
        for attribute in attributes {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("rename_all") {
                    options.case = Case::parse(&meta.value()?.parse()?)?;
                } else if meta.path.is_ident("initial") {
                    options.initial = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("crate") {
                    options.krate = Some(meta.value()?.call(Path::parse_mod_style)?);
                } else if meta.path.is_ident("unhandled") {
                    let content;
                    parenthesized!(content in meta.input);
                    let events = Punctuated::<Ident, Token![,]>::parse_terminated(&content)?;
                    options.unhandled.extend(events);
                } else {
                    return Err(meta.error(
                        "unknown option; expected `rename_all = \"..\"`, `initial = expression`, \
                         `unhandled(Event, ..)` or `crate = path`",
                    ));
                }
                Ok(())
            })?;
        }
        Ok(options)
    }
}

impl Block {
    /// Each event with its rule, in order.
    pub(super) fn events(&self) -> impl Iterator<Item = (&Ident, &Rule)> {
        let rules = self.rules.iter();
        rules.flat_map(|rule| rule.events.iter().map(move |event| (event, rule)))
    }
}

impl Parse for Block {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let source = if input.peek(Token![_]) {
            Source::Wildcard(input.parse::<Token![_]>()?.span)
        } else {
            Source::State(input.parse()?)
        };
        input.parse::<Token![=>]>()?;
        let content;
        braced!(content in input);
        let mut rules = Vec::new();
        while !content.is_empty() {
            rules.push(content.parse()?);
            if !content.is_empty() {
                content.parse::<Token![,]>()?;
            }
        }
        let after = if peek_word(input, "after") {
            input.parse::<Ident>()?;
            Some(input.parse()?)
        } else {
            None
        };
        Ok(Self {
            source,
            rules,
            after,
        })
    }
}

impl Parse for Rule {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut events = vec![input.parse()?];
        while input.parse::<Option<Token![|]>>()?.is_some() {
            events.push(input.parse()?);
        }
        let guard = if input.parse::<Option<Token![if]>>()?.is_some() {
            Some(input.call(Path::parse_mod_style)?)
        } else {
            None
        };
        input.parse::<Token![=>]>()?;
        Ok(Self {
            events,
            guard,
            target: input.parse()?,
        })
    }
}

impl Parse for Target {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if peek_word(input, "internal") {
            return Ok(Self::Internal(input.parse::<Ident>()?.span(), None));
        }
        let path = input.call(Path::parse_mod_style)?;
        if input.parse::<Option<Token![->]>>()?.is_none() {
            return single(path).map(Self::State);
        }
        if peek_word(input, "internal") {
            let word: Ident = input.parse()?;
            return Ok(Self::Internal(word.span(), Some(path)));
        }
        if !input.peek(syn::token::Bracket) {
            return Ok(Self::Computed(path, vec![input.parse()?]));
        }
        let content;
        let bracket = bracketed!(content in input);
        let targets = Punctuated::<Ident, Token![,]>::parse_terminated(&content)?;
        if targets.is_empty() {
            let message = "name the states that the function may choose";
            return Err(Error::new(bracket.span.join(), message));
        }
        Ok(Self::Computed(path, targets.into_iter().collect()))
    }
}

impl Parse for After {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let length = if input.peek(LitStr) {
            Length::Text(input.parse()?)
        } else {
            Length::Constant(input.call(Path::parse_mod_style)?)
        };
        input.parse::<Token![=>]>()?;
        let path = input.call(Path::parse_mod_style)?;
        let (function, event) = if input.parse::<Option<Token![->]>>()?.is_some() {
            (Some(path), input.parse()?)
        } else {
            (None, single(path)?)
        };
        Ok(Self {
            length,
            function,
            event,
        })
    }
}

/// Whether the next token is a word of the grammar that Rust does not reserve.
fn peek_word(input: ParseStream<'_>, word: &str) -> bool {
    let ahead = input.fork();
    ahead
        .call(Ident::parse_any)
        .is_ok_and(|ident| ident == word)
        && !ahead.peek(Token![::])
}

fn single(path: Path) -> Result<Ident> {
    path.get_ident().cloned().ok_or_else(|| {
        Error::new_spanned(
            path,
            "expected the bare name of a variant, or `function -> Variant`",
        )
    })
}
