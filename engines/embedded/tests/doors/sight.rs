//! What can be seen of a host from outside.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use dokit_client::rpc;
use dokit_embedded::{Host, StartError};
use dokit_object::{
    Alarm, Clock, Context, DurableObject, Error, Result, durable_object, testing::ManualClock,
};
use dokit_storage::Timestamp;
use tempfile::tempdir;

use crate::{
    Door, DoorApiClient, Gate, builder,
    peer::{Answer, Peer, Server, get, post, soon},
};

/// Samples, by name and labels as they are written.
type Samples = BTreeMap<String, f64>;

/// Reads the text format 0.0.4 of Prometheus, strictly: a family's HELP and TYPE come before its samples,
/// which stand together; no sample comes twice; histograms add up.
fn parse(text: &str) -> Samples {
    let mut samples = Samples::new();
    let mut seen = BTreeSet::new();
    let (mut family, mut kind) = (String::new(), String::new());
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split_once(' ').unwrap().0.to_owned();
            assert!(seen.insert(family.clone()), "{family} comes twice");
            kind.clear();
        } else if let Some(of) = line.strip_prefix("# TYPE ") {
            let (name, of) = of.split_once(' ').unwrap();
            assert_eq!(name, family);
            assert!(["counter", "gauge", "histogram"].contains(&of), "{line}");
            of.clone_into(&mut kind);
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(name.bytes().all(plain), "{name}");
            check_labels(&sample[name.len()..]);
            let suffix = name.strip_prefix(&*family).unwrap();
            match &*kind {
                "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}"),
                "counter" => assert!(suffix.is_empty() && name.ends_with("_total"), "{line}"),
                _ => assert!(suffix.is_empty(), "{line}"),
            }
            let before = samples.insert(sample.to_owned(), value.parse().unwrap());
            assert!(before.is_none(), "{sample} comes twice");
        }
    }
    for (sample, count) in &samples {
        let Some((name, labels)) = sample.split_once("_count") else {
            continue;
        };
        let labels = labels.trim_matches(['{', '}']);
        let labels = match labels {
            "" => String::new(),
            labels => format!("{labels},"),
        };
        let of = format!("{name}_bucket{{{labels}le=\"");
        let mut buckets: Vec<(f64, f64)> = samples
            .iter()
            .filter_map(|(sample, count)| Some((sample.strip_prefix(&of)?, *count)))
            .map(|(bound, count)| (bound.trim_end_matches("\"}").parse().unwrap(), count))
            .collect();
        buckets.sort_by(|left, right| left.0.total_cmp(&right.0));
        assert!(buckets.is_sorted_by_key(|(_, count)| *count), "{buckets:?}");
        let last = buckets.last().unwrap();
        assert_eq!((last.0, last.1), (f64::INFINITY, *count), "{sample}");
    }
    samples
}

