//! What a subscriber of `tracing` gets to see. It is one for the whole process, so this is one test.

#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use dokit_client::rpc;
use dokit_embedded::Host;
use dokit_object::{Alarm, Context, DurableObject, Request, Result, Storage, durable_object};
use dokit_storage::{Schema, TypedStorage};
use tempfile::tempdir;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

#[rpc]
trait NoteApi {
    /// Has the object of the next name write it.
    async fn pass(&self, secret: String) -> Result<()>;
    async fn write(&mut self, secret: String) -> Result<()>;
    /// Has the alarm ring.
    async fn ring(&mut self) -> Result<()>;
}

#[derive(Schema)]
struct Stored {
    secret: String,
}

struct Note {
    ctx: Context,
    storage: TypedStorage<Stored, Storage>,
}

#[durable_object]
impl DurableObject for Note {
    type Api = NoteApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let storage = TypedStorage::new(ctx.storage());
        Ok(Self { ctx, storage })
    }

    async fn alarm(&mut self, _: Alarm) -> Result<()> {
        tracing::info!("ringing");
        Ok(())
    }
}

impl NoteApi for Note {
    async fn pass(&self, secret: String) -> Result<()> {
        tracing::info!("passing");
        let next = self.ctx.namespace::<Self>().get_by_name("second");
        let written = NoteApiClient::new(next).write(secret).await;
        written.map_err(dokit_object::Error::internal)
    }

    async fn write(&mut self, secret: String) -> Result<()> {
        tracing::info!("writing");
        Ok(self.storage.put(Stored::SECRET, &secret).await?)
    }

    async fn ring(&mut self) -> Result<()> {
        Ok(self.storage.set_alarm(self.ctx.now()).await?)
    }
}

/// All that was told, and where.
#[derive(Debug, Default)]
struct Told {
    spans: BTreeMap<u64, Seen>,
    events: Vec<(Option<u64>, String)>,
}

#[derive(Debug)]
struct Seen {
    name: &'static str,
    parent: Option<u64>,
    fields: BTreeMap<&'static str, String>,
}

static TOLD: Mutex<Option<Told>> = Mutex::new(None);

thread_local! {
    static WITHIN: std::cell::RefCell<Vec<u64>> = const { std::cell::RefCell::new(Vec::new()) };
}

fn within() -> Option<u64> {
    WITHIN.with_borrow(|within| within.last().copied())
}

#[derive(Debug)]
struct Fields<'a>(&'a mut BTreeMap<&'static str, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

#[derive(Debug)]
struct Listener(AtomicU64);

impl Subscriber for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = self.0.fetch_add(1, Ordering::Relaxed);
        let mut fields = BTreeMap::new();
        span.record(&mut Fields(&mut fields));
        let seen = Seen {
            name: span.metadata().name(),
            parent: within(),
            fields,
        };
        let mut told = TOLD.lock().unwrap();
        told.get_or_insert_default().spans.insert(id, seen);
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut told = TOLD.lock().unwrap();
        let span = told.get_or_insert_default().spans.get_mut(&span.into_u64());
        values.record(&mut Fields(&mut span.unwrap().fields));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = BTreeMap::new();
        event.record(&mut Fields(&mut fields));
        let mut told = TOLD.lock().unwrap();
        let events = &mut told.get_or_insert_default().events;
        events.push((within(), format!("{fields:?}")));
    }

    fn enter(&self, span: &Id) {
        WITHIN.with_borrow_mut(|within| within.push(span.into_u64()));
    }

    fn exit(&self, _: &Id) {
        WITHIN.with_borrow_mut(|within| within.pop());
    }
}

#[tokio::test]
async fn calls_calls_within_them_alarms_and_commits_are_spans_that_tell_no_secrets() {
    tracing::subscriber::set_global_default(Listener(AtomicU64::new(1))).unwrap();
    let data = tempdir().unwrap();
    let host = Host::builder().data(data.path()).object::<Note>();
    let host = host.start().unwrap();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let mut request = Request::new("[\"hush\"]".into());
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = "/note/first/pass".parse().unwrap();
    let traceparent = format!("00-{trace}-b7ad6b7169203331-01");
    let headers = request.headers_mut();
    headers.insert("traceparent", traceparent.parse().unwrap());
    assert_eq!(host.handle(request).await.status(), 200);
    let third = NoteApiClient::new(host.namespace::<Note>().get_by_name("third"));
    third.ring().await.unwrap();
    host.alarms_settled().await;
    host.shutdown().await;

    let told = TOLD.lock().unwrap().take().unwrap();
    let find = |name: &str, field: &str, value: &str| {
        let mut all = told.spans.iter();
        let found = all.find(|(_, span)| {
            span.name == name && span.fields.get(field).is_some_and(|is| is == value)
        });
        found.unwrap_or_else(|| panic!("no {name} {field}={value} in {told:#?}"))
    };
    let (outer, pass) = find("dokit.handle", "method", "pass");
    for (field, value) in [
        ("namespace", "note"),
        ("name", "first"),
        ("trace_id", trace),
        ("parent_id", "b7ad6b7169203331"),
        ("code", "ok"),
    ] {
        assert_eq!(pass.fields[field], value, "{pass:?}");
    }
    let (inner, write) = find("dokit.handle", "method", "write");
    assert_eq!(write.fields["name"], "second");
    // By way of the client's span.
    let mut above = write.parent;
    while above != Some(*outer) {
        above = told.spans[&above.unwrap()].parent;
    }
    find("dokit.commit", "commits", "1");
    let (alarm, rung) = find("dokit.handle", "method", "(alarm)");
    assert_eq!(
        (&*rung.fields["namespace"], &*rung.fields["code"]),
        ("note", "ok")
    );
    for (span, text) in [(outer, "passing"), (inner, "writing"), (alarm, "ringing")] {
        let here =
            |(at, fields): &&(Option<u64>, String)| *at == Some(*span) && fields.contains(text);
        assert!(told.events.iter().find(here).is_some(), "{told:#?}");
    }
    assert!(!format!("{told:?}").contains("hush"), "{told:#?}");
}
