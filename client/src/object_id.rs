use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    sync::Arc,
};

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

/// The longest name that an id remembers, in bytes of UTF-8, as on the platform.
const NAME_BYTES: usize = 1024;

/// Half of an id, in bytes.
const HALF: usize = 16;

/// Which object: 32 bytes, printed as 64 lower-case hex digits.
///
/// The first half is made of the name, or is random; the second is made of the first and the
/// namespace, so that an id of another namespace can be told. It is the platform's own algorithm
/// (workerd, `src/workerd/server/actor-id-impl.c++`): an object has the same id here and there, where
/// the namespace is what is called `uniqueKey` there.
///
/// Two ids are equal when their bytes are, whether or not one of them knows its name.
///
/// ```rust
/// use dokit_client::ObjectId;
///
/// let id = ObjectId::from_name("order", "order-123");
/// assert_eq!(id.name(), Some("order-123"));
///
/// let same = ObjectId::parse("order", &id.to_string())?;
/// assert_eq!(same, id);
/// assert_eq!(same.name(), None);
/// assert!(ObjectId::parse("cart", &id.to_string()).is_err());
/// # Ok::<(), dokit_client::IdError>(())
/// ```
#[derive(Clone)]
pub struct ObjectId {
    bytes: [u8; 2 * HALF],
    name: Option<Arc<str>>,
}

impl ObjectId {
    /// The id of the object of this name. It remembers the name, if that is at most 1,024 bytes.
    #[must_use]
    pub fn from_name(namespace: &str, name: &str) -> Self {
        let key = Sha256::digest(namespace);
        Self {
            name: (name.len() <= NAME_BYTES).then(|| name.into()),
            ..Self::complete(&key, half(&key, name.as_bytes()))
        }
    }

    /// The id of a new object without a name. Nobody can guess it if nobody can guess `random`.
    #[must_use]
    pub fn unique(namespace: &str, random: [u8; HALF]) -> Self {
        Self::complete(&Sha256::digest(namespace), random)
    }

    /// Reads an id of this namespace. Capital digits are read as well.
    ///
    /// # Errors
    ///
    /// [`IdError::Malformed`] and [`IdError::OtherNamespace`].
    pub fn parse(namespace: &str, text: &str) -> Result<Self, IdError> {
        let id: Self = text.parse()?;
        if !id.belongs_to(namespace) {
            return Err(IdError::OtherNamespace {
                id: id.to_string(),
                namespace: namespace.to_owned(),
            });
        }
        Ok(id)
    }

    /// The id of these bytes, of whatever namespace: see [`belongs_to`](Self::belongs_to).
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 2 * HALF]) -> Self {
        Self { bytes, name: None }
    }

    /// The same with the name it was made of, for an engine whose platform makes ids of its own.
    #[must_use]
    pub fn with_name(self, name: &str) -> Self {
        Self {
            name: Some(name.into()),
            ..self
        }
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 2 * HALF] {
        &self.bytes
    }

    /// Its name, where it was made of one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether it is an id of this namespace.
    #[must_use]
    pub fn belongs_to(&self, namespace: &str) -> bool {
        let (first, second) = self.bytes.split_at(HALF);
        half(&Sha256::digest(namespace), first) == second
    }

    /// The id with this first half.
    fn complete(key: &[u8], first: [u8; HALF]) -> Self {
        let mut bytes = [0; 2 * HALF];
        bytes[..HALF].copy_from_slice(&first);
        bytes[HALF..].copy_from_slice(&half(key, &first));
        Self::from_bytes(bytes)
    }
}

/// The first 16 bytes of HMAC-SHA256.
fn half(key: &[u8], message: &[u8]) -> [u8; HALF] {
    let mac = Hmac::<Sha256>::new_from_slice(key).map(|mac| mac.chain_update(message));
    let mut half = [0; HALF];
    // HMAC takes keys of every length.
    if let Ok(mac) = mac {
        half.copy_from_slice(&mac.finalize().into_bytes()[..HALF]);
    }
    half
}

impl PartialEq for ObjectId {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for ObjectId {}

impl Hash for ObjectId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "ObjectId({self}, {name:?})"),
            None => write!(f, "ObjectId({self})"),
        }
    }
}

/// Reads 64 hex digits, of whatever namespace.
impl FromStr for ObjectId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let malformed = || IdError::Malformed {
            text: crate::text::head(text.as_bytes(), 4 * HALF),
        };
        let digit = |byte: u8| {
            char::from(byte)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        let mut bytes = [0; 2 * HALF];
        if text.len() != 2 * bytes.len() {
            return Err(malformed());
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = digit(pair[0]).zip(digit(pair[1]));
            *byte = pair
                .map(|(high, low)| high << 4 | low)
                .ok_or_else(malformed)?;
        }
        Ok(Self::from_bytes(bytes))
    }
}

/// As its 64 digits. The name is not written.
impl Serialize for ObjectId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Why a text is not the id of an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// It is not the form of an id.
    #[error("invalid object id {text:?}: it must be 64 hex digits")]
    Malformed {
        /// The text, its first 64 bytes.
        text: String,
    },
    /// It is an id, but not of this namespace.
    #[error("object id {id} is not valid for the namespace {namespace:?}")]
    OtherNamespace {
        /// The id.
        id: String,
        /// The namespace that was asked for.
        namespace: String,
    },
}
