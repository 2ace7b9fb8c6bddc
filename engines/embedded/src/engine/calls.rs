//! The one way that every call takes to its object, and the way of its answer.

use std::{fmt, sync::Weak, time::Duration};

use dokit_client::{Access, CallReply, CallRequest, ErrorReply, ObjectId, TransportError};
use dokit_object::{
    BoxFuture, Request, Response,
    engine::{
        Address, Call, Chain, ObjectType, Router, SocketCall, SocketEvent, deadline,
        error_response, route, to_call_reply, traceparent,
    },
};
use tokio::sync::oneshot;
use tracing::Span;

use super::{Engine, random};
use crate::{
    care::{Existing, Exported, Import, ImportError},
    deadline::Deadline,
    load::{Place, overloaded},
    metrics::{self, Watch},
    resident::{Envelope, Message, Refused, Resident},
    trace,
};

impl Engine {
    /// How long a call takes at most where nobody says.
    pub(crate) fn patience(&self) -> Duration {
        self.deadline(None)
    }

    /// Answers a request of the gateway.
    pub(crate) async fn request(&self, request: Request, place: Place) -> Response {
        let answer = match self.accept(request, place) {
            Ok(answer) => answer.await,
            Err(refused) => {
                self.refused(&refused);
                Err(refused)
            }
        };
        answer.unwrap_or_else(|error| error_response(&error))
    }

    fn accept(&self, request: Request, place: Place) -> Result<PendingAnswer, ErrorReply> {
        let router = &*self.surroundings.router;
        let address = Address::parse(request.uri().path(), self.types.values(), router)?;
        let object_type = self.types[address.namespace];
        let deadline = self.deadline(deadline(&request)?);
        let chain = Chain::default().in_trace(traceparent(&request));
        let call = route(&object_type, &address.path, request)?;
        self.submit(object_type, &address.id, call, deadline, chain, place)
    }

    /// Accepts a call of a method that comes from inside the process.
    fn rpc(
        &self,
        namespace: &'static str,
        id: &ObjectId,
        request: CallRequest,
        chain: Chain,
    ) -> Result<PendingAnswer, ErrorReply> {
        let mut place = self.load().enter()?;
        place.bring(request.arguments.len())?;
        let object_type = self.known_type(namespace)?;
        let deadline = self.deadline(request.deadline);
        let chain = chain.in_trace(request.traceparent.as_deref());
        let call = object_type.call(request)?;
        self.submit(object_type, id, call, deadline, chain, place)
    }

    fn known_type(&self, namespace: &str) -> Result<ObjectType, ErrorReply> {
        self.object_type(namespace).ok_or_else(|| {
            let known: Vec<&str> = self.types.keys().copied().collect();
            ErrorReply::namespace_not_found(namespace, &known)
        })
    }

    /// Accepts an event of a socket.
    pub(crate) fn socket_event(
        &self,
        namespace: &'static str,
        id: &ObjectId,
        call: SocketCall,
    ) -> Result<PendingAnswer, ErrorReply> {
        let mut place = self.load().enter()?;
        if let SocketEvent::Message(message) = &call.event {
            place.bring(message.as_bytes().len())?;
        }
        let object_type = self.known_type(namespace)?;
        let deadline = match &call.event {
            // An object that is busy for long is told all the same: nobody else knows of it.
            SocketEvent::Close(_) => self.settings.longest_deadline,
            SocketEvent::Message(_) | SocketEvent::Error(_) => self.patience(),
        };
        let call = Call::Socket(call);
        self.submit(object_type, id, call, deadline, Chain::default(), place)
    }

    fn deadline(&self, asked: Option<Duration>) -> Duration {
        let asked = asked.unwrap_or(self.settings.deadline);
        asked.min(self.settings.longest_deadline)
    }

