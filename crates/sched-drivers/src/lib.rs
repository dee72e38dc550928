//! Backups of real databases under the scheduler's pace, and detectors that read how busy they are.
//!
//! Each technology is a module behind a feature of the same name. It has an [`Executor`](sched_core::Executor) that
//! makes a backup that can be restored, and a [`StatusSource`](server::StatusSource) that reads load and health from
//! the server; [`Monitor`](server::Monitor) makes a load detector and a capacity probe of that. None uses anything
//! that is not public: what is here can be written by anybody for another technology, from the same parts:
//!
//! | part | what it does |
//! |---|---|
//! | [`command`] | runs a tool in a process group of its own, on a leash: time-outs, cancellation, pauses, no survivors |
//! | [`destination`] | where backups go: complete or absent, never something between |
//! | [`backup`] | one backup on its way: paced, checksummed, with a manifest |
//! | [`secret`] | passwords that are never printed, and how tools get them |
//! | [`server`] | load, health and members of a server, read over one connection |

#![warn(missing_docs)]

// Tools are run in process groups, and files are told apart by their numbers.
#[cfg(not(unix))]
compile_error!("sched-drivers needs Linux or another Unix; the other crates of backup-sched do not");

pub mod backup;
#[cfg(feature = "cassandra")]
pub mod cassandra;
pub mod command;
pub mod destination;
mod error;
#[cfg(feature = "etcd")]
pub mod etcd;
#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(any(feature = "object-store", feature = "postgres"))]
mod reactor;
#[cfg(all(feature = "redis", unix))]
pub mod redis;
pub mod secret;
pub mod server;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(any(feature = "cassandra-tls", feature = "postgres", feature = "redis-tls"))]
mod tls;

pub use error::DriverError;

/// Compiles what the documentation shows, where all of it is built.
#[cfg(all(
    doctest,
    feature = "cassandra",
    feature = "etcd",
    feature = "mysql",
    feature = "object-store",
    feature = "postgres",
    feature = "redis",
    feature = "sqlite"
))]
mod documents {
    #[doc = include_str!("../../../docs/drivers.md")]
    pub struct Drivers;
}
