//! A shopping cart: a typed state that is checked, a checkout that is one order however often it is sent, and
//! items that are dropped when nobody came back for a week.
//!
//! ```sh
//! cargo run --example cart                                                    # listens, and then:
//! curl -d '["tea", 2]' http://127.0.0.1:8787/cart/ada/add_item                # [{"productId":"tea","quantity":2}]
//! curl -d '["tea", 1]' http://127.0.0.1:8787/cart/ada/add_item                # [{"productId":"tea","quantity":3}]
//! curl -H 'idempotency-key: 1' -d '[]' http://127.0.0.1:8787/cart/ada/checkout    # the order
//! curl -H 'idempotency-key: 1' -d '[]' http://127.0.0.1:8787/cart/ada/checkout    # the same order
//! curl -d '[]' http://127.0.0.1:8787/cart/ada/checkout                        # 409, nothing is in the cart
//! curl -d '[]' http://127.0.0.1:8787/shop/main/get_orders                     # one order
//! ```

use std::time::Duration;

use dokit::{
    Alarm, Context, DurableObject, Result, RpcError, durable_object,
    object::{State, Storage},
    rpc,
    storage::{self, Family, ListOptions, Schema, Timestamp, TypedStorage},
};
use serde::{Deserialize, Serialize};

/// How long items stay in a cart that nobody changes.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How many orders are listed at a time.
const PAGE: usize = 100;

/// So many of a product.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// The product.
    pub product_id: String,
    /// How many.
    pub quantity: u32,
}

/// What was bought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// The cart's id and the number of its checkout: no two orders have the same.
    pub id: String,
    /// All that was in the cart.
    pub items: Vec<Item>,
    /// When, in milliseconds since 1970.
    pub ordered_at: Timestamp,
}

/// Why a cart refuses.
#[derive(Debug, thiserror::Error, RpcError)]
pub enum CartError {
    /// There is nothing to order.
    #[error("nothing is in the cart")]
    #[rpc(status = 409)]
    Empty,
    /// All else.
    #[error(transparent)]
    #[rpc(transparent)]
    Dokit(#[from] dokit::Error),
}

impl From<storage::Error> for CartError {
    fn from(error: storage::Error) -> Self {
        Self::Dokit(error.into())
    }
}

/// What a cart can be asked.
#[rpc]
pub trait CartApi {
    /// Adds so many of a product to those that are there, and answers all items.
    async fn add_item(&mut self, product_id: String, quantity: u32)
    -> Result<Vec<Item>, CartError>;
    /// Takes a product out, and answers what is left.
    async fn remove_item(&mut self, product_id: String) -> Result<Vec<Item>, CartError>;
    /// What is in the cart.
    async fn get_items(&self) -> Result<Vec<Item>, CartError>;
    /// Orders all that is in the cart, which is empty then.
    ///
    /// Send it with an idempotency key, and send it again with the same key when no answer came: it is one
    /// order, and the answer is the same.
    async fn checkout(&mut self) -> Result<Order, CartError>;
}

/// What a cart stores.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CartState {
    items: Vec<Item>,
    /// When the items are dropped.
    expires_at: Timestamp,
    checkouts: u64,
}

impl CartState {
    fn check(&self) -> Result<(), String> {
        if self.items.len() > 100 {
            return Err(format!("{} products are more than 100", self.items.len()));
        }
        for item in &self.items {
            if !(1..=1_000).contains(&item.quantity) {
                return Err(format!(
                    "{} of {:?} is not from 1 to 1000",
                    item.quantity, item.product_id
                ));
            }
        }
        Ok(())
    }
}

pub(crate) struct Cart {
    ctx: Context,
    state: State<CartState>,
}

#[durable_object(state = state)]
impl DurableObject for Cart {
    type Api = CartApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let state = ctx.state(CartState::default).check(CartState::check);
        let state = state.load().await?;
        Ok(Self { ctx, state })
    }

    /// A week has passed, whether the cart was awake for it or not. The number of checkouts stays, and so
    /// does an order that waits to be handed over: that is why this does not delete everything.
    async fn alarm(&mut self, _: Alarm) -> Result<()> {
        if self.items().is_empty() {
            self.state.items.clear();
        } else {
            self.ctx.storage().set_alarm(self.state.expires_at).await?;
        }
        Ok(())
    }
}

