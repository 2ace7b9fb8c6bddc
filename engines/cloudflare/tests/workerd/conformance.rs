//! The suite of all engines, also with sleep forced between any two calls.

use dokit_conformance::for_each_suite;

use crate::driven::Platform;

/// The cases that cannot be asked here, and why. All others are.
const LEFT_OUT: &[(&str, &str)] = &[
    (
        "who_is_told_to_upgrade_is_told_to_what",
        "workerd's HTTP server keeps that header to itself",
    ),
    (
        "a_socket_whose_commit_failed_is_closed_and_the_others_stay",
        "the platform resets an object whose commit fails: all its sockets end, and it is told of none",
    ),
];

macro_rules! tests {
    ($session:path: $($case:ident = $run:path,)*) => {
        pub(super) const CASES: &[&str] = &[$(stringify!($case)),*];

        $(
            mod $case {
                use super::*;

                #[tokio::test(flavor = "multi_thread")]
                #[ignore = "needs workerd: run .ci/workerd"]
                async fn awake() {
                    run(false).await;
                }

                #[tokio::test(flavor = "multi_thread")]
                #[ignore = "needs workerd: run .ci/workerd"]
                async fn put_to_sleep_between_any_two_calls() {
                    run(true).await;
                }

                async fn run(sleepy: bool) {
                    if !is_left_out(stringify!($case)) {
                        $run(&mut $session(Platform::start(), sleepy)).await;
                    }
                }
            }
        )*
    };
}

for_each_suite!(tests);

fn is_left_out(case: &str) -> bool {
    LEFT_OUT.iter().any(|(name, _)| *name == case)
}

#[test]
fn what_is_left_out_is_a_case() {
    let cases = [keys::CASES, rows::CASES, sockets::CASES].concat();
    assert_eq!(keys::CASES, keys_of_sql_objects::CASES);
    for (name, _) in LEFT_OUT {
        assert!(cases.contains(name), "{name}");
    }
}
