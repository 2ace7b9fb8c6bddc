//! Objects on an engine that a test plays by hand: commits that take a while, and SQL that fails.

#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]

use std::{
    future::{pending, poll_fn},
    sync::{Arc, Mutex},
    task::Poll,
};

use dokit_client::{CallReply, CallRequest, ObjectId, TransportError, rpc};
use dokit_object::{
    Alarm, BoxFuture, Close, Context, DurableObject, Error, Message, Request, Response, Result,
    State, WebSocket, durable_object,
    engine::{
        Activation, Call, Connection, ObjectType, Outcome, Outgoing, Router, SocketLimits,
        Surroundings, Switchboard, Wire,
    },
    testing::{ManualClock, block_on},
};
use dokit_storage::{
    Batch, Faults, KeyRange, Memory, Store, Timestamp,
    sql::{Cursor, Sql, SqlAccess, SqlEngine, SqlError, SqlValue},
};
use futures_util::{FutureExt, future::join};
use http::header;

/// A disk whose commits take a while and can fail, and whose rows cannot be reached.
#[derive(Clone, Debug)]
struct Disk(Faults<Memory>);

impl Store for Disk {
    async fn get(&self, key: &str) -> dokit_storage::Result<Option<String>> {
        self.0.get(key).await
    }

    async fn list(&self, range: &KeyRange) -> dokit_storage::Result<Vec<(String, String)>> {
        self.0.list(range).await
    }

    async fn alarm(&self) -> dokit_storage::Result<Option<Timestamp>> {
        self.0.alarm().await
    }

    async fn commit(&mut self, batch: Batch) -> dokit_storage::Result<()> {
        let mut begun = false;
        poll_fn(|context| {
            if std::mem::replace(&mut begun, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        self.0.commit(batch).await
    }

    fn sql(&self) -> Option<Sql> {
        Some(Sql::new(NoRows))
    }
}

struct NoRows;

impl SqlEngine for NoRows {
    fn exec(&self, _: &str, _: &[SqlValue], _: SqlAccess) -> Result<Cursor, SqlError> {
        Err(SqlError::Interrupted)
    }

    fn transaction(&self, _: &mut dyn FnMut() -> bool) -> Result<(), SqlError> {
        Err(SqlError::Interrupted)
    }

    fn database_size(&self) -> Result<u64, SqlError> {
        Err(SqlError::Interrupted)
    }
}

#[derive(Debug)]
struct Nowhere;

impl Router for Nowhere {
    fn call(
        &self,
        _: &'static str,
        _: &ObjectId,
        _: &CallRequest,
    ) -> BoxFuture<'static, Result<CallReply, TransportError>> {
        Box::pin(async { Ok(CallReply::json(404, "null")) })
    }

    fn unique_id(&self, namespace: &'static str) -> ObjectId {
        ObjectId::unique(namespace, [0; 16])
    }
}

struct Note {
    ctx: Context,
    text: State<String>,
}

#[rpc]
trait NoteApi {
    async fn set(&mut self, text: String) -> Result<()>;
    /// Deletes everything, and does not mind when that fails.
    async fn wipe(&mut self) -> Result<()>;
    /// Sends and attaches before an early commit, and the late ones while that is under way; then fails.
    async fn tell(&mut self, early: String, late: String) -> Result<()>;
    /// Does not wait for the end of an early commit.
    async fn give_up_a_commit(&mut self) -> Result<()>;
    /// Changes everything that it can, and never returns.
    async fn change_and_hang(&mut self) -> Result<()>;
    /// Has a text answered automatically, and fails where it is told to.
    async fn answer(&mut self, text: String, fail: bool) -> Result<()>;
    async fn answered(&self) -> Result<Option<String>>;
    /// Sets the alarm for now.
    async fn wake(&mut self) -> Result<()>;
    /// Of each alarm that was handled, how often it had failed before.
    async fn alarms(&self) -> Result<Vec<u32>>;
    /// The text, and the attachment of the first socket.
    async fn seen(&mut self) -> Result<(String, Option<String>)>;
}

#[durable_object(state = text)]
impl DurableObject for Note {
    type Api = NoteApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let text = ctx.state(String::new).load().await?;
        Ok(Self { ctx, text })
    }

    fn held_bytes(&self) -> usize {
        1_000_000
    }

    async fn fetch(&mut self, request: Request) -> Result<Response> {
        let socket = self.ctx.accept_websocket(&request, &[])?;
        Ok(socket.into_response())
    }

    async fn websocket_message(&mut self, _: &WebSocket, _: Message) -> Result<()> {
        Ok(())
    }

    /// Counts in the text, and commits that early.
    async fn alarm(&mut self, alarm: Alarm) -> Result<()> {
        self.text.push_str(&alarm.retry_count.to_string());
        self.text.save()?;
        self.ctx.commit().await
    }
}

impl Note {
    fn send(&self, text: &str) -> Result<()> {
        for socket in self.ctx.websockets() {
            socket.set_attachment(text)?;
            socket.send(text)?;
        }
        Ok(())
    }
}

impl NoteApi for Note {
    async fn set(&mut self, text: String) -> Result<()> {
        *self.text = text;
        Ok(())
    }

