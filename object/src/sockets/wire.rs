use dokit_storage::Timestamp;

use super::Message;

/// A socket that a platform holds, for an engine that runs on one: what dokit does to the socket goes
/// straight there. See [`Connection::plug`](super::Connection::plug).
///
/// Each is called with a lock held that every use of the socket takes, so none may call dokit back.
pub trait Wire: Send + Sync + 'static {
    /// Sends a message. Where the socket has ended already, the message is dropped.
    fn send(&self, message: &Message);

    /// Sends a close frame, after which nothing is sent.
    fn close(&self, code: u16, reason: &str);

    /// Keeps the attachment, JSON text, beside the socket for as long as that is open, so that
    /// [`Sockets::restore`](super::Sockets::restore) can be given it.
    fn attach(&self, attachment: &str);

    /// When the platform last answered a message of the peer's without the object.
    fn auto_responded_at(&self) -> Option<Timestamp>;
}
