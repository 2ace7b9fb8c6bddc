//! What `#[derive(Schema)]` writes in its users' crates refers to this; it is no part of the API.

/// The check of a key with `#[schema(validate)]`.
#[cfg(feature = "garde")]
pub fn validate<V: garde::Validate<Context = ()>>(value: &V) -> Result<(), String> {
    value.validate().map_err(|report| {
        let found: Vec<String> = report
            .iter()
            .map(|(path, error)| match path.to_string() {
                path if path.is_empty() => error.to_string(),
                path => format!("{path}: {error}"),
            })
            .collect();
        found.join("; ")
    })
}
