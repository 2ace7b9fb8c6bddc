//! What a text of SQL says, as far as it has to be known before the platform reads it: where its
//! statements end, which of them write, and where their parameters stand.

use std::{borrow::Cow, ops::Range};

/// The statements of a text, in order. Comments and empty statements are none.
#[derive(Debug)]
pub(crate) struct Text<'a> {
    query: &'a str,
    pub(crate) statements: Vec<Statement<'a>>,
    /// The first name that is this library's own.
    pub(crate) reserved: Option<&'a str>,
    /// Whether something in it may undo the open transaction: `OR ROLLBACK`, or what a table or a trigger is
    /// told to do later.
    pub(crate) rolls_back: bool,
}

#[derive(Debug)]
pub(crate) struct Statement<'a> {
    /// Without what ends it.
    pub(crate) text: &'a str,
    /// Where it begins in the whole.
    start: usize,
    pub(crate) kind: Kind,
    /// The pragma that it asks, in lower case: its schema's name where it gives one.
    pub(crate) pragma: Option<String>,
    /// Whether it says `RETURNING`.
    pub(crate) returns: bool,
    /// How many parameters it has.
    pub(crate) parameters: usize,
    /// Where they stand in its text, and which they are, from 0.
    places: Vec<(Range<usize>, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It gives rows, and can stand where a table can.
    Select,
    /// It tells of tables and statements: `PRAGMA`, `EXPLAIN`.
    Describe,
    /// Whatever else: it may write.
    Write,
}

impl<'a> Text<'a> {
    pub(crate) fn read(query: &'a str) -> Self {
        let mut text = Self {
            query,
            statements: Vec::new(),
            reserved: None,
            rolls_back: false,
        };
        let mut open: Option<Reader<'a>> = None;
        for (token, at) in Tokens::of(query) {
            let word = &query[at.clone()];
            if text.reserved.is_none() && token.is_name() && is_reserved(word) {
                text.reserved = Some(word);
            }
            text.rolls_back |= token == Token::Word && word.eq_ignore_ascii_case("rollback");
            if token == Token::Other && word == ";" {
                match open.take() {
                    Some(reader) if reader.is_within_a_trigger() => {
                        open = Some(reader.with(query, token, at));
                    }
                    Some(reader) => text.statements.push(reader.end(query)),
                    None => {}
                }
                continue;
            }
            let reader = open.take().unwrap_or_else(|| Reader::at(at.start));
            open = Some(reader.with(query, token, at));
        }
        text.statements.extend(open.map(|reader| reader.end(query)));
        text
    }

    /// The last statement, which has the parameters.
    pub(crate) fn last(&self) -> Option<&Statement<'a>> {
        self.statements.last()
    }

    /// The whole, where the last statement is written like this.
    pub(crate) fn ending_in(&self, last: &str) -> String {
        let before = self.last().map_or(0, |last| last.start);
        format!("{}{last}", &self.query[..before])
    }
}

impl Statement<'_> {
    pub(crate) fn writes(&self) -> bool {
        self.kind == Kind::Write
    }

    /// Whether it may be the one that defers foreign keys.
    pub(crate) fn defers(&self) -> bool {
        self.pragma.as_deref() == Some("defer_foreign_keys")
    }

    /// The statement with those parameters made integers that `is_integer` says are: to the platform
    /// every number is a float.
    pub(crate) fn with_integers(&self, is_integer: impl Fn(usize) -> bool) -> Cow<'_, str> {
        let mut written = String::new();
        let mut copied = 0;
        for (place, _) in self.places.iter().filter(|(_, which)| is_integer(*which)) {
            written += &self.text[copied..place.start];
            // The plus takes away the affinity that a cast gives, which a parameter has not.
            written += &format!("(+CAST({} AS INTEGER))", &self.text[place.clone()]);
            copied = place.end;
        }
        if copied == 0 {
            return Cow::Borrowed(self.text);
        }
        written += &self.text[copied..];
        Cow::Owned(written)
    }
}

