use std::convert::Infallible;

use dokit_client::rpc;

#[rpc]
trait Api {
    async fn get(&self) -> Result<u64, Infallible>;
    async fn set(&mut self, value: u64) -> Result<(), Infallible>;
}

struct Object;

impl Api for Object {
    async fn get(&self) -> Result<u64, Infallible> {
        Ok(0)
    }
}

fn main() {}
