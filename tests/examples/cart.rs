//! The cart as a process, over HTTP; and what becomes of it over time and crashes, by the test kit.

#[path = "../../examples/cart.rs"]
#[expect(unreachable_pub, reason = "the example, without its main")]
mod example;

use crate::support::{Answer, Server, at_once, awake_and_asleep};
use dokit::object::testing::{TestHost, block_on};
use example::{Cart, CartApiClient, Shop, ShopApiClient};
use serde_json::{Value, json};
use tempfile::tempdir;

const NAME: &str = "ada";

#[test]
fn its_header_says_what_it_does() {
    awake_and_asleep("cart", |server| {
        server.play_header(include_str!("../../examples/cart.rs"));
    });
}

fn checkout(server: &Server, key: &str) -> Answer {
    let headers = [("idempotency-key", key)];
    server.send("POST", "/cart/ada/checkout", &headers, "[]")
}

/// The shop's orders, once there are as many: they are handed over after the checkout was answered.
fn orders(server: &Server, many: usize) -> Value {
    for _ in 0..100_000 {
        let (status, orders) = server.post("/shop/main/get_orders", "[]");
        assert_eq!(status, 200, "{orders}");
        if orders.as_array().unwrap().len() >= many {
            return orders;
        }
        std::thread::yield_now();
    }
    panic!("{many} orders have not arrived");
}

#[test]
fn items_are_added_up_and_taken_out() {
    awake_and_asleep("cart", |server| {
        let ada = |method: &str, body: Value| {
            server.post(&format!("/cart/ada/{method}"), &body.to_string())
        };
        let item =
            |product: &str, quantity: u32| json!({"productId": product, "quantity": quantity});
        // A cart that nobody has touched is empty, and no error.
        assert_eq!(ada("get_items", json!([])), (200, json!([])));
        ada("add_item", json!(["tea", 2]));
        ada("add_item", json!(["milk", 1]));
        let both = json!([item("tea", 5), item("milk", 1)]);
        assert_eq!(ada("add_item", json!(["tea", 3])), (200, both.clone()));
        assert_eq!(ada("get_items", json!([])), (200, both));
        assert_eq!(server.post("/cart/bob/get_items", "[]"), (200, json!([])));

        for (body, code) in [
            (json!(["tea", 0]), None),
            (json!(["milk", 1000]), Some("invalid_state")),
            (json!(["tea", u32::MAX]), Some("invalid_state")),
            (json!(["tea", -1]), Some("invalid_arguments")),
            (json!(["sugar", 0]), Some("invalid_state")),
            (json!(["sugar"]), Some("invalid_arguments")),
        ] {
            let (status, told) = ada("add_item", body.clone());
            let expected = code.map_or(200, |_| 400);
            assert_eq!((status, told["code"].as_str()), (expected, code), "{body}");
        }
        let rest = json!([item("milk", 1)]);
        assert_eq!(ada("remove_item", json!(["tea"])), (200, rest.clone()));
        assert_eq!(ada("remove_item", json!(["tea"])), (200, rest));
    });
}