fn is_reserved(word: &str) -> bool {
    let name = word.trim_start_matches(['"', '\'', '`', '[']);
    let start = name.get(..7);
    start.is_some_and(|start| start.eq_ignore_ascii_case("_dokit_"))
}

/// A statement that is being read.
#[derive(Debug)]
struct Reader<'a> {
    at: Range<usize>,
    places: Vec<(Range<usize>, usize)>,
    parameters: usize,
    /// Parameters that have a name.
    names: Vec<(&'a str, usize)>,
    kind: Option<Kind>,
    /// `WITH` was its first word: what follows says the kind.
    with: bool,
    /// The first word was `PRAGMA`; then the word that follows it.
    pragma: Option<String>,
    /// `REPLACE` was the last word, which may be a name.
    replace: bool,
    depth: usize,
    returns: bool,
    /// How far it looks like the beginning of a trigger.
    trigger: Trigger,
    /// Whether the last token ended a statement of a trigger, and whether `END` came after that.
    ended: (bool, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trigger {
    Nothing,
    /// Only words that may stand before `TRIGGER`.
    Perhaps,
    Yes,
}

impl<'a> Reader<'a> {
    fn at(start: usize) -> Self {
        Self {
            at: start..start,
            places: Vec::new(),
            parameters: 0,
            names: Vec::new(),
            kind: None,
            with: false,
            pragma: None,
            replace: false,
            depth: 0,
            returns: false,
            trigger: Trigger::Perhaps,
            ended: (false, false),
        }
    }

    fn is_within_a_trigger(&self) -> bool {
        self.trigger == Trigger::Yes && !self.ended.1
    }

    fn with(mut self, query: &'a str, token: Token, at: Range<usize>) -> Self {
        let text = &query[at.clone()];
        let word = match token {
            Token::Word => text.to_ascii_uppercase(),
            _ => String::new(),
        };
        self.at.end = at.end;
        match text {
            "(" => self.depth += 1,
            ")" => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        if token == Token::Parameter {
            let which = self.parameter(text);
            let place = at.start - self.at.start..at.end - self.at.start;
            self.places.push((place, which));
        }
        self.returns |= word == "RETURNING";
        match &mut self.pragma {
            None if self.kind.is_none() && word == "PRAGMA" => self.pragma = Some(String::new()),
            Some(name) if name.is_empty() => *name = text.to_ascii_lowercase(),
            _ => {}
        }
        self.see_kind(&word);
        self.ended = (text == ";", self.ended.0 && word == "END");
        if self.trigger == Trigger::Perhaps {
            self.trigger = match &*word {
                "EXPLAIN" | "QUERY" | "PLAN" | "CREATE" | "TEMP" | "TEMPORARY" => Trigger::Perhaps,
                "TRIGGER" => Trigger::Yes,
                _ => Trigger::Nothing,
            };
        }
        self
    }

    fn see_kind(&mut self, word: &str) {
        if self.kind.is_some() {
            return;
        }
        if self.with {
            let replaces = std::mem::replace(&mut self.replace, word == "REPLACE");
            self.kind = match word {
                _ if self.depth > 0 => None,
                "SELECT" | "VALUES" => Some(Kind::Select),
                "INSERT" | "UPDATE" | "DELETE" => Some(Kind::Write),
                "INTO" if replaces => Some(Kind::Write),
                _ => None,
            };
            return;
        }
        match word {
            "SELECT" | "VALUES" => self.kind = Some(Kind::Select),
            "PRAGMA" | "EXPLAIN" => self.kind = Some(Kind::Describe),
            "WITH" => self.with = true,
            _ => self.kind = Some(Kind::Write),
        }
    }

    /// Which parameter this is, from 0: as SQLite counts them.
    fn parameter(&mut self, text: &'a str) -> usize {
        let next = self.parameters;
        let which = match text.strip_prefix('?') {
            Some("") => next,
            Some(number) => number.parse().map_or(next, |n: usize| n.max(1) - 1),
            None => match self.names.iter().find(|(name, _)| *name == text) {
                Some((_, which)) => *which,
                None => {
                    self.names.push((text, next));
                    next
                }
            },
        };
        self.parameters = next.max(which.saturating_add(1));
        which
    }

    fn end(self, query: &'a str) -> Statement<'a> {
        Statement {
            text: &query[self.at.clone()],
            start: self.at.start,
            // A `WITH` that leads to nothing is no statement, which the platform says.
            kind: self.kind.unwrap_or(Kind::Write),
            pragma: self.pragma,
            returns: self.returns,
            parameters: self.parameters,
            places: self.places,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// A keyword or a plain name.
    Word,
    /// A text or a name in quotes.
    Quoted,
    Parameter,
    Other,
}

impl Token {
    /// Whether it can name a table: a text in single quotes can too.
    fn is_name(self) -> bool {
        matches!(self, Self::Word | Self::Quoted)
    }
}

/// The tokens of a text with their places, as SQLite's own tokenizer cuts them; without spaces and
/// comments.
struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Tokens<'a> {
    fn of(text: &'a str) -> Self {
        Self {
            text: text.as_bytes(),
            at: 0,
        }
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// Where the first byte after `ahead` is that is none of these.
    fn while_true(&self, ahead: usize, is: impl Fn(u8) -> bool) -> usize {
        let rest = &self.text[(self.at + ahead).min(self.text.len())..];
        ahead + rest.iter().take_while(|byte| is(**byte)).count()
    }

    /// How long what is quoted is; a doubled quote does not end it.
    fn quoted(&self, quote: u8) -> usize {
        let mut length = 1;
        loop {
            length = self.while_true(length, |byte| byte != quote) + 1;
            if self.at + length >= self.text.len() || quote == b']' || self.byte(length) != quote {
                return length.min(self.text.len() - self.at);
            }
            length += 1;
        }
    }

    /// A mark that the text is UTF-8 is a space to SQLite, wherever a token could begin.
    fn spaces(&self) -> usize {
        match self.text.get(self.at..self.at + 3) {
            Some(b"\xef\xbb\xbf") => 3,
            _ => self.while_true(0, |byte| byte.is_ascii_whitespace() || byte == b'\x0b'),
        }
    }

    /// How long a parameter with a name is. It may have parts, and a suffix in brackets in which anything
    /// stands but a space: `$a::b(c;d)`.
    fn named_parameter(&self) -> usize {
        let mut length = self.while_true(1, is_of_a_word);
        while length > 1 && (self.byte(length), self.byte(length + 1)) == (b':', b':') {
            length = self.while_true(length + 2, is_of_a_word);
        }
        if length > 1 && self.byte(length) == b'(' {
            let end = |byte: u8| byte == b')' || byte.is_ascii_whitespace() || byte == b'\x0b';
            length = self.while_true(length, |byte| !end(byte));
            length += usize::from(self.byte(length) == b')');
        }
        length
    }

    fn comment(&self) -> usize {
        match (self.byte(0), self.byte(1)) {
            (b'-', b'-') => self.while_true(2, |byte| byte != b'\n'),
            (b'/', b'*') => {
                let rest = &self.text[self.at + 2..];
                let end = rest.windows(2).position(|two| two == b"*/");
                end.map_or(self.text.len() - self.at, |end| end + 4)
            }
            _ => 0,
        }
    }
}

impl Iterator for Tokens<'_> {
    type Item = (Token, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let skipped = match self.spaces() {
                0 => self.comment(),
                spaces => spaces,
            };
            if skipped == 0 {
                break;
            }
            self.at += skipped;
        }
        let first = *self.text.get(self.at)?;
        let (token, length) = match first {
            b'\'' | b'"' | b'`' => (Token::Quoted, self.quoted(first)),
            b'[' => (Token::Quoted, self.quoted(b']')),
            b'?' => (
                Token::Parameter,
                self.while_true(1, |byte| byte.is_ascii_digit()),
            ),
            b':' | b'@' | b'$' | b'#' => match self.named_parameter() {
                1 => (Token::Other, 1),
                length => (Token::Parameter, length),
            },
            // With its exponent's sign cut off, which changes nothing here.
            b'0'..=b'9' => (
                Token::Other,
                self.while_true(1, |byte| byte == b'.' || is_of_a_word(byte)),
            ),
            first if is_of_a_word(first) => (Token::Word, self.while_true(1, is_of_a_word)),
            _ => (Token::Other, 1),
        };
        let start = self.at;
        self.at += length;
        Some((token, start..self.at))
    }
}

fn is_of_a_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(query: &str) -> Vec<(&str, Kind, usize)> {
        let text = Text::read(query);
        let statements = text.statements.iter();
        statements
            .map(|one| (one.text, one.kind, one.parameters))
            .collect()
    }

    #[test]
    fn a_text_is_cut_where_its_statements_end() {
        use Kind::{Describe, Select, Write};
        for (query, expected) in [
            ("", vec![]),
            (" -- only this\n/* and ; this */ ;;", vec![]),
            ("SELECT 1", vec![("SELECT 1", Select, 0)]),
            (
                "insert into t values (';--', \"a;\"\"b\", [c;d], `e;`) ; select ?, ? -- end",
                vec![
                    (
                        "insert into t values (';--', \"a;\"\"b\", [c;d], `e;`)",
                        Write,
                        0,
                    ),
                    ("select ?, ?", Select, 2),
                ],
            ),
            (
                "PRAGMA table_info(t); EXPLAIN DELETE FROM t",
                vec![
                    ("PRAGMA table_info(t)", Describe, 0),
                    ("EXPLAIN DELETE FROM t", Describe, 0),
                ],
            ),
            (
                "CREATE TRIGGER tr AFTER INSERT ON t BEGIN SELECT CASE 1 WHEN 1 THEN 2 END; \
                 DELETE FROM t; END; SELECT 1",
                vec![
                    (
                        "CREATE TRIGGER tr AFTER INSERT ON t BEGIN SELECT CASE 1 WHEN 1 THEN 2 END; \
                         DELETE FROM t; END",
                        Write,
                        0,
                    ),
                    ("SELECT 1", Select, 0),
                ],
            ),
            ("'never ended; ?", vec![("'never ended; ?", Write, 0)]),
            ("/* never ended", vec![]),
            (
                "\u{feff}SELECT 1; \u{b}PRAGMA x",
                vec![("SELECT 1", Select, 0), ("PRAGMA x", Describe, 0)],
            ),
            (
                // All but the last word is the parameter.
                "SELECT $a::b(';'), 1; DELETE FROM t --')",
                vec![
                    ("SELECT $a::b(';'), 1", Select, 1),
                    ("DELETE FROM t", Write, 0),
                ],
            ),
            (
                "SELECT :a(never ended ; DELETE FROM t",
                vec![
                    ("SELECT :a(never ended", Select, 1),
                    ("DELETE FROM t", Write, 0),
                ],
            ),
        ] {
            assert_eq!(statements(query), expected, "{query:?}");
        }
    }

    #[test]
    fn a_statement_with_a_with_is_what_follows_it() {
        for (query, kind) in [
            ("WITH a AS (DELETE) SELECT * FROM a", Kind::Select),
            (
                "with a(x) as (select 1), b as (values (2)) values (3)",
                Kind::Select,
            ),
            (
                "WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a",
                Kind::Write,
            ),
            ("WITH a AS (SELECT 1) UPDATE t SET x = 1", Kind::Write),
            ("WITH a AS (SELECT 1) DELETE FROM t", Kind::Write),
            ("WITH a AS (SELECT 1) REPLACE INTO t SELECT 1", Kind::Write),
            (
                "WITH replace AS (SELECT 1) SELECT * FROM replace",
                Kind::Select,
            ),
            ("WITH a AS (SELECT :a(')) DELETE FROM t --'", Kind::Write),
            ("WITH a AS (SELECT 1)", Kind::Write),
            ("REPLACE INTO t VALUES (1)", Kind::Write),
        ] {
            assert_eq!(Text::read(query).statements[0].kind, kind, "{query:?}");
        }
    }

    #[test]
    fn parameters_are_counted_as_sqlite_counts_them() {
        for (query, parameters, places) in [
            ("SELECT '?', \"?\", ? -- ?", 1, vec![0]),
            ("SELECT ?, ?", 2, vec![0, 1]),
            ("SELECT ?3, ?, ?1", 4, vec![2, 3, 0]),
            ("SELECT :a, @b, $c, :a, ?", 4, vec![0, 1, 2, 0, 3]),
            ("SELECT x'00', 1e5, a.b, c$d, json -> '$.x'", 0, vec![]),
        ] {
            let text = Text::read(query);
            let statement = text.last().unwrap();
            assert_eq!(statement.parameters, parameters, "{query}");
            let found: Vec<usize> = statement.places.iter().map(|(_, which)| *which).collect();
            assert_eq!(found, places, "{query}");
        }
    }

    #[test]
    fn parameters_that_are_integers_are_cast() {
        let text = Text::read("SELECT 1; UPDATE t SET a = ?, b = :b WHERE c IN (?1, ':b', ?)");
        let statement = text.last().unwrap();
        assert_eq!(
            text.ending_in(&statement.with_integers(|which| which < 2)),
            "SELECT 1; UPDATE t SET a = (+CAST(? AS INTEGER)), b = (+CAST(:b AS INTEGER)) \
             WHERE c IN ((+CAST(?1 AS INTEGER)), ':b', ?)"
        );
        assert_eq!(statement.with_integers(|_| false), statement.text);
    }

    #[test]
    fn names_of_ours_are_found_in_whatever_quotes() {
        for query in [
            "SELECT * FROM _dokit_migrations",
            "SELECT 1; DROP TABLE \"_DOKIT_x\"",
            "DROP TABLE [_dokit_x]",
            "DROP TABLE `_dokit_x`",
            "DROP TABLE main.'_dokit_x'",
            "DROP TABLE main.\u{feff}_dokit_x",
        ] {
            assert!(Text::read(query).reserved.is_some(), "{query}");
        }
        for query in [
            "SELECT 'a _dokit_', my_dokit_x -- _dokit_",
            "SELECT '\u{e9}\u{e9}\u{e9}\u{e9}'",
        ] {
            assert_eq!(Text::read(query).reserved, None, "{query}");
        }
    }

    #[test]
    fn what_would_undo_the_transaction_is_found_wherever_it_stands() {
        for query in [
            "insert or rollback into t values (1)",
            "CREATE TABLE t (a UNIQUE ON CONFLICT ROLLBACK)",
            "CREATE TRIGGER tr AFTER INSERT ON t BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
            "SELECT 1; ROLLBACK",
        ] {
            assert!(Text::read(query).rolls_back, "{query}");
        }
        for query in [
            "SELECT 'rollback', \"rollback\" -- rollback",
            "SELECT rollbacks",
        ] {
            assert!(!Text::read(query).rolls_back, "{query}");
        }
    }

    #[test]
    fn what_a_statement_asks_of_the_platform_is_known_beforehand() {
        let about = |query| {
            let text = Text::read(query);
            let one = text.last().unwrap();
            (one.writes(), one.returns, one.defers(), one.pragma.clone())
        };
        let pragma = |name: &str| Some(name.to_owned());
        assert_eq!(about("SELECT 'returning'"), (false, false, false, None));
        assert_eq!(
            about("DELETE FROM t RETURNING a"),
            (true, true, false, None)
        );
        assert_eq!(
            about("PRAGMA Defer_Foreign_Keys = ON"),
            (false, false, true, pragma("defer_foreign_keys"))
        );
        assert_eq!(
            about("PRAGMA main.table_info(t)"),
            (false, false, false, pragma("main"))
        );
        assert_eq!(about("EXPLAIN PRAGMA x"), (false, false, false, None));
    }
}
