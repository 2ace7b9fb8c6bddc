use std::convert::Infallible;

use dokit_client::rpc;

#[rpc]
trait Api {
    async fn get(&self, thread: std::thread::Thread) -> Result<u64, Infallible>;
}

#[rpc]
trait Other {
    async fn get(&self) -> Result<u64, std::fmt::Error>;
    async fn thread(&self) -> Result<std::thread::Thread, Infallible>;
}

fn main() {}
