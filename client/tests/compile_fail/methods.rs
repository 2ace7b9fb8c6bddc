use dokit_client::rpc;

type Result<V> = std::result::Result<V, std::convert::Infallible>;

#[rpc]
trait Api {
    fn not_async(&self) -> Result<()>;
    async fn no_receiver() -> Result<()>;
    async fn by_value(self) -> Result<()>;
    async fn boxed(self: Box<Self>) -> Result<()>;
    async fn generic<T>(&self, value: T) -> Result<()>;
    async fn lifetime<'a>(&'a self) -> Result<()>;
    async fn anything(&self, value: impl ToString) -> Result<()>;
    async fn pattern(&self, (a, b): (u8, u8)) -> Result<()>;
    async fn unnamed(&self, _: u8) -> Result<()>;
    async fn reference(&self, text: &str) -> Result<()>;
    async fn references(&self, texts: Vec<Option<&'static str>>) -> Result<()>;
    async fn no_result(&self) -> u64;
    async fn nothing(&self);
    #[cfg(unix)]
    async fn sometimes(&self) -> Result<()>;
    const LIMIT: u64;
    type State;
}

#[rpc]
trait Bounded
where
    Self: Copy,
{
}

#[rpc]
unsafe trait Unsafe {}

fn main() {}
