//! SQLite: backups through its online backup API, in steps that are paced.

mod copy;
mod status;
mod wal;

use std::path::PathBuf;
use std::sync::Arc;

use sched_core::{Executor, InstanceName, RunContext, RunError, RunPhase};

pub use self::status::SqliteStatus;
use crate::DriverError;
use crate::backup::{Backup, Completed};
use crate::destination::Destination;
use crate::server::Instances;

/// The name of the database in its backup.
pub const FILE: &str = "database.sqlite";

/// Backs up SQLite databases: one file each that can be opened as it is.
///
/// In WAL mode it holds a read transaction, so that the copy is of one moment and writers go on; the WAL grows meanwhile,
/// and when it is larger than [`max_wal_bytes`](Self::max_wal_bytes) the rest is copied unslowed. In the other journal
/// modes a held transaction would stop every writer: the copy then starts again whenever somebody writes, and gives up
/// after [`max_restarts`](Self::max_restarts).
///
/// ```
/// use std::collections::BTreeMap;
/// use std::path::PathBuf;
/// use sched_drivers::destination::LocalDirectory;
/// use sched_drivers::sqlite::SqliteBackup;
///
/// // Looked up, not put together: whoever submits a job chooses the name, and `../../etc/x` is one.
/// let databases = BTreeMap::from([
///     ("orders", PathBuf::from("/var/lib/shop/orders.db")),
///     ("carts", PathBuf::from("/var/lib/shop/carts.db")),
/// ]);
/// let executor = SqliteBackup::new(
///     move |instance| databases.get(instance.as_str()).cloned(),
///     LocalDirectory::new("/var/backups"),
/// );
/// // `.executor("sqlite", executor)` of the scheduler's builder.
/// ```
#[derive(Clone, Debug)]
pub struct SqliteBackup {
    instances: Instances<PathBuf>,
    destination: Arc<dyn Destination>,
    step_pages: u16,
    max_wal_bytes: u64,
    max_restarts: u32,
    check: bool,
}

impl SqliteBackup {
    /// Backs up the databases that `find` gives for instances.
    pub fn new(
        find: impl Fn(&InstanceName) -> Option<PathBuf> + Send + Sync + 'static,
        destination: impl Destination + 'static,
    ) -> Self {
        Self {
            instances: Instances::new(find),
            destination: Arc::new(destination),
            step_pages: 32,
            max_wal_bytes: 512 << 20,
            max_restarts: 10,
            check: true,
        }
    }

    /// Sets how many pages are copied between two looks at pace and orders, at least 1. Default 32: 128 KiB of pages of
    /// the usual size.
    #[must_use]
    pub fn step_pages(mut self, pages: u16) -> Self {
        self.step_pages = pages.clamp(1, i16::MAX as u16);
        self
    }

    /// Sets how large the WAL may be before the copy is no longer slowed. Default 512 MiB.
    #[must_use]
    pub fn max_wal_bytes(mut self, bytes: u64) -> Self {
        self.max_wal_bytes = bytes;
        self
    }

    /// Sets how often a copy of a database that is not in WAL mode may start again. Default 10.
    #[must_use]
    pub fn max_restarts(mut self, restarts: u32) -> Self {
        self.max_restarts = restarts;
        self
    }

    /// Leaves out SQLite's own check of the copy (`PRAGMA quick_check`), which reads it once more.
    #[must_use]
    pub fn unchecked(mut self) -> Self {
        self.check = false;
        self
    }

    /// Makes one backup; [`run`](Executor::run) does the same, and keeps what was made to itself.
    ///
    /// # Errors
    /// When there is no such database, it cannot be read or copied, the copy is not good, or the attempt is cancelled.
    pub fn make(&self, ctx: &RunContext) -> Result<Completed, DriverError> {
        let path = self.instances.of(ctx)?;
        let source = copy::Source::open(&path)?;
        let mut backup = Backup::begin(ctx, &self.destination)?;
        backup.tool(format!("SQLite {}", rusqlite::version()));
        backup.fact("source", path.display().to_string());
        backup.fact("journal_mode", source.journal_mode());
        ctx.phase(RunPhase::new("copy").floor(copy::FLOOR_BYTES_PER_SEC));
        // What is made in place is read back for its checksum: twice the bytes in all.
        backup.expect(source.bytes()? * 2);
        let made = backup.store_made(FILE, |to| {
            source.copy(ctx, to, self)?;
            if self.check { copy::check(ctx, to) } else { Ok(()) }
        });
        made?;
        backup.complete()
    }
}

impl Executor for SqliteBackup {
    fn run(&self, ctx: &RunContext) -> Result<(), RunError> {
        self.make(ctx).map(drop).map_err(|error| error.into_run_error(ctx))
    }
}

/// An error of SQLite as one of a driver.
fn error(path: &std::path::Path, error: rusqlite::Error) -> DriverError {
    use rusqlite::ErrorCode;
    let server = path.display().to_string();
    let text = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen | ErrorCode::NotFound) => DriverError::Unreachable { server, error: text },
        Some(ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            DriverError::Refused {
                server,
                error: text,
                remedy: "the user of this process needs to read the file, and to write its -shm file".into(),
            }
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            let problem =
                format!("{text}; in WAL mode (PRAGMA journal_mode = WAL) writers keep no reader out");
            DriverError::NotReady { server, problem }
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            DriverError::Corrupt { what: server, problem: text }
        }
        _ => DriverError::Answer { server, problem: text },
    }
}
