use std::convert::Infallible;

use dokit_client::{InProcess, Transport, rpc};

#[rpc]
trait Api {
    async fn get(&self) -> Result<u64, Infallible>;
}

struct Object;

fn transport(_: impl Transport) {}

fn main() {
    let _ = InProcess::new(ApiServer, Object);
    transport(Object);
}