    /// Puts a call into the queue of its object: the way every call takes, wherever it comes from. The
    /// answer does not keep the engine alive.
    pub(crate) fn submit(
        &self,
        object_type: ObjectType,
        id: &ObjectId,
        call: Call,
        deadline: Duration,
        chain: Chain,
        place: Place,
    ) -> Result<PendingAnswer, ErrorReply> {
        if chain.contains(id) {
            return Err(ErrorReply::reentrant_call());
        }
        let too_much = self.store.writer.bytes() > self.settings.waiting_bytes;
        if too_much && call.access() == Access::Exclusive {
            let what = "too many bytes are on their way to the disk";
            return Err(overloaded(what));
        }
        let (reply, answer) = oneshot::channel();
        let (namespace, method) = (object_type.namespace(), metrics::method_of(&call));
        let span = trace::call(namespace, method, id, chain.trace());
        let deadline = Deadline::after(deadline);
        let message = Message::Call(Box::new(Envelope {
            id: id.clone(),
            call,
            deadline,
            chain,
            reply,
            span: span.clone(),
            place,
        }));
        self.tell(object_type, id, message)?;
        Ok(PendingAnswer {
            deadline,
            answer,
            span,
            watch: self.metrics.watch(namespace, method),
        })
    }

    /// Puts a message into the queue of its object.
    fn tell(
        &self,
        object_type: ObjectType,
        id: &ObjectId,
        mut message: Message,
    ) -> Result<(), ErrorReply> {
        loop {
            let make = |weight| Resident::new(self.own(), object_type, id.clone(), weight);
            let key = (object_type.namespace(), *id.as_bytes());
            let resident = self.residents().place(key, make);
            let resident = resident.ok_or_else(ErrorReply::shutting_down)?;
            match resident.tell(message, &self.runtime) {
                Ok(before) => {
                    self.metrics.queued(before);
                    return Ok(());
                }
                Err(Refused::Full) => return Err(ErrorReply::overloaded()),
                // It has just left: then there is another place.
                Err(Refused::Closed(returned)) => message = returned,
            }
        }
    }

    /// Stores what was exported, between two calls of the object. False where it has something stored
    /// that is not to be replaced.
    pub(crate) async fn import(
        &self,
        namespace: &'static str,
        id: &ObjectId,
        exported: Exported,
        existing: Existing,
    ) -> Result<bool, ImportError> {
        let object_type = self.known_type(namespace)?;
        let (done, imported) = oneshot::channel();
        let import = Import {
            exported,
            existing,
            deadline: Deadline::after(self.settings.longest_deadline),
            done,
        };
        self.tell(object_type, id, Message::Import(Box::new(import)))?;
        let imported = imported.await;
        // Given up, by a shutdown that took too long.
        imported.unwrap_or_else(|_| Err(ErrorReply::object_reset().into()))
    }
}

/// An answer that is on its way.
#[derive(Debug)]
pub(crate) struct PendingAnswer {
    deadline: Deadline,
    answer: oneshot::Receiver<Result<Response, ErrorReply>>,
    span: Span,
    watch: Option<Watch>,
}

impl IntoFuture for PendingAnswer {
    type Output = Result<Response, ErrorReply>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let answer = match self.deadline.run(self.answer).await {
                None => Err(ErrorReply::deadline_exceeded()),
                // The object's task was given up.
                Some(Err(_)) => Err(ErrorReply::object_reset()),
                Some(Ok(answer)) => answer,
            };
            let error = answer.as_ref().err();
            self.span
                .record("code", error.map_or("ok", |error| &error.code));
            if let Some(watch) = self.watch {
                watch.ended(error);
            }
            answer
        })
    }
}

/// The way from inside the process to its objects.
pub(super) struct Inside {
    pub(super) engine: Weak<Engine>,
}

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inside").finish_non_exhaustive()
    }
}

impl Router for Inside {
    fn call(
        &self,
        namespace: &'static str,
        id: &ObjectId,
        request: &CallRequest,
    ) -> BoxFuture<'static, Result<CallReply, TransportError>> {
        let accepted = match self.engine.upgrade() {
            Some(engine) => {
                let accepted = engine.rpc(namespace, id, request.clone(), Chain::current());
                accepted.inspect_err(|refused| engine.refused(refused))
            }
            None => Err(ErrorReply::shutting_down()),
        };
        Box::pin(async {
            let answer = match accepted {
                Ok(answer) => answer.await,
                Err(refused) => Err(refused),
            };
            let response = answer.unwrap_or_else(|error| error_response(&error));
            Ok(to_call_reply(response))
        })
    }

    fn unique_id(&self, namespace: &'static str) -> ObjectId {
        ObjectId::unique(namespace, random())
    }
}
