//! How busy a database is: [`SqliteStatus`].

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use sched_core::{MonoTime, Now};
use sched_limits::Reading;

use super::error;
use crate::DriverError;
use crate::server::{ServerStatus, StatusSource, Workload};

/// Tries that the busy rate is taken over.
const TRIES: usize = 12;
/// Bytes of a frame of the WAL beside its page.
const FRAME_HEADER: u64 = 24;

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

/// What the header of a WAL's index says; see SQLite's "WAL-mode File Format", 2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WalIndex {
    /// Grows by one with each transaction.
    transactions: u32,
    page_bytes: u64,
    /// Frames in use.
    frames: u32,
}

impl WalIndex {
    fn read(database: &Path) -> Option<Self> {
        let mut header = [0; 48];
        File::open(beside(database, "-shm")).ok()?.read_exact(&mut header).ok()?;
        Self::parse(&header)
    }

    fn parse(header: &[u8; 48]) -> Option<Self> {
        // In the byte order of the machine, since the index is shared memory.
        let word =
            |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let page = u64::from(u16::from_ne_bytes([header[14], header[15]]));
        let initialized = header[12] == 1;
        // A page of 64 KiB is told as 1.
        let page_bytes = if page == 1 { 1 << 16 } else { page };
        initialized.then_some(Self { transactions: word(8), page_bytes, frames: word(16) })
    }

    /// Transactions and pages written since an earlier look.
    fn since(self, earlier: Self) -> (f64, f64) {
        let transactions = self.transactions.wrapping_sub(earlier.transactions);
        // The WAL began anew in between: what it held at its end is not known.
        let pages = self.frames.checked_sub(earlier.frames).unwrap_or(self.frames);
        (f64::from(transactions), f64::from(pages))
    }
}

/// How much of the WAL is in use, or the size of its file where that is not known; 0 without one.
pub(super) fn wal_bytes(database: &Path) -> u64 {
    match WalIndex::read(database) {
        Some(index) => u64::from(index.frames) * (index.page_bytes + FRAME_HEADER),
        None => fs::metadata(beside(database, "-wal")).map_or(0, |metadata| metadata.len()),
    }
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
