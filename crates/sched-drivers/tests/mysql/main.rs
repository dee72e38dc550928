//! Backups of real MariaDB servers, restored and compared, and what goes wrong with them.

mod backups;
mod faults;
mod load;
#[path = "../rig/mod.rs"]
mod rig;
mod shop;
#[cfg(feature = "mysql-tls")]
mod tls;
