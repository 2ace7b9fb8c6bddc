use dokit_object::{
    Close, Context, DurableObject, Message, Request, Response, Result, State, WebSocket,
    durable_object,
    testing::{TestHost, block_on},
};

use crate::feed::Feed;

/// It sends back what it gets, and does what it is told.
struct Echo {
    ctx: Context,
    closed: State<u32>,
}

#[durable_object(state = closed)]
impl DurableObject for Echo {
    async fn new(ctx: Context) -> Result<Self> {
        let closed = ctx.state(|| 0).load().await?;
        Ok(Self { ctx, closed })
    }

    async fn fetch(&mut self, request: Request) -> Result<Response> {
        let tags: Vec<&str> = request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .collect();
        let socket = self.ctx.accept_websocket(&request, &tags)?;
        Ok(socket.into_response())
    }

    async fn websocket_message(&mut self, socket: &WebSocket, message: Message) -> Result<()> {
        let Some(order) = message.as_text().and_then(|text| text.strip_prefix('!')) else {
            return socket.send(message);
        };
        let (order, rest) = order.split_once(' ').unwrap_or((order, ""));
        match order {
            "close" => {
                let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
                socket.close(code.parse().unwrap_or(1000), reason)
            }
            "keep" => {
                socket.set_attachment(rest)?;
                assert_eq!(socket.attachment::<String>()?.as_deref(), Some(rest));
                Ok(())
            }
            "auto" => {
                let (request, response) = rest.split_once(' ').unwrap_or((rest, ""));
                self.ctx.set_auto_response(request, response)
            }
            "tag" => self.ctx.broadcast().tagged(rest).send(message).map(drop),
            _ => socket.send(message),
        }
    }

    async fn websocket_close(&mut self, _: &WebSocket, _: Close) -> Result<()> {
        *self.closed += 1;
        Ok(())
    }
}

/// Messages to an object over a socket: texts and bytes, sleep in between.
pub fn sockets(bytes: &[u8]) {
    let mut feed = Feed::new(bytes);
    let host = TestHost::new().object::<Echo>();
    block_on(async {
        let path = match feed.byte() % 3 {
            0 => format!("/live?{}", feed.text()),
            _ => "/live?a&b".to_owned(),
        };
        let Ok(socket) = host.connect::<Echo>("e", &path).await else {
            return;
        };
        while !feed.is_empty() && socket.closed().is_none() {
            let message: Message = match feed.byte() % 4 {
                0 => feed.text().into(),
                1 => feed.some().to_vec().into(),
                2 => format!("!{}", feed.text()).into(),
                _ => {
                    host.sleep();
                    continue;
                }
            };
            let order = message.as_text().is_some_and(|text| text.starts_with('!'));
            socket.send(message.clone()).await;
            if order {
                while socket.next().is_some() {}
            } else if socket.closed().is_none() {
                // As it came, or what it was told to answer.
                let answer = socket.next().expect("an answer");
                assert_eq!(answer.as_text().is_some(), message.as_text().is_some());
                assert!(socket.next().is_none());
            }
        }
        if let Some(close) = socket.closed() {
            assert!((1000..5000).contains(&close.code), "{close:?}");
            assert!(close.reason.len() <= 123, "{close:?}");
        }
        socket.close(1000, "").await;
    });
}
