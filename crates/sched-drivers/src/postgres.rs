//! PostgreSQL: [`BaseBackup`], [`Dump`], [`PostgresStatus`], [`PostgresMembers`].
//!
//! ```no_run
//! use sched_drivers::destination::LocalDirectory;
//! use sched_drivers::postgres::{BaseBackup, PostgresServer, PostgresStatus};
//! use sched_drivers::secret::SecretString;
//! use sched_drivers::server::{Monitor, MonitorConfig};
//!
//! let standby = PostgresServer::new("db2.example.com", "backup").password(SecretString::from("geheim"));
//! let monitor = Monitor::new("orders-2", PostgresStatus::new(standby.clone()), MonitorConfig::default());
//! let executor = BaseBackup::new(
//!     move |instance| (instance.as_str() == "orders-2").then(|| standby.clone()),
//!     LocalDirectory::new("/var/backups"),
//! );
//! // `.executor("postgresql", executor)`, `.detector(monitor.detector())` and `.probe(monitor.probe())` of the builder.
//! ```

mod base;
mod base_tar;
mod connection;
mod dump;
mod fault;
#[cfg(test)]
mod fuzz;
mod members;
mod server;
mod slot;
mod status;
mod survey;
mod tool;

pub use self::base::{BaseBackup, Checkpoint};
pub use self::dump::Dump;
pub use self::members::PostgresMembers;
pub use self::server::{PostgresServer, Tls};
pub use self::status::PostgresStatus;

/// What sessions of this crate and its tools are called, or begin with; they do not count as load.
const APPLICATION: &str = "backup-sched";
