//! What runs when a machine takes a step.

use std::convert::Infallible;

use dokit_storage::{MaybeSend, MaybeSync, Store, Timestamp};

/// A step that a machine is taking, as its hooks see it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Transition<'a, S, E> {
    /// The state that it leaves.
    pub from: &'a S,
    /// The event.
    pub event: &'a E,
    /// The state that it enters.
    pub to: &'a S,
    /// When: the `now` that was given to `send` or `expire`.
    pub at: Timestamp,
    /// Whether it runs without leaving the state.
    pub internal: bool,
}

/// What else happens when a machine takes a step.
///
/// Each method has a default that does nothing. They run in this order: [`on_exit`](Self::on_exit),
/// [`on_transition`](Self::on_transition), [`on_entry`](Self::on_entry),
/// [`on_deadline`](Self::on_deadline); an internal transition runs `on_transition` alone. What they
/// write to `store` commits together with the new state, or not at all: the first `Err` rolls back all
/// of it. In the store they see the machine in its new state already.
///
/// They run when an event is accepted, once, and at no other time: not when an object wakes, not when a
/// state is read, not for an event whose id was seen before, and not on `start` or `reset`, which are
/// not transitions of the table (`on_deadline` alone runs there). A step can be rolled back after its
/// hooks have run (the commit may fail), so a hook writes to the store and leaves the outside world
/// alone. It may send further events to the machine, through a [`Persisted`](crate::Persisted) without these hooks: those
/// steps are part of the same commit, `on_deadline` is told the deadline that they lead to, and `send`
/// still answers the state that its own event led to.
///
/// ```
/// use dokit_fsm::{Hooks, Transition, machine};
/// use dokit_storage::{Batch, Error, Memory, Store, Timestamp};
///
/// # #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
/// enum Door { Open, Shut }
/// enum Push { Close }
/// machine! { DOOR: Door, Push { Open => { Close => Shut } } }
///
/// struct Count;
///
/// impl Hooks<Door, Push> for Count {
///     type Error = Error;
///
///     async fn on_entry(
///         &self,
///         step: &Transition<'_, Door, Push>,
///         store: &mut impl Store,
///     ) -> Result<(), Error> {
///         let mut batch = Batch::new();
///         batch.put("entered", format!("\"{}\"", DOOR.state_name(step.to)));
///         store.commit(batch).await
///     }
/// }
///
/// # futures_executor::block_on(async {
/// let mut store = Memory::new();
/// let door = DOOR.persisted().hooks(Count);
/// door.send(&mut store, Timestamp::from_millis(1), &Push::Close).await.unwrap();
/// assert_eq!(store.get("entered").await.unwrap().unwrap(), "\"shut\"");
/// # });
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no hooks for a machine of `{S}` and `{E}`",
    note = "implement `dokit_fsm::Hooks<{S}, {E}>`; every method but `type Error` has a default"
)]
pub trait Hooks<S, E>: MaybeSync {
    /// Why a hook fails; it comes back as [`SendError::Hook`](crate::SendError::Hook).
    type Error: MaybeSend;

    /// The state `from` is left.
    fn on_exit(
        &self,
        step: &Transition<'_, S, E>,
        store: &mut impl Store,
    ) -> impl Future<Output = Result<(), Self::Error>> + MaybeSend {
        let _ = (step, store);
        async { Ok(()) }
    }

    /// The step is taken; also of an internal transition.
    fn on_transition(
        &self,
        step: &Transition<'_, S, E>,
        store: &mut impl Store,
    ) -> impl Future<Output = Result<(), Self::Error>> + MaybeSend {
        let _ = (step, store);
        async { Ok(()) }
    }

    /// The state `to` is entered.
    fn on_entry(
        &self,
        step: &Transition<'_, S, E>,
        store: &mut impl Store,
    ) -> impl Future<Output = Result<(), Self::Error>> + MaybeSend {
        let _ = (step, store);
        async { Ok(()) }
    }

    /// The deadline of the machine's state has changed; `None`: it has none any more. The place to
    /// arm an alarm, in the same commit, that calls [`Persisted::expire`](crate::Persisted::expire).
    fn on_deadline(
        &self,
        deadline: Option<Timestamp>,
        now: Timestamp,
        store: &mut impl Store,
    ) -> impl Future<Output = Result<(), Self::Error>> + MaybeSend {
        let _ = (deadline, now, store);
        async { Ok(()) }
    }
}

/// No hooks: what a machine has until it is given some.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

impl<S, E> Hooks<S, E> for NoHooks {
    type Error = Infallible;
}

impl<S, E, H: Hooks<S, E> + ?Sized> Hooks<S, E> for &H {
    type Error = H::Error;

    fn on_exit(
        &self,
        step: &Transition<'_, S, E>,
        store: &mut impl Store,
    ) -> impl Future<Output = Result<(), Self::Error>> + MaybeSend {
        (**self).on_exit(step, store)
    }

    fn on_transition(
        &self,
        step: &Transition<'_, S, E>,
        store: &mut impl Store,
    ) -> impl Future<Output = Result<(), Self::Error>> + MaybeSend {
        (**self).on_transition(step, store)
    }

    fn on_entry(
        &self,
        step: &Transition<'_, S, E>,
        store: &mut impl Store,
    ) -> impl Future<Output = Result<(), Self::Error>> + MaybeSend {
        (**self).on_entry(step, store)
    }

    fn on_deadline(
        &self,
        deadline: Option<Timestamp>,
        now: Timestamp,
        store: &mut impl Store,
    ) -> impl Future<Output = Result<(), Self::Error>> + MaybeSend {
        (**self).on_deadline(deadline, now, store)
    }
}
