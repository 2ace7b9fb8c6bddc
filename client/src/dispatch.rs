//! The server's end of an API: which method a call is of.

use std::future::ready;

use crate::{ErrorReply, MaybeSend, Method, find_method};

/// The server's end of an API: calls the methods of a `T` by name, with JSON.
///
/// The unit struct `CounterApiServer` that [`#[rpc]`](crate::rpc) makes of `CounterApi` implements it
/// for every `T: CounterApi`; `()` does for every `T`, and has no methods.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not dispatch calls to `{T}`",
    note = "`#[rpc] trait Api` makes an `ApiServer`, which dispatches to every type with an `impl Api`"
)]
pub trait Dispatch<T> {
    /// The methods, in the order of the trait.
    const METHODS: &'static [Method];

    /// Calls a method that takes `&self`. `arguments` is the body of the call, a JSON array.
    ///
    /// # Errors
    ///
    /// [`Failure`]: the call was refused, or the method answered an error. A method that takes
    /// `&mut self` is refused.
    fn call_shared(
        object: &T,
        method: &Method,
        arguments: &[u8],
    ) -> impl Future<Output = Result<String, Failure>> + MaybeSend;

    /// Calls a method, whichever way it takes the object. `Ok` is the result as JSON text; that of a
    /// unit is `null`.
    ///
    /// # Errors
    ///
    /// [`Failure`]: the call was refused, or the method answered an error.
    fn call_exclusive(
        object: &mut T,
        method: &Method,
        arguments: &[u8],
    ) -> impl Future<Output = Result<String, Failure>> + MaybeSend;
}

/// An object with no methods.
impl<T> Dispatch<T> for () {
    const METHODS: &'static [Method] = &[];

    fn call_shared(
        _object: &T,
        method: &Method,
        _arguments: &[u8],
    ) -> impl Future<Output = Result<String, Failure>> + MaybeSend {
        ready(Err(Failure::unknown(&[], method)))
    }

    fn call_exclusive(
        _object: &mut T,
        method: &Method,
        _arguments: &[u8],
    ) -> impl Future<Output = Result<String, Failure>> + MaybeSend {
        ready(Err(Failure::unknown(&[], method)))
    }
}

/// Why a dispatched call has no result.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// It was refused before the method ran, which therefore did nothing.
    Refused(ErrorReply),
    /// The method ran and answered an error, or its result has no JSON form.
    Method(ErrorReply),
}

impl Failure {
    /// The error to send.
    #[must_use]
    pub fn into_reply(self) -> ErrorReply {
        match self {
            Self::Refused(reply) | Self::Method(reply) => reply,
        }
    }

    /// A method that is not in the table.
    pub(crate) fn unknown(methods: &'static [Method], method: &Method) -> Self {
        Self::Refused(match find_method(methods, method.name()) {
            Err(unknown) => unknown,
            // In the table, but not to be called this way.
            Ok(method) => ErrorReply::internal(&NotShared(method.name())),
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("method {0:?} takes &mut self and was dispatched as one that takes &self")]
struct NotShared(&'static str);
