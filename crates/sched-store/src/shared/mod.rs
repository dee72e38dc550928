//! Several schedulers that share one fleet through PostgreSQL.

mod config;
mod connection;
mod desk;
mod divide;
mod error;
mod fleet;
mod lease;
mod limits;
mod member;
mod place;
mod rebalance;
mod schema;
mod status;
mod store;
#[cfg(feature = "postgres-tls")]
mod tls;
mod writer;

pub use config::SharedConfig;
pub use divide::{Division, Part, Use, Wish};
pub use error::SharedError;
pub use lease::{BootTime, Lease, Tenure};
pub use member::{Member, Moves, Owned};
pub use place::{share_of, share_of_name};
pub use rebalance::rebalance;
pub use status::{FleetStatus, LimitStatus, MemberStatus};
pub use store::{Outcome, SharedStore};
