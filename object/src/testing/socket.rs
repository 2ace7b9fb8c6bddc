use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex},
};

use dokit_client::{ErrorReply, ObjectId};
use http::{HeaderValue, header};

use super::host::{Shared, lock};
use crate::{
    Clock, Close, Message, Request, Response,
    engine::{Call, Chain, Connection, Outgoing, SocketCall, SocketId, error_response, route},
};

/// The far end of a WebSocket to an object: a client, as a test plays it.
///
/// Whatever it does is handled by the object before it returns. Dropped, it has vanished: the object
/// is told with the host's next call, or by [`TestHost::settle`](super::TestHost::settle).
pub struct TestSocket {
    host: Arc<Shared>,
    peer: Arc<Peer>,
    answer: Response,
}

/// All clients of a host that have an open socket.
#[derive(Debug, Default)]
pub(super) struct Peers {
    open: Mutex<Vec<Arc<Peer>>>,
}

#[derive(Debug)]
struct Peer {
    id: SocketId,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// None once the socket has ended.
    connection: Option<Arc<Connection>>,
    arrived: VecDeque<Message>,
    /// How it ended, as the client sees it.
    closed: Option<Close>,
    vanished: bool,
}

impl Peers {
    fn add(&self, connection: Connection, vanished: bool) -> Arc<Peer> {
        let peer = Arc::new(Peer {
            id: connection.id(),
            state: Mutex::new(State {
                connection: Some(Arc::new(connection)),
                arrived: VecDeque::new(),
                closed: None,
                vanished,
            }),
        });
        lock(&self.open).push(Arc::clone(&peer));
        peer
    }

    /// A connection that nobody holds the other end of.
    pub(super) fn vanished(&self, connection: Connection) {
        self.add(connection, true);
    }

    /// The host has crashed.
    pub(super) fn cut(&self) {
        let open = std::mem::take(&mut *lock(&self.open));
        for peer in open {
            peer.drain();
            let connection = lock(&peer.state).connection.take();
            drop(connection);
        }
    }
}

impl Peer {
    /// Takes in what the object has sent.
    fn drain(&self) {
        let state = &mut *lock(&self.state);
        let Some(connection) = &state.connection else {
            return;
        };
        while let Some(outgoing) = connection.try_next() {
            state.closed = state.closed.take().or_else(|| match &outgoing {
                Outgoing::Message(_) => None,
                Outgoing::Close { code: 1006, .. } => Some(Close::vanished()),
                Outgoing::Close { code, reason } => Some(Close::clean(*code, reason)),
            });
            if let Outgoing::Message(message) = outgoing {
                state.arrived.push_back((*message).clone());
            }
        }
    }

    /// How the socket ends, if it is to end now, and the connection to tell it of.
    fn ending(&self) -> Option<(Arc<Connection>, Close)> {
        let closed = |state: &State| {
            let connection = state.connection.as_deref();
            connection.is_some_and(Connection::is_closed)
        };
        // Else what the client has not read yet goes on waiting for it.
        if closed(&lock(&self.state)) {
            self.drain();
        }
        let state = &mut *lock(&self.state);
        let close = if state.vanished {
            Close::vanished()
        } else {
            state.closed.clone()?
        };
        Some((state.connection.take()?, close))
    }
}

/// Has every socket that is to end do so: those that were closed, which the client has answered, and
/// those of clients that are gone.
pub(super) async fn pump(host: &Shared) {
    let mut untold = Vec::new();
    loop {
        let open = lock(&host.peers.open).clone();
        let ending = open
            .iter()
            .find_map(|peer| Some((Arc::clone(peer), peer.ending()?)));
        let Some((peer, (connection, close))) = ending else {
            break;
        };
        lock(&host.peers.open).retain(|open| open.id != peer.id);
        if let Some(limit) = connection.overrun() {
            let error = crate::WebSocketError::TooSlow { limit };
            if let Some(call) = connection.failed(error) {
                // The end comes whatever became of it.
                let _ = run(host, &connection, call).await;
            }
        }
        if let Some(call) = connection.ended(close)
            && Connection::is_untold(&run(host, &connection, call).await)
        {
            untold.push((peer, connection));
        }
    }
    // With the next call of the host.
    for (peer, connection) in untold {
        lock(&peer.state).connection = Some(connection);
        lock(&host.peers.open).push(peer);
    }
}

