use dokit_client::rpc;

type Result<V> = std::result::Result<V, std::convert::Infallible>;

#[rpc]
trait Platform {
    async fn fetch(&self) -> Result<()>;
    async fn connect(&self) -> Result<()>;
    async fn alarm(&self) -> Result<()>;
    async fn dup(&self) -> Result<()>;
    async fn constructor(&self) -> Result<()>;
    async fn websocket_message(&self) -> Result<()>;
    async fn web_socket_close(&self) -> Result<()>;
    async fn websocket_error(&self) -> Result<()>;
    async fn then(&self) -> Result<()>;
}

#[rpc]
trait Client {
    async fn new(&self) -> Result<()>;
    async fn with_deadline(&self) -> Result<()>;
    async fn with_idempotency_key(&self) -> Result<()>;
    async fn with_retry(&self) -> Result<()>;
}

#[rpc(rename_all = "camelCase")]
trait Renamed {
    #[rpc(rename = "webSocketMessage")]
    async fn message(&self) -> Result<()>;
    #[rpc(rename = "toJSON")]
    async fn json(&self) -> Result<()>;
}

fn main() {}