impl Cart {
    /// What is in the cart by now: the alarm that drops old items may be late.
    fn items(&self) -> &[Item] {
        if self.state.expires_at > self.ctx.now() {
            &self.state.items
        } else {
            &[]
        }
    }

    /// Stores the items, to be dropped in a week.
    async fn store(&mut self, items: Vec<Item>) -> Result<Vec<Item>, CartError> {
        self.state.items.clone_from(&items);
        self.state.expires_at = self.ctx.now().saturating_add(KEPT);
        self.ctx.storage().set_alarm(self.state.expires_at).await?;
        Ok(items)
    }
}

impl CartApi for Cart {
    async fn add_item(
        &mut self,
        product_id: String,
        quantity: u32,
    ) -> Result<Vec<Item>, CartError> {
        let mut items = self.items().to_vec();
        match items.iter_mut().find(|item| item.product_id == product_id) {
            Some(item) => item.quantity = item.quantity.saturating_add(quantity),
            None => items.push(Item {
                product_id,
                quantity,
            }),
        }
        self.store(items).await
    }

    async fn remove_item(&mut self, product_id: String) -> Result<Vec<Item>, CartError> {
        let mut items = self.items().to_vec();
        items.retain(|item| item.product_id != product_id);
        self.store(items).await
    }

    async fn get_items(&self) -> Result<Vec<Item>, CartError> {
        Ok(self.items().to_vec())
    }

    async fn checkout(&mut self) -> Result<Order, CartError> {
        let items = self.items().to_vec();
        if items.is_empty() {
            return Err(CartError::Empty);
        }
        self.state.items.clear();
        self.state.checkouts += 1;
        self.ctx.storage().delete_alarm().await?;
        let order = Order {
            id: format!("{}-{}", self.ctx.id(), self.state.checkouts),
            items,
            ordered_at: self.ctx.now(),
        };
        // Stored with the empty cart, and handed over after that: there is never the one without the other.
        let shop = self.ctx.namespace::<Shop>().get_by_name("main");
        let placed = order.clone();
        let hand_over = async |shop| ShopApiClient::new(shop).place(placed).await;
        self.ctx.after_commit(&shop, hand_over).await?;
        Ok(order)
    }
}

/// What the shop can be asked.
#[rpc]
pub trait ShopApi {
    /// Takes an order. Taking it again changes nothing.
    async fn place(&mut self, order: Order) -> Result<()>;
    /// Orders by their ids, at most 100 after the one given.
    async fn get_orders(&self, after: Option<String>) -> Result<Vec<Order>>;
}

#[derive(Schema)]
struct ShopSchema {
    #[schema(prefix = "order:")]
    orders: Family<Order>,
}

/// Where all orders arrive.
pub(crate) struct Shop {
    storage: TypedStorage<ShopSchema, Storage>,
}

#[durable_object]
impl DurableObject for Shop {
    type Api = ShopApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let storage = TypedStorage::new(ctx.storage());
        Ok(Self { storage })
    }
}

impl ShopApi for Shop {
    async fn place(&mut self, order: Order) -> Result<()> {
        let key = ShopSchema::ORDERS.key(&order.id);
        Ok(self.storage.put(key, &order).await?)
    }

    async fn get_orders(&self, after: Option<String>) -> Result<Vec<Order>> {
        let mut page = ListOptions::new().limit(PAGE);
        if let Some(after) = after {
            page = page.start_after(after);
        }
        let orders = self.storage.list_family(ShopSchema::ORDERS, page).await?;
        Ok(orders.into_iter().map(|(_, order)| order).collect())
    }
}

#[cfg(not(any(test, target_arch = "wasm32")))]
#[path = "support/serve.rs"]
mod serve;

#[cfg(not(any(test, target_arch = "wasm32")))]
fn main() -> std::process::ExitCode {
    let host = dokit::Host::builder().object::<Cart>().object::<Shop>();
    serve::main("cart", host, include_str!("cart.rs"))
}
