use std::convert::Infallible;

use dokit_client::rpc;

#[rpc]
trait Api {
    async fn get(&self) -> Result<u64, Infallible>;
}

struct Object;

impl Api for Object {
    async fn get(&self) -> Result<u64, Infallible> {
        let shared = std::rc::Rc::new(7);
        std::future::ready(()).await;
        Ok(*shared)
    }
}

fn main() {}