/// `{name="value",...}`, or nothing.
fn check_labels(text: &str) {
    let Some(inner) = text.strip_prefix('{') else {
        return assert!(text.is_empty(), "{text}");
    };
    let mut rest = inner.strip_suffix('}').unwrap();
    while !rest.is_empty() {
        let (name, value) = rest.split_once("=\"").unwrap();
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase()), "{text}");
        let mut escaped = false;
        let end = value.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        rest = &value[end.unwrap() + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

fn value(host: &Host, sample: &str) -> f64 {
    let text = host.metrics();
    *parse(&text)
        .get(sample)
        .unwrap_or_else(|| panic!("no {sample} in {text}"))
}

async fn ask(address: SocketAddr, request: &str) -> Answer {
    let mut peer = Peer::connect(address).await;
    peer.send(request).await;
    peer.answer().await
}

#[tokio::test]
async fn what_happens_is_counted_in_the_text_format_of_prometheus() {
    let data = tempdir().unwrap();
    let awake = builder(data.path()).sleep_after(Duration::from_secs(3600));
    let server = Server::start(awake).await;
    let host = &server.host;
    parse(&host.metrics());
    let door = DoorApiClient::new(host.namespace::<Door>().get_by_name("counted"));
    door.length("abc".to_owned()).await.unwrap();
    door.write().await.unwrap();
    door.fail().await.unwrap_err();
    assert_eq!(
        server.ask(&post("/door/a/length", "[\"a\"]")).await.status,
        200
    );
    assert_eq!(server.ask(&get("/door/a/page")).await.status, 200);
    assert_eq!(
        server.ask(&post("/door/a/unheard-of/x", "[]")).await.status,
        200
    );
    assert_eq!(
        server.ask(&post("/nothing/a/length", "[]")).await.status,
        404
    );
    let evil = "GET / HTTP/1.1\r\nhost: evil.example\r\n\r\n";
    assert_eq!(server.ask(evil).await.status, 403);
    for (sample, expected) in [
        (
            r#"dokit_calls_total{namespace="door",method="length",code="ok"}"#,
            2.0,
        ),
        (
            r#"dokit_calls_total{namespace="door",method="write",code="ok"}"#,
            1.0,
        ),
        (
            r#"dokit_calls_total{namespace="door",method="(fetch)",code="ok"}"#,
            2.0,
        ),
        (
            r#"dokit_calls_total{namespace="door",method="fail",code="ok"}"#,
            0.0,
        ),
        (
            r#"dokit_calls_total{namespace="door",method="fail",code="sold \"out\""}"#,
            1.0,
        ),
        (
            r#"dokit_call_duration_seconds_count{namespace="door",method="length"}"#,
            2.0,
        ),
        (
            r#"dokit_calls_refused_total{code="namespace_not_found"}"#,
            1.0,
        ),
        (r#"dokit_calls_refused_total{code="host_not_allowed"}"#, 1.0),
        ("dokit_commit_group_size_sum", 1.0),
        ("dokit_commit_duration_seconds_count", 1.0),
        ("dokit_commits_failed_total", 0.0),
        ("dokit_queue_depth_count", 6.0),
        ("dokit_objects_awake", 2.0),
        ("dokit_calls_waiting", 0.0),
        ("dokit_connections_accepted_total", 5.0),
        ("dokit_alarms_due", 0.0),
    ] {
        assert_eq!(value(host, sample), expected, "{sample}");
    }
    let slow = tokio::spawn(async move { door.wait().await });
    Gate::of("counted").has_begun().await;
    assert_eq!(value(host, "dokit_calls_waiting"), 1.0);
    slow.abort();
    assert!(slow.await.is_err());
    let abandoned = r#"dokit_calls_total{namespace="door",method="wait",code="abandoned"}"#;
    assert_eq!(value(host, abandoned), 1.0);
    Gate::of("counted").open();
}

#[rpc]
trait BellApi {
    async fn ring_at(&mut self, at: Timestamp) -> Result<()>;
    async fn refuse(&mut self) -> Result<()>;
    /// Hands over a call that is refused again and again.
    async fn hand_over(&mut self) -> Result<()>;
}

/// One that is `broken` fails to ring; the others ring when they are let.
struct Bell(Context);

#[durable_object]
impl DurableObject for Bell {
    type Api = BellApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        Ok(Self(ctx))
    }

    async fn alarm(&mut self, _: Alarm) -> Result<()> {
        if self.0.name().is_some_and(|name| name.starts_with("broken")) {
            return Err(Error::new(500, "planned", "planned failure"));
        }
        let gate = Gate::of("bell");
        gate.begun.add_permits(1);
        gate.go.acquire().await.unwrap().forget();
        Ok(())
    }
}

impl BellApi for Bell {
    async fn ring_at(&mut self, at: Timestamp) -> Result<()> {
        Ok(self.0.storage().set_alarm(at).await?)
    }

    async fn refuse(&mut self) -> Result<()> {
        Err(Error::new(503, "planned", "planned failure"))
    }

    async fn hand_over(&mut self) -> Result<()> {
        let other = self.0.namespace::<Self>().get_by_name("other");
        let refused = async |other| BellApiClient::new(other).refuse().await;
        self.0.after_commit(&other, refused).await
    }
}

#[tokio::test]
async fn alarms_that_are_due_late_and_given_up_are_counted() {
    let (data, clock) = (tempdir().unwrap(), ManualClock::new());
    let host = Host::builder().data(data.path()).object::<Bell>();
    let host = host.clock(clock.clone()).start().unwrap();
    let bell = |name| BellApiClient::new(host.namespace::<Bell>().get_by_name(name));
    let soon = Timestamp::from_millis(clock.now().as_millis() + 10_000);
    bell("whole").ring_at(soon).await.unwrap();
    host.alarms_settled().await;
    assert_eq!(value(&host, "dokit_alarms_due"), 0.0);
    clock.advance(Duration::from_secs(100));
    Gate::of("bell").has_begun().await;
    for (sample, expected) in [
        ("dokit_alarms_due", 1.0),
        ("dokit_alarms_late_seconds", 90.0),
        ("dokit_alarm_delay_seconds_count", 1.0),
        ("dokit_alarm_delay_seconds_sum", 90.0),
    ] {
        assert_eq!(value(&host, sample), expected, "{sample}");
    }
    Gate::of("bell").open();
    host.alarms_settled().await;
    assert_eq!(value(&host, "dokit_alarms_due"), 0.0);

    bell("broken").ring_at(clock.now()).await.unwrap();
    for tries in 1..=7 {
        host.alarms_settled().await;
        let given_up = f64::from(u8::from(tries == 7));
        assert_eq!(value(&host, "dokit_alarms_given_up_total"), given_up);
        let failed = r#"dokit_calls_total{namespace="bell",method="(alarm)",code="planned"}"#;
        assert_eq!(value(&host, failed), f64::from(tries));
        clock.advance(Duration::from_secs(100));
    }

    // Also where another try of a call that was handed over keeps an alarm set.
    let busy = bell("broken and busy");
    busy.hand_over().await.unwrap();
    busy.ring_at(clock.now()).await.unwrap();
    for tries in 1..=7 {
        host.alarms_settled().await;
        let given_up = 1.0 + f64::from(u8::from(tries == 7));
        assert_eq!(value(&host, "dokit_alarms_given_up_total"), given_up);
        clock.advance(Duration::from_secs(100));
    }
}

#[tokio::test]
async fn administrators_have_a_door_of_their_own() {
    let data = tempdir().unwrap();
    let guarded = builder(data.path()).token("public");
    let guarded = guarded.admin("127.0.0.1:0").admin_token("adm1n");
    let server = Server::start(guarded).await;
    let admin = server.host.admin_address().unwrap();
    for path in ["/healthz", "/readyz"] {
        for address in [admin, server.address] {
            let answer = ask(address, &get(path)).await;
            assert_eq!(
                (answer.status, &*answer.body),
                (200, &b"ok\n"[..]),
                "{path}"
            );
        }
    }
    assert_eq!(ask(admin, &get("/metrics")).await.status, 401);
    let with = |token: &str| {
        format!("GET /metrics HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n")
    };
    assert_eq!(ask(admin, &with("public")).await.status, 401);
    let metrics = ask(admin, &with("adm1n")).await;
    assert_eq!(metrics.status, 200);
    let of = metrics.header("content-type");
    assert_eq!(of, Some("text/plain; version=0.0.4; charset=utf-8"));
    parse(std::str::from_utf8(&metrics.body).unwrap());
    // Each door leads to its own.
    assert_eq!(ask(server.address, &with("adm1n")).await.status, 401);
    let unknown = ask(server.address, &with("public")).await;
    assert_eq!(
        (unknown.status, &*unknown.code()),
        (404, "namespace_not_found")
    );
    let unknown = ask(admin, &with("adm1n").replace("/metrics", "/door/a/page")).await;
    assert_eq!((unknown.status, &*unknown.code()), (404, "invalid_path"));
    // The door goes with the host.
    server.host.shutdown().await;
    soon(async {
        while tokio::net::TcpStream::connect(admin).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_administration_address_for_other_machines_needs_a_token() {
    let data = tempdir().unwrap();
    let open = builder(data.path()).allow_anyone().admin("0.0.0.0:0");
    let error = open.start().unwrap_err();
    assert!(
        matches!(error, StartError::UnguardedAdmin { .. }),
        "{error}"
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = builder(data.path()).admin(address).start().unwrap_err();
    assert!(matches!(error, StartError::Listen { .. }), "{error}");
}

#[tokio::test]
async fn a_host_that_stops_is_not_ready_and_still_healthy() {
    let data = tempdir().unwrap();
    let mut server = Server::start(builder(data.path()).admin("127.0.0.1:0")).await;
    let admin = server.host.admin_address().unwrap();
    let mut runs = server.connect().await;
    runs.send(&post("/door/stops/wait", "[]")).await;
    Gate::of("stops").has_begun().await;
    assert_eq!(ask(admin, &get("/readyz")).await.status, 200);
    server.tell_to_stop();
    let answer = soon(async {
        loop {
            let answer = ask(admin, &get("/readyz")).await;
            if answer.status == 503 {
                return answer;
            }
        }
    })
    .await;
    assert_eq!(answer.body, b"it is stopping\n");
    assert_eq!(ask(admin, &get("/healthz")).await.status, 200);
    Gate::of("stops").open();
    assert_eq!(runs.answer().await.status, 200);
    server.stopped().await;
}

#[tokio::test]
async fn a_host_whose_disk_fails_is_not_ready_until_a_commit_succeeds() {
    let data = tempdir().unwrap();
    let server = Server::start(builder(data.path())).await;
    let door = DoorApiClient::new(server.host.namespace::<Door>().get_by_name("a"));
    door.write().await.unwrap();
    let other = rusqlite::Connection::open(data.path().join("objects.sqlite")).unwrap();
    other
        .execute_batch("ALTER TABLE entries RENAME TO gone")
        .unwrap();
    let error = door.write().await.unwrap_err();
    assert_eq!(error.code().as_deref(), Some("commit_failed"));
    let answer = server.ask(&get("/readyz")).await;
    assert_eq!(
        (answer.status, &*answer.body),
        (503, &b"the last commits failed\n"[..])
    );
    assert_eq!(value(&server.host, "dokit_commits_failed_total"), 1.0);
    other
        .execute_batch("ALTER TABLE gone RENAME TO entries")
        .unwrap();
    door.write().await.unwrap();
    assert_eq!(server.ask(&get("/readyz")).await.status, 200);
}
