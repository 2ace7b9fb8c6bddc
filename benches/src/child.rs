//! What this program does as a child of itself: the servers, and what has to be measured in a process
//! that has done nothing else.

use std::{
    env,
    io::Read,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use axum::{Router, response::IntoResponse, routing::any};
use dokit_embedded::{Builder, Host};
use dokit_object::{Clock, testing::ManualClock};
use tokio::task::JoinSet;

use crate::{
    Failure, Result,
    machine::{open_files, resident_memory},
    measured::{Measured, micros, nanos},
    objects::{
        Counter, CounterApiClient, Document, SqlCounter, Ticker, TickerApiClient, awake, fired,
    },
};

/// For as long as anything is measured.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

fn tell(name: &str, value: impl std::fmt::Display) {
    println!("{name} {value}");
}

fn tell_measured(name: &str, measured: &Measured) {
    tell(name, measured.per_second());
    tell(&format!("{name}_p50"), micros(measured.p50));
    tell(&format!("{name}_p99"), micros(measured.p99));
}

/// The entry of the child.
pub(crate) async fn run(mut arguments: env::Args) -> Result<()> {
    let task = arguments.next().ok_or("which task?")?;
    if task == "axum" {
        return serve_constant().await;
    }
    let data = PathBuf::from(arguments.next().ok_or("which folder?")?);
    let mut numbers = Vec::new();
    for argument in arguments {
        numbers.push(argument.parse()?);
    }
    match (task.as_str(), &numbers[..]) {
        ("serve", []) => serve(&data).await,
        ("calls", &[objects, callers, millis, writes]) => {
            calls(
                &data,
                objects,
                callers,
                Duration::from_millis(millis),
                writes == 1,
            )
            .await
        }
        ("alarms", &[objects]) => alarms(&data, objects).await,
        ("fill", &[objects]) => fill(&data, objects).await,
        ("awake", &[objects]) => hold_awake(&data, objects).await,
        ("wake", &[objects, calls]) => wake(&data, objects, calls).await,
        ("open", &[]) => open(&data).await,
        ("crash", &[objects]) => crash(&data, objects).await,
        _ => Err(format!("no task {task:?} with {numbers:?}").into()),
    }
}

fn builder(data: &Path) -> Builder {
    let builder = Host::builder().data(data);
    let builder = builder.sleep_after(NEVER).awake_memory(usize::MAX);
    builder
        .object::<Counter>()
        .object::<Document>()
        .object::<Ticker>()
        .object::<SqlCounter>()
}

fn counter(host: &Host, number: u64) -> CounterApiClient<dokit_object::Stub> {
    let name = format!("object-{number}");
    CounterApiClient::new(host.namespace::<Counter>().get_by_name(&name))
}

/// Ends the process when its input ends, which is when its parent does.
fn end_with_parent() {
    thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        die();
    });
}

/// Ends the process by kill -9: what was answered has to be there all the same.
fn die() -> ! {
    let own = std::process::id().to_string();
    let _ = Command::new("kill").args(["-9", &own]).status();
    std::process::abort()
}

async fn serve(data: &Path) -> Result<()> {
    end_with_parent();
    let listener = builder(data).start()?.listen("127.0.0.1:0").await?;
    println!("{}", listener.address());
    listener.serve(std::future::pending()).await;
    Ok(())
}

async fn serve_constant() -> Result<()> {
    end_with_parent();
    let constant = async |body: axum::body::Bytes| {
        let content = [(http::header::CONTENT_TYPE, "application/json")];
        match serde_json::from_slice::<Vec<u64>>(&body) {
            Ok(_) => (content, "1").into_response(),
            Err(error) => (http::StatusCode::BAD_REQUEST, error.to_string()).into_response(),
        }
    };
    let router = Router::new().fallback(any(constant));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    Ok(axum::serve(listener, router).await?)
}

/// Has `callers` do `each` with the numbers below `objects` in turn.
async fn with_each<F>(
    objects: u64,
    callers: u64,
    each: impl Fn(u64) -> F + Clone + Send + 'static,
) -> Result<Measured>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for caller in 0..callers.min(objects) {
        let each = each.clone();
        tasks.spawn(async move {
            let mut waits = Vec::new();
            for number in (caller..objects).step_by(usize::try_from(callers)?) {
                let sent = Instant::now();
                each(number).await?;
                waits.push(nanos(sent.elapsed()));
            }
            Ok::<_, Failure>(waits)
        });
    }
    let mut waits = Vec::new();
    while let Some(task) = tasks.join_next().await {
        waits.extend(task??);
    }
    Measured::new(waits, start.elapsed())
}

/// Adds one to each.
async fn increment_each(host: &Host, objects: u64, callers: u64) -> Result<Measured> {
    let host = host.clone();
    let each = move |number| {
        let counter = counter(&host, number);
        async move {
            counter.increment(1).await?;
            Ok(())
        }
    };
    with_each(objects, callers, each).await
}

/// Checks that each has counted `expected`.
async fn check_each(host: &Host, objects: u64, expected: u64) -> Result<()> {
    let host = host.clone();
    let each = move |number| {
        let counter = counter(&host, number);
        async move {
            match counter.get().await? {
                count if count == expected => Ok(()),
                count => Err(format!("object {number} has {count} and not {expected}").into()),
            }
        }
    };
    with_each(objects, 64, each).await?;
    Ok(())
}

