use std::fmt;

/// One value of a row, or one parameter of a statement: SQLite's five types.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum SqlValue {
    /// No value.
    #[default]
    Null,
    /// A 64-bit integer. Booleans are 0 and 1.
    Integer(i64),
    /// A 64-bit float.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

impl SqlValue {
    /// Its type as error texts name it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Integer(_) => "an integer",
            Self::Real(_) => "a real",
            Self::Text(_) => "text",
            Self::Blob(_) => "a blob",
        }
    }

    /// What it takes in memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let own = size_of::<Self>();
        match self {
            Self::Null | Self::Integer(_) | Self::Real(_) => own,
            Self::Text(text) => own + text.len(),
            Self::Blob(bytes) => own + bytes.len(),
        }
    }
}

/// As an SQL literal, a long one cut: for logs and error texts.
impl fmt::Display for SqlValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Real(number) => write!(f, "{number:?}"),
            Self::Text(text) => {
                let short: String = text.chars().take(64).collect();
                write!(f, "'{}'", short.replace('\'', "''"))?;
                f.write_str(if short.len() < text.len() { ".." } else { "" })
            }
            Self::Blob(bytes) => write!(f, "a blob of {} bytes", bytes.len()),
        }
    }
}
