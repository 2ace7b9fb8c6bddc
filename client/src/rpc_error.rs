use std::{convert::Infallible, error::Error};

/// Makes an enum or a struct an [`RpcError`](trait@RpcError). Its `Display` gives the messages.
///
/// Above a variant, or above the struct:
///
/// | option | meaning | without it |
/// |---|---|---|
/// | `#[rpc(status = 409)]` | the HTTP status, 400 to 599 | 400 |
/// | `#[rpc(code = "sold_out")]` | the code: `a-z`, `0-9` and `_`, not one of [`code`](crate::code) | the name in `snake_case` |
/// | `#[rpc(internal)]` | a failure that is nobody's business: the caller sees 500 `internal`, "internal error" and no details; the text and its causes go to [`ErrorReply::log`] | |
/// | `#[rpc(transparent)]` | the one field is another `RpcError`, which is sent in its place | |
///
/// and above the type `#[rpc(crate = path)]`, where this crate is known by another path.
///
/// The fields are the details: of named ones an object with their names in `camelCase`, of one
/// unnamed field that field, of several an array, of none nothing. They have to be `Serialize` and
/// `DeserializeOwned`, except under `internal`.
pub use dokit_macros::RpcError;

use crate::{ErrorReply, MaybeSend, MaybeSync};

/// A method's error type, which crosses the wire whole.
///
/// `#[derive(RpcError)]` writes it, beside a `Display` (by thiserror, say) that gives the messages:
///
/// ```rust
/// use dokit_client::RpcError;
///
/// #[derive(Debug, PartialEq, thiserror::Error, RpcError)]
/// enum OrderError {
///     /// 404 `not_found`
///     #[error("no such order")]
///     #[rpc(status = 404)]
///     NotFound,
///     /// 409 `sold_out`, with details `{"itemsLeft": 3}`
///     #[error("only {items_left} left")]
///     #[rpc(status = 409, code = "sold_out")]
///     TooFew { items_left: u64 },
///     /// 400 `unknown_item`, with details `"hat"`
///     #[error("unknown item {0:?}")]
///     UnknownItem(String),
///     /// 500 `internal`: the caller sees `internal error`, the log the text and its causes
///     #[error("format the order")]
///     #[rpc(internal)]
///     Format(#[from] std::fmt::Error),
/// }
///
/// let reply = OrderError::TooFew { items_left: 3 }.to_reply();
/// assert_eq!(
///     reply.to_body(),
///     r#"{"error":"only 3 left","code":"sold_out","details":{"itemsLeft":3}}"#,
/// );
/// assert_eq!(OrderError::from_reply(&reply), Some(OrderError::TooFew { items_left: 3 }));
/// ```
///
/// [`derive@RpcError`] lists what the derive understands.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot cross the wire as the error of a method",
    note = "derive it: `#[derive(Debug, thiserror::Error, dokit_client::RpcError)]`",
    note = "a client without a type for it says `std::convert::Infallible`, and gets it as `CallError::Remote`"
)]
pub trait RpcError: Error + MaybeSend + MaybeSync + Sized + 'static {
    /// The error as it is sent.
    fn to_reply(&self) -> ErrorReply;

    /// The error that was sent; `None` for one of somebody else's, and the caller then sees
    /// [`CallError::Remote`](crate::CallError::Remote). Replies with a [reserved
    /// code](crate::code::is_reserved) do not come here.
    fn from_reply(reply: &ErrorReply) -> Option<Self>;
}

/// For methods that always answer.
impl RpcError for Infallible {
    fn to_reply(&self) -> ErrorReply {
        match *self {}
    }

    fn from_reply(_: &ErrorReply) -> Option<Self> {
        None
    }
}
