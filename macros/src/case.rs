//! Names in other letter cases, as serde's `rename_all` writes them.

use syn::{Error, LitStr, Result};

/// A letter case that `rename_all` can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Camel,
    Kebab,
    Pascal,
    ScreamingSnake,
    Snake,
}

impl Case {
    /// Reads a case from its name, spelled as serde spells it.
    pub(crate) fn parse(name: &LitStr) -> Result<Self> {
        Ok(match name.value().as_str() {
            "camelCase" => Self::Camel,
            "kebab-case" => Self::Kebab,
            "PascalCase" => Self::Pascal,
            "SCREAMING_SNAKE_CASE" => Self::ScreamingSnake,
            "snake_case" => Self::Snake,
            other => {
                return Err(Error::new(
                    name.span(),
                    format!(
                        "unknown case `{other}`; expected one of camelCase, kebab-case, \
                         PascalCase, SCREAMING_SNAKE_CASE, snake_case"
                    ),
                ));
            }
        })
    }

    /// Writes an identifier (`snake_case` or `PascalCase`) in this case.
    pub(crate) fn apply(self, ident: &str) -> String {
        let words = words(ident);
        match self {
            Self::Camel => words
                .iter()
                .enumerate()
                .map(|(at, word)| if at == 0 { word.clone() } else { capital(word) })
                .collect(),
            Self::Kebab => words.join("-"),
            Self::Pascal => words.iter().map(|word| capital(word)).collect(),
            Self::ScreamingSnake => words.join("_").to_uppercase(),
            Self::Snake => words.join("_"),
        }
    }
}

/// The lower-case words of an identifier. As in serde, each capital of a `PascalCase` name starts a
/// word, so `HTTPGet` is `h_t_t_p_get`.
fn words(ident: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in ident.trim_start_matches("r#").chars() {
        if letter == '_' {
            words.push(String::new());
            continue;
        }
        let starts_word =
            letter.is_uppercase() && words.last().is_some_and(|word| !word.is_empty());
        if starts_word {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.extend(letter.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::Case;

    #[test]
    fn a_field_or_a_variant_is_written_in_every_case() {
        for ident in ["last_updated", "LastUpdated"] {
            assert_eq!(Case::Camel.apply(ident), "lastUpdated");
            assert_eq!(Case::Kebab.apply(ident), "last-updated");
            assert_eq!(Case::Pascal.apply(ident), "LastUpdated");
            assert_eq!(Case::ScreamingSnake.apply(ident), "LAST_UPDATED");
            assert_eq!(Case::Snake.apply(ident), "last_updated");
        }
    }
}
