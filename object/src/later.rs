use std::sync::{Arc, Mutex, PoisonError};

use dokit_client::{CallReply, CallRequest, Transport, TransportError};

/// What a call that is to be made later is written down with: see
/// [`Context::after_commit`](crate::Context::after_commit).
///
/// A client over it answers nothing that means anything.
#[derive(Clone, Debug, Default)]
pub struct Later {
    calls: Arc<Mutex<Vec<CallRequest>>>,
}

impl Later {
    /// The calls that were made with it.
    pub(crate) fn take(&self) -> Vec<CallRequest> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut calls)
    }
}

impl Transport for Later {
    async fn send(&self, call: &CallRequest) -> Result<CallReply, TransportError> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push(call.clone());
        Ok(CallReply::json(200, "null"))
    }
}
