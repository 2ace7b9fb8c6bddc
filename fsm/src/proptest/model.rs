//! A persisted machine and, beside it, what it should be.

use std::{collections::BTreeMap, error::Error as StdError, fmt::Debug};

use dokit_storage::{
    Faults, KeyRange, MaybeSend, Memory, Result as StorageResult, Store, Timestamp, decode,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{HistoryEntry, Hooks, Persisted, RecordError, Refused, SendError, Transition};

/// One step of a [`Harness`](super::Harness).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step<E> {
    /// An event is sent.
    Send(E, Trouble),
    /// Time goes on to the state's deadline, if it has one, and `expire` is called.
    Expire(Trouble),
    /// Time goes on to just before the state's deadline, if it has one, and `expire` is called.
    ExpireEarly,
}

/// What goes wrong during a step. After each step the machine is opened again on what was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// Nothing.
    None,
    /// The store's commit fails, and nothing of it takes effect.
    CommitFails,
    /// The store's commit takes effect, and the answer is lost.
    AnswerLost,
    /// The store's first read fails.
    ReadFails,
    /// The hook of this name fails, after the machine's own has run: one of `on_exit`,
    /// `on_transition`, `on_entry`, `on_deadline`.
    HookFails(&'static str),
}

impl Trouble {
    pub(super) const HOOKS: [&'static str; 4] =
        ["on_exit", "on_transition", "on_entry", "on_deadline"];
}

impl<E> Step<E> {
    /// The same step with nothing going wrong.
    pub(super) fn untroubled(self) -> Self {
        match self {
            Self::Send(event, _) => Self::Send(event, Trouble::None),
            Self::Expire(_) => Self::Expire(Trouble::None),
            Self::ExpireEarly => Self::ExpireEarly,
        }
    }
}

/// What an invariant sees: the machine after a step, and everything that is in its store.
#[derive(Debug)]
#[non_exhaustive]
pub struct View<'a, S, E> {
    /// The machine's state.
    pub state: &'a S,
    /// The steps that led to it from the initial state.
    pub walk: &'a [(E, S)],
    /// When the step was taken.
    pub now: Timestamp,
    values: BTreeMap<String, String>,
}

impl<S, E> View<'_, S, E> {
    /// A value in the store; `None` where there is none.
    ///
    /// # Errors
    ///
    /// Where the stored value is not a `V`.
    pub fn value<V: DeserializeOwned>(&self, key: &str) -> StorageResult<Option<V>> {
        let json = self.values.get(key);
        json.map(|json| decode(key, json)).transpose()
    }
}

pub(super) type Invariant<S, E> =
    Box<dyn Fn(&View<'_, S, E>) -> Result<(), Box<dyn StdError>> + Send + Sync>;

/// The machine on its disk, and the state that the table says it is in.
pub(super) struct Model<'a, S: 'static, E: 'static, H> {
    persisted: &'a Persisted<S, E, H>,
    disk: Memory,
    state: S,
    walk: Vec<(E, S)>,
    history: Vec<HistoryEntry>,
    deadline: Option<Timestamp>,
    now: Timestamp,
}

