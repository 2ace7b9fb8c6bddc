//! The suite of all engines, also with sleep forced between any two calls.

use dokit_conformance::{Session, engine, for_each_engine_case, for_each_sql_case, sql};

use crate::driven::Platform;

/// The cases that cannot be asked here, and why. All others are.
const LEFT_OUT: &[(&str, &str)] = &[
    (
        "an_id_reaches_the_object_of_the_name",
        "the platform forgets the name in the id's digits",
    ),
    (
        "an_object_learns_its_name_though_it_was_reached_by_id_first",
        "the platform forgets the name in the id's digits",
    ),
];

macro_rules! tests {
    ($module:ident, $cases:ident, $with:ident: $($case:ident,)*) => {
        const $cases: &[&str] = &[$(stringify!($case)),*];

        mod $with {
            use super::*;

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
                            let session = Session::new(Platform::start(), sleepy);
                            $module::$case(&mut session.$with()).await;
                        }
                    }
                }
            )*
        }
    };
}

macro_rules! tests_of_keys {
    ($($case:ident,)*) => { tests! { engine, CASES, of_objects_with_keys: $($case,)* } };
}

macro_rules! tests_of_sql_objects {
    ($($case:ident,)*) => { tests! { engine, SQL_OBJECT_CASES, of_sql_objects: $($case,)* } };
}

for_each_engine_case!(tests_of_keys);
for_each_engine_case!(tests_of_sql_objects);

/// The cases of what objects keep in rows.
mod of_rows {
    use super::*;

    macro_rules! tests_of_rows {
        ($($case:ident,)*) => { tests! { sql, CASES, of_objects_with_keys: $($case,)* } };
    }

    for_each_sql_case!(tests_of_rows);

    pub(super) fn cases() -> &'static [&'static str] {
        CASES
    }
}

fn is_left_out(case: &str) -> bool {
    LEFT_OUT.iter().any(|(name, _)| *name == case)
}

#[test]
fn what_is_left_out_is_a_case() {
    assert_eq!(CASES, SQL_OBJECT_CASES);
    for (name, _) in LEFT_OUT {
        assert!(
            CASES.contains(name) || of_rows::cases().contains(name),
            "{name}"
        );
    }
}
