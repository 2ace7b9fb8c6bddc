use dokit_client::rpc;

type Result<V> = std::result::Result<V, std::convert::Infallible>;

#[rpc(rename_all = "camelCase")]
trait SameName {
    async fn get_count(&self) -> Result<u64>;
    #[rpc(rename = "getCount")]
    async fn count(&self) -> Result<u64>;
}

#[rpc]
trait Unsafe {
    #[rpc(rename = "a/b")]
    async fn slash(&self) -> Result<u64>;
    #[rpc(rename = "")]
    async fn empty(&self) -> Result<u64>;
}

#[rpc(rename_all = "camel")]
trait UnknownCase {}

#[rpc(renameall = "camelCase")]
trait UnknownOption {}

#[rpc]
trait UnknownMethodOption {
    #[rpc(retry)]
    async fn get(&self) -> Result<u64>;
}

#[rpc]
trait Generic<T> {}

#[rpc]
struct NotATrait;

fn main() {}
