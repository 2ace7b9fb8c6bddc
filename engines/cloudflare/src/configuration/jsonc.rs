//! JSON with comments and trailing commas, read without losing where in the text it stands.

use std::ops::Range;

use serde::{
    Deserialize, Serialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::{ser::Formatter, value::RawValue};

/// The text with spaces in place of its comments and trailing commas: JSON in which everything stands where it
/// stood.
pub(super) fn plain(text: &str) -> String {
    let mut plain = text.as_bytes().to_vec();
    // The comma after which nothing but white space has come so far.
    let mut comma = None;
    let mut at = 0;
    while let Some(&byte) = plain.get(at) {
        let comment = match plain.get(at + 1) {
            Some(b'/') if byte == b'/' => until(&plain[at..], b"\n"),
            Some(b'*') if byte == b'/' => 2 + until(&plain[at + 2..], b"*/") + 2,
            _ => 0,
        };
        if comment > 0 {
            let end = plain.len().min(at + comment);
            let comment = plain[at..end].iter_mut();
            comment
                .filter(|byte| **byte != b'\n')
                .for_each(|byte| *byte = b' ');
            at = end;
            continue;
        }
        match (byte, comma) {
            (b',', _) => comma = Some(at),
            (b'}' | b']', Some(comma)) => plain[comma] = b' ',
            _ if byte.is_ascii_whitespace() => {}
            _ => comma = None,
        }
        at = if byte == b'"' {
            string_end(&plain, at)
        } else {
            at + 1
        };
    }
    // Only whole comments and commas were replaced: it is as good UTF-8 as it was.
    String::from_utf8_lossy(&plain).into_owned()
}

fn until(bytes: &[u8], end: &[u8]) -> usize {
    let found = bytes.windows(end.len()).position(|window| window == end);
    found.unwrap_or(bytes.len())
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// The members of an object, in order, each with the text of its value.
pub(super) struct Members<'a>(pub(super) Vec<(String, &'a str)>);

impl<'a> Members<'a> {
    pub(super) fn read(object: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(object)
    }

    /// The value of a member. One that is there twice is an error: who reads the last one sees another file than who
    /// reads the first.
    pub(super) fn get(&self, name: &str) -> Result<Option<&'a str>, String> {
        let mut found = self.0.iter().filter(|(key, _)| key == name);
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => Err(format!("has `{name}` twice")),
            (found, _) => Ok(found.map(|(_, value)| *value)),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members<'de>, M::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    members.push((key, value.get()));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

/// Why a part of a text could not be read: without the place, which would be that in the part.
pub(super) fn reason(error: &serde_json::Error) -> String {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = error.to_string();
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

/// Where a part of a text stands in it.
pub(super) fn position(part: &str, text: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    start..start + part.len()
}

/// The white space at the beginning of the line on which a place is.
pub(super) fn indentation(text: &str, at: usize) -> &str {
    let line = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let line = &text[line..];
    let depth = line.find(|c: char| !matches!(c, ' ' | '\t'));
    &line[..depth.unwrap_or(line.len())]
}

/// An array with a line for each element.
pub(super) fn list(elements: &[String], indentation: &str, step: &str) -> String {
    if elements.is_empty() {
        return "[]".to_owned();
    }
    let elements = elements.join(&format!(",\n{indentation}{step}"));
    format!("[\n{indentation}{step}{elements}\n{indentation}]")
}

/// A value on one line, with spaces where a person would put them.
pub(super) fn line<T: Serialize>(value: &T) -> String {
    let mut text = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, OneLine);
    match value.serialize(&mut serializer) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) => unreachable!("names and lists of names are JSON: {error}"),
    }
}

struct OneLine;

impl Formatter for OneLine {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        writer.write_all(if first { b" " } else { b", " })
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
    ) -> std::io::Result<()> {
        writer.write_all(b": ")
    }

    fn end_object<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b" }")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::plain;

    #[test]
    fn comments_and_trailing_commas_become_spaces() {
        for (text, value) in [
            ("{\"a\": 1, // b, }\n}", json!({ "a": 1 })),
            ("[1, /* \u{e9} ] \n */ ]", json!([1])),
            ("[[1,\n], 2 , /**/ ]", json!([[1], 2])),
            (
                r#"["// \" /*", ",]", "\\"]"#,
                json!(["// \" /*", ",]", "\\"]),
            ),
        ] {
            let plain = plain(text);
            assert_eq!(plain.len(), text.len());
            assert_eq!(serde_json::from_str::<Value>(&plain).ok(), Some(value));
        }
    }

    #[test]
    fn what_is_torn_stays_torn() {
        for (text, expected) in [
            ("[1, /", "[1, /"),
            ("[/ 1]", "[/ 1]"),
            ("[/*/ 1]", "[      "),
            ("[1 // x", "[1     "),
            (r#"["\"#, r#"["\"#),
            ("", ""),
        ] {
            assert_eq!(plain(text), expected);
        }
    }
}
