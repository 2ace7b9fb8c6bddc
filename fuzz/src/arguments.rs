use std::collections::BTreeMap;

use dokit_client::{Dispatch, Failure, find_method, rpc};
use dokit_object::{Error, Result};
use futures_executor::block_on;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

type Map = BTreeMap<String, Option<u8>>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Part {
    number: i128,
    float: f32,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Kind {
    Plain,
    Told(String),
}

#[rpc]
trait EchoApi {
    async fn none(&self) -> Result<()>;
    async fn three(
        &self,
        number: u64,
        text: String,
        list: Vec<f64>,
    ) -> Result<(u64, String, Vec<f64>)>;
    async fn tail(&mut self, part: Part, map: Option<Map>) -> Result<(Part, Option<Map>)>;
}

struct Echo;

impl EchoApi for Echo {
    async fn none(&self) -> Result<()> {
        Ok(())
    }

    async fn three(
        &self,
        number: u64,
        text: String,
        list: Vec<f64>,
    ) -> Result<(u64, String, Vec<f64>)> {
        Ok((number, text, list))
    }

    async fn tail(&mut self, part: Part, map: Option<Map>) -> Result<(Part, Option<Map>)> {
        Ok((part, map))
    }
}

/// The body of a call.
pub fn arguments(bytes: &[u8]) {
    call::<()>("none", bytes, 0);
    call::<(u64, String, Vec<f64>)>("three", bytes, 3);
    call::<(Part, Option<Map>)>("tail", bytes, 1);
}

fn call<R: DeserializeOwned + PartialEq + std::fmt::Debug>(
    name: &str,
    bytes: &[u8],
    required: usize,
) {
    let methods = <EchoApiServer as Dispatch<Echo>>::METHODS;
    let method = find_method(methods, name).unwrap();
    let answer = block_on(EchoApiServer::call_exclusive(&mut Echo, method, bytes));
    let given: Option<Vec<Box<RawValue>>> = serde_json::from_slice(bytes).ok();
    match answer {
        Ok(json) => {
            let given = given.unwrap_or_else(|| panic!("{name} took what is no array"));
            assert!(
                (required..=method.arguments().len()).contains(&given.len()),
                "{name}"
            );
            let result: R = serde_json::from_str(&json).unwrap();
            if given.len() == method.arguments().len() && !given.is_empty() {
                let same: R = serde_json::from_slice(bytes).unwrap();
                assert_eq!(result, same, "{name}");
            }
        }
        Err(Failure::Refused(reply)) => {
            assert_eq!(
                (reply.status, &*reply.code),
                (400, "invalid_arguments"),
                "{name}"
            );
            assert!(
                !reply.message.is_empty() && reply.log.is_none(),
                "{name}: {reply:?}"
            );
            if given.is_some_and(|given| given.len() == method.arguments().len()) {
                let fits = serde_json::from_slice::<R>(bytes).is_ok();
                assert!(
                    !fits || required == 0,
                    "{name} refused what fits: {}",
                    reply.message
                );
            }
        }
        Err(Failure::Method(reply)) => panic!("{name}: {}", Error::from(reply)),
    }
}
