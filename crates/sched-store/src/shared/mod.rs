//! Several schedulers that share one fleet through PostgreSQL.

mod divide;
mod error;
mod place;
mod rebalance;

pub use divide::{Division, Part, Use, Wish};
pub use error::SharedError;
pub use place::{share_of, share_of_name};
pub use rebalance::rebalance;
