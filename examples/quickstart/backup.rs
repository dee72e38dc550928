//! One backup of one SQLite database through the online backup API.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use crate::fleet::{self, Contents, Database};

/// Pages copied in one step.
const STEP_PAGES: i32 = 32;
/// A paced copy is synced this often, so that the kernel never writes back so much at once that the foreground's own
/// syncs wait behind it.
const SYNC_EVERY: u64 = 2 << 20;

/// What came of a copy.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    pub(crate) name: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) restarts: u32,
    expected: Contents,
}

/// Somebody who is asked before bytes move, and told when they have.
pub(crate) trait Pace {
    type Stop;
    fn before(&self, bytes: u64) -> Result<(), Self::Stop>;
    fn after(&self, done: u64, total: u64);
    /// Whether the copy is synced as it grows.
    const GENTLE: bool;
}

/// As fast as the machine can: what a script in cron does.
pub(crate) struct FullSpeed;

impl Pace for FullSpeed {
    type Stop = std::convert::Infallible;
    fn before(&self, _: u64) -> Result<(), Self::Stop> {
        Ok(())
    }
    fn after(&self, _: u64, _: u64) {}
    const GENTLE: bool = false;
}

/// Why there is no copy.
#[derive(Debug)]
pub(crate) enum CopyError<S> {
    Stopped(S),
    Failed(String),
}

impl<S> From<rusqlite::Error> for CopyError<S> {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl<S> From<std::io::Error> for CopyError<S> {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Copies `database` into `dir`, under a name that carries `attempt` until the copy is complete.
pub(crate) fn copy<P: Pace>(
    database: &Database,
    dir: &Path,
    attempt: u32,
    pace: &P,
) -> Result<Copy, CopyError<P::Stop>> {
    let partial = dir.join(format!("{}.{attempt}.partial", database.name));
    let result = copy_to(database, &partial, pace);
    let finished = result.and_then(|(restarts, expected)| {
        let path = dir.join(database.name).with_extension("backup");
        fs::rename(&partial, &path)?;
        Ok(Copy { name: database.name, path, restarts, expected })
    });
    if finished.is_err() {
        // Nothing partial stays behind; that it may not exist yet is no concern.
        let _ = fs::remove_file(&partial);
    }
    finished
}

fn copy_to<P: Pace>(
    database: &Database,
    partial: &Path,
    pace: &P,
) -> Result<(u32, Contents), CopyError<P::Stop>> {
    let source = fleet::open(&database.path)?;
    // The read transaction keeps this snapshot for the whole copy. Without it, every commit by another connection
    // would start the copy again from its first page.
    source.execute_batch("BEGIN")?;
    let expected = fleet::contents(&source)?;
    let page: u64 = source.query_row("PRAGMA page_size", [], |row| row.get::<_, i64>(0))?.unsigned_abs();
    let mut target = Connection::open(partial)?;
    target.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF;")?;
    let file = File::options().write(true).open(partial)?;
    let (mut restarts, mut synced) = (0, 0);
    {
        let copy = Backup::new(&source, &mut target)?;
        let mut remaining = i32::MAX;
        loop {
            pace.before(STEP_PAGES as u64 * page).map_err(CopyError::Stopped)?;
            let step = copy.step(STEP_PAGES)?;
            let progress = copy.progress();
            restarts += u32::from(progress.remaining > remaining);
            remaining = progress.remaining;
            let done = (progress.pagecount - progress.remaining) as u64 * page;
            pace.after(done, progress.pagecount as u64 * page);
            if P::GENTLE && done >= synced + SYNC_EVERY {
                file.sync_data()?;
                synced = done;
            }
            if matches!(step, StepResult::Done) {
                break;
            }
        }
    }
    target.close().map_err(|(_, error)| error)?;
    file.sync_all()?;
    Ok((restarts, expected))
}

/// Whether a copy can be restored: SQLite's own check, and the contents of the source at the snapshot.
pub(crate) fn verify(copy: &Copy) -> Result<(), String> {
    let text = |error: rusqlite::Error| format!("{}: {error}", copy.name);
    let db = Connection::open(&copy.path).map_err(text)?;
    let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).map_err(text)?;
    if check != "ok" {
        return Err(format!("{}: {check}", copy.name));
    }
    let found = fleet::contents(&db).map_err(text)?;
    if found != copy.expected {
        return Err(format!("{}: {found:?} in the copy, {:?} in the source", copy.name, copy.expected));
    }
    Ok(())
}
