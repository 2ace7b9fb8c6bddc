//! The suite of all engines: with a clock that stands still, a disk that can be broken, and sleep forced
//! between any two calls (`.ci/drive.js`).

use std::{sync::Arc, time::Duration};

use dokit_conformance::{Engine, Session, engine, for_each_engine_case, for_each_sql_case, sql};
use dokit_object::{Request, Response};

use crate::process::Workerd;

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

/// workerd, whose clock stands still.
struct Platform(Arc<Workerd>);

impl Platform {
    fn start() -> Self {
        let platform = Self(Arc::new(Workerd::start("probe")));
        platform.told("/-start", "[]");
        platform
    }

    fn told(&self, path: &str, body: &str) {
        let (status, answer) = self.0.send("POST", path, body);
        assert_eq!(status, 200, "{path}: {answer}");
    }

    async fn ask(&self, request: Request) -> Response {
        let workerd = Arc::clone(&self.0);
        let asked = tokio::task::spawn_blocking(move || workerd.request(&request));
        asked.await.unwrap().map(Into::into)
    }

    /// Asks one of the doors for tests, without holding up what runs beside.
    async fn tell(&self, path: &str) {
        let mut request = Request::default();
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = path.parse().unwrap();
        let answer = self.ask(request).await;
        assert_eq!(answer.status(), 200, "{path}: {:?}", answer.body());
    }
}

impl Engine for Platform {
    async fn request(&self, request: Request) -> Response {
        self.ask(request).await
    }

    async fn crash(&mut self) {
        let (_, before) = self.0.json("GET", "/-known", "");
        Arc::get_mut(&mut self.0).unwrap().crash();
        let start = format!("/-start?now={}", before["now"]);
        self.told(&start, &before["known"].to_string());
    }

    async fn advance(&self, by: Duration) {
        self.tell(&format!("/-advance?by={}", by.as_millis())).await;
    }

    async fn sleep(&self) {
        self.tell("/sleep").await;
    }

    async fn break_disk(&self) {
        self.tell("/-disk?broken=true").await;
    }

    async fn mend_disk(&self) {
        self.tell("/-disk?broken=false").await;
    }

    async fn settle(&self) {
        self.tell("/-advance?by=0").await;
    }
}

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
