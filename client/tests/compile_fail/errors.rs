use dokit_client::RpcError;

#[derive(Debug, thiserror::Error, RpcError)]
#[error("x")]
enum Reserved {
    Overloaded,
    #[rpc(code = "internal")]
    Broken,
}

#[derive(Debug, thiserror::Error, RpcError)]
#[error("x")]
enum SameCode {
    NotFound,
    #[rpc(code = "not_found")]
    Missing,
}

#[derive(Debug, thiserror::Error, RpcError)]
#[error("x")]
enum Status {
    #[rpc(status = 200)]
    Fine,
}

#[derive(Debug, thiserror::Error, RpcError)]
#[error("x")]
enum Code {
    #[rpc(code = "Not Found")]
    Missing,
}

#[derive(Debug, thiserror::Error, RpcError)]
#[error("x")]
enum Both {
    #[rpc(internal, status = 503)]
    Broken,
}

#[derive(Debug, thiserror::Error, RpcError)]
#[error("x")]
enum Empty {
    #[rpc(transparent)]
    Inner,
}

#[derive(Debug, thiserror::Error, RpcError)]
#[error("x")]
#[rpc(status = 404)]
enum Above {
    Missing,
}

#[derive(Debug, thiserror::Error, RpcError)]
#[error("x")]
struct Generic<T>(T);

#[derive(Debug, thiserror::Error, RpcError)]
#[error("x")]
enum Unknown {
    #[rpc(http = 404)]
    Missing,
}

#[derive(Debug, thiserror::Error, RpcError)]
#[error("x")]
enum Foreign {
    Io(#[from] std::io::Error),
}

#[derive(Debug, RpcError)]
enum NoText {
    Missing,
}

fn main() {}
