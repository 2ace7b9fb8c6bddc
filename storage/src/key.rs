//! Keys as constants: of one value, or of a family of them.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Result, codec, error::Error};

/// What is checked on a value when it is written and when it is read.
type Check<V> = fn(&V) -> std::result::Result<(), String>;

/// The name of a value of type `V` in the schema `S`.
///
/// `#[derive(Schema)]` makes one for each field; [`Family::key`] makes one for each name in a
/// family.
pub struct Key<S, V> {
    name: Cow<'static, str>,
    check: Option<Check<V>>,
    schema: PhantomData<fn() -> (S, V)>,
}

impl<S, V> Key<S, V> {
    /// A key of this name. `#[derive(Schema)]` is the usual way to get one.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name: Cow::Borrowed(name),
            check: None,
            schema: PhantomData,
        }
    }

    /// The same key with a check on every value written or read: `Err` says what is wrong.
    #[must_use]
    pub const fn checked(
        name: &'static str,
        check: fn(&V) -> std::result::Result<(), String>,
    ) -> Self {
        Self {
            name: Cow::Borrowed(name),
            check: Some(check),
            schema: PhantomData,
        }
    }

    /// The name as it stands in the store.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<S, V: Serialize> Key<S, V> {
    /// The JSON text of a value for this key, checked.
    pub(crate) fn encode(&self, value: &V) -> Result<String> {
        self.check(value)?;
        codec::encode(&self.name, value)
    }
}

impl<S, V: DeserializeOwned> Key<S, V> {
    /// The value that this JSON text holds, checked.
    pub(crate) fn decode(&self, json: &str) -> Result<V> {
        let value = codec::decode(&self.name, json)?;
        self.check(&value)?;
        Ok(value)
    }
}

impl<S, V> Key<S, V> {
    fn check(&self, value: &V) -> Result<()> {
        let checked = self.check.map_or(Ok(()), |check| check(value));
        checked.map_err(|reason| Error::InvalidValue {
            key: self.name.to_string(),
            reason,
        })
    }
}

impl<S, V> Clone for Key<S, V> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            check: self.check,
            schema: PhantomData,
        }
    }
}

impl<S, V> fmt::Debug for Key<S, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.name).finish()
    }
}

/// Many values of one type under a common prefix. As a field of a schema it is
/// `prefs: Family<Preference>` with `#[schema(prefix = "pref:")]`.
pub struct Family<V, S = ()> {
    prefix: &'static str,
    check: Option<Check<V>>,
    schema: PhantomData<fn() -> S>,
}

impl<V, S> Family<V, S> {
    /// A family under this prefix. `#[derive(Schema)]` is the usual way to get one.
    #[must_use]
    pub const fn new(prefix: &'static str) -> Self {
        Self {
            prefix,
            check: None,
            schema: PhantomData,
        }
    }

    /// The same family with a check on every value written or read: `Err` says what is wrong.
    #[must_use]
    pub const fn checked(
        prefix: &'static str,
        check: fn(&V) -> std::result::Result<(), String>,
    ) -> Self {
        Self {
            prefix,
            check: Some(check),
            schema: PhantomData,
        }
    }

    /// The prefix of all its keys.
    #[must_use]
    pub const fn prefix(&self) -> &'static str {
        self.prefix
    }

    /// The key of one member.
    #[must_use]
    pub fn key(&self, member: impl fmt::Display) -> Key<S, V> {
        Key {
            name: Cow::Owned(format!("{}{member}", self.prefix)),
            check: self.check,
            schema: PhantomData,
        }
    }
}

impl<V, S> Clone for Family<V, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V, S> Copy for Family<V, S> {}

impl<V, S> fmt::Debug for Family<V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Family").field(&self.prefix).finish()
    }
}
