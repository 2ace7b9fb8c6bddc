//! The codes of dokit's own errors: what each means, its status, and what a caller may do about it.
//!
//! One table, used by both ends. These codes are reserved: an answer that carries one of them is
//! never taken for an error of a method's own type, and `#[derive(RpcError)]` refuses them.

/// What a code says about the call that got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) code: &'static str,
    pub(crate) status: u16,
    /// Whether the method may have run.
    pub(crate) ran: bool,
    /// Whether the same call can fare better a moment later.
    pub(crate) passing: bool,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal, $ran:ident, $passing:ident;)*) => {
        $(
            $(#[$doc])*
            #[doc = concat!("\n\nStatus ", $status, ". ", codes!(@ran $ran), " ", codes!(@passing $passing))]
            pub const $name: &str = $code;
        )*
        const TABLE: &[Meaning] = &[$(Meaning {
            code: $code,
            status: $status,
            ran: codes!(@is $ran),
            passing: codes!(@is $passing),
        },)*];
    };
    (@ran not_run) => { "The method did not run." };
    (@ran may_have_run) => { "The method may have run." };
    (@passing lasting) => { "Trying again does not help." };
    (@passing passing) => { "Trying again can help, where that is safe." };
    (@is not_run) => { false };
    (@is may_have_run) => { true };
    (@is lasting) => { false };
    (@is passing) => { true };
}

codes! {
    /// The object has no method of this name; the details list those that it has.
    METHOD_NOT_FOUND = "method_not_found", 404, not_run, lasting;
    /// The method was asked for with another HTTP verb than POST.
    METHOD_NOT_ALLOWED = "method_not_allowed", 405, not_run, lasting;
    /// Nothing of this namespace is served here; the details list what is.
    NAMESPACE_NOT_FOUND = "namespace_not_found", 404, not_run, lasting;
    /// The path leads nowhere.
    INVALID_PATH = "invalid_path", 404, not_run, lasting;
    /// The object's name is empty or not UTF-8.
    INVALID_NAME = "invalid_name", 400, not_run, lasting;
    /// The object's id is malformed, or of another namespace.
    INVALID_ID = "invalid_id", 400, not_run, lasting;
    /// The object's name is over the limit.
    NAME_TOO_LONG = "name_too_long", 414, not_run, lasting;
    /// The body is not a JSON array, or its values are not what the method takes.
    INVALID_ARGUMENTS = "invalid_arguments", 400, not_run, lasting;
    /// A header of the call does not say what it should.
    INVALID_HEADER = "invalid_header", 400, not_run, lasting;
    /// The idempotency key is empty or too long.
    INVALID_IDEMPOTENCY_KEY = "invalid_idempotency_key", 400, not_run, lasting;
    /// The idempotency key was used before, for another call.
    IDEMPOTENCY_CONFLICT = "idempotency_conflict", 409, not_run, lasting;
    /// The body is over the limit.
    PAYLOAD_TOO_LARGE = "payload_too_large", 413, not_run, lasting;
    /// The call carried no token, or one that is not accepted.
    UNAUTHORIZED = "unauthorized", 401, not_run, lasting;
    /// A web page of another origin has sent the request, and the host does not let that in.
    ORIGIN_NOT_ALLOWED = "origin_not_allowed", 403, not_run, lasting;
    /// The request names a host that this one does not go by.
    HOST_NOT_ALLOWED = "host_not_allowed", 403, not_run, lasting;
    /// The request took too long to come.
    REQUEST_TIMEOUT = "request_timeout", 408, not_run, passing;
    /// The object's queue is full, or its host has too much to do. Trying again at once makes it worse, so it is not done.
    OVERLOADED = "overloaded", 503, not_run, lasting;
    /// The call came back to an object that is waiting for it.
    REENTRANT_CALL = "reentrant_call", 508, not_run, lasting;
    /// The host is about to stop and takes no more calls.
    SHUTTING_DOWN = "shutting_down", 503, not_run, passing;
    /// The call had no answer within its deadline.
    DEADLINE_EXCEEDED = "deadline_exceeded", 504, may_have_run, passing;
    /// What the call wrote could not be made durable.
    COMMIT_FAILED = "commit_failed", 500, may_have_run, passing;
    /// The object's memory was thrown away while the call depended on it.
    OBJECT_RESET = "object_reset", 503, may_have_run, passing;
    /// The object has no handler for what was asked.
    MISSING_HANDLER = "missing_handler", 501, not_run, lasting;
    /// Something failed that the caller can do nothing about; the log of the host says what.
    INTERNAL = "internal", 500, may_have_run, lasting;
}

/// The code of an error that came with none: from a proxy, say, or from another implementation.
///
/// Whether trying again can help is told by the status: it can for 408, 425, 429, 502, 503 and 504.
pub const UNKNOWN: &str = "unknown";

/// Whether a code is one of these, and so cannot be a code of a method's own errors.
#[must_use]
pub const fn is_reserved(code: &str) -> bool {
    let mut at = 0;
    while at < TABLE.len() {
        if same(TABLE[at].code, code) {
            return true;
        }
        at += 1;
    }
    same(UNKNOWN, code)
}

/// What is known of a code; of a code of a method's own, that the method ran and that is its answer.
pub(crate) fn meaning(code: &str, status: u16) -> Meaning {
    let known = TABLE.iter().find(|meaning| meaning.code == code);
    known.copied().unwrap_or(Meaning {
        code: UNKNOWN,
        status,
        ran: true,
        passing: code == UNKNOWN && matches!(status, 408 | 425 | 429 | 502 | 503 | 504),
    })
}

/// `==`, which strings do not have in a constant.
const fn same(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    if left.len() != right.len() {
        return false;
    }
    let mut at = 0;
    while at < left.len() {
        if left[at] != right[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::{TABLE, is_reserved, meaning};

    #[test]
    fn each_code_stands_once_and_has_a_status_of_an_error() {
        for (at, row) in TABLE.iter().enumerate() {
            assert!((400..600).contains(&row.status), "{row:?}");
            assert!(is_reserved(row.code));
            assert!(TABLE[..at].iter().all(|other| other.code != row.code));
        }
    }

    #[test]
    fn a_code_of_ones_own_is_not_reserved_and_says_that_the_method_ran() {
        assert!(!is_reserved("invalid_transition"));
        assert!(!is_reserved("internal_"));
        let own = meaning("invalid_transition", 503);
        assert!(own.ran && !own.passing);
    }

    #[test]
    fn an_error_without_a_code_is_judged_by_its_status() {
        assert!(meaning("unknown", 502).passing);
        assert!(!meaning("unknown", 500).passing);
    }
}
