use std::time::Duration;

use dokit_fsm::SendError;
use dokit_storage::{Memory, Timestamp};
use futures_executor::block_on;

use super::{DAY, Event, ORDER, State, at, dump, pay, ship};

#[test]
fn a_deadline_counts_from_the_entry_and_survives_a_restart() {
    block_on(async {
        let disk = Memory::new();
        let order = ORDER.persisted();
        assert_eq!(
            order.deadline(&disk).await.unwrap(),
            None,
            "nothing is stored yet"
        );
        order.start(&mut disk.clone(), at(10)).await.unwrap();
        // A restart half a day later, and a start by a program that does not know better.
        let (order, mut store) = (ORDER.persisted(), disk.clone());
        assert!(!order.start(&mut store, at(DAY / 2)).await.unwrap());
        assert_eq!(order.deadline(&store).await.unwrap(), Some(at(10 + DAY)));
        assert_eq!(order.entered_at(&store).await.unwrap(), Some(at(10)));
    });
}

#[test]
fn it_fires_once_and_early_late_and_repeated_calls_are_harmless() {
    block_on(async {
        let mut store = Memory::new();
        let order = ORDER.persisted();
        assert_eq!(order.expire(&mut store, at(i64::MAX)).await.unwrap(), None);
        order.start(&mut store, at(10)).await.unwrap();
        let before = dump(&store).await;
        assert_eq!(order.expire(&mut store, at(9 + DAY)).await.unwrap(), None);
        assert_eq!(order.expire(&mut store, at(0)).await.unwrap(), None);
        assert_eq!(dump(&store).await, before);
        // Two days late, for the process was down.
        let late = at(10 + 3 * DAY);
        assert_eq!(
            order.expire(&mut store, late).await.unwrap(),
            Some(State::Cancelled)
        );
        let after = dump(&store).await;
        assert_eq!(order.expire(&mut store, late).await.unwrap(), None);
        assert_eq!(order.deadline(&store).await.unwrap(), None);
        assert_eq!(dump(&store).await, after);
        let history = order.history(&store).await.unwrap();
        assert_eq!(history.len(), 1);
        assert_eq!(history[0].event.as_deref(), Some("cancel"));
        assert_eq!(history[0].at, late);
    });
}

#[test]
fn leaving_the_state_cancels_it() {
    block_on(async {
        let mut store = Memory::new();
        let order = ORDER.persisted();
        order.start(&mut store, at(10)).await.unwrap();
        order.send(&mut store, at(20), &pay()).await.unwrap();
        assert_eq!(order.deadline(&store).await.unwrap(), None);
        assert_eq!(order.expire(&mut store, at(10 + DAY)).await.unwrap(), None);
        order.send(&mut store, at(30), &ship()).await.unwrap();
        assert_eq!(
            order.deadline(&store).await.unwrap(),
            Some(at(30 + 5_400_000))
        );
        order
            .send(&mut store, at(40), &Event::Deliver)
            .await
            .unwrap();
        assert_eq!(order.deadline(&store).await.unwrap(), None);
    });
}

#[test]
fn an_internal_transition_keeps_it_and_a_self_transition_sets_it_anew() {
    block_on(async {
        let mut store = Memory::new();
        let order = ORDER.persisted();
        // The first step starts the machine, also where it is an internal one.
        order.send(&mut store, at(10), &Event::Note).await.unwrap();
        assert_eq!(order.deadline(&store).await.unwrap(), Some(at(10 + DAY)));
        order.send(&mut store, at(20), &Event::Note).await.unwrap();
        assert_eq!(order.deadline(&store).await.unwrap(), Some(at(10 + DAY)));
        assert_eq!(order.entered_at(&store).await.unwrap(), Some(at(10)));
        order.send(&mut store, at(30), &Event::Retry).await.unwrap();
        assert_eq!(order.deadline(&store).await.unwrap(), Some(at(30 + DAY)));
        assert_eq!(order.entered_at(&store).await.unwrap(), Some(at(30)));
    });
}

#[test]
fn a_timeout_can_be_chosen_when_the_program_runs() {
    block_on(async {
        let mut store = Memory::new();
        let quick = ORDER
            .persisted()
            .timeout(&State::Pending, Duration::from_secs(1))
            .timeout(&State::Pending, Duration::from_secs(2));
        quick.start(&mut store, at(10)).await.unwrap();
        assert_eq!(quick.deadline(&store).await.unwrap(), Some(at(2010)));
        // The stored one counts, whatever the next program would choose.
        let order = ORDER.persisted();
        assert_eq!(order.deadline(&store).await.unwrap(), Some(at(2010)));
        assert_eq!(
            order.expire(&mut store, at(2010)).await.unwrap(),
            Some(State::Cancelled)
        );
    });
}

#[test]
fn a_timeout_beyond_all_time_is_the_last_moment_of_an_alarm() {
    block_on(async {
        let mut store = Memory::new();
        let never = ORDER.persisted().timeout(&State::Pending, Duration::MAX);
        never.start(&mut store, at(10)).await.unwrap();
        assert_eq!(never.deadline(&store).await.unwrap(), Some(Timestamp::LAST));
    });
}

#[test]
fn a_timeout_for_a_state_that_has_none_panics_where_it_is_asked_for() {
    let panic = std::panic::catch_unwind(|| {
        ORDER
            .persisted()
            .timeout(&State::Delivered, Duration::from_secs(1))
    });
    let text = panic.unwrap_err().downcast::<String>().unwrap();
    assert_eq!(
        *text,
        "state \"delivered\" of machine \"order\" has no `after` in its table"
    );
}

mod guarded {
    use dokit_fsm::machine;
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(crate) enum Lease {
        Held { used: u64 },
        Free,
    }

    pub(crate) enum Event {
        Use,
        Expire { after: u64 },
    }

    pub(crate) const TERM: std::time::Duration = std::time::Duration::from_secs(60);

    machine! {
        /// A timeout whose event carries data, and which a guard may refuse.
        #[machine(initial = Lease::Held { used: 0 })]
        pub(crate) LEASE: Lease, Event {
            Held => {
                Use => count -> internal,
                Expire if unused => Free,
            } after TERM => expire -> Expire
        }
    }

    fn count(lease: &Lease, _: &Event) -> Lease {
        match lease {
            Lease::Held { used } => Lease::Held { used: used + 1 },
            Lease::Free => Lease::Free,
        }
    }

    fn expire(lease: &Lease) -> Event {
        match lease {
            Lease::Held { used } => Event::Expire { after: *used },
            Lease::Free => Event::Use,
        }
    }

    fn unused(_: &Lease, event: &Event) -> Result<(), String> {
        match event {
            Event::Expire { after } if *after > 0 => Err(format!("it was used {after} times")),
            _ => Ok(()),
        }
    }
}

#[test]
fn a_timeout_that_a_guard_refuses_changes_nothing_and_is_tried_again() {
    use guarded::{Event, LEASE, Lease};
    block_on(async {
        let mut store = Memory::new();
        let lease = LEASE.persisted();
        assert_eq!(
            lease.send(&mut store, at(0), &Event::Use).await.unwrap(),
            Lease::Held { used: 1 }
        );
        let before = dump(&store).await;
        for _ in 0..2 {
            let error = lease.expire(&mut store, at(60_000)).await.unwrap_err();
            let SendError::Guard(refused) = error else {
                panic!("{error}");
            };
            assert_eq!(refused.reason, "it was used 1 times");
            assert_eq!(dump(&store).await, before);
        }
    });
}
