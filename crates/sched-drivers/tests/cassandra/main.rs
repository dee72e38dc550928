//! Real clusters of Cassandra, with writers beside the backup.
#![cfg(feature = "cassandra")]

mod backups;
mod faults;
mod orders;
#[path = "../rig/mod.rs"]
mod rig;
mod watching;
