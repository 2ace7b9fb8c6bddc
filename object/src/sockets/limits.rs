//! What of a socket is bounded, and what a call is answered that goes beyond it.

use std::sync::Arc;

use crate::{Error, Result};

/// How many sockets one object has at most (X44).
pub(super) const SOCKETS: usize = 32_768;

/// How many tags a socket has at most, and how long one is, in bytes (X44, which says characters; workerd
/// counts bytes).
const TAGS: usize = 10;
const TAG_BYTES: usize = 256;

/// How long an attachment is at most, in bytes of JSON: 16,384 (X52), less what an engine keeps beside it.
const ATTACHMENT_BYTES: usize = 16_000;

/// How long each text of an automatic answer is at most, in bytes (X46).
pub(super) const AUTO_RESPONSE_BYTES: usize = 2_048;

/// How long the reason of a close frame is at most, in bytes (RFC 6455, 5.5).
const REASON_BYTES: usize = 123;

pub(super) fn too_many(limit: usize, of: &str) -> Error {
    Error::new(
        503,
        "too_many_sockets",
        format!("{of} has at most {limit} sockets"),
    )
}

pub(super) fn checked_tags(tags: &[&str]) -> Result<Arc<[String]>> {
    let mut distinct: Vec<String> = Vec::with_capacity(tags.len().min(TAGS));
    for tag in tags {
        if tag.len() > TAG_BYTES {
            return Err(Error::new(
                400,
                "invalid_tag",
                format!(
                    "a tag of a socket is {} bytes; the limit is {TAG_BYTES}",
                    tag.len()
                ),
            ));
        }
        if distinct.iter().any(|known| known == tag) {
            continue;
        }
        if distinct.len() == TAGS {
            return Err(Error::new(
                400,
                "invalid_tag",
                format!("a socket has at most {TAGS} tags"),
            ));
        }
        distinct.push((*tag).to_owned());
    }
    Ok(distinct.into())
}

/// Refuses too long an attachment.
pub(super) fn check_attachment(json: &str) -> Result<()> {
    if json.len() <= ATTACHMENT_BYTES {
        return Ok(());
    }
    Err(Error::new(
        413,
        "attachment_too_large",
        format!(
            "the attachment of a socket is {} bytes; the limit is {ATTACHMENT_BYTES}",
            json.len()
        ),
    ))
}

/// Refuses a code that may not stand in a close frame (RFC 6455, 7.4), or too long a reason.
pub(super) fn check_close(code: u16, reason: &str) -> Result<()> {
    let wrong = if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        format!("code {code} is not 1000 to 1003, 1007 to 1014 or 3000 to 4999")
    } else if reason.len() > REASON_BYTES {
        format!(
            "the reason is {} bytes; the limit is {REASON_BYTES}",
            reason.len()
        )
    } else {
        return Ok(());
    };
    Err(Error::new(
        500,
        "invalid_close",
        format!("failed to close a socket: {wrong}"),
    ))
}
