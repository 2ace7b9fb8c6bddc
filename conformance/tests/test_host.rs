//! The suite of all engines, over the test kit.

#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]

use std::time::Duration;

use dokit_client::ObjectId;
use dokit_conformance::{
    Engine, Peer, Plain, Probe, Room, Rows, SocketEngine, SqlProbe, for_each_suite,
};
use dokit_object::{
    Close, DurableObject, Message, Request, Response,
    testing::{Disk, TestHost, TestSocket, block_on},
};
use dokit_storage::Faults;

struct Kit(TestHost);

impl Kit {
    fn new() -> Self {
        let host = TestHost::new().object::<Probe>().object::<Plain>();
        let host = host.object::<SqlProbe>().object::<Rows>();
        Self(host.object::<Room>())
    }
}

impl Kit {
    fn disk<T: DurableObject>(&self) -> Faults<Disk> {
        let id = self.0.namespace::<T>().id_from_name("a");
        self.0.disk::<T>(&id)
    }

    fn disks(&self) -> [Faults<Disk>; 3] {
        [
            self.disk::<Probe>(),
            self.disk::<SqlProbe>(),
            self.disk::<Rows>(),
        ]
    }
}

impl Engine for Kit {
    async fn request(&self, request: Request) -> Response {
        self.0.handle(request).await
    }

    async fn advance(&self, by: Duration) {
        self.0.advance(by).await;
    }

    async fn sleep(&self) {
        self.0.sleep();
    }

    async fn crash(&mut self) {
        self.0.crash();
    }

    async fn break_disk(&self) {
        for disk in self.disks() {
            disk.fail_commits_from(1);
        }
    }

    async fn mend_disk(&self) {
        for disk in self.disks() {
            disk.heal();
        }
    }

    async fn settle(&self) {
        self.0.settle().await;
    }
}

impl SocketEngine for Kit {
    type Peer = Client;

    async fn connect(&self, path: &str) -> Result<Client, Response> {
        let path = path.strip_prefix("/room/a").unwrap();
        let socket = self.0.connect::<Room>("a", path).await?;
        Ok(Client {
            socket,
            host: self.0.clone(),
        })
    }

    async fn break_disk_of(&self, room: &ObjectId) {
        self.0.disk::<Room>(room).fail_commits_from(1);
    }

    async fn mend_disk_of(&self, room: &ObjectId) {
        self.0.disk::<Room>(room).heal();
    }
}

struct Client {
    socket: TestSocket,
    host: TestHost,
}

impl Peer for Client {
    async fn send(&mut self, message: Message) {
        self.socket.send(message).await;
    }

    async fn next(&mut self) -> Message {
        let closed = || panic!("nothing has come: {:?}", self.socket.closed());
        self.socket.next().unwrap_or_else(closed)
    }

    async fn closed(&mut self) -> Close {
        if let Some(message) = self.socket.next() {
            panic!("{message:?} came where the end was due");
        }
        self.socket.closed().unwrap()
    }

    async fn close(&mut self, code: u16, reason: &str) {
        self.socket.close(code, reason).await;
    }

    async fn vanish(self) {
        drop(self.socket);
        self.host.settle().await;
    }
}

macro_rules! tests {
    ($session:path: $($case:ident = $run:path,)*) => {
        $(
            mod $case {
                use super::*;

                #[test]
                fn awake() {
                    block_on($run(&mut $session(Kit::new(), false)));
                }

                #[test]
                fn with_sleep_between_any_two_calls() {
                    block_on($run(&mut $session(Kit::new(), true)));
                }
            }
        )*
    };
}

for_each_suite!(tests);
