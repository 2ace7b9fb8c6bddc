//! Natively every future can move between threads, and every error can be boxed and passed on.

use std::{
    convert::Infallible,
    error::Error,
    sync::Arc,
    task::{Context, Waker},
};

use dokit_client::{
    CallError, Dispatch, ErrorReply, Faulty, InProcess, MockTransport, Namespace, ObjectId,
    TestTimer, Timer, TransportError, rpc, singleton,
};

#[rpc]
trait Api {
    async fn read(&self, text: String) -> Result<String, Infallible>;
    async fn write(&mut self, text: String) -> Result<(), Infallible>;
}

struct Object(String);

impl Api for Object {
    async fn read(&self, text: String) -> Result<String, Infallible> {
        std::future::ready(()).await;
        Ok(format!("{}{text}", self.0))
    }
    async fn write(&mut self, text: String) -> Result<(), Infallible> {
        std::future::ready(()).await;
        self.0 = text;
        Ok(())
    }
}

fn send<T: Send>(value: T) -> T {
    value
}

fn send_sync_static<T: Send + Sync + 'static>() {}

#[test]
fn every_future_is_send() {
    let api = ApiClient::new(InProcess::new(ApiServer, Object(String::new())));
    let text = String::from("a");
    futures_executor::block_on(async {
        send(api.write(text.clone())).await.unwrap();
        assert_eq!(send(api.read(text)).await.unwrap(), "aa");
    });
    let mut object = Object(String::new());
    let write = &ApiServer::METHODS[1];
    drop(send(ApiServer::call_exclusive(&mut object, write, b"[]")));
    drop(send(ApiServer::call_shared(&object, write, b"[]")));
    drop(send(<()>::call_shared(&object, write, b"[]")));
}

/// A generic caller sees it from the bounds alone.
fn generic<T: Api + 'static>(object: &mut T) -> impl Future<Output: Sized> + Send {
    ApiServer::call_exclusive(object, &ApiServer::METHODS[0], b"[\"a\"]")
}

#[test]
fn dispatch_to_any_object_is_send() {
    futures_executor::block_on(generic(&mut Object(String::new())));
}

#[test]
fn what_is_public_is_send_sync_and_static() {
    send_sync_static::<ApiClient<MockTransport>>();
    send_sync_static::<CallError<Infallible>>();
    send_sync_static::<ErrorReply>();
    send_sync_static::<Faulty<MockTransport>>();
    send_sync_static::<InProcess<ApiServer, Object>>();
    send_sync_static::<ObjectId>();
    send_sync_static::<TransportError>();
    send_sync_static::<Arc<dyn Timer>>();
    send_sync_static::<TestTimer>();
}

#[test]
fn an_error_of_a_call_is_passed_on_with_a_question_mark() {
    async fn read() -> Result<String, Box<dyn Error + Send + Sync>> {
        Ok(ApiClient::new(MockTransport::new())
            .read("a".into())
            .await?)
    }
    let error = futures_executor::block_on(read()).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"call "read": 404 method_not_found: the mock has no answer for "read"; it has some for: []"#
    );
}

/// Mocks by the object's name: a namespace as a user would write one for a test.
struct Mocks(MockTransport);

impl Namespace for Mocks {
    type Stub = MockTransport;

    fn id_from_name(&self, name: &str) -> ObjectId {
        ObjectId::from_name("mock", name)
    }
    fn id_from_string(&self, text: &str) -> Result<ObjectId, dokit_client::IdError> {
        ObjectId::parse("mock", text)
    }
    fn unique_id(&self) -> ObjectId {
        ObjectId::unique("mock", [0; 16])
    }
    fn get(&self, _id: &ObjectId) -> MockTransport {
        self.0.clone()
    }
}

#[test]
fn a_singleton_is_the_object_of_a_name() {
    let mocks = Mocks(MockTransport::new());
    mocks.0.answer("read", "ab");
    let api = ApiClient::new(singleton(&mocks, "global"));
    let read = futures_executor::block_on(api.read("b".into()));
    assert_eq!(read.unwrap(), "ab");
    assert_eq!(mocks.0.calls("read"), 1);
}

#[rpc]
trait Slow {
    async fn hang(&mut self) -> Result<(), Infallible>;
    async fn read(&self) -> Result<u8, Infallible>;
}

impl Slow for Object {
    async fn hang(&mut self) -> Result<(), Infallible> {
        std::future::pending().await
    }
    async fn read(&self) -> Result<u8, Infallible> {
        Ok(7)
    }
}

#[test]
fn calls_to_one_object_in_process_take_turns_and_one_that_is_given_up_ends_its_own() {
    let slow = SlowClient::new(InProcess::new(SlowServer, Object(String::new())));
    let mut context = Context::from_waker(Waker::noop());
    let mut hanging = Box::pin(slow.hang());
    assert!(hanging.as_mut().poll(&mut context).is_pending());
    let mut waiting = Box::pin(slow.read());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    drop(hanging);
    assert_eq!(futures_executor::block_on(waiting).unwrap(), 7);
}
