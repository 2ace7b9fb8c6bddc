//! The line that makes a Worker of object types.

/// Exports object types as Durable Object classes, and the Worker's `fetch`, which is their gateway.
///
/// It is written once, in the crate that is compiled to wasm. Each class has the name of its type; its
/// binding has the name that [`binding_name`](crate::binding_name) gives its namespace.
///
/// On any other target than `wasm32` nothing is exported, but the types are checked, and
/// `pub fn configuration() -> Configuration` is defined where `export!` stands: what has to be in the Worker's
/// configuration ([`Configuration`](crate::Configuration)).
#[cfg(target_arch = "wasm32")]
#[macro_export]
macro_rules! export {
    ($($object:ident),+ $(,)?) => {
        const _: () = {
            use $crate::__private::{
                Env, Exported, JsValue, ObjectType, Promise, Request, State, WebSocket,
                wasm_bindgen::{self, prelude::wasm_bindgen},
            };

            $(const _: () = {
                #[wasm_bindgen(js_name = $object, wasm_bindgen = $crate::__private::wasm_bindgen)]
                pub struct ExportedClass(Exported);

                #[wasm_bindgen(js_class = $object, wasm_bindgen = $crate::__private::wasm_bindgen)]
                impl ExportedClass {
                    #[wasm_bindgen(constructor)]
                    pub fn new(state: State, env: Env) -> ::core::result::Result<Self, JsValue> {
                        Exported::new(ObjectType::of::<$object>(), state, &env).map(Self)
                    }

                    pub fn fetch(&self, request: Request) -> Promise {
                        self.0.fetch(request)
                    }

                    pub fn alarm(&self, info: JsValue) -> Promise {
                        self.0.alarm(&info)
                    }

                    #[wasm_bindgen(js_name = webSocketMessage)]
                    pub fn websocket_message(&self, socket: WebSocket, message: JsValue) -> Promise {
                        self.0.websocket_message(socket, &message)
                    }

                    #[wasm_bindgen(js_name = webSocketClose)]
                    pub fn websocket_close(
                        &self,
                        socket: WebSocket,
                        code: u16,
                        reason: String,
                        was_clean: bool,
                    ) -> Promise {
                        self.0.websocket_close(socket, code, reason, was_clean)
                    }

                    #[wasm_bindgen(js_name = webSocketError)]
                    pub fn websocket_error(&self, socket: WebSocket, error: JsValue) -> Promise {
                        self.0.websocket_error(socket, error)
                    }
                }
            };)+

            #[wasm_bindgen(wasm_bindgen = $crate::__private::wasm_bindgen)]
            pub fn fetch(request: Request, env: Env, _context: JsValue) -> Promise {
                $crate::__private::gateway([$(ObjectType::of::<$object>()),+], request, env)
            }
        };
    };
}

/// Exports object types as Durable Object classes, and the Worker's `fetch`, which is their gateway.
///
/// It is written once, in the crate that is compiled to wasm. Each class has the name of its type; its
/// binding has the name that [`binding_name`](crate::binding_name) gives its namespace.
///
/// On any other target than `wasm32` nothing is exported, but the types are checked, and
/// `pub fn configuration() -> Configuration` is defined where `export!` stands: what has to be in the Worker's
/// configuration ([`Configuration`](crate::Configuration)).
#[cfg(not(target_arch = "wasm32"))]
#[macro_export]
macro_rules! export {
    ($($object:ident),+ $(,)?) => {
        const _: () = {
            $(let _ = $crate::__private::ObjectType::of::<$object>;)+
        };

        /// The Worker's configuration, as these types want it.
        pub fn configuration() -> $crate::Configuration {
            $crate::Configuration::new(
                ::core::env!("CARGO_PKG_NAME"),
                ::core::env!("CARGO_MANIFEST_DIR"),
                [$((
                    ::core::stringify!($object),
                    <$object as $crate::__private::DurableObject>::NAMESPACE,
                )),+],
            )
        }
    };
}

/// What the code that [`export!`](crate::export) makes calls.
pub mod __private {
    pub use dokit_object::{DurableObject, engine::ObjectType};
    #[cfg(target_arch = "wasm32")]
    pub use worker::{
        Env,
        js_sys::Promise,
        wasm_bindgen::{self, JsValue},
        web_sys::{Request, WebSocket},
        worker_sys::DurableObjectState as State,
    };

    #[cfg(target_arch = "wasm32")]
    pub use crate::{gateway::gateway, object::Exported};
}
