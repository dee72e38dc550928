//! Several schedulers that share one fleet through PostgreSQL.

mod config;
mod connection;
mod divide;
mod error;
mod lease;
mod member;
mod place;
mod rebalance;
mod schema;
mod store;
#[cfg(feature = "postgres-tls")]
mod tls;
mod writer;

pub use config::SharedConfig;
pub use divide::{Division, Part, Use, Wish};
pub use error::SharedError;
pub use lease::{BootTime, Lease};
pub use member::{Member, Moves, Owned};
pub use place::{share_of, share_of_name};
pub use rebalance::rebalance;
pub use store::SharedStore;
pub use writer::{Change, Writer};
