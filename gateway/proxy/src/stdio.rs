//! `wrap`: one client and one server, each over a pair of byte streams.

mod child;
mod outlet;
mod port;
mod reactor;
mod relay;
mod signals;

pub use outlet::Outlet;
pub use reactor::{Ears, WrapError, run};
pub use relay::{Parts, Relay};
pub use signals::Waker;
