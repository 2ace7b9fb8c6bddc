use crate::ErrorReply;

/// Who may run beside a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Takes `&self`: may overlap others that do, never an exclusive one.
    Shared,
    /// Takes `&mut self`: runs alone.
    Exclusive,
}

/// One row of the table of methods that [`#[rpc]`](crate::rpc) makes of a trait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    name: &'static str,
    access: Access,
    arguments: &'static [&'static str],
    required: usize,
    idempotent: bool,
}

impl Method {
    /// A method by its name on the wire, with the names of its arguments, all of them required.
    #[must_use]
    pub const fn new(
        name: &'static str,
        access: Access,
        arguments: &'static [&'static str],
    ) -> Self {
        Self {
            name,
            access,
            arguments,
            required: arguments.len(),
            idempotent: matches!(access, Access::Shared),
        }
    }

    /// The same, of whose arguments only the first `required` have to be given.
    #[must_use]
    pub const fn with_required(mut self, required: usize) -> Self {
        self.required = required;
        self
    }

    /// The same, which may be called twice with the effect of once.
    #[must_use]
    pub const fn with_idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Its name on the wire.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it takes `&self` or `&mut self`.
    #[must_use]
    pub const fn access(&self) -> Access {
        self.access
    }

    /// The names of its arguments, in order.
    #[must_use]
    pub const fn arguments(&self) -> &'static [&'static str] {
        self.arguments
    }

    /// How many of the arguments have to be given. The others are `Option`s at the end.
    #[must_use]
    pub const fn required(&self) -> usize {
        self.required
    }

    /// Whether a call of it may be repeated: it takes `&self`, or is marked `#[rpc(idempotent)]`.
    #[must_use]
    pub const fn is_idempotent(&self) -> bool {
        self.idempotent
    }
}

/// The method of this name on the wire.
///
/// # Errors
///
/// [`method_not_found`](crate::code::METHOD_NOT_FOUND), whose message and details name those that
/// there are.
pub fn find_method(methods: &'static [Method], name: &str) -> Result<&'static Method, ErrorReply> {
    let found = methods.iter().find(|method| method.name == name);
    found.ok_or_else(|| {
        let known: Vec<_> = methods.iter().map(Method::name).collect();
        ErrorReply::method_not_found(name, &known)
    })
}
