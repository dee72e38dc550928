//! How busy a database is: [`SqliteStatus`].

use std::collections::VecDeque;
use std::path::PathBuf;

use rusqlite::{Connection, OpenFlags};
use sched_core::{MonoTime, Now};
use sched_limits::Reading;

use super::error;
use super::wal::{WalIndex, wal_bytes};
use crate::DriverError;
use crate::server::{ServerStatus, StatusSource, Workload};

/// Tries that the busy rate is taken over.
const TRIES: usize = 12;

/// Reads how busy a SQLite database is, from outside of the processes that use it.
///
/// - `active` is the share of the last 12 readings at which somebody was writing: it tries to begin a write, and ends it
///   at once, which takes some µs. Busy from half of the time on: the capacity that it tells is 2/3, of which the
///   [`Monitor`](crate::server::Monitor)'s default takes three quarters.
/// - In WAL mode the write transactions and the pages they change are counted from the index of the WAL. Reads leave no
///   trace in a file: they are not counted.
/// - Its health is `wal_mib`: how much of the WAL is in use, also while the file stays larger.
#[derive(Debug)]
pub struct SqliteStatus {
    path: PathBuf,
    connection: Option<Connection>,
    tries: VecDeque<bool>,
    last: Option<(MonoTime, WalIndex)>,
}

impl SqliteStatus {
    /// Reads the database at `path`, which is opened at the first reading.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), connection: None, tries: VecDeque::new(), last: None }
    }

    fn connect(&mut self) -> Result<Connection, DriverError> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE)
                .and_then(|connection| {
                    connection.busy_timeout(std::time::Duration::ZERO).map(|()| connection)
                })
                .map_err(|e| error(&self.path, e)),
        }
    }

    fn someone_writes(&mut self) -> Result<bool, DriverError> {
        let connection = self.connect()?;
        let busy = match connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK") {
            Ok(()) => false,
            Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => true,
            Err(e) => return Err(error(&self.path, e)),
        };
        self.connection = Some(connection);
        Ok(busy)
    }
}

impl StatusSource for SqliteStatus {
    fn read(&mut self, now: Now) -> Result<ServerStatus, DriverError> {
        let busy = self.someone_writes()?;
        self.tries.push_back(busy);
        if self.tries.len() > TRIES {
            self.tries.pop_front();
        }
        let writing = self.tries.iter().filter(|busy| **busy).count() as f64 / self.tries.len() as f64;
        let mib = wal_bytes(&self.path) as f64 / f64::from(1 << 20);
        let mut status =
            ServerStatus::new(writing).capacity(2.0 / 3.0).health(Reading::new("wal_mib", mib, "MiB"));
        let index = WalIndex::read(&self.path);
        if let (Some((at, last)), Some(index)) = (self.last, index) {
            let secs = now.mono.since(at).as_secs_f64();
            if secs > 0.0 {
                let (writes, pages) = index.since(last);
                status = status.workload(Workload::new(0.0, writes / secs, pages / secs));
            }
        }
        self.last = index.map(|index| (now.mono, index));
        Ok(status)
    }
}
