//! A typed state: one value that is stored with each call that changed it.

use std::{
    any::type_name,
    fmt,
    ops::{Deref, DerefMut},
};

use dokit_storage::{Batch, Error as StorageError, MaybeSend, MaybeSync, Store, decode, encode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{Error, Result, Storage};

/// The key that a typed state is stored under.
pub(crate) const KEY: &str = "state";

/// What a state begins with.
trait Initial<T>: MaybeSend + MaybeSync {
    fn make(&self) -> T;
}

impl<T, F: Fn() -> T + MaybeSend + MaybeSync> Initial<T> for F {
    fn make(&self) -> T {
        self()
    }
}

/// What of `T` may not be stored.
type Check<T> = fn(&T) -> std::result::Result<(), String>;

/// An object's state as one value: loaded when the object wakes, and stored with the writes of each
/// call that changed it. It reads and changes like a `T`.
///
/// ```
/// use dokit_client::rpc;
/// use dokit_object::{Context, DurableObject, Result, State, durable_object};
/// # use dokit_object::testing::{TestHost, block_on};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Items {
///     names: Vec<String>,
/// }
///
/// #[rpc]
/// trait CartApi {
///     async fn add(&mut self, name: String) -> Result<usize>;
/// }
///
/// struct Cart {
///     items: State<Items>,
/// }
///
/// #[durable_object(state = items)]
/// impl DurableObject for Cart {
///     type Api = CartApiServer;
///
///     async fn new(ctx: Context) -> Result<Self> {
///         Ok(Self { items: ctx.state(Items::default).load().await? })
///     }
/// }
///
/// impl CartApi for Cart {
///     async fn add(&mut self, name: String) -> Result<usize> {
///         self.items.names.push(name);
///         Ok(self.items.names.len())
///     }
/// }
/// #
/// # block_on(async {
/// let host = TestHost::new().object::<Cart>();
/// let cart = CartApiClient::new(host.namespace::<Cart>().get_by_name("ada"));
/// cart.add("tea".to_owned()).await?;
/// host.crash();
/// assert_eq!(cart.add("milk".to_owned()).await?, 2);
/// # Ok::<(), dokit_client::CallError<dokit_object::Error>>(())
/// # }).unwrap();
/// ```
///
/// # When it is stored
///
/// - At the end of a call that takes `&mut self` and succeeds, in the call's own commit, where its JSON
///   text differs from what is stored. A call that does not touch it costs nothing.
/// - When the call fails or panics, nothing of its changes remains: the next call finds the state as it
///   was before.
/// - [`Context::commit`](crate::Context::commit) knows nothing of a field of the object, so it does not
///   store the state: [`save`](Self::save) first.
/// - The value that a first wake begins with is stored by the first call that takes `&mut self` and
///   succeeds. Until then each wake makes it anew, and an object that was only read leaves nothing.
/// - A call that deletes everything deletes the state too, unless it changes it after that: the next
///   call finds it as it begins.
///
/// Changes are seen through `&mut`: a cell or a lock in `T` that is changed through `&` is not stored.
///
/// # Where it is stored
///
/// As JSON under the key `"state"`, where tools see it, and where migrations of the object's schema
/// ([`TypedStorage::migrate`](dokit_storage::TypedStorage::migrate), before it is loaded) can change its
/// shape. Once it is loaded, nobody else may write that key. It has to keep the size limit of one value
/// ([`Limits`](dokit_storage::Limits)): a larger state fails the call with `value_too_large`.
pub struct State<T> {
    value: T,
    initial: Box<dyn Initial<T>>,
    check: Option<Check<T>>,
    storage: Storage,
    /// The JSON text in the storage; none where there is none yet.
    stored: Option<Box<str>>,
    /// Whether `value` may differ from `stored`.
    touched: bool,
    /// How often everything had been deleted when `value` was last touched or compared.
    wipes: u64,
}

impl<T: Serialize> State<T> {
    /// Adds the state to the running call's writes where it changed: what
    /// [`Context::commit`](crate::Context::commit) then makes durable, whatever becomes of the call.
    ///
    /// # Errors
    ///
    /// `invalid_state` (400) where the check refuses it, `value_too_large` (413), or `internal`: it has no
    /// JSON form, or no call that takes `&mut self` is running.
    pub fn save(&mut self) -> Result<()> {
        self.notice_wipe();
        if let Some(reason) = self.check.and_then(|check| check(&self.value).err()) {
            let message = format!("invalid state: {reason}");
            let error = Error::new(400, "invalid_state", message);
            return Err(error.with_details(json!({ "reason": reason })));
        }
        let text = encode(KEY, &self.value)?.into_boxed_str();
        if self.stored.as_ref() != Some(&text) {
            let mut batch = Batch::new();
            batch.put(KEY, &*text);
            self.storage.write_own(batch)?;
            self.stored = Some(text);
        }
        self.touched = false;
        Ok(())
    }
}

impl<T> State<T> {
    /// After everything was deleted nothing is stored of what this knows to be.
    fn notice_wipe(&mut self) {
        let wipes = self.storage.wipes();
        if self.wipes != wipes {
            self.wipes = wipes;
            self.stored = None;
        }
    }
}

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for State<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.notice_wipe();
        self.touched = true;
        &mut self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for State<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("State").field(&self.value).finish()
    }
}

