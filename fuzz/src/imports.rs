use std::io::Cursor;

use dokit_embedded::{Existing, ExportError, Host, ImportError};
use dokit_object::{BoxFuture, Clock, Context, DurableObject, Result, durable_object};
use dokit_storage::Timestamp;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// An object with keys alone.
struct Keys;

#[durable_object]
impl DurableObject for Keys {
    async fn new(_: Context) -> Result<Self> {
        Ok(Self)
    }
}

/// An object with tables, too.
struct Tables;

#[durable_object]
impl DurableObject for Tables {
    const SQL: bool = true;

    async fn new(_: Context) -> Result<Self> {
        Ok(Self)
    }
}

/// No alarm is ever due.
#[derive(Debug)]
struct Never;

impl Clock for Never {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(-1)
    }

    fn sleep_until(&self, _: Timestamp) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

struct Store {
    host: Host,
    runtime: Runtime,
    _data: TempDir,
}

impl Store {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let inside = runtime.enter();
        let host = Host::builder().data(data.path()).clock(Never);
        let host = host.object::<Keys>().object::<Tables>().start().unwrap();
        drop(inside);
        Self {
            host,
            runtime,
            _data: data,
        }
    }

    /// What an object has stored, but for the line that says which it is.
    async fn export<T: DurableObject>(&self, name: &str) -> Option<String> {
        let id = self.host.namespace::<T>().id_from_name(name);
        match self.host.export::<T, _>(&id, Vec::new()).await {
            Ok(lines) => {
                let text = String::from_utf8(lines).unwrap();
                Some(text.split_once('\n').unwrap().1.to_owned())
            }
            Err(ExportError::NothingStored { .. }) => None,
            Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
        }
    }

    async fn import<T: DurableObject>(&self, name: &str, lines: &[u8]) -> Result<(), ImportError> {
        let id = self.host.namespace::<T>().id_from_name(name);
        let lines = Cursor::new(lines.to_vec());
        self.host
            .import::<T, _>(&id, Existing::Replace, lines)
            .await
    }

    /// What is refused changes nothing; what is taken is what an export then has, and that is taken again.
    async fn feed<T: DurableObject>(&self, lines: &[u8]) {
        let before = self.export::<T>("fed").await;
        if let Err(error) = self.import::<T>("fed", lines).await {
            let of_the_store = matches!(error, ImportError::Store(_));
            assert!(T::SQL || !of_the_store, "{error:?}");
            assert!(!error.to_string().is_empty());
            assert_eq!(self.export::<T>("fed").await, before, "{error}");
            return;
        }
        let Some(stored) = self.export::<T>("fed").await else {
            return self.import::<T>("again", lines).await.unwrap();
        };
        let head = format!(
            r#"{{"object":{{"format":1,"namespace":"{}","id":"","name":null}}}}"#,
            T::NAMESPACE
        );
        let whole = format!("{head}\n{stored}");
        self.import::<T>("again", whole.as_bytes()).await.unwrap();
        assert_eq!(self.export::<T>("again").await, Some(stored));
    }
}

/// An export of an object, for `Host::import`.
pub fn imports(bytes: &[u8]) {
    thread_local! {
        static STORE: Store = Store::new();
    }
    STORE.with(|store| {
        store.runtime.block_on(async {
            store.feed::<Keys>(bytes).await;
            store.feed::<Tables>(bytes).await;
        });
    });
}
