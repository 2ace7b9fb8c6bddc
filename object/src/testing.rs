//! Test an object in a plain `#[test]`: no server, no runtime, a clock that is moved by hand.
//!
//! [`TestHost`] is an engine over memory. It keeps the promises of every engine, and adds what a
//! test wants to do between two calls: let time pass, put the objects to sleep, crash, break the
//! disk.

mod clock;
mod disk;
mod host;
mod socket;

pub use clock::ManualClock;
pub use disk::Disk;
pub use futures_executor::block_on;
pub use host::TestHost;
pub use socket::TestSocket;