/// Loads an object's typed state: [`Context::state`](crate::Context::state) gives one.
///
/// | option | default |
/// |---|---|
/// | the value to begin with | none: it is given |
/// | [`check`](Self::check), or `validate` with the feature `garde` | every value may be stored |
#[must_use = "nothing is loaded before `load`"]
pub struct StateLoader<T> {
    storage: Storage,
    initial: Box<dyn Initial<T>>,
    check: Option<Check<T>>,
}

impl<T: Serialize + DeserializeOwned> StateLoader<T> {
    pub(crate) fn new(
        storage: Storage,
        initial: impl Fn() -> T + MaybeSend + MaybeSync + 'static,
    ) -> Self {
        Self {
            storage,
            initial: Box::new(initial),
            check: None,
        }
    }

    /// Refuses states: `Err` says what is wrong. It is asked when the state is loaded and before it is
    /// stored; a call whose state it refuses fails with `invalid_state` (400).
    pub fn check(self, check: fn(&T) -> std::result::Result<(), String>) -> Self {
        Self {
            check: Some(check),
            ..self
        }
    }

    /// Refuses states that their own [`garde::Validate`] refuses, in place of a
    /// [`check`](Self::check).
    #[cfg(feature = "garde")]
    pub fn validate(self) -> Self
    where
        T: garde::Validate<Context = ()>,
    {
        self.check(dokit_storage::__private::validate::<T>)
    }

    /// Loads the state. It goes into the field that `#[durable_object(state = field)]` names; an object has
    /// one.
    ///
    /// # Errors
    ///
    /// `internal`, the log says more: what is stored is not a `T` (the log names the type and the place; it is
    /// never taken for missing), the check refuses it, it is loaded already, or the store cannot be
    /// read.
    pub async fn load(self) -> Result<State<T>> {
        let Self {
            storage,
            initial,
            check,
        } = self;
        if !storage.take_state() {
            return Err(Error::internal(LoadedTwice(type_name::<T>())));
        }
        let wipes = storage.wipes();
        let stored = storage.get(KEY).await?;
        let value = match &stored {
            Some(text) => {
                let value = decode(KEY, text)?;
                if let Some(reason) = check.and_then(|check| check(&value).err()) {
                    // What was stored is not the caller's mistake.
                    return Err(Error::internal(StorageError::InvalidValue {
                        key: KEY.to_owned(),
                        reason,
                    }));
                }
                value
            }
            None => initial.make(),
        };
        Ok(State {
            value,
            initial,
            check,
            storage,
            stored: stored.map(String::into_boxed_str),
            touched: false,
            wipes,
        })
    }
}

impl<T> fmt::Debug for StateLoader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateLoader").finish_non_exhaustive()
    }
}

/// The [`State`] of an object, whatever its type: what
/// [`DurableObject::saved_state`](crate::DurableObject::saved_state) gives.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `State`, so it cannot be saved",
    note = "the field that `#[durable_object(state = field)]` names is a `State<T>`, from `ctx.state(..).load()`"
)]
pub trait SavedState: sealed::Settle {}

impl<T: Serialize + MaybeSend + MaybeSync + 'static> SavedState for State<T> {}

mod sealed {
    use super::{Result, Serialize, State};

    #[expect(unnameable_types, reason = "only a `State` is a saved state")]
    pub trait Settle {
        /// Stores the state where it was touched, or, with `first`, never stored.
        fn settle(&mut self, first: bool) -> Result<()>;

        /// About how many bytes it holds: its text, and as much for the value.
        fn bytes(&self) -> usize;
    }

    impl<T: Serialize> Settle for State<T> {
        fn settle(&mut self, first: bool) -> Result<()> {
            if self.storage.wipes() != self.wipes {
                // It was deleted with everything else, and not changed since.
                self.notice_wipe();
                self.value = self.initial.make();
                self.touched = false;
            } else if self.touched || (first && self.stored.is_none()) {
                self.save()?;
            }
            Ok(())
        }

        fn bytes(&self) -> usize {
            self.stored.as_ref().map_or(0, |text| 2 * text.len())
        }
    }
}

/// What the log gets to see of an object that keeps its state from being stored.
#[derive(Debug, thiserror::Error)]
#[error(
    "the object loads a state and names no field that holds it: write `#[durable_object(state = field)]`"
)]
pub(crate) struct Unnamed;

#[derive(Debug, thiserror::Error)]
#[error("the object loads its state twice, the second time as {0}: it has one")]
struct LoadedTwice(&'static str);