/// Calls a second in this process: increments, or reads.
async fn calls(
    data: &Path,
    objects: u64,
    callers: u64,
    span: Duration,
    writes: bool,
) -> Result<()> {
    let host = builder(data).start()?;
    increment_each(&host, objects, 64).await?;
    let before = total(&host, objects).await?;
    // Once for all callers, and before the clock runs: an id is a hash of its name.
    let counters: Arc<[_]> = (0..objects).map(|number| counter(&host, number)).collect();
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let counters = Arc::clone(&counters);
        tasks.spawn(async move {
            let mut waits = Vec::new();
            let mut at = usize::try_from(caller)?;
            // Once at least, however late it begins.
            loop {
                let counter = &counters[at % counters.len()];
                let sent = Instant::now();
                if writes {
                    counter.increment(1).await?;
                } else {
                    counter.get().await?;
                }
                waits.push(nanos(sent.elapsed()));
                at += usize::try_from(callers)?;
                if start.elapsed() >= span {
                    return Ok::<_, Failure>(waits);
                }
            }
        });
    }
    let mut waits = Vec::new();
    while let Some(task) = tasks.join_next().await {
        waits.extend(task??);
    }
    let measured = Measured::new(waits, start.elapsed())?;
    let expected = before + if writes { measured.calls } else { 0 };
    let stored = total(&host, objects).await?;
    if stored != expected {
        return Err(format!("{expected} increments were acknowledged, {stored} are stored").into());
    }
    tell_measured("calls", &measured);
    host.shutdown().await;
    Ok(())
}

async fn total(host: &Host, objects: u64) -> Result<u64> {
    let mut total = 0;
    for number in 0..objects {
        total += counter(host, number).get().await?;
    }
    Ok(total)
}

/// Alarms set, one an object, and then all fired at once, by a clock that is moved to their time.
async fn alarms(data: &Path, objects: u64) -> Result<()> {
    let clock = ManualClock::new();
    let host = builder(data).clock(clock.clone()).start()?;
    let ticker = {
        let host = host.clone();
        move |number: u64| {
            let name = format!("object-{number}");
            TickerApiClient::new(host.namespace::<Ticker>().get_by_name(&name))
        }
    };
    let hour = Duration::from_secs(60 * 60);
    let at = clock.now().saturating_add(hour).as_millis();
    let set = {
        let ticker = ticker.clone();
        move |number| {
            let ticker = ticker(number);
            async move { Ok(ticker.set(at).await?) }
        }
    };
    tell_measured("set", &with_each(objects, 64, set).await?);
    let start = Instant::now();
    clock.advance(hour);
    host.alarms_settled().await;
    let took = start.elapsed();
    let once = move |number| {
        let ticker = ticker(number);
        async move {
            match ticker.fired().await? {
                1 => Ok(()),
                fired => Err(format!("the alarm of object {number} fired {fired} times").into()),
            }
        }
    };
    with_each(objects, 64, once).await?;
    if fired() != objects {
        return Err(format!("{} handlers ran for {objects} alarms", fired()).into());
    }
    tell("fired", objects as f64 / took.as_secs_f64());
    host.shutdown().await;
    Ok(())
}

/// Makes a store in which each object has counted one.
async fn fill(data: &Path, objects: u64) -> Result<()> {
    // So that a store of any size fits in memory.
    let host = builder(data).sleep_after(Duration::ZERO).start()?;
    increment_each(&host, objects, 512).await?;
    host.shutdown().await;
    Ok(())
}

/// Holds all objects of a filled store in memory at once.
async fn hold_awake(data: &Path, objects: u64) -> Result<()> {
    let memory = || resident_memory("self").unwrap_or_default();
    let host = builder(data).start()?;
    // Its threads and caches are there before the objects are weighed.
    let warm = (objects / 20).clamp(1, 1000);
    increment_each(&host, warm, 64).await?;
    let asleep = memory();
    with_each(objects - warm, 64, {
        let host = host.clone();
        move |number| {
            let counter = counter(&host, number + warm);
            async move {
                counter.increment(1).await?;
                Ok(())
            }
        }
    })
    .await?;
    let all_awake = memory();
    if awake() != objects {
        return Err(format!("{} of {objects} objects are awake", awake()).into());
    }
    check_each(&host, objects, 2).await?;
    tell("awake", awake());
    tell("files", open_files("self").unwrap_or_default());
    tell("resident", all_awake);
    let weighed = objects - warm;
    tell(
        "awake_bytes",
        all_awake.saturating_sub(asleep) as f64 / weighed as f64,
    );
    host.shutdown().await;
    Ok(())
}

/// The first call of objects that are asleep, and the second of the same.
async fn wake(data: &Path, objects: u64, calls: u64) -> Result<()> {
    let host = builder(data).start()?;
    // One of them has been called, so that what only the first call of a host does is done.
    counter(&host, 0).get().await?;
    for name in ["first", "second"] {
        let start = Instant::now();
        let mut waits = Vec::new();
        for call in 0..calls {
            let counter = counter(&host, 1 + call * (objects - 1) / calls);
            let sent = Instant::now();
            let count = counter.get().await?;
            waits.push(nanos(sent.elapsed()));
            if count != 2 {
                return Err(format!("an object has {count} and not 2").into());
            }
        }
        tell_measured(name, &Measured::new(waits, start.elapsed())?);
    }
    host.shutdown().await;
    Ok(())
}

/// From nothing to the first answer.
async fn open(data: &Path) -> Result<()> {
    let start = Instant::now();
    let host = builder(data).start()?;
    tell("open", start.elapsed().as_secs_f64() * 1e3);
    let count = counter(&host, 0).get().await?;
    tell("answer", start.elapsed().as_secs_f64() * 1e3);
    if count == 0 {
        return Err("the first object has lost its count".into());
    }
    tell("resident", resident_memory("self").unwrap_or_default());
    host.shutdown().await;
    Ok(())
}

/// Adds to some objects and ends in the middle of it.
async fn crash(data: &Path, objects: u64) -> Result<()> {
    let host = builder(data).start()?;
    increment_each(&host, objects, 64).await?;
    die()
}
