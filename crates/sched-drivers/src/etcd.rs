//! etcd: snapshots of one caught-up follower, load and health from `/metrics`.
//!
//! All goes through what every etcd from 3.4 offers on its client port: the JSON gateway and the metrics, over one HTTP
//! connection each. No tool has to be installed, and a password goes into the body of a request, not into arguments.
//! Restore with `etcdctl snapshot restore` (3.4, 3.5) or `etcdutl snapshot restore` (from 3.5): the file is what
//! `etcdctl snapshot save` writes.
//!
//! ```
//! use sched_drivers::etcd::{EtcdCluster, EtcdStatus};
//! use sched_drivers::server::{Monitor, MonitorConfig};
//!
//! let cluster = EtcdCluster::new("http://10.0.0.1:2379")
//!     .endpoint("http://10.0.0.2:2379")
//!     .endpoint("http://10.0.0.3:2379");
//! let status = EtcdStatus::new(cluster, "http://10.0.0.1:2379");
//! let monitor = Monitor::new("settings", status, MonitorConfig::default());
//! ```
//!
//! Members are told by [`EtcdMembers`]. HTTPS needs the feature `etcd-tls`.

mod cluster;
#[cfg(test)]
mod fuzz;
mod gateway;
mod members;
mod metrics;
mod snapshot;
mod status;
mod stream;

pub use self::cluster::EtcdCluster;
pub use self::members::{EtcdMember, EtcdMembers, EtcdRole, EtcdState};
pub use self::snapshot::{FILE, Snapshot};
pub use self::status::EtcdStatus;