    async fn wipe(&mut self) -> Result<()> {
        let mut batch = Batch::new();
        batch.delete_all();
        let failed = self.ctx.storage().commit(batch).await;
        assert!(failed.is_err());
        Ok(())
    }

    async fn tell(&mut self, early: String, late: String) -> Result<()> {
        self.send(&early)?;
        let late = async { self.send(&late) };
        let (committed, sent) = join(self.ctx.commit(), late).await;
        committed.and(sent)?;
        Err(Error::new(418, "planned", "planned failure"))
    }

    async fn give_up_a_commit(&mut self) -> Result<()> {
        "given up".clone_into(&mut self.text);
        self.text.save()?;
        assert!(self.ctx.commit().now_or_never().is_none());
        Ok(())
    }

    async fn change_and_hang(&mut self) -> Result<()> {
        "hangs".clone_into(&mut self.text);
        self.text.save()?;
        self.send("hangs")?;
        self.ctx.set_auto_response("hangs", "yes")?;
        pending().await
    }

    async fn answer(&mut self, text: String, fail: bool) -> Result<()> {
        self.ctx.set_auto_response(text, "yes")?;
        match fail {
            true => Err(Error::new(418, "planned", "planned failure")),
            false => Ok(()),
        }
    }

    async fn answered(&self) -> Result<Option<String>> {
        Ok(self.ctx.auto_response().map(|pair| pair.request))
    }

    async fn wake(&mut self) -> Result<()> {
        let mut batch = Batch::new();
        batch.set_alarm(self.ctx.now());
        Ok(self.ctx.storage().commit(batch).await?)
    }

    async fn alarms(&self) -> Result<Vec<u32>> {
        Ok(self.text.chars().filter_map(|c| c.to_digit(10)).collect())
    }

    async fn seen(&mut self) -> Result<(String, Option<String>)> {
        let mut sockets = self.ctx.websockets().into_iter();
        let attachment = sockets.next().map(|socket| socket.attachment());
        Ok((self.text.clone(), attachment.transpose()?.flatten()))
    }
}

/// One object, and what an engine has to have for it.
struct Hand {
    disk: Disk,
    surroundings: Surroundings,
    switchboard: Switchboard,
    object_type: ObjectType,
    awake: Option<Activation>,
    /// What the object was woken with last.
    ctx: Option<Context>,
}

impl Hand {
    fn new() -> Self {
        let (clock, router) = (Arc::new(ManualClock::new()), Arc::new(Nowhere));
        Self {
            disk: Disk(Faults::new(Memory::new())),
            ctx: None,
            surroundings: Surroundings::new(clock, router),
            switchboard: Switchboard::new(SocketLimits::default(), Timestamp::EPOCH, drop),
            object_type: ObjectType::of::<Note>().unwrap(),
            awake: None,
        }
    }

    async fn wake(&mut self) -> Activation {
        if let Some(awake) = self.awake.take() {
            return awake;
        }
        let id = ObjectId::from_name("note", "n");
        let ctx = Context::new(id, self.disk.clone(), true, self.surroundings.clone());
        let ctx = self.switchboard.connect(ctx, &self.object_type);
        self.ctx = Some(ctx.clone());
        self.object_type.wake(ctx).await.unwrap().0
    }

    async fn run(&mut self, call: Call) -> (u16, Response) {
        let mut awake = self.wake().await;
        let Outcome {
            reply,
            writes,
            sockets,
            reset,
            ..
        } = awake.exclusive(call).await;
        if self.disk.commit(writes).await.is_err() {
            return (500, Response::default());
        }
        sockets.perform();
        if !reset {
            self.awake = Some(awake);
        }
        match reply {
            Ok(response) => (response.status().as_u16(), response),
            Err(error) => (error.status, Response::default()),
        }
    }

