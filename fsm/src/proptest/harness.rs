use std::{
    error::Error as StdError,
    fmt::{self, Debug},
    ops::RangeInclusive,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake},
    thread::{self, Thread},
};

use ::proptest::{
    collection::vec,
    sample::select,
    strategy::{Just, Strategy, Union},
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use serde::{Serialize, de::DeserializeOwned};

use super::model::{Invariant, Model, Step, Trouble, View};
use crate::{Hooks, Persisted};

/// Drives a persisted machine, disturbed, beside its table, and checks after each step that they agree
/// and that the user's invariants hold.
///
/// Events of the strategy are sent, deadlines pass, commits fail before or after they take effect, reads
/// fail, hooks fail after having written; after each step the machine is opened again on what was
/// durable. A failure shrinks to the shortest sequence of steps that still fails.
///
/// | option | default |
/// |---|---|
/// | [`steps`](Self::steps) in a sequence | 1 to 20 |
/// | [`cases`](Self::cases), how many sequences | 256 |
/// | [`seed`](Self::seed) | another one at each run |
///
/// ```
/// use dokit_fsm::{machine, proptest::Harness};
/// use proptest::prelude::*;
/// # use serde::{Deserialize, Serialize};
///
/// # #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
/// enum Job { Waiting, Running, Done }
/// # #[derive(Clone, Debug)]
/// enum Event { Start, Retry, Finish }
/// machine! {
///     JOB: Job, Event {
///         Waiting => { Start => Running } after "1h" => Start
///         Running => { Retry => Waiting, Finish => Done }
///     }
/// }
///
/// let events = prop_oneof![Just(Event::Start), Just(Event::Retry), Just(Event::Finish)];
/// let harness = Harness::new(JOB.persisted(), events).seed(1).invariant(|view| {
///     if *view.state == Job::Done && view.walk.len() > 2 {
///         return Err("done only after a second try".into());
///     }
///     Ok(())
/// });
/// let counterexample = harness.check().unwrap_err();
/// assert_eq!(counterexample.steps.len(), 4, "{counterexample}");
/// ```
#[must_use = "a harness does nothing until it is run"]
pub struct Harness<S: 'static, E: 'static, H, G> {
    persisted: Persisted<S, E, H>,
    events: G,
    steps: RangeInclusive<usize>,
    cases: u32,
    seed: Option<u64>,
    invariants: Vec<Invariant<S, E>>,
}

/// The shortest sequence of steps found that breaks a machine or an invariant.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Counterexample<E> {
    /// The steps, from an empty store on.
    pub steps: Vec<Step<E>>,
    /// What is wrong after the last of them.
    pub reason: String,
}

impl<E: Debug> fmt::Display for Counterexample<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {} steps:", self.reason, self.steps.len())?;
        for (at, step) in self.steps.iter().enumerate() {
            write!(f, "\n  {}. {step:?}", at + 1)?;
        }
        Ok(())
    }
}

impl<E: Debug> StdError for Counterexample<E> {}

