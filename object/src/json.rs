//! JSON in plain requests and responses.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, Request, Response, Result};

/// The body of a plain request, read as JSON. The content type is not looked at.
///
/// # Errors
///
/// `invalid_body` (400): it is no JSON, or not that of a `T`. The message says where and why.
pub fn read_json<T: DeserializeOwned>(request: &Request) -> Result<T> {
    serde_json::from_slice(request.body()).map_err(|error| {
        let message = format!("the body is not what is expected here: {error}");
        Error::new(400, "invalid_body", message)
    })
}

/// A response with this status, and with this value as its JSON.
///
/// ```
/// use dokit_object::{Request, json_response, read_json};
///
/// let numbers: Vec<i64> = read_json(&Request::new("[1, 2]".into()))?;
/// let response = json_response(201, &numbers.iter().sum::<i64>())?;
/// assert_eq!((response.status().as_u16(), &response.body()[..]), (201, &b"3"[..]));
/// # Ok::<(), dokit_object::Error>(())
/// ```
///
/// # Errors
///
/// `internal`: the value has no JSON form, or the status is not one from 100 to 999.
pub fn json_response(status: u16, value: &impl Serialize) -> Result<Response> {
    let status = StatusCode::from_u16(status).map_err(Error::internal)?;
    let json = serde_json::to_vec(value).map_err(Error::internal)?;
    Ok(response_of_json(status, json))
}

/// A response with a body that is JSON already.
pub(crate) fn response_of_json(status: StatusCode, json: impl Into<Bytes>) -> Response {
    let mut response = Response::new(json.into());
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("application/json");
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_says_that_it_is_json() {
        let response = json_response(404, &None::<u8>).unwrap();
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(&response.body()[..], b"null");
    }

    #[test]
    fn what_has_no_json_form_and_what_is_no_status_is_internal() {
        let keys_that_are_no_text = std::collections::BTreeMap::from([([1], 1)]);
        let refused = json_response(200, &keys_that_are_no_text).unwrap_err();
        assert_eq!((refused.status(), refused.code()), (500, "internal"));
        let refused = json_response(1000, &1).unwrap_err();
        assert_eq!((refused.status(), refused.code()), (500, "internal"));
    }

    #[test]
    fn a_body_that_is_not_what_is_expected_is_told_where_it_is_not() {
        let read = |body: &'static str| read_json::<Vec<u8>>(&Request::new(body.into()));
        assert_eq!(read("[1]").unwrap(), [1]);
        let refused = read("[1, \"2\"]").unwrap_err();
        assert_eq!((refused.status(), refused.code()), (400, "invalid_body"));
        assert_eq!(
            refused.to_string(),
            "the body is not what is expected here: invalid type: string \"2\", expected u8 at line 1 column 7"
        );
        assert_eq!(read("").unwrap_err().code(), "invalid_body");
    }
}