    fn method(&self, method: &'static str, arguments: &str) -> Call {
        let request = CallRequest::new(method, arguments);
        self.object_type.call(request).unwrap()
    }

    async fn call(&mut self, method: &'static str, arguments: &str) -> (u16, String) {
        let (status, response) = self.run(self.method(method, arguments)).await;
        (
            status,
            String::from_utf8_lossy(response.body()).into_owned(),
        )
    }

    async fn connect(&mut self) -> Connection {
        let request = http::Request::builder()
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==");
        let call = Call::Fetch(request.body("".into()).unwrap());
        let (status, mut response) = self.run(call).await;
        assert_eq!(status, 101);
        Connection::take(&mut response).unwrap()
    }
}

/// A socket that a platform holds: what it was told, in order.
#[derive(Clone, Debug, Default)]
struct Held(Arc<Mutex<Vec<String>>>);

impl Held {
    fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }
}

impl Wire for Held {
    fn send(&self, message: &Message) {
        self.note(format!("send {}", message.as_text().unwrap()));
    }

    fn close(&self, code: u16, reason: &str) {
        self.note(format!("close {code} {reason}"));
    }

    fn attach(&self, attachment: &str) {
        self.note(format!("attach {attachment}"));
    }

    fn auto_responded_at(&self) -> Option<Timestamp> {
        Some(Timestamp::from_millis(7))
    }
}