impl<'a, S, E, H> Model<'a, S, E, H>
where
    S: Clone + Debug + PartialEq + Serialize + DeserializeOwned,
    E: Clone,
    H: Hooks<S, E>,
{
    pub(super) fn new(persisted: &'a Persisted<S, E, H>) -> Self {
        Self {
            persisted,
            disk: Memory::new(),
            state: persisted.machine().initial(),
            walk: Vec::new(),
            history: Vec::new(),
            deadline: None,
            now: Timestamp::from_millis(1_000_000),
        }
    }

    /// Runs one step on both, and says where they differ.
    pub(super) async fn run(&mut self, step: &Step<E>) -> Result<(), String> {
        self.now = Timestamp::from_millis(self.now.as_millis().saturating_add(1000));
        match step {
            Step::Send(event, trouble) => self.send(event, *trouble).await?,
            Step::Expire(trouble) => {
                self.now = self.deadline.map_or(self.now, |at| at.max(self.now));
                self.expire(*trouble).await?;
            }
            Step::ExpireEarly => {
                if let Some(deadline) = self.deadline {
                    let just_before = Timestamp::from_millis(deadline.as_millis() - 1);
                    self.now = self.now.min(just_before);
                }
                self.expire(Trouble::None).await?;
            }
        }
        self.compare().await
    }

    async fn send(&mut self, event: &E, trouble: Trouble) -> Result<(), String> {
        let (mut store, machine) = self.open(trouble);
        let answer = machine.send(&mut store, self.now, event).await;
        self.judge(event, trouble, false, answer)
    }

    async fn expire(&mut self, trouble: Trouble) -> Result<(), String> {
        let due = self.deadline.is_some_and(|deadline| deadline <= self.now);
        let event = self.persisted.machine().timeout_event(&self.state);
        let (mut store, machine) = self.open(trouble);
        let answer = machine.expire(&mut store, self.now).await;
        match (event.filter(|_| due), answer) {
            (None, Ok(None)) => Ok(()),
            (None, Ok(Some(state))) => Err(format!("nothing was due, and it went to {state:?}")),
            (None, Err(_)) if trouble == Trouble::ReadFails => Ok(()),
            (None, Err(error)) => Err(format!("nothing was due, and it failed: {error}")),
            (Some(_), Ok(None)) => Err("a deadline was due, and nothing happened".to_owned()),
            (Some(event), Ok(Some(state))) => self.judge(&event, trouble, true, Ok(state)),
            (Some(event), Err(error)) => self.judge(&event, trouble, true, Err(error)),
        }
    }

    /// The machine as a program finds it that starts on this disk.
    fn open<'m>(&self, trouble: Trouble) -> (Faults<Memory>, Persisted<S, E, Disturbed<'m, H>>)
    where
        'a: 'm,
    {
        let store = Faults::new(self.disk.clone());
        let mut fails = None;
        match trouble {
            Trouble::None => {}
            Trouble::CommitFails => store.fail_commit(1),
            Trouble::AnswerLost => store.lose_commit_answer(1),
            Trouble::ReadFails => store.fail_read(1),
            Trouble::HookFails(hook) => fails = Some(hook),
        }
        let hooks = Disturbed {
            own: &self.persisted.hooks,
            fails,
        };
        (store, self.persisted.with_hooks(hooks))
    }

    /// Compares an answer with the table's, and follows the machine where it has moved.
    fn judge(
        &mut self,
        event: &E,
        trouble: Trouble,
        expired: bool,
        answer: Result<S, SendError<Disturbance<H::Error>>>,
    ) -> Result<(), String> {
        use Trouble::{AnswerLost, CommitFails, HookFails, ReadFails};
        let machine = self.persisted.machine();
        let event_name = machine.event_name(event);
        let decided = machine.decide(&self.state, event);
        match (decided, answer, trouble) {
            (_, Err(SendError::Record(RecordError::Storage(_))), ReadFails) => Ok(()),
            (Err(expected), Err(error), _) if is_refusal(&expected, &error) => Ok(()),
            (Err(expected), Ok(state), _) => {
                Err(format!("it went to {state:?}; the table says: {expected}"))
            }
            (Ok(decided), Ok(state), Trouble::None | HookFails(_)) => {
                if state != decided.to {
                    return Err(format!(
                        "{event_name:?} led to {state:?}; the table says {:?}",
                        decided.to
                    ));
                }
                self.follow(event, decided.internal, expired, state);
                Ok(())
            }
            (Ok(decided), Ok(_), trouble) => Err(format!(
                "{event_name:?} led to {:?} although of the store {trouble:?}",
                decided.to
            )),
            (Ok(_), Err(SendError::Hook { source, .. }), trouble) => match (source, trouble) {
                (Disturbance::Own(_), _) | (Disturbance::Planned, HookFails(_)) => Ok(()),
                (Disturbance::Planned, _) => Err("a hook failed that was to work".to_owned()),
            },
            (Ok(_), Err(SendError::Record(RecordError::Storage(_))), CommitFails) => Ok(()),
            (Ok(decided), Err(SendError::Record(RecordError::Storage(_))), AnswerLost) => {
                self.follow(event, decided.internal, expired, decided.to);
                Ok(())
            }
            (_, Err(error), _) => Err(format!("{event_name:?} failed: {error}")),
        }
    }

    fn follow(&mut self, event: &E, internal: bool, expired: bool, to: S) {
        let machine = self.persisted.machine();
        let first = self.history.is_empty();
        self.history.push(HistoryEntry {
            from: machine.state_name(&self.state).to_owned(),
            event: Some(machine.event_name(event).to_owned()),
            to: machine.state_name(&to).to_owned(),
            at: self.now,
        });
        if !internal || first {
            self.deadline = self.persisted.deadline_of(&to, self.now);
        } else if expired {
            self.deadline = None;
        }
        self.walk.push((event.clone(), to.clone()));
        self.state = to;
    }

    /// Compares what is stored with the table's state, its history and its deadline.
    async fn compare(&self) -> Result<(), String> {
        let unreadable = |error: RecordError| format!("the record does not read: {error}");
        let stored = self.persisted.state(&self.disk).await;
        differ("state", &stored.map_err(unreadable)?, &self.state)?;
        let deadline = self.persisted.deadline(&self.disk).await;
        differ("deadline", &deadline.map_err(unreadable)?, &self.deadline)?;
        let history = self.persisted.history(&self.disk).await;
        let oldest = self
            .history
            .len()
            .saturating_sub(self.persisted.entries().bound);
        let expected = self.history[oldest..].to_vec();
        differ("history", &history.map_err(unreadable)?, &expected)
    }

    pub(super) async fn view(&self) -> View<'_, S, E> {
        let values = self.disk.list(&KeyRange::default()).await;
        View {
            state: &self.state,
            walk: &self.walk,
            now: self.now,
            values: values.unwrap_or_default().into_iter().collect(),
        }
    }
}