impl<S, E, H, G> Harness<S, E, H, G>
where
    S: Clone + Debug + PartialEq + Serialize + DeserializeOwned,
    E: Clone + Debug,
    H: Hooks<S, E>,
    G: Strategy<Value = E> + Clone + 'static,
{
    /// A harness for this machine, with its hooks and options, sent these events.
    pub fn new(persisted: Persisted<S, E, H>, events: G) -> Self {
        Self {
            persisted,
            events,
            steps: 1..=20,
            cases: 256,
            seed: None,
            invariants: Vec::new(),
        }
    }

    /// How many steps a sequence has.
    pub fn steps(mut self, steps: RangeInclusive<usize>) -> Self {
        self.steps = steps;
        self
    }

    /// How many sequences are tried.
    pub fn cases(mut self, cases: u32) -> Self {
        self.cases = cases;
        self
    }

    /// Tries the same sequences at each run.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// What must hold after each step, whatever went wrong in it: an error, or a panic, says what does
    /// not.
    pub fn invariant(
        mut self,
        holds: impl Fn(&View<'_, S, E>) -> Result<(), Box<dyn StdError>> + Send + Sync + 'static,
    ) -> Self {
        self.invariants.push(Box::new(holds));
        self
    }

    /// Runs it as a test.
    ///
    /// # Panics
    ///
    /// With the [`Counterexample`], if there is one.
    #[track_caller]
    pub fn run(&self) {
        if let Err(counterexample) = self.check() {
            panic!("{counterexample}");
        }
    }

    /// Runs it, and answers the shortest counterexample it finds.
    ///
    /// # Errors
    ///
    /// The counterexample.
    pub fn check(&self) -> Result<(), Counterexample<E>> {
        let mut shortest = match self.search(self.steps.clone()) {
            Ok(()) => return Ok(()),
            Err(found) => found,
        };
        // What shrinking gets to may still be a detour: look for a shorter way as well.
        while shortest.steps.len() > 1 {
            match self.search(1..=shortest.steps.len() - 1) {
                Ok(()) => break,
                Err(shorter) => shortest = shorter,
            }
        }
        Err(shortest)
    }

    fn search(&self, length: RangeInclusive<usize>) -> Result<(), Counterexample<E>> {
        let config = Config {
            cases: self.cases,
            failure_persistence: None,
            ..Config::default()
        };
        let mut runner = match self.seed {
            None => TestRunner::new(config),
            Some(seed) => {
                let mut bytes = [0; 32];
                bytes[..8].copy_from_slice(&seed.to_le_bytes());
                let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
                TestRunner::new_with_rng(config, rng)
            }
        };
        let result = runner.run(&vec(self.step(), length), |steps| {
            self.try_steps(&steps).map_err(TestCaseError::fail)
        });
        match result {
            Ok(()) => Ok(()),
            Err(TestError::Fail(_, steps)) => Err(self.fewest(steps)),
            Err(TestError::Abort(reason)) => Err(Counterexample {
                steps: Vec::new(),
                reason: format!("the strategy makes no events: {reason}"),
            }),
        }
    }

    /// Drops troubles and steps for as long as the rest still fails. A trouble can hide that a step is
    /// not needed, so troubles go first.
    fn fewest(&self, mut steps: Vec<Step<E>>) -> Counterexample<E> {
        let fails = |steps: &[Step<E>]| self.try_steps(steps).is_err();
        for at in 0..steps.len() {
            let mut calmer = steps.clone();
            calmer[at] = calmer[at].clone().untroubled();
            if fails(&calmer) {
                steps = calmer;
            }
        }
        let without = |steps: &[Step<E>], at: usize| [&steps[..at], &steps[at + 1..]].concat();
        while let Some(at) = (0..steps.len()).find(|at| fails(&without(&steps, *at))) {
            steps.remove(at);
        }
        let reason = self.try_steps(&steps).err().unwrap_or_else(|| {
            "it failed, and passed when tried again: something in it is not deterministic"
                .to_owned()
        });
        Counterexample { steps, reason }
    }

    /// Runs steps from an empty store on, and says what is wrong first.
    fn try_steps(&self, steps: &[Step<E>]) -> Result<(), String> {
        let run = || {
            block_on(async {
                let mut model = Model::new(&self.persisted);
                for step in steps {
                    model.run(step).await?;
                    let view = model.view().await;
                    for invariant in &self.invariants {
                        invariant(&view).map_err(|broken| broken.to_string())?;
                    }
                }
                Ok(())
            })
        };
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(panic_text(&*panic)))
    }

    fn step(&self) -> impl Strategy<Value = Step<E>> + use<S, E, H, G> {
        let trouble = Union::new_weighted(vec![
            (6, Just(Trouble::None).boxed()),
            (1, Just(Trouble::CommitFails).boxed()),
            (1, Just(Trouble::AnswerLost).boxed()),
            (1, Just(Trouble::ReadFails).boxed()),
            (
                2,
                select(&Trouble::HOOKS[..])
                    .prop_map(Trouble::HookFails)
                    .boxed(),
            ),
        ]);
        let send = (self.events.clone(), trouble.clone());
        let mut steps = vec![(
            8,
            send.prop_map(|(event, it)| Step::Send(event, it)).boxed(),
        )];
        if self
            .persisted
            .machine()
            .edges()
            .any(|edge| edge.after.is_some())
        {
            steps.push((2, trouble.prop_map(Step::Expire).boxed()));
            steps.push((1, Just(Step::ExpireEarly).boxed()));
        }
        Union::new_weighted(steps)
    }
}

impl<S, E, H, G> Debug for Harness<S, E, H, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness")
            .field("persisted", &self.persisted)
            .field("steps", &self.steps)
            .field("cases", &self.cases)
            .field("seed", &self.seed)
            .field("invariants", &self.invariants.len())
            .finish_non_exhaustive()
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned())
}

/// Waits for a future on this thread. The store is in memory, so only a user's hook can make it wait.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}
