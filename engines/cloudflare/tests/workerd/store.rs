//! The suite of all stores over the platform's storage.

use crate::process::Workerd;

#[test]
#[ignore = "needs workerd: run .ci/workerd"]
fn the_platforms_storage_keeps_every_promise_of_a_store() {
    let server = Workerd::start_tally("rust");
    let (status, told) = server.send("POST", "/suite", "");
    assert_eq!((status, &*told), (200, "every promise is kept"));
}
