//! The script of requests that every engine answers alike, over this one.

use dokit_conformance::{Echo, Plain, Probe, script};
use dokit_embedded::Host;

#[tokio::test(flavor = "multi_thread")]
async fn the_script_of_requests_is_answered_as_it_is_written() {
    let data = tempfile::tempdir().unwrap();
    let builder = Host::builder().data(data.path());
    let host = builder.object::<Plain>().object::<Probe>().object::<Echo>();
    let host = host.start().unwrap();
    let listener = host.listen("127.0.0.1:0").await.unwrap();
    let address = listener.address();
    let played = tokio::task::spawn_blocking(move || script::play(address));
    tokio::select! {
        () = listener.run() => unreachable!("nobody told it to stop"),
        played = played => played.unwrap(),
    }
    host.shutdown().await;
}
