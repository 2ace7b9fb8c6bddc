//! A panic ends the program: in wasm there is no way back from it. Every object that is awake in this
//! isolate is gone with it, and what they were asked would never be answered. So what has to be said then
//! is kept here, and said before the program ends.
//!
//! Whatever the platform delivers next begins the program anew, with memory that is empty: the script
//! that `worker-build` makes sees to that. Where the program is built so that panics unwind, they are
//! caught where the call runs, and nothing of this happens.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::pin,
    sync::Once,
};

use worker::{
    js_sys::{self, Array, Function, Promise, Reflect},
    wasm_bindgen::{JsCast, JsValue, handler::set_on_abort},
    wasm_bindgen_futures::spawn_local,
};

use crate::platform::Latch;

thread_local! {
    /// What is to be done when the program ends, in the order in which it was asked for.
    static WORDS: RefCell<BTreeMap<u64, Words>> = const { RefCell::new(BTreeMap::new()) };
    static NEXT: Cell<u64> = const { Cell::new(1) };
    /// The event that runs.
    static RUNNING: Cell<u64> = const { Cell::new(0) };
}

type Words = Box<dyn FnOnce(&End)>;

/// How the program ended.
pub(crate) struct End {
    event: u64,
    why: String,
}

/// Has something done when the program ends, until it is dropped.
pub(crate) struct AtTheEnd(u64);

impl AtTheEnd {
    pub(crate) fn say(words: impl FnOnce(&End) + 'static) -> Self {
        install();
        let number = NEXT.get();
        NEXT.set(number + 1);
        WORDS.with_borrow_mut(|all| all.insert(number, Box::new(words)));
        Self(number)
    }
}

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        WORDS.with_borrow_mut(|all| all.remove(&self.0));
    }
}

/// Runs an event of the platform's, and gives the promise of its answer. When the program ends first,
/// `end` answers, given why the event ended it, if it was this one.
///
/// It answers by a function, which is called within this event, also where another one ended the program: the
/// platform lets no event use what another has made.
pub(crate) fn event(
    run: impl Future<Output = Result<JsValue, JsValue>> + 'static,
    end: impl FnOnce(Option<&str>) -> Result<Function, JsValue> + 'static,
) -> Promise {
    let (answer, over) = (Latch::new(), Latch::new());
    let promise = answered_at_the_end(&over.promise()).map_or_else(
        |thrown| Promise::reject(&thrown),
        |ended| Promise::race(&Array::of2(&answer.promise(), &ended)),
    );
    let number = NEXT.get();
    let at_the_end = AtTheEnd::say(move |ended| {
        let why = (ended.event == number).then_some(&*ended.why);
        match end(why) {
            Ok(answer) => over.resolve(&answer),
            Err(thrown) => over.reject(&thrown),
        }
    });
    spawn_local(async move {
        let answered = numbered(number, run).await;
        drop(at_the_end);
        match answered {
            Ok(value) => answer.resolve(&value),
            Err(thrown) => answer.reject(&thrown),
        }
    });
    promise
}

/// What the function answers that `over` is resolved with.
fn answered_at_the_end(over: &Promise) -> Result<JsValue, JsValue> {
    let then: Function = Reflect::get(over, &"then".into())?.unchecked_into();
    // In JavaScript, since nothing of ours runs then: `over.then((answer) => answer.call())`.
    let call: Function = Reflect::get(&then, &"call".into())?.unchecked_into();
    let call = bound(&call, &call, &Array::new())?;
    Reflect::apply(&then, over, &Array::of1(&call))
}

/// A function of JavaScript's with what it is called with.
pub(crate) fn bound(
    function: &Function,
    this: &JsValue,
    arguments: &Array,
) -> Result<Function, JsValue> {
    let bind: Function = Reflect::get(function, &"bind".into())?.unchecked_into();
    let all = Array::of1(this).concat(arguments);
    Ok(Reflect::apply(&bind, function, &all)?.unchecked_into())
}

/// A function that answers this.
pub(crate) fn answer(with: &JsValue) -> Result<Function, JsValue> {
    promised("resolve", with)
}

/// A function that throws this.
pub(crate) fn throw(what: &JsValue) -> Result<Function, JsValue> {
    promised("reject", what)
}

fn promised(method: &str, with: &JsValue) -> Result<Function, JsValue> {
    let class = Reflect::get(&js_sys::global(), &"Promise".into())?;
    let method: Function = Reflect::get(&class, &method.into())?.unchecked_into();
    bound(&method, &class, &Array::of1(with))
}

/// Runs it as the event of this number.
async fn numbered<R>(number: u64, run: impl Future<Output = R>) -> R {
    let mut run = pin!(run);
    poll_fn(|context| {
        let before = RUNNING.replace(number);
        let polled = run.as_mut().poll(context);
        RUNNING.set(before);
        polled
    })
    .await
}

fn install() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        #[cfg(not(panic = "unwind"))]
        {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                speak(&panic.to_string());
                before(panic);
            }));
        }
        // What is no panic ends it too: no memory, or a stack that is too deep. That the program is to
        // begin anew is then said here, and not by the handler that the `worker` crate has set: that one
        // lets whatever comes first begin it, also what belongs to the one that has ended.
        set_on_abort(|| {
            speak("the program was ended");
            let program = Reflect::get(&js_sys::global(), &"__worker_init_state".into());
            if let Ok(program) = program {
                let _ = Reflect::set(&program, &"criticalError".into(), &true.into());
            }
        });
    });
}

fn speak(why: &str) {
    let end = End {
        event: RUNNING.get(),
        why: why.to_owned(),
    };
    // Some of them drop others: each is taken by itself.
    while let Some((_, words)) = WORDS.with_borrow_mut(BTreeMap::pop_first) {
        words(&end);
    }
}
