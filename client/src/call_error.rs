use std::{borrow::Cow, error::Error as StdError, fmt, time::Duration};

use crate::{ErrorReply, RpcError, TransportError};

type Source = Box<dyn StdError + Send + Sync>;

/// Why a call gave no result.
///
/// The one question that cannot be read off the variant, whether the method may have run all the
/// same, is answered by [`may_have_run`](Self::may_have_run), over all attempts.
#[derive(Debug)]
#[non_exhaustive]
pub enum CallError<E> {
    /// The method ran and answered its own error.
    Object(E),
    /// Something answered an error that is not one of the method's own: the host, the object's
    /// guard, a proxy.
    Remote {
        /// The error.
        reply: ErrorReply,
        /// How it came to it.
        tried: Tried,
    },
    /// Nothing answered.
    Transport {
        /// What went wrong on the way.
        source: TransportError,
        /// How it came to it.
        tried: Tried,
    },
    /// The deadline passed before an answer came.
    DeadlineExceeded {
        /// The time that the call was given, all attempts together.
        deadline: Duration,
        /// How it came to it.
        tried: Tried,
    },
    /// An answer came that is not the JSON of the method's result; a redirect, say, which is not
    /// followed.
    Decode {
        /// Its status.
        status: u16,
        /// Its content type, where it had one.
        content_type: Option<String>,
        /// The first 256 bytes of its body.
        head: String,
        /// What the deserializer said; nothing when the status or the content type was wrong already.
        source: Option<Source>,
        /// How it came to it.
        tried: Tried,
    },
    /// An argument has no JSON form. Nothing was sent.
    Encode {
        /// The method's name on the wire.
        method: &'static str,
        /// The argument's name.
        argument: &'static str,
        /// What the serializer said.
        source: Source,
    },
    /// The arguments are over the limit. Nothing was sent.
    PayloadTooLarge {
        /// The method's name on the wire.
        method: &'static str,
        /// Their length as JSON text, in bytes.
        bytes: usize,
        /// The limit, [`PAYLOAD_BYTES`](crate::PAYLOAD_BYTES).
        limit: usize,
    },
}

/// What was done for a call until it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tried {
    /// The method's name on the wire.
    pub method: &'static str,
    /// How many attempts were made, from 1.
    pub attempts: u32,
    /// Whether the method may have run in one of them.
    pub may_have_run: bool,
}

impl<E: RpcError> CallError<E> {
    /// Whether the method may have run. `false` is certain.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        match self {
            Self::Object(_) => true,
            Self::Encode { .. } | Self::PayloadTooLarge { .. } => false,
            Self::Remote { tried, .. }
            | Self::Transport { tried, .. }
            | Self::DeadlineExceeded { tried, .. }
            | Self::Decode { tried, .. } => tried.may_have_run,
        }
    }

    /// Whether the same call can fare better a moment later. It is safe to try where
    /// [`may_have_run`](Self::may_have_run) says `false`, or where running twice does no harm.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Remote { reply, .. } => reply.is_retryable(),
            Self::Transport { source, .. } => source.is_retryable(),
            Self::DeadlineExceeded { .. } => true,
            Self::Object(_)
            | Self::Decode { .. }
            | Self::Encode { .. }
            | Self::PayloadTooLarge { .. } => false,
        }
    }

    /// How long to wait before it is worth trying again, where the host said so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Remote { reply, .. } => reply.retry_after(),
            _ => None,
        }
    }

    /// Whether the object, or its host, refused the call because too many are waiting. To try again
    /// soon makes it worse: not before [`retry_after`](Self::retry_after).
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        matches!(self, Self::Remote { reply, .. } if reply.code == crate::code::OVERLOADED)
    }

    /// Whether a time ran out: on this side, on the other, or on the way.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::DeadlineExceeded { .. } => true,
            Self::Transport { source, .. } => source.is_timeout(),
            Self::Remote { reply, .. } => reply.code == crate::code::DEADLINE_EXCEEDED,
            _ => false,
        }
    }

    /// The method's own error, where it answered one.
    #[must_use]
    pub fn into_object(self) -> Option<E> {
        match self {
            Self::Object(error) => Some(error),
            _ => None,
        }
    }

    /// The code of the error that was answered, where one was.
    #[must_use]
    pub fn code(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Object(error) => Some(error.to_reply().code),
            Self::Remote { reply, .. } => Some(reply.code.clone()),
            _ => None,
        }
    }

    /// The HTTP status of the answer, where there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Object(error) => Some(error.to_reply().status),
            Self::Remote { reply, .. } => Some(reply.status),
            Self::Decode { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Notes how often the call was tried.
    pub(crate) fn tried(&mut self, attempts: u32, may_have_run: bool) {
        if let Self::Remote { tried, .. }
        | Self::Transport { tried, .. }
        | Self::DeadlineExceeded { tried, .. }
        | Self::Decode { tried, .. } = self
        {
            tried.attempts = attempts;
            tried.may_have_run |= may_have_run;
        }
    }
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(error) => error.fmt(f),
            Self::Remote { reply, tried } => write!(
                f,
                "call {:?}: {} {}: {}",
                tried.method, reply.status, reply.code, reply.message
            ),
            Self::Transport { tried, .. } => {
                write!(
                    f,
                    "call {:?}: no answer{}",
                    tried.method,
                    Attempts(tried.attempts)
                )
            }
            Self::DeadlineExceeded { deadline, tried } => write!(
                f,
                "call {:?}: no answer within {deadline:?}{}",
                tried.method,
                Attempts(tried.attempts)
            ),
            Self::Decode {
                status,
                content_type,
                head,
                tried,
                ..
            } => {
                let content_type = content_type.as_deref().unwrap_or("no content type");
                write!(
                    f,
                    "call {:?}: the answer is not its result (status {status}, {content_type}): {head:?}",
                    tried.method
                )
            }
            Self::Encode {
                method, argument, ..
            } => write!(f, "call {method:?}: argument {argument:?} has no json form"),
            Self::PayloadTooLarge {
                method,
                bytes,
                limit,
            } => write!(
                f,
                "call {method:?}: the arguments are {bytes} bytes; the limit is {limit}"
            ),
        }
    }
}

impl<E: StdError + 'static> StdError for CallError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            // Its text is this error's text, so its cause is this error's cause.
            Self::Object(error) => error.source(),
            Self::Transport { source, .. } => Some(source),
            Self::Decode { source, .. } => source.as_deref().map(|source| source as _),
            Self::Encode { source, .. } => Some(&**source),
            Self::Remote { .. } | Self::DeadlineExceeded { .. } | Self::PayloadTooLarge { .. } => {
                None
            }
        }
    }
}

/// ` in 3 attempts`, and nothing for one.
struct Attempts(u32);

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 | 1 => Ok(()),
            attempts => write!(f, " in {attempts} attempts"),
        }
    }
}
