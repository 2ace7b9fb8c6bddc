use std::{borrow::Cow, fmt};

use dokit_alarms::Alarms;
use dokit_storage::{MaybeSend, MaybeSync, Store, Timestamp};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Hooks, NoHooks, Persisted, Transition};

/// Hooks that keep an alarm at the deadline of a machine's state, around the hooks that were there.
///
/// Made by [`Persisted::alarm`].
pub struct DeadlineAlarm<A, H> {
    alarms: Alarms<A>,
    id: Cow<'static, str>,
    action: A,
    hooks: H,
}

/// Why the hooks of a machine with a [`DeadlineAlarm`] failed. `H` is the error of its own hooks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeadlineAlarmError<H> {
    /// Its own hooks failed.
    #[error(transparent)]
    Hooks(H),
    /// The alarm could not be scheduled or cancelled.
    #[error(transparent)]
    Alarms(dokit_alarms::Error),
}

impl<S, E, H> Persisted<S, E, H> {
    /// Keeps a job of `alarms`, under this id and with this action, at the deadline of the machine's
    /// state: scheduled, moved and cancelled in the commit of the step that does so. Call it after
    /// [`hooks`](Self::hooks), which it keeps. Feature `alarms`.
    ///
    /// The action is to call [`expire`](Self::expire) on the transaction that it gets, by this same
    /// machine, so that the next state's deadline is scheduled too.
    ///
    /// ```
    /// use dokit_alarms::Alarms;
    /// use dokit_fsm::{NoHooks, DeadlineAlarm, Persisted, machine};
    /// use dokit_storage::{Memory, Timestamp};
    /// use serde::{Deserialize, Serialize};
    ///
    /// # #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    /// enum Order { Pending, Paid, Cancelled }
    /// enum Event { Pay, Cancel }
    /// machine! {
    ///     ORDER: Order, Event {
    ///         Pending => { Pay => Paid, Cancel => Cancelled } after "1d" => Cancel
    ///     }
    /// }
    ///
    /// # #[derive(Serialize, Deserialize)]
    /// enum Job { ExpireOrder }
    /// const JOBS: Alarms<Job> = Alarms::new();
    ///
    /// fn order() -> Persisted<Order, Event, DeadlineAlarm<Job, NoHooks>> {
    ///     ORDER.persisted().alarm(JOBS, "order", Job::ExpireOrder)
    /// }
    ///
    /// # futures_executor::block_on(async {
    /// let mut store = Memory::new();
    /// order().start(&mut store, Timestamp::from_millis(1_000)).await.unwrap();
    ///
    /// // A day later the engine's alarm fires.
    /// let now = Timestamp::from_millis(86_401_000);
    /// JOBS.run_due(&mut store, now, async |txn, due| match due.action {
    ///     Job::ExpireOrder => Ok(order().expire(txn, now).await.map(|_| ())?),
    /// })
    /// .await
    /// .unwrap();
    /// assert_eq!(order().state(&store).await.unwrap(), Order::Cancelled);
    /// # });
    /// ```
    #[must_use]
    pub fn alarm<A>(
        self,
        alarms: Alarms<A>,
        id: impl Into<Cow<'static, str>>,
        action: A,
    ) -> Persisted<S, E, DeadlineAlarm<A, H>> {
        let machine = self.with_hooks(NoHooks);
        machine.with_hooks(DeadlineAlarm {
            alarms,
            id: id.into(),
            action,
            hooks: self.hooks,
        })
    }
}

impl<S, E, A, H> Hooks<S, E> for DeadlineAlarm<A, H>
where
    A: Serialize + DeserializeOwned + MaybeSend + MaybeSync,
    H: Hooks<S, E>,
{
    type Error = DeadlineAlarmError<H::Error>;

    fn on_exit(
        &self,
        step: &Transition<'_, S, E>,
        store: &mut impl Store,
    ) -> impl Future<Output = Result<(), Self::Error>> + MaybeSend {
        own(self.hooks.on_exit(step, store))
    }

    fn on_transition(
        &self,
        step: &Transition<'_, S, E>,
        store: &mut impl Store,
    ) -> impl Future<Output = Result<(), Self::Error>> + MaybeSend {
        own(self.hooks.on_transition(step, store))
    }

    fn on_entry(
        &self,
        step: &Transition<'_, S, E>,
        store: &mut impl Store,
    ) -> impl Future<Output = Result<(), Self::Error>> + MaybeSend {
        own(self.hooks.on_entry(step, store))
    }

    async fn on_deadline(
        &self,
        deadline: Option<Timestamp>,
        now: Timestamp,
        store: &mut impl Store,
    ) -> Result<(), Self::Error> {
        own(self.hooks.on_deadline(deadline, now, store)).await?;
        let Self {
            alarms, id, action, ..
        } = self;
        match deadline {
            Some(at) => alarms
                .schedule_as(store, now, id, at, action)
                .await
                .map(|_| ()),
            None => alarms.cancel(store, id).await.map(|_| ()),
        }
        .map_err(DeadlineAlarmError::Alarms)
    }
}

async fn own<H: MaybeSend>(
    hook: impl Future<Output = Result<(), H>> + MaybeSend,
) -> Result<(), DeadlineAlarmError<H>> {
    hook.await.map_err(DeadlineAlarmError::Hooks)
}

impl<A: Clone, H: Clone> Clone for DeadlineAlarm<A, H> {
    fn clone(&self) -> Self {
        Self {
            alarms: self.alarms,
            id: self.id.clone(),
            action: self.action.clone(),
            hooks: self.hooks.clone(),
        }
    }
}

impl<A, H> fmt::Debug for DeadlineAlarm<A, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadlineAlarm")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
