use std::{collections::BTreeMap, fmt, sync::Arc};

use dokit_client::ObjectId;
use dokit_storage::{Store, Timestamp, sql::Sql};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Clock, DurableObject, Error, FailedAlarm, Namespace, Result, Router, StateLoader, Storage,
    alarm,
};

/// What an object has of the world: its id, its storage, the time, other objects, and the variables
/// that its host was started with.
///
/// Clones are handles to the same. It is given to [`DurableObject::new`](crate::DurableObject::new);
/// keep it, or what is needed of it, in the object.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

struct Inner {
    id: ObjectId,
    storage: Storage,
    surroundings: Surroundings,
}

/// What all objects of a host share.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Surroundings {
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// The way to other objects.
    pub router: Arc<dyn Router>,
    /// Configuration, by name.
    pub variables: Arc<BTreeMap<String, String>>,
}

impl Surroundings {
    /// A host's clock and router, and no variables.
    pub fn new(clock: Arc<dyn Clock>, router: Arc<dyn Router>) -> Self {
        Self {
            clock,
            router,
            variables: Arc::default(),
        }
    }
}

impl Context {
    /// What an engine makes for each object that it wakes. `store` holds this object's data and
    /// nothing else, and has SQL where the object's type asks for it ([`ObjectType::sql`](crate::ObjectType::sql)).
    pub fn new(
        id: ObjectId,
        store: impl Store + Clone + 'static,
        alarm_handler: bool,
        surroundings: Surroundings,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                id,
                storage: Storage::new(store, alarm_handler),
                surroundings,
            }),
        }
    }

    /// The object's id.
    #[must_use]
    pub fn id(&self) -> &ObjectId {
        &self.inner.id
    }

    /// The object's name, where it is addressed by one: the same in a call, in an alarm and after
    /// every wake.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.inner.id.name()
    }

    /// The object's storage.
    #[must_use]
    pub fn storage(&self) -> Storage {
        self.inner.storage.clone()
    }

    /// The object's SQL database, where its type says `const SQL: bool = true`.
    ///
    /// What a call writes to it belongs to the call, as its keys and its alarm do: all of it is
    /// committed together, or none of it. A call that takes `&self` may only read.
    ///
    /// # Errors
    ///
    /// `internal`, where the type did not ask for one; the log says so.
    pub fn sql(&self) -> Result<Sql> {
        let sql = self.inner.storage.sql();
        sql.ok_or_else(|| Error::internal(NotAsked))
    }

    /// The object's typed state, to be loaded in [`DurableObject::new`] into the field that
    /// `#[durable_object(state = field)]` names: see [`State`](crate::State). A first wake begins with what
    /// `initial` gives, such as `Cart::default`.
    pub fn state<T, F>(&self, initial: F) -> StateLoader<T, F>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce() -> T,
    {
        StateLoader::new(self.storage(), initial)
    }

    /// The time by the engine's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.surroundings.clock.now()
    }

    /// Makes durable what the running call has written so far, before it acts on the outside world,
    /// and waits until what earlier calls wrote is durable too: the next call may start before that.
    /// If the call fails later, that much of it remains. A typed state is part of it where it was
    /// [saved](crate::State::save) before. A call that takes `&self` has written
    /// nothing, but may have read what is still on its way to the disk.
    ///
    /// # Errors
    ///
    /// When the store cannot commit. The call has then failed, whatever it returns.
    pub async fn commit(&self) -> Result<()> {
        Ok(self.inner.storage.commit_now().await?)
    }

    /// The alarm that was given up after its last try, if one was and none has been set since.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn failed_alarm(&self) -> Result<Option<FailedAlarm>> {
        Ok(alarm::given_up(&self.inner.storage).await?)
    }

    /// The namespace of the objects of another type, to call them.
    #[must_use]
    pub fn namespace<T: DurableObject>(&self) -> Namespace {
        Namespace::new(T::NAMESPACE, Arc::clone(&self.inner.surroundings.router))
    }

    /// A variable that the host was started with.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        let variables = &self.inner.surroundings.variables;
        variables.get(name).map(String::as_str)
    }

    /// A variable read as a `V`; `None` where it is not set.
    ///
    /// # Errors
    ///
    /// `invalid_variable`, with its name and its text, where it does not parse.
    pub fn parse_variable<V>(&self, name: &str) -> Result<Option<V>>
    where
        V: std::str::FromStr<Err: fmt::Display>,
    {
        let Some(text) = self.variable(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|error| {
            Error::new(
                500,
                "invalid_variable",
                format!("variable {name} is {text:?}: {error}"),
            )
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "the object has no sql database: write `const SQL: bool = true;` into its `impl DurableObject`"
)]
struct NotAsked;

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("id", &self.inner.id)
            .finish_non_exhaustive()
    }
}
