//! Snapshots, members and load of Redis, against a real primary with a replica and against servers that lie.
#![cfg(all(feature = "redis", unix))]

mod backups;
mod carts;
mod lies;
mod refusals;
#[path = "../rig/mod.rs"]
mod rig;
mod watching;
