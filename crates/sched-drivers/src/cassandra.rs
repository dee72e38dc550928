//! Cassandra: snapshots of all nodes together, and their SSTables on the way.

mod backup;
mod cql;
mod files;
mod frame;
#[cfg(test)]
mod fuzz;
mod members;
mod node;
mod nodetool;
mod place;
mod status;
mod tag;
mod together;
mod upload;

pub use self::backup::CassandraBackup;
pub use self::cql::{CqlConnection, CqlRow, CqlRows};
pub use self::members::CassandraMembers;
pub use self::node::CassandraNode;
pub use self::status::CassandraStatus;
pub use self::upload::SCHEMA;
