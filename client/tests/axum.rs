//! An API of one's own behind one's own server, with nothing else of dokit: axum takes the requests, the
//! dispatcher of the trait answers them, and the client of the same trait calls it.
#![cfg(all(feature = "reqwest", not(target_arch = "wasm32")))]

use std::{convert::Infallible, future::IntoFuture, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use dokit_client::{
    Access, CallError, Dispatch, ErrorReply, Failure, HttpNamespace, Namespace, RpcError,
    find_method, header, rpc,
};
use tokio::{net::TcpListener, sync::RwLock};

#[rpc]
trait StockApi {
    async fn take(&mut self, count: u64) -> Result<u64, StockError>;
    async fn left(&self) -> Result<u64, Infallible>;
}

#[derive(Debug, PartialEq, RpcError)]
enum StockError {
    #[rpc(status = 409)]
    TooFew { left: u64 },
}

impl std::error::Error for StockError {}

impl std::fmt::Display for StockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::TooFew { left } = self;
        write!(f, "only {left} are left")
    }
}

struct Stock(u64);

impl StockApi for Stock {
    async fn take(&mut self, count: u64) -> Result<u64, StockError> {
        let left = self.0.checked_sub(count);
        self.0 = left.ok_or(StockError::TooFew { left: self.0 })?;
        Ok(self.0)
    }

    async fn left(&self) -> Result<u64, Infallible> {
        Ok(self.0)
    }
}

/// `POST /stock/{name}/{method}`; here there is one stock, whatever its name.
async fn answer(
    State(stock): State<Arc<RwLock<Stock>>>,
    Path((_name, method)): Path<(String, String)>,
    headers: HeaderMap,
    arguments: Bytes,
) -> Response {
    let answer = async {
        let methods = <StockApiServer as Dispatch<Stock>>::METHODS;
        let method = find_method(methods, &method).map_err(Failure::Refused)?;
        // No answers are kept here that could be given again.
        if headers.contains_key(header::IDEMPOTENCY_KEY) && !method.is_idempotent() {
            let refusal = "this server keeps no answers, so that it cannot heed an idempotency-key";
            return Err(Failure::Refused(ErrorReply::invalid_header(refusal)));
        }
        // Readers share the lock, a writer has it alone: as the trait says.
        match method.access() {
            Access::Shared => {
                StockApiServer::call_shared(&*stock.read().await, method, &arguments).await
            }
            Access::Exclusive => {
                StockApiServer::call_exclusive(&mut *stock.write().await, method, &arguments).await
            }
        }
    };
    let (status, body) = match answer.await.map_err(Failure::into_reply) {
        Ok(json) => (StatusCode::OK, json),
        Err(error) => (status_of(&error), error.to_body()),
    };
    (status, [("content-type", header::JSON)], body).into_response()
}

fn status_of(error: &ErrorReply) -> StatusCode {
    StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

#[tokio::test]
async fn an_api_is_served_by_axum_and_called_by_its_client() {
    let stock = Arc::new(RwLock::new(Stock(5)));
    let router = Router::new()
        .route("/stock/{name}/{method}", post(answer))
        .with_state(stock);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let served = axum::serve(listener, router).into_future();
    let calls = async {
        let stocks = HttpNamespace::new(&address, "stock").unwrap();
        let client = StockApiClient::new(stocks.get_by_name("tea"));
        assert_eq!(client.take(3).await.unwrap(), 2);
        assert_eq!(client.left().await.unwrap(), 2);
        let refused = client.take(3).await.unwrap_err();
        assert!(matches!(
            refused,
            CallError::Object(StockError::TooFew { left: 2 })
        ));
        let keyed = client.with_idempotency_key("order-17").take(1).await;
        assert_eq!(keyed.unwrap_err().code().unwrap(), "invalid_header");
        // Of another trait, with no type for it, the same is a remote error.
        let stranger = StrangerApiClient::new(stocks.get_by_name("tea"));
        let refused = stranger.take(3).await.unwrap_err();
        assert_eq!(refused.code().unwrap(), "too_few");
        assert!(matches!(refused, CallError::Remote { .. }));
        let unknown = stranger.order(1).await.unwrap_err();
        assert_eq!(unknown.code().unwrap(), "method_not_found");
    };
    tokio::select! {
        ended = served => panic!("the server ended: {ended:?}"),
        () = calls => {}
    }
}

#[rpc]
trait StrangerApi {
    async fn take(&mut self, count: u64) -> Result<u64, Infallible>;
    async fn order(&mut self, count: u64) -> Result<u64, Infallible>;
}
