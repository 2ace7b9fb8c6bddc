use crate::{IdError, ObjectId, Transport};

/// The objects of one type, by name or by id.
///
/// Making an id or a stub asks nobody: an object comes to be with its first call.
pub trait Namespace {
    /// A way to one object.
    type Stub: Transport + Clone;

    /// The id of the object of this name: always the same.
    fn id_from_name(&self, name: &str) -> ObjectId;

    /// Reads an id of this namespace from its 64 hex digits.
    ///
    /// # Errors
    ///
    /// [`IdError`]: the text is no id, or the id is of another namespace.
    fn id_from_string(&self, text: &str) -> Result<ObjectId, IdError>;

    /// The id of a new object without a name, which nobody can guess.
    fn unique_id(&self) -> ObjectId;

    /// The way to the object of this id.
    fn get(&self, id: &ObjectId) -> Self::Stub;

    /// The way to the object of this name.
    fn get_by_name(&self, name: &str) -> Self::Stub {
        self.get(&self.id_from_name(name))
    }
}

/// The way to the object of this name, for those of which one is enough: `singleton(&config, "main")`.
pub fn singleton<N: Namespace + ?Sized>(namespace: &N, name: &str) -> N::Stub {
    namespace.get_by_name(name)
}
