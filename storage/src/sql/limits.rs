/// How large statements, values and results may be.
///
/// The default is what Cloudflare's SQLite-backed objects accept, so that a statement that runs here
/// runs there. The result is bounded because a [`Cursor`](crate::sql::Cursor) holds all of its rows
/// in memory.
///
/// | limit | default |
/// |---|---|
/// | `statement_bytes` | 100,000 of SQL text |
/// | `parameters` | 100 in one statement |
/// | `columns` | 100 in a table, an index or a result |
/// | `value_bytes` | 2,000,000, also of a whole row in a table |
/// | `like_pattern_bytes` | 50 |
/// | `function_arguments` | 32 |
/// | `compound_terms` | 5 `SELECT`s joined by `UNION` and its like |
/// | `result_bytes` | 16,777,216 (16 MiB) in the rows of one result, each value with 32 bytes more |
///
/// Source: <https://developers.cloudflare.com/durable-objects/platform/limits/> and, for
/// `compound_terms`, workerd's `util/sqlite.c++`; `result_bytes` is this library's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqlLimits {
    /// The longest SQL text, in bytes.
    pub statement_bytes: u32,
    /// The most parameters of a statement.
    pub parameters: u32,
    /// The most columns of a table, an index or a result.
    pub columns: u32,
    /// The largest text, blob or row, in bytes.
    pub value_bytes: u32,
    /// The longest pattern of `LIKE` or `GLOB`, in bytes.
    pub like_pattern_bytes: u32,
    /// The most arguments of a function.
    pub function_arguments: u32,
    /// The most terms of a compound `SELECT`.
    pub compound_terms: u32,
    /// The largest result, in bytes of memory.
    pub result_bytes: usize,
}

impl Default for SqlLimits {
    fn default() -> Self {
        Self {
            statement_bytes: 100_000,
            parameters: 100,
            columns: 100,
            value_bytes: 2_000_000,
            like_pattern_bytes: 50,
            function_arguments: 32,
            compound_terms: 5,
            result_bytes: 16 * 1024 * 1024,
        }
    }
}
