//! Real database servers on loopback, on free ports, with data of their own, stopped when they are dropped: for the
//! tests, benches and examples of this workspace. Not published.
//!
//! A server is started from what is installed; a missing program is an error that names the package that holds it.

#![warn(missing_docs)]

mod cassandra;
mod certificates;
mod etcd;
mod mariadb;
mod port;
mod postgres;
mod process;
mod redis;
mod s3;

pub use cassandra::{Cassandra, CassandraNode, CassandraOptions};
pub use certificates::Certificates;
pub use etcd::{EtcdCluster, EtcdServer};
pub use mariadb::MariaDb;
pub use port::free_port;
pub use postgres::Postgres;
pub use process::{ServerProcess, TestbedError, program, wait_until};
pub use redis::{RedisPair, RedisServer};
pub use s3::S3Server;
