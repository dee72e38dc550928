//! MySQL and MariaDB: [`PhysicalBackup`], [`Dump`], [`MySqlStatus`], [`MySqlMembers`].
//!
//! | what | with | where |
//! |---|---|---|
//! | [`PhysicalBackup`] | `mariadb-backup` or `xtrabackup` | on the server's machine, by a user that reads its data directory |
//! | [`Dump`] | `mariadb-dump` or `mysqldump` | anywhere that reaches the server |
//! | [`MySqlStatus`] | one connection | anywhere; give it to a [`Monitor`](crate::server::Monitor) |
//! | [`MySqlMembers`] | one connection | anywhere |
//!
//! Tried with MariaDB 10.11. What is said of MySQL and of XtraBackup follows their manuals and was not tried.
//!
//! ```no_run
//! use sched_drivers::destination::LocalDirectory;
//! use sched_drivers::mysql::{MySqlServer, MySqlStatus, PhysicalBackup};
//! use sched_drivers::secret::SecretString;
//! use sched_drivers::server::{Monitor, MonitorConfig};
//!
//! let server = MySqlServer::socket("/run/mysqld/mysqld.sock")
//!     .user("backup")
//!     .password(SecretString::from("from your vault"));
//! let monitor = Monitor::new("orders", MySqlStatus::new(server.clone()), MonitorConfig::default());
//! let executor = PhysicalBackup::new(
//!     move |instance| (instance.as_str() == "orders").then(|| server.clone()),
//!     LocalDirectory::new("/backups"),
//! );
//! // Into the scheduler: `.executor("mariadb", executor)`, `.detector(monitor.detector())`, `.probe(monitor.probe())`.
//! # let _ = (executor, monitor);
//! ```

mod dump;
mod fault;
#[cfg(test)]
mod fuzz;
mod grants;
mod known;
mod members;
mod option_file;
mod physical;
mod position;
mod replication;
mod server;
mod status;
mod tool;
mod version;

pub use dump::Dump;
pub use members::MySqlMembers;
pub use physical::PhysicalBackup;
pub use server::MySqlServer;
#[cfg(feature = "mysql-tls")]
pub use server::MySqlTls;
pub use status::MySqlStatus;
