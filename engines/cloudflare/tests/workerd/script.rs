//! The script of requests that every engine answers alike.

use dokit_conformance::script;

use crate::process::Workerd;

#[test]
#[ignore = "needs workerd: run .ci/workerd"]
fn the_script_of_requests_is_answered_as_it_is_written() {
    script::play(Workerd::start("probe").address());
}
