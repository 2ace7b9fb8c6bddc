//! The session of a user who is signed in: a typed state that is checked, and that ends when it was not used
//! for a while, whether the object was awake then or not.
//!
//! The name of a session is its secret, so take one that nobody can guess: `openssl rand -hex 16`.
//!
//! ```sh
//! cargo run --example session                                                  # listens, and then:
//! curl -d '["ada", "10m"]' http://127.0.0.1:8787/session/s3cret/sign_in        # until when it lasts
//! curl -d '["cart", ["tea"]]' http://127.0.0.1:8787/session/s3cret/set         # and now lasts anew
//! curl -d '[]' http://127.0.0.1:8787/session/s3cret/get
//! curl -d '[]' http://127.0.0.1:8787/session/s3cret/sign_out                   # null
//! curl -d '[]' http://127.0.0.1:8787/session/s3cret/get                        # 401, nobody is signed in
//! ```

use std::{collections::BTreeMap, time::Duration};

use dokit::{
    Alarm, Context, DurableObject, Result, RpcError,
    alarms::parse_duration,
    durable_object,
    object::State,
    rpc,
    storage::{self, Timestamp},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A session, as it is stored and as its holder sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignedIn {
    /// Who it is.
    pub user: String,
    /// When it ends unless it is used before, in milliseconds since 1970.
    pub expires_at: Timestamp,
    /// How much longer it lasts each time it is used, in milliseconds.
    pub time_to_live: u64,
    /// Whatever the program keeps there.
    pub data: BTreeMap<String, Value>,
}

impl SignedIn {
    /// What may be stored of it.
    fn check(session: &Option<Self>) -> Result<(), String> {
        match session {
            Some(session) if session.user.trim().is_empty() => Err("the user is empty".to_owned()),
            Some(session) if session.data.len() > 50 => {
                Err(format!("{} entries are more than 50", session.data.len()))
            }
            _ => Ok(()),
        }
    }
}

/// Why a session refuses.
#[derive(Debug, thiserror::Error, RpcError)]
pub enum SessionError {
    /// It has ended, or never begun.
    #[error("nobody is signed in")]
    #[rpc(status = 401)]
    NotSignedIn,
    /// All else.
    #[error(transparent)]
    #[rpc(transparent)]
    Dokit(#[from] dokit::Error),
}

impl From<storage::Error> for SessionError {
    fn from(error: storage::Error) -> Self {
        Self::Dokit(error.into())
    }
}

/// What a session can be asked.
#[rpc]
pub trait SessionApi {
    /// Begins it, in place of one that there was. It lasts for 30 minutes after each use, or for as long as
    /// `time_to_live` says, such as `1d`.
    async fn sign_in(
        &mut self,
        user: String,
        time_to_live: Option<String>,
    ) -> Result<SignedIn, SessionError>;
    /// A look at it, which is no use: it does not last longer for that.
    async fn get(&self) -> Result<SignedIn, SessionError>;
    /// Uses it.
    async fn touch(&mut self) -> Result<SignedIn, SessionError>;
    /// Keeps a value in it, in place of one of that name. Null takes it away.
    async fn set(&mut self, name: String, value: Value) -> Result<SignedIn, SessionError>;
    /// Ends it. Nothing of it is kept.
    async fn sign_out(&mut self) -> Result<(), SessionError>;
}

pub(crate) struct Session {
    ctx: Context,
    session: State<Option<SignedIn>>,
}

#[durable_object(state = session)]
impl DurableObject for Session {
    type Api = SessionApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let session = ctx.state(|| None).check(SignedIn::check).load().await?;
        Ok(Self { ctx, session })
    }

    /// The time may have come while the object slept, or while nothing ran at all.
    async fn alarm(&mut self, _: Alarm) -> Result<()> {
        let mut storage = self.ctx.storage();
        match self.live() {
            Ok(session) => storage.set_alarm(session.expires_at).await?,
            Err(_) => storage.delete_all().await?,
        }
        Ok(())
    }
}

impl Session {
    /// The session, if it has not ended by now: the alarm may be late.
    fn live(&self) -> Result<&SignedIn, SessionError> {
        let live = self.session.as_ref();
        live.filter(|session| session.expires_at > self.ctx.now())
            .ok_or(SessionError::NotSignedIn)
    }

    /// Stores it as it is after a use.
    async fn used(&mut self, mut session: SignedIn) -> Result<SignedIn, SessionError> {
        let time_to_live = Duration::from_millis(session.time_to_live);
        session.expires_at = self.ctx.now().saturating_add(time_to_live);
        *self.session = Some(session.clone());
        self.ctx.storage().set_alarm(session.expires_at).await?;
        Ok(session)
    }
}

impl SessionApi for Session {
    async fn sign_in(
        &mut self,
        user: String,
        time_to_live: Option<String>,
    ) -> Result<SignedIn, SessionError> {
        let time_to_live = parse_duration(time_to_live.as_deref().unwrap_or("30m"));
        let time_to_live = time_to_live.map_err(dokit::Error::from)?.as_millis();
        self.used(SignedIn {
            user,
            expires_at: self.ctx.now(),
            time_to_live: time_to_live.try_into().unwrap_or(u64::MAX),
            data: BTreeMap::new(),
        })
        .await
    }

    async fn get(&self) -> Result<SignedIn, SessionError> {
        self.live().cloned()
    }

    async fn touch(&mut self) -> Result<SignedIn, SessionError> {
        let session = self.live()?.clone();
        self.used(session).await
    }

    async fn set(&mut self, name: String, value: Value) -> Result<SignedIn, SessionError> {
        let mut session = self.live()?.clone();
        match value {
            Value::Null => session.data.remove(&name),
            value => session.data.insert(name, value),
        };
        self.used(session).await
    }

    async fn sign_out(&mut self) -> Result<(), SessionError> {
        Ok(self.ctx.storage().delete_all().await?)
    }
}

#[cfg(not(any(test, target_arch = "wasm32")))]
#[path = "support/serve.rs"]
mod serve;

#[cfg(not(any(test, target_arch = "wasm32")))]
fn main() -> std::process::ExitCode {
    let host = dokit::Host::builder().object::<Session>();
    serve::main("session", host, include_str!("session.rs"))
}