fn differ<T: Debug + PartialEq>(what: &str, stored: &T, expected: &T) -> Result<(), String> {
    if stored == expected {
        return Ok(());
    }
    Err(format!(
        "the stored {what} is {stored:?}; the table says {expected:?}"
    ))
}

/// Whether a persisted machine refused an event for the table's reason.
fn is_refusal<H>(expected: &Refused, error: &SendError<H>) -> bool {
    match (expected, error) {
        (Refused::Invalid(expected), SendError::Invalid(error)) => expected == error,
        (Refused::Guard(expected), SendError::Guard(error)) => expected == error,
        (Refused::UndeclaredTarget(expected), SendError::UndeclaredTarget(error)) => {
            expected == error
        }
        _ => false,
    }
}

/// A machine's own hooks, and one of them failing after it has run, so that its writes must go.
struct Disturbed<'a, H> {
    own: &'a H,
    fails: Option<&'static str>,
}

enum Disturbance<E> {
    Own(E),
    Planned,
}

impl<H> Disturbed<'_, H> {
    async fn disturb<E>(
        &self,
        hook: &'static str,
        own: impl Future<Output = Result<(), E>> + MaybeSend,
    ) -> Result<(), Disturbance<E>> {
        own.await.map_err(Disturbance::Own)?;
        if self.fails == Some(hook) {
            return Err(Disturbance::Planned);
        }
        Ok(())
    }
}

impl<S, E, H: Hooks<S, E>> Hooks<S, E> for Disturbed<'_, H> {
    type Error = Disturbance<H::Error>;

    fn on_exit(
        &self,
        step: &Transition<'_, S, E>,
        store: &mut impl Store,
    ) -> impl Future<Output = Result<(), Self::Error>> + MaybeSend {
        self.disturb("on_exit", self.own.on_exit(step, store))
    }

    fn on_transition(
        &self,
        step: &Transition<'_, S, E>,
        store: &mut impl Store,
    ) -> impl Future<Output = Result<(), Self::Error>> + MaybeSend {
        self.disturb("on_transition", self.own.on_transition(step, store))
    }

    fn on_entry(
        &self,
        step: &Transition<'_, S, E>,
        store: &mut impl Store,
    ) -> impl Future<Output = Result<(), Self::Error>> + MaybeSend {
        self.disturb("on_entry", self.own.on_entry(step, store))
    }

    fn on_deadline(
        &self,
        deadline: Option<Timestamp>,
        now: Timestamp,
        store: &mut impl Store,
    ) -> impl Future<Output = Result<(), Self::Error>> + MaybeSend {
        self.disturb("on_deadline", self.own.on_deadline(deadline, now, store))
    }
}
