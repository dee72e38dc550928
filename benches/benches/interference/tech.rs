//! What a technology brings: a real server with data, a foreground and a backup.

mod cassandra;
mod etcd;
mod mariadb;
mod postgres;
mod redis;
mod sqlite;

use std::path::Path;
use std::sync::Arc;

use backup_sched::JobSpec;
use sched_drivers::destination::Destination;
use sched_drivers::server::Monitor;

use crate::Failure;
use crate::method::AnyExecutor;

/// What a request of the foreground does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Reads a row or value by its key.
    Read,
    /// Reads forty rows in the order of their keys, where the technology has one.
    Scan,
    /// Changes a row or value, durably.
    Write,
}

impl Kind {
    /// Of twenty requests one writes and five scan: a p99 is what the slower writes take, which wait for the disk.
    pub(crate) fn draw(rng: &mut fastrand::Rng) -> Self {
        match rng.u8(..20) {
            0 => Self::Write,
            1..=5 => Self::Scan,
            _ => Self::Read,
        }
    }
}

/// One connection of the application.
pub(crate) trait Client: Send {
    /// Makes one request and waits for its answer.
    fn request(&mut self) -> Result<(), Failure>;
}

/// A real server at work.
pub(crate) trait Technology: Sync {
    /// Its name in the results.
    fn name(&self) -> &'static str;

    /// Server and tool with their versions, for people.
    fn versions(&self) -> String;

    /// Connections of the foreground.
    fn workers(&self) -> usize {
        8
    }

    /// Another connection.
    fn client(&self, seed: u64) -> Result<Box<dyn Client>, Failure>;

    /// What is asked for.
    fn spec(&self) -> JobSpec;

    /// Whether a backup that stands holds something back that the server's other work then feels: such a one is not left
    /// standing while other methods are measured.
    fn holds_what_it_copies(&self) -> bool {
        false
    }

    /// Makes backups into a destination.
    fn executor(&self, to: Arc<dyn Destination>) -> Result<AnyExecutor, Failure>;

    /// Reads the server's own health, where the driver can.
    fn monitor(&self) -> Option<Monitor> {
        None
    }
}

/// The names of all, in the order in which they run.
pub(crate) const ALL: [&str; 6] = ["sqlite", "postgres", "mariadb", "redis", "etcd", "cassandra"];

/// Starts a technology's server and fills it with so many bytes.
pub(crate) fn start(name: &str, directory: &Path, bytes: u64) -> Result<Box<dyn Technology>, Failure> {
    match name {
        "sqlite" => Ok(Box::new(sqlite::Sqlite::start(directory, bytes)?)),
        "postgres" => Ok(Box::new(postgres::Postgres::start(bytes)?)),
        "mariadb" => Ok(Box::new(mariadb::Maria::start(bytes)?)),
        "redis" => Ok(Box::new(redis::Redis::start(bytes)?)),
        "etcd" => Ok(Box::new(etcd::Etcd::start(bytes)?)),
        "cassandra" => Ok(Box::new(cassandra::Cassandra::start(bytes)?)),
        other => Err(format!("{other} is not one of {}", ALL.join(", ")).into()),
    }
}
