//! Load over Streamable HTTP, and what a gateway makes of it.
//!
//! Enter: targets (a gateway, nginx, the upstream itself) and loads. Leave: rows with throughput, latency, CPU
//! time, memory and errors. Never: a decision about messages; this crate knows nothing of the firewall.
//!
//! [`Upstream`] answers as fast as a server can. [`Campaign`] drives it, directly and through gateways, in a
//! closed loop for throughput and in open loops for latency, and checks every answer. [`Report`] is the table,
//! [`Gate`] holds it against bounds. [`Service`] starts and ends what is measured.

mod campaign;
mod connection;
mod distribution;
mod endpoint;
mod gate;
mod http;
mod load;
mod message;
pub mod nginx;
mod pace;
mod process;
mod report;
mod schedule;
mod service;
mod stop;
mod tally;
mod text;
mod upstream;
mod worker;

pub use campaign::{Campaign, Kind, Progress, Row, Target};
pub use distribution::Percentile;
pub use endpoint::{Endpoint, EndpointError};
pub use gate::{Broken, Gate, GateError};
pub use load::{GRACE, LoadError, Pace, Plan, measure};
pub use message::{Header, HeaderError};
pub use process::Costs;
pub use report::{Quantity, Report};
pub use service::{Service, ServiceError, free_address};
pub use stop::Stop;
pub use tally::{Failure, Tally};
pub use text::prose;
pub use upstream::{MAX_TEXT, Upstream};
