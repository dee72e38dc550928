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
pub use error::SharedError;
pub use place::share_of_name;
/// What holds a password; see [`SharedConfig::password`].
pub use secrecy::SecretString;
pub use status::{FleetStatus, LimitStatus, MemberStatus};
pub use store::{Outcome, SharedStore};

// What the store is made of: not for hosts, and bound by no version.
#[doc(hidden)]
pub use divide::{Division, Part, Use, Wish};
#[doc(hidden)]
pub use lease::{BootTime, Lease, Tenure};
#[doc(hidden)]
pub use member::{Member, Moves, Owned};
#[doc(hidden)]
pub use place::share_of;
#[doc(hidden)]
pub use rebalance::rebalance;
