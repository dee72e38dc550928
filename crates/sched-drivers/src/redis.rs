//! Redis and Valkey: snapshots (RDB) of a replica, load and health from `INFO`.
//!
//! - [`Rdb`] has the server send a snapshot as to a new replica: from anywhere, without a tool.
//! - [`LocalRdb`] has it save one (`BGSAVE`) and copies the file: on the server's own machine.
//! - [`RedisStatus`] reads load and health, [`RedisMembers`] primary and replicas.
//!
//! Both executors look first whether the server can bear the fork ([`ForkLimits`]), and check the whole snapshot. It is
//! the file that a server loads at its start: put it into its data directory as its `dbfilename`, with the append-only
//! file off.
//!
//! TLS needs the feature `redis-tls`.
//!
//! The protocol is spoken here: the client libraries do not hand out the replication stream, and beside it only a
//! handful of commands is needed.

mod check;
mod connection;
#[cfg(test)]
mod fuzz;
mod gate;
mod info;
mod local;
mod members;
mod rdb;
mod replication;
mod resp;
mod server;
mod socket;
mod status;
#[cfg(feature = "redis-tls")]
mod tls;

pub use self::gate::ForkLimits;
pub use self::local::LocalRdb;
pub use self::members::RedisMembers;
pub use self::rdb::{FILE, Rdb};
pub use self::server::RedisServer;
pub use self::status::RedisStatus;
