//! The counter and the order of the other examples, unchanged, on Cloudflare.

#[path = "../../counter.rs"]
mod counter;
#[path = "../../order_processing.rs"]
mod order_processing;

use counter::Counter;
use order_processing::Order;

dokit_cloudflare::export!(Counter, Order);
