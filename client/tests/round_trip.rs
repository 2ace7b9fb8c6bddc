//! What goes in comes out: over the JSON of the wire, and without a number becoming a double.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
};

use dokit_client::{CallReply, InProcess, MockTransport, rpc};
use futures_executor::block_on;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
enum Event {
    Pay,
    Ship { tracking_number: String },
}

type Result<V> = std::result::Result<V, Infallible>;

#[rpc(rename_all = "camelCase")]
trait Echo {
    async fn unsigned(&self, value: u64) -> Result<u64>;
    async fn signed(&self, value: i64) -> Result<i64>;
    async fn bytes(&self, value: Vec<u8>) -> Result<Vec<u8>>;
    async fn text(&self, value: String) -> Result<String>;
    async fn map(&self, value: HashMap<String, u64>) -> Result<HashMap<String, u64>>;
    async fn by_number(&self, value: BTreeMap<i32, bool>) -> Result<BTreeMap<i32, bool>>;
    async fn option(&self, value: Option<i64>) -> Result<Option<i64>>;
    async fn event(&self, value: Event, r#type: Option<bool>) -> Result<(Event, Option<bool>)>;
    async fn unit(&self) -> Result<()>;
    #[rpc(rename = "change-it")]
    async fn change(&mut self, call: u8, written: u8, method: u8) -> Result<(u8, u8, u8)>;
    async fn with_a_body(&self, count: u32) -> Result<u32> {
        Ok(count + 1)
    }
}

struct Object;

impl Echo for Object {
    async fn unsigned(&self, value: u64) -> Result<u64> {
        Ok(value)
    }
    async fn signed(&self, value: i64) -> Result<i64> {
        Ok(value)
    }
    async fn bytes(&self, value: Vec<u8>) -> Result<Vec<u8>> {
        Ok(value)
    }
    async fn text(&self, value: String) -> Result<String> {
        Ok(value)
    }
    async fn map(&self, value: HashMap<String, u64>) -> Result<HashMap<String, u64>> {
        Ok(value)
    }
    async fn by_number(&self, value: BTreeMap<i32, bool>) -> Result<BTreeMap<i32, bool>> {
        Ok(value)
    }
    async fn option(&self, value: Option<i64>) -> Result<Option<i64>> {
        Ok(value)
    }
    async fn event(&self, value: Event, r#type: Option<bool>) -> Result<(Event, Option<bool>)> {
        Ok((value, r#type))
    }
    async fn unit(&self) -> Result<()> {
        Ok(())
    }
    async fn change(&mut self, call: u8, written: u8, method: u8) -> Result<(u8, u8, u8)> {
        Ok((call, written, method))
    }
}

#[test]
fn every_kind_of_value_survives_the_trip() {
    let echo = EchoClient::new(InProcess::new(EchoServer, Object));
    block_on(async {
        for value in [0, 1 << 53, (1 << 53) + 1, u64::MAX] {
            assert_eq!(echo.unsigned(value).await.unwrap(), value);
        }
        for value in [i64::MIN, -1, i64::MAX] {
            assert_eq!(echo.signed(value).await.unwrap(), value);
            assert_eq!(echo.option(Some(value)).await.unwrap(), Some(value));
        }
        assert_eq!(echo.option(None).await.unwrap(), None);
        let bytes = vec![0, 10, 255];
        assert_eq!(echo.bytes(bytes.clone()).await.unwrap(), bytes);
        let text = "\" \\ \0 \u{1F600} \u{2028}".to_owned();
        assert_eq!(echo.text(text.clone()).await.unwrap(), text);
        let map = HashMap::from([("a".to_owned(), u64::MAX), (String::new(), 0)]);
        assert_eq!(echo.map(map.clone()).await.unwrap(), map);
        let map = BTreeMap::from([(-1, true), (i32::MAX, false)]);
        assert_eq!(echo.by_number(map.clone()).await.unwrap(), map);
        let ship = Event::Ship {
            tracking_number: "TRACK-456".to_owned(),
        };
        let shipped = echo.event(ship.clone(), Some(true)).await.unwrap();
        assert_eq!(shipped, (ship, Some(true)));
        let paid = echo.event(Event::Pay, None).await.unwrap();
        assert_eq!(paid, (Event::Pay, None));
        echo.unit().await.unwrap();
        assert_eq!(echo.change(1, 2, 3).await.unwrap(), (1, 2, 3));
        assert_eq!(echo.with_a_body(1).await.unwrap(), 2);
    });
}

#[test]
fn the_wire_is_the_methods_name_and_an_array() {
    let mock = MockTransport::new();
    mock.answer("unsigned", 1);
    mock.answer("event", serde_json::json!([{ "type": "pay" }, null]));
    mock.answer("unit", ());
    let echo = EchoClient::new(mock.clone());
    let ship = Event::Ship {
        tracking_number: "T".to_owned(),
    };
    block_on(async {
        echo.unsigned(u64::MAX).await.unwrap();
        echo.event(ship, None).await.unwrap();
        echo.unit().await.unwrap();
    });
    let sent: Vec<_> = mock
        .requests()
        .into_iter()
        .map(|request| (request.method.into_owned(), request.arguments))
        .collect();
    let expected = [
        ("unsigned", "[18446744073709551615]"),
        ("event", r#"[{"type":"ship","trackingNumber":"T"}]"#),
        ("unit", "[]"),
    ];
    assert_eq!(
        sent,
        expected.map(|(method, arguments)| (method.to_owned(), arguments.to_owned()))
    );
}

mod older {
    #[dokit_client::rpc]
    pub(crate) trait Shop {
        async fn find(&self, word: Option<u8>) -> Result<u8, std::convert::Infallible>;
    }

    pub(crate) struct Server;

    impl Shop for Server {
        async fn find(&self, word: Option<u8>) -> Result<u8, std::convert::Infallible> {
            Ok(word.unwrap_or(0))
        }
    }
}

mod newer {
    #[dokit_client::rpc]
    pub(crate) trait Shop {
        async fn find(
            &self,
            word: Option<u8>,
            most: Option<u8>,
            page: Option<u8>,
        ) -> Result<u8, std::convert::Infallible>;
    }
}

#[test]
fn a_method_may_gain_an_option_while_servers_of_before_still_run() {
    let server = InProcess::new(older::ShopServer, older::Server);
    let shop = newer::ShopClient::new(server);
    block_on(async {
        assert_eq!(shop.find(Some(7), None, None).await.unwrap(), 7);
        assert_eq!(shop.find(None, None, None).await.unwrap(), 0);
        // What the server would have to pass over is refused, and says so.
        let refused = shop.find(Some(7), None, Some(2)).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "call \"find\": 400 invalid_arguments: too many arguments for \"find\": \
             expected 0 to 1 (word), got 3"
        );
    });
}

#[test]
fn an_empty_answer_is_a_unit_and_an_absent_option() {
    let mock = MockTransport::new();
    mock.reply_once("unit", CallReply::new(204, None, ""));
    mock.reply_once(
        "unit",
        CallReply::new(200, Some("text/plain".to_owned()), ""),
    );
    mock.reply_once("option", CallReply::new(200, None, ""));
    mock.reply_once("signed", CallReply::new(204, None, ""));
    let echo = EchoClient::new(mock);
    block_on(async {
        echo.unit().await.unwrap();
        echo.unit().await.unwrap();
        assert_eq!(echo.option(Some(1)).await.unwrap(), None);
        let error = echo.signed(1).await.unwrap_err();
        assert_eq!(error.status(), Some(204));
    });
}

#[test]
fn the_table_names_methods_as_the_wire_does() {
    let names: Vec<_> = EchoServer::METHODS
        .iter()
        .map(|method| method.name())
        .collect();
    assert_eq!(
        names,
        [
            "unsigned",
            "signed",
            "bytes",
            "text",
            "map",
            "byNumber",
            "option",
            "event",
            "unit",
            "change-it",
            "withABody"
        ]
    );
    let event = &EchoServer::METHODS[7];
    assert_eq!(event.arguments(), ["value", "type"]);
    assert_eq!(event.required(), 1);
    assert!(event.is_idempotent());
    assert!(!EchoServer::METHODS[9].is_idempotent());
}