async fn run(
    host: &Shared,
    connection: &Connection,
    call: SocketCall,
) -> Result<Response, ErrorReply> {
    let (namespace, id) = connection.object();
    let answer = host
        .call(namespace, id, Call::Socket(call), Chain::default())
        .await;
    connection.answered(&answer);
    answer
}

/// The handshake.
pub(super) async fn connect(
    host: &Arc<Shared>,
    namespace: &str,
    id: &ObjectId,
    path: &str,
) -> Result<TestSocket, Response> {
    pump(host).await;
    let refused = |error: ErrorReply| error_response(&error);
    let object_type = host.object_type(namespace).map_err(refused)?;
    let call = handshake(path).and_then(|request| route(&object_type, plain(path), request));
    let call = call.map_err(refused)?;
    let answer = host.call(namespace, id, call, Chain::default()).await;
    let mut answer = answer.map_err(refused)?;
    let Some(connection) = Connection::take(&mut answer) else {
        return Err(answer);
    };
    let peer = host.peers.add(connection, false);
    Ok(TestSocket {
        host: Arc::clone(host),
        peer,
        answer,
    })
}

fn plain(path: &str) -> &str {
    path.split_once('?').map_or(path, |(path, _)| path)
}

fn handshake(path: &str) -> Result<Request, ErrorReply> {
    let mut request = Request::default();
    *request.uri_mut() = path
        .parse()
        .map_err(|_| ErrorReply::invalid_path("the path is not one of a uri"))?;
    let headers = request.headers_mut();
    for (name, value) in [
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_VERSION, "13"),
        (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(request)
}

impl TestSocket {
    /// The socket's id, as the object sees it.
    #[must_use]
    pub fn id(&self) -> SocketId {
        self.peer.id
    }

    /// The answer to the handshake, of status 101.
    #[must_use]
    pub fn answer(&self) -> &Response {
        &self.answer
    }

    /// Sends a message. When this returns, it has been answered automatically, or the object has
    /// handled it, or it was lost because the socket has ended.
    pub async fn send(&self, message: impl Into<Message>) {
        pump(&self.host).await;
        let Some(connection) = lock(&self.peer.state).connection.clone() else {
            return;
        };
        if let Some(call) = connection.received(message.into(), self.host.clock.now()) {
            // What it is to the socket has been seen to.
            let _ = run(&self.host, &connection, call).await;
        }
        pump(&self.host).await;
    }

    /// The next message of the object, if one has arrived. What was sent before a close arrives before
    /// it.
    #[must_use]
    pub fn next(&self) -> Option<Message> {
        self.peer.drain();
        lock(&self.peer.state).arrived.pop_front()
    }

    /// How the socket has ended, if it has.
    #[must_use]
    pub fn closed(&self) -> Option<Close> {
        self.peer.drain();
        lock(&self.peer.state).closed.clone()
    }

    /// Closes the socket. When this returns, the object has been told.
    pub async fn close(&self, code: u16, reason: &str) {
        self.peer.drain();
        let close = Close::clean(code, reason);
        lock(&self.peer.state).closed.get_or_insert(close);
        pump(&self.host).await;
    }
}

impl Drop for TestSocket {
    fn drop(&mut self) {
        lock(&self.peer.state).vanished = true;
    }
}

impl fmt::Debug for TestSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestSocket")
            .field("id", &self.peer.id)
            .finish_non_exhaustive()
    }
}
