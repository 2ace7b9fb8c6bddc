//! What is answered where the Worker's configuration is not that of its code.

use crate::process::Workerd;

#[test]
#[ignore = "needs workerd: run .ci/workerd"]
fn a_namespace_without_its_binding_is_not_found_and_the_answer_says_which_one_it_lacks() {
    let server = Workerd::start_without("COUNTER", "counter");
    let id = "0123456789abcdef".repeat(4);
    for path in [
        "/counter/global/increment",
        &format!("/counter@id/{id}/increment"),
    ] {
        let (status, told) = server.json("POST", path, "[5]");
        assert_eq!(
            (status, &told["code"]),
            (404, &"namespace_not_found".into()),
            "{path}"
        );
        assert_eq!(
            told["error"],
            "namespace \"counter\" is not bound: `durable_objects.bindings` of the worker's \
             configuration has no COUNTER that leads to its class; `config -- write` adds what is missing"
        );
    }
    // The others are served.
    let (status, told) = server.send("POST", "/shop/main/get_orders", "[null]");
    assert_eq!((status, &*told), (200, "[]"));
}