#[test]
fn a_socket_that_the_platform_holds_is_told_what_is_durable_and_nothing_twice() {
    block_on(async {
        let mut hand = Hand::new();
        let peer = hand.connect().await;
        hand.call("tell", r#"["before", "late"]"#).await;
        assert_eq!(peer.attachment().as_deref(), Some(r#""before""#));
        let held = Held::default();
        peer.plug(held.clone());
        // What was attached before is for whoever plugs it in.
        assert_eq!(held.told(), ["send before"]);
        hand.call("tell", r#"["early", "late"]"#).await;
        assert_eq!(held.told(), [r#"attach "early""#, "send early"]);
        peer.close(4000, "bye");
        peer.close(4001, "again");
        assert_eq!(held.told(), ["close 4000 bye"]);
        assert_eq!(peer.try_next(), None);
    });
}

#[test]
fn an_engine_that_begins_anew_finds_the_sockets_that_the_platform_has_held() {
    block_on(async {
        let mut hand = Hand::new();
        let id = ObjectId::from_name("note", "n");
        let sockets = hand.switchboard.sockets(&hand.object_type, &id).unwrap();
        let (first, second) = (Held::default(), Held::default());
        let number = 1 << 52;
        let mut peers = Vec::new();
        for (number, held) in [(number, &first), (5, &second)] {
            let tags = ["red".to_owned()];
            let peer = sockets.restore(number, tags, Some(r#""kept""#));
            assert_eq!((u64::from(peer.id()), peer.tags().len()), (number, 1));
            peer.plug(held.clone());
            peers.push(peer);
        }
        sockets.restore_auto_response("ping".to_owned(), "pong".to_owned());
        assert_eq!(hand.switchboard.open(), 2);

        let seen = hand.call("seen", "[]").await;
        assert_eq!(seen, (200, r#"["","kept"]"#.to_owned()));
        let answered = hand.call("answered", "[]").await;
        assert_eq!(answered, (200, r#""ping""#.to_owned()));
        let all = hand.ctx.as_ref().unwrap().websockets();
        let ids: Vec<u64> = all.iter().map(|socket| socket.id().into()).collect();
        assert_eq!(ids, [5, number], "in the order in which they were accepted");
        assert_eq!(all[0].auto_responded_at(), Some(Timestamp::from_millis(7)));
        assert_eq!(all[0].tags(), ["red"]);

        hand.call("tell", r#"["early", "late"]"#).await;
        for held in [first, second] {
            assert_eq!(held.told(), [r#"attach "early""#, "send early"]);
        }
        let newest = hand.connect().await;
        assert!(u64::from(newest.id()) > number, "no id comes again");
        drop(peers);
        assert_eq!(hand.switchboard.open(), 1);
    });
}

#[test]
fn what_is_sent_while_an_early_commit_is_under_way_is_not_part_of_it() {
    block_on(async {
        let mut hand = Hand::new();
        let peer = hand.connect().await;
        let told = hand.call("tell", r#"["early", "late"]"#).await;
        assert_eq!(told.0, 418);
        let early = Outgoing::Message(Arc::new(Message::from("early")));
        assert_eq!(peer.try_next(), Some(early));
        assert_eq!(peer.try_next(), None);
        let seen = hand.call("seen", "[]").await;
        assert_eq!(seen, (200, r#"["","early"]"#.to_owned()));
    });
}

#[test]
fn a_state_stays_where_deleting_everything_has_failed() {
    block_on(async {
        let mut hand = Hand::new();
        hand.call("set", r#"["kept"]"#).await;
        assert_eq!(hand.call("wipe", "[]").await.0, 200);
        for _ in 0..2 {
            let seen = hand.call("seen", "[]").await;
            assert_eq!(seen, (200, r#"["kept",null]"#.to_owned()));
            hand.awake = None;
        }
    });
}

#[test]
fn a_call_that_gives_up_its_early_commit_has_failed() {
    block_on(async {
        let mut hand = Hand::new();
        assert_eq!(hand.call("give_up_a_commit", "[]").await.0, 500);
        assert_eq!(hand.call("seen", "[]").await.1, r#"["",null]"#);
    });
}

#[test]
fn a_call_that_is_given_up_half_way_leaves_nothing_and_can_do_nothing_more() {
    block_on(async {
        let mut hand = Hand::new();
        let peer = hand.connect().await;
        let call = hand.method("change_and_hang", "[]");
        let mut awake = hand.wake().await;
        assert!(awake.exclusive(call).now_or_never().is_none());
        let mut batch = Batch::new();
        batch.put("late", "1");
        let ctx = hand.ctx.take().unwrap();
        ctx.storage().commit(batch).await.unwrap_err();
        ctx.broadcast().send("late").unwrap_err();
        drop(awake);
        assert_eq!(hand.call("seen", "[]").await.1, r#"["",null]"#);
        assert_eq!(hand.call("answered", "[]").await.1, "null");
        assert_eq!(peer.try_next(), None);
    });
}

#[test]
fn an_automatic_answer_counts_once_its_call_is_durable_and_not_where_that_failed() {
    block_on(async {
        let mut hand = Hand::new();
        let peer = hand.connect().await;
        let asks = || peer.received(Message::from("beat"), Timestamp::EPOCH);
        assert_eq!(hand.call("answer", r#"["beat", true]"#).await.0, 418);
        assert_eq!(hand.call("answered", "[]").await.1, "null");
        assert!(asks().is_some());

        let call = hand.method("answer", r#"["beat", false]"#);
        let mut awake = hand.wake().await;
        let outcome = awake.exclusive(call).await;
        assert!(asks().is_some(), "its call is not durable yet");
        outcome.sockets.perform();
        assert!(asks().is_none());
        assert!(peer.try_next().is_some());

        // It is the host's to keep, also while the object has no sockets and sleeps.
        let _ = peer.ended(Close::vanished());
        drop((peer, awake));
        hand.awake = None;
        hand.ctx = None;
        assert_eq!(hand.call("answered", "[]").await.1, r#""beat""#);
    });
}

#[test]
fn an_early_commit_that_fails_in_an_alarm_is_no_failure_of_its_handler() {
    block_on(async {
        let mut hand = Hand::new();
        hand.call("wake", "[]").await;
        hand.disk.0.fail_commit(1);
        assert_eq!(hand.run(Call::Alarm).await.0, 500);
        assert_eq!(hand.run(Call::Alarm).await.0, 200);
        assert_eq!(hand.call("alarms", "[]").await.1, "[0]");
    });
}

#[test]
fn an_object_weighs_its_own_size_twice_the_text_of_its_state_and_what_it_says_it_holds() {
    block_on(async {
        let mut hand = Hand::new();
        let mut awake = hand.wake().await;
        let own = awake.bytes() - 1_000_000;
        assert!(
            (size_of::<Note>()..2 * size_of::<Note>()).contains(&own),
            "{own}"
        );
        hand.awake = Some(awake);
        assert_eq!(hand.call("set", r#"["abc"]"#).await.0, 200);
        let weighs = hand.wake().await.bytes();
        assert_eq!(weighs, own + 1_000_000 + 2 * r#""abc""#.len());
    });
}
