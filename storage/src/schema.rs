/// The keys of a store, and the version of their shape. `#[derive(Schema)]` on a struct with a
/// field for each key writes it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a schema",
    note = "write `#[derive(Schema)]` on a struct with a field for each key"
)]
pub trait Schema {
    /// The version of the stored shape, from 1. Raise it together with a migration.
    const VERSION: u32 = 1;
}
