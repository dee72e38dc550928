//! One copy through the online backup API: [`Source`].

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use sched_core::{RunContext, RunPhase};
use sched_limits::WriteBack;

use super::{SqliteBackup, error, wal};
use crate::DriverError;

/// Slower than this the WAL grows for nothing.
pub(super) const FLOOR_BYTES_PER_SEC: u64 = 1_000_000;
/// Bytes after which the size of the log is looked at.
const LOOK_EVERY: u64 = 2 << 20;
/// How long a lock is waited for.
const BUSY: Duration = Duration::from_secs(5);
/// Virtual instructions of SQLite between two looks at orders.
const CHECK_EVERY: i32 = 10_000;
/// What is not told as it is in a URI of a file.
const URI_ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/');

/// A database to copy.
pub(super) struct Source {
    path: PathBuf,
    connection: Connection,
    page_bytes: u64,
    wal: bool,
    journal_mode: String,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, DriverError> {
        let fail = |e| error(path, e);
        // Never creates one; writable where it can be, since the first reader of a WAL sets up its index.
        let connection =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(fail)?;
        connection.busy_timeout(BUSY).map_err(fail)?;
        let page_bytes = connection
            .query_row("PRAGMA page_size", [], |row| row.get::<_, i64>(0))
            .map_err(fail)?
            .unsigned_abs();
        let journal_mode: String =
            connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(fail)?;
        let wal = journal_mode.eq_ignore_ascii_case("wal");
        Ok(Self { path: path.to_owned(), connection, page_bytes, wal, journal_mode })
    }

    pub(super) fn journal_mode(&self) -> &str {
        &self.journal_mode
    }

    pub(super) fn bytes(&self) -> Result<u64, DriverError> {
        let pages = self.connection.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0));
        pages.map(|pages| pages.unsigned_abs() * self.page_bytes).map_err(|e| error(&self.path, e))
    }

    pub(super) fn copy(
        &self,
        ctx: &RunContext,
        to: &Path,
        settings: &SqliteBackup,
    ) -> Result<(), DriverError> {
        if !self.wal {
            return self.copy_steps(ctx, to, settings);
        }
        let fail = |e| error(&self.path, e);
        self.connection.execute_batch("BEGIN").map_err(fail)?;
        // The snapshot is taken by the first read.
        let pinned = self.connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
        let copied = pinned.map_err(fail).and_then(|()| self.copy_steps(ctx, to, settings));
        // Also after a failure, or the WAL would go on growing while the connection lives.
        let ended = self.connection.execute_batch("ROLLBACK").map_err(fail);
        copied.and(ended)
    }

    fn copy_steps(&self, ctx: &RunContext, to: &Path, settings: &SqliteBackup) -> Result<(), DriverError> {
        let at = |e| destination(to, e);
        let mut target = Connection::open(to).map_err(at)?;
        target.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF;").map_err(at)?;
        let written = File::options().write(true).open(to).map_err(|source| io_error(to, source))?;
        let (mut restarts, mut copied, mut unslowed) = (0, 0, false);
        let mut back = WriteBack::default();
        {
            let copy = Backup::new(&self.connection, &mut target).map_err(|e| error(&self.path, e))?;
            let mut remaining = i32::MAX;
            loop {
                ctx.pace(u64::from(settings.step_pages) * self.page_bytes)?;
                let step = copy.step(settings.step_pages.into()).map_err(|e| self.step_error(to, e))?;
                let progress = copy.progress();
                if progress.remaining > remaining {
                    restarts += 1;
                    self.may_restart(restarts, settings)?;
                }
                remaining = progress.remaining;
                let done = (progress.pagecount - progress.remaining).unsigned_abs();
                let done = u64::from(done) * self.page_bytes;
                ctx.progress(done, u64::from(progress.pagecount.unsigned_abs()) * self.page_bytes * 2);
                if done < copied {
                    // It has begun anew.
                    (back, copied) = (WriteBack::default(), 0);
                }
                back.wrote(&written, done - copied).map_err(|source| io_error(to, source))?;
                let look = !unslowed && done / LOOK_EVERY != copied / LOOK_EVERY;
                if look && wal::wal_bytes(&self.path) > settings.max_wal_bytes {
                    unslowed = true;
                    ctx.phase(RunPhase::new("wal_is_full").floor(u64::MAX));
                }
                copied = done;
                match step {
                    StepResult::Done => break,
                    StepResult::Busy | StepResult::Locked => {
                        restarts += 1;
                        self.may_restart(restarts, settings)?;
                    }
                    _ => {}
                }
            }
        }
        target.close().map_err(|(_, e)| destination(to, e))?;
        back.finish(&written).map_err(|source| io_error(to, source))
    }

    fn may_restart(&self, restarts: u32, settings: &SqliteBackup) -> Result<(), DriverError> {
        if restarts <= settings.max_restarts {
            return Ok(());
        }
        Err(DriverError::NotReady {
            server: self.path.display().to_string(),
            problem: format!(
                "others write so often that the copy started again {restarts} times; in WAL mode \
                 (PRAGMA journal_mode = WAL; now {}) it would not",
                self.journal_mode
            ),
        })
    }

    /// A step reads one file and writes another: a full disk is the destination's.
    fn step_error(&self, to: &Path, e: rusqlite::Error) -> DriverError {
        match e.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull | rusqlite::ErrorCode::SystemIoFailure) => destination(to, e),
            _ => error(&self.path, e),
        }
    }
}

/// SQLite's own check of a copy; it looks at orders now and then.
pub(super) fn check(ctx: &RunContext, copy: &Path) -> Result<(), DriverError> {
    let fail = |e| error(copy, e);
    // Nobody else knows it: without locks, and without the files that SQLite puts beside a database in WAL mode.
    let path = std::path::absolute(copy).map_err(|source| io_error(copy, source))?;
    let path = percent_encode(path.as_os_str().as_encoded_bytes(), URI_ENCODED);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let mut db = Connection::open_with_flags(format!("file://{path}?immutable=1"), flags).map_err(fail)?;
    let orders = ctx.clone();
    db.progress_handler(CHECK_EVERY, Some(move || orders.is_cancelled())).map_err(fail)?;
    let found = db.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    ctx.checkpoint()?;
    match found.map_err(fail)? {
        ok if ok == "ok" => Ok(()),
        problem => Err(DriverError::Corrupt { what: copy.display().to_string(), problem }),
    }
}

fn destination(to: &Path, e: rusqlite::Error) -> DriverError {
    let kind = match e.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => io::ErrorKind::StorageFull,
        _ => io::ErrorKind::Other,
    };
    io_error(to, io::Error::new(kind, e.to_string()))
}

fn io_error(to: &Path, source: io::Error) -> DriverError {
    DriverError::Destination { what: to.display().to_string(), source }
}