#[test]
fn a_cart_takes_a_hundred_products_and_no_more() {
    awake_and_asleep("cart", |server| {
        for number in 0..100 {
            let body = format!(r#"["product {number}", 1]"#);
            assert_eq!(server.post("/cart/ada/add_item", &body).0, 200);
        }
        let (status, told) = server.post("/cart/ada/add_item", r#"["one more", 1]"#);
        assert_eq!((status, &told["code"]), (400, &json!("invalid_state")));
        let (_, items) = server.post("/cart/ada/get_items", "[]");
        assert_eq!(items.as_array().unwrap().len(), 100);
    });
}

#[test]
fn a_checkout_is_one_order_however_often_it_is_sent() {
    awake_and_asleep("cart", |server| {
        let empty = checkout(server, "before");
        assert_eq!(
            (empty.status, &empty.json()["code"]),
            (409, &json!("empty"))
        );
        server.post("/cart/ada/add_item", r#"["tea", 2]"#);
        let first = checkout(server, "one");
        assert_eq!(first.status, 200);
        for _ in 0..3 {
            let again = checkout(server, "one");
            assert_eq!((again.status, again.json()), (200, first.json()));
        }
        assert_eq!(server.post("/cart/ada/get_items", "[]"), (200, json!([])));
        assert_eq!(checkout(server, "two").status, 409);
        // What was answered with an error left nothing, so its key can still be used.
        server.post("/cart/ada/add_item", r#"["milk", 1]"#);
        let second = checkout(server, "two");
        assert_eq!(second.status, 200);
        assert_eq!(orders(server, 2), json!([first.json(), second.json()]));
    });
}

#[test]
fn of_many_checkouts_at_once_one_is_the_order() {
    awake_and_asleep("cart", |server| {
        server.post("/cart/ada/add_item", r#"["tea", 2]"#);
        let answers = at_once(|| server.post("/cart/ada/checkout", "[]"));
        let (ordered, refused): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|(status, _)| *status == 200);
        assert!(refused.iter().all(|(status, _)| *status == 409));
        let [(_, order)] = &ordered[..] else {
            panic!("{ordered:?}");
        };
        assert_eq!(orders(server, 1), json!([order]));
    });
}

#[test]
fn a_checkout_that_was_answered_is_answered_the_same_after_kill_9() {
    let data = tempdir().unwrap();
    let server = Server::start("cart", data.path(), &[]);
    server.post("/cart/ada/add_item", r#"["tea", 1]"#);
    let order = checkout(&server, "once");
    assert_eq!(order.status, 200);
    server.kill();
    let server = Server::start("cart", data.path(), &[]);
    let again = checkout(&server, "once");
    assert_eq!((again.status, again.json()), (200, order.json()));
    assert_eq!(server.post("/cart/ada/get_items", "[]"), (200, json!([])));
}

#[test]
fn items_are_dropped_a_week_after_the_last_change_awake_or_asleep() {
    for asleep in [false, true] {
        block_on(async {
            let host = TestHost::new().object::<Cart>().object::<Shop>();
            let cart = CartApiClient::new(host.namespace::<Cart>().get_by_name(NAME));
            let pass = async |time: &str| {
                host.advance(time).await;
                if asleep {
                    host.sleep();
                }
            };
            cart.add_item("tea".to_owned(), 1).await.unwrap();
            pass("6d").await;
            cart.add_item("milk".to_owned(), 1).await.unwrap();
            pass("6d 23h").await;
            assert_eq!(cart.get_items().await.unwrap().len(), 2);
            pass("1h").await;
            assert_eq!(cart.get_items().await.unwrap(), []);
            // What comes later does not bring the old items back.
            cart.add_item("sugar".to_owned(), 1).await.unwrap();
            assert_eq!(cart.get_items().await.unwrap().len(), 1);
        });
    }
}

#[test]
fn items_whose_time_has_come_are_not_ordered_though_the_alarm_is_late() {
    block_on(async {
        let host = TestHost::new().object::<Cart>().object::<Shop>();
        let cart = CartApiClient::new(host.namespace::<Cart>().get_by_name(NAME));
        cart.add_item("tea".to_owned(), 1).await.unwrap();
        let week = std::time::Duration::from_secs(7 * 24 * 60 * 60);
        host.clock().advance(week);
        assert!(cart.checkout().await.is_err());
        let items = cart.add_item("milk".to_owned(), 1).await.unwrap();
        assert_eq!(items.len(), 1);
        host.settle().await;
        assert_eq!(cart.get_items().await.unwrap(), items);
    });
}

/// Each commit of a checkout fails in turn, before it takes effect and after: there is an order in the shop
/// exactly where the cart is empty, and a second try with the same key makes no second order.
#[test]
fn a_checkout_stopped_at_any_commit_is_whole() {
    for answer_lost in [false, true] {
        block_on(async {
            let host = TestHost::new().object::<Cart>().object::<Shop>();
            let carts = host.namespace::<Cart>();
            let cart = CartApiClient::new(carts.get_by_name(NAME));
            let shop = ShopApiClient::new(host.namespace::<Shop>().get_by_name("main"));
            cart.add_item("tea".to_owned(), 1).await.unwrap();
            let disk = host.disk::<Cart>(&carts.id_from_name(NAME));
            if answer_lost {
                disk.lose_commit_answer(1);
            } else {
                disk.fail_commit(1);
            }
            let keyed = cart.with_idempotency_key("once");
            keyed.checkout().await.unwrap_err();
            host.crash();
            host.settle().await;
            let arrived = shop.get_orders(None).await.unwrap().len();
            let left = cart.get_items().await.unwrap().len();
            let expected = if answer_lost { (1, 0) } else { (0, 1) };
            assert_eq!((arrived, left), expected);

            let order = keyed.checkout().await.unwrap();
            host.crash();
            host.advance("1h").await;
            assert_eq!(shop.get_orders(None).await.unwrap(), [order]);
            assert_eq!(cart.get_items().await.unwrap(), []);
        });
    }
}
