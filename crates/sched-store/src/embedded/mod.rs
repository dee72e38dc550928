//! One file of this machine: [`EmbeddedStore`].
//!
//! The file is a [redb](redb) database, whose commits are atomic and whose pages carry checksums. Values are JSON with an
//! own number for the terms that many jobs share, so that what is in the file can be read by people and by later versions.

mod compact;
mod fault;
mod file;
mod format;
mod load;
mod migrate;
#[cfg(test)]
mod tests;
mod value;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use redb::{Database, ReadableDatabase, ReadableTable};
use sched_core::JobId;
use sched_core::store::{AUDIT_KEPT, Entry, JobStore, Key, StoreError};

use self::fault::Place;
use self::file::{Lock, Source};
use self::format::{AUDIT, FACTS, FORMAT, JOBS, LAST_JOB, META, TERMS, fact_key};
use self::value::Terms;

/// A store in one file, for one scheduler at a time.
///
/// ```
/// use sched_core::store::JobStore;
/// use sched_store::EmbeddedStore;
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("backups.redb");
/// let mut store = EmbeddedStore::at(&path);
/// // Scheduler::builder().store(store)
/// store.open()?;
/// assert_eq!(store.load(&mut |_| {})?.0, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// * **Durability.** A group is synced before [`commit`](JobStore::commit) returns. After any error the file is opened
///   anew: nothing that a sync was refused for is believed before it has been read from the disk again, with every
///   checksum. It must be the file that was open before: should it be gone, or another one have its name, none is made in its
///   place, for what was acknowledged is in no other.
/// * **One at a time.** A second scheduler that opens the file is refused with [`StoreError::Locked`], in the same process
///   too; the lock is that of a file `NAME.lock` beside it, and ends with the process. A process that is forked off neither
///   reads nor writes through what was open before, and closes nothing; as long as it lives it shares the lock.
/// * **What cannot be read stays.** A damaged file, one of a later version, an empty one and one that is something else are
///   refused, and nothing in them is changed. Every page is held against its checksum when the file is opened.
/// * **Versions.** A file of a former version is migrated when it is opened, in one commit.
/// * **Size.** Space of what has ended is used again. A file of which less than a quarter is in use is compacted when it is
///   opened; [`compact`](Self::compact) does so at any time.
/// * **Looking inside.** The example `store_dump` of this crate prints every entry as a line of JSON.
///
/// The file is readable by its owner alone. It should lie on a disk of this machine: whether locks and syncs of network
/// file systems hold is up to their servers.
pub struct EmbeddedStore {
    source: Source,
    /// An error was met: what the system remembers of the file is not believed.
    suspect: bool,
    open: Option<Open>,
}

/// An open file.
struct Open {
    database: Database,
    terms: Terms,
    last_job: u64,
    /// The process that opened it. A child that is forked off has a copy of what is remembered of the file, and the lock.
    process: u32,
    _lock: Option<Lock>,
}

impl EmbeddedStore {
    /// A store in a file, which is made when it is not there. Nothing is opened before [`open`](JobStore::open).
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { source: Source::file(path.into(), true), suspect: false, open: None }
    }

    /// A store in a file that must be there: a path that is wrong, or a disk that is not mounted, is an error and no new
    /// store.
    pub fn existing(path: impl Into<PathBuf>) -> Self {
        Self { source: Source::file(path.into(), false), suspect: false, open: None }
    }

    fn place_for_errors(&self) -> Place {
        Place(self.source.to_string())
    }

    /// Does something with the open file. A panic of the library, as a damaged file may lead to, is an error.
    fn with_open<T>(
        &mut self,
        what: &'static str,
        work: impl FnOnce(&mut Open, &Place) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let place = self.place_for_errors();
        self.check_process(what)?;
        let Some(open) = &mut self.open else { return Err(place.io(what, &"it is not open")) };
        let done = catch_unwind(AssertUnwindSafe(|| work(open, &place)));
        done.unwrap_or_else(|panic| Err(place.panicked(what, &*panic)))
    }

    /// Two processes that write by what one of them remembers would leave a file of which neither is right.
    fn check_process(&self, what: &'static str) -> Result<(), StoreError> {
        match &self.open {
            Some(Open { process, .. }) if *process != std::process::id() => {
                let forked = format!("process {process} has it open, and this one was forked from that");
                Err(self.place_for_errors().io(what, &forked))
            }
            _ => Ok(()),
        }
    }

    fn try_open(&mut self) -> Result<(), StoreError> {
        let place = self.place_for_errors();
        let lock = self.source.lock(&place)?;
        let source = &mut self.source;
        let suspect = self.suspect;
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let database = source.open(&place, suspect)?;
            migrate::to_newest(&database, &place)?;
            let terms = Terms::read(&database, &place)?;
            let last_job = format::number(&database, &place, LAST_JOB)?.unwrap_or(0);
            Ok(Open { database, terms, last_job, process: std::process::id(), _lock: lock })
        }));
        self.open = Some(opened.unwrap_or_else(|panic| Err(place.panicked("opened", &*panic)))?);
        self.suspect = false;
        Ok(())
    }
}

impl JobStore for EmbeddedStore {
    fn place(&self) -> String {
        self.source.to_string()
    }

    fn open(&mut self) -> Result<(), StoreError> {
        self.check_process("opened")?;
        if self.open.is_some() && !self.suspect {
            return Ok(());
        }
        // The lock of a file that is still open would be in its own way.
        let closing = self.open.take();
        if catch_unwind(AssertUnwindSafe(|| drop(closing))).is_err() {
            self.suspect = true;
        }
        self.try_open()
    }

    fn load(&mut self, take: &mut dyn FnMut(Entry)) -> Result<JobId, StoreError> {
        let read = self.with_open("read", |open, place| {
            let live = open.load(place, take)?;
            Ok((live, JobId(open.last_job)))
        });
        let (live, last_job) = read.inspect_err(|_| self.suspect = true)?;
        if self.source.is_mostly_dead(live) {
            self.compact()?;
        }
        Ok(last_job)
    }

    fn commit(&mut self, group: &[Entry]) -> Result<(), StoreError> {
        if self.suspect {
            return Err(self.place_for_errors().io("written", &"it must be opened anew after an error"));
        }
        let written = self.with_open("written", |open, place| open.commit(place, group));
        written.inspect_err(|_| self.suspect = true)
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        // Closing writes. What a forked process has of a file that another one has open is left as it is.
        if self.check_process("closed").is_err() {
            std::mem::forget(self.open.take());
        }
    }
}

impl Open {
    /// Hands out everything; returns how many bytes that is.
    fn load(&mut self, place: &Place, take: &mut dyn FnMut(Entry)) -> Result<u64, StoreError> {
        let read = |error: redb::Error| place.failed("read", error);
        let transaction = self.database.begin_read().map_err(|error| read(error.into()))?;
        let known = self.terms.numbered(place)?;
        let jobs = transaction.open_table(JOBS).map_err(|error| read(error.into()))?;
        let (mut live, used) = load::jobs(&jobs, place, &known, take)?;
        let facts = transaction.open_table(FACTS).map_err(|error| read(error.into()))?;
        for row in facts.iter().map_err(|error| read(error.into()))? {
            let (key, value) = row.map_err(|error| read(error.into()))?;
            live += (key.value().len() + value.value().len()) as u64;
            take(value::decode_fact(place, key.value(), value.value())?);
        }
        let audit = transaction.open_table(AUDIT).map_err(|error| read(error.into()))?;
        for row in audit.iter().map_err(|error| read(error.into()))? {
            let (key, value) = row.map_err(|error| read(error.into()))?;
            live += value.value().len() as u64 + 8;
            take(value::decode_audit(place, key.value(), value.value())?);
        }
        self.terms.forget_unused(&used);
        Ok(live)
    }

    fn commit(&mut self, place: &Place, group: &[Entry]) -> Result<(), StoreError> {
        let wrote = |error: redb::Error| place.failed("written", error);
        let transaction = self.database.begin_write().map_err(|error| wrote(error.into()))?;
        let mut last_job = self.last_job;
        {
            let mut jobs = transaction.open_table(JOBS).map_err(|error| wrote(error.into()))?;
            let mut facts = transaction.open_table(FACTS).map_err(|error| wrote(error.into()))?;
            let mut audit = transaction.open_table(AUDIT).map_err(|error| wrote(error.into()))?;
            let mut terms = transaction.open_table(TERMS).map_err(|error| wrote(error.into()))?;
            self.terms.remove_unused(&mut terms).map_err(|error| wrote(error.into()))?;
            let mut buffer = Vec::new();
            for entry in group {
                buffer.clear();
                match entry.key() {
                    Key::Job(job) => {
                        last_job = last_job.max(job.0);
                        if let Entry::Job(entry) = entry {
                            self.terms.encode_job(place, entry, &mut terms, &mut buffer)?;
                            jobs.insert(job.0, &*buffer).map_err(|error| wrote(error.into()))?;
                        } else {
                            jobs.remove(job.0).map_err(|error| wrote(error.into()))?;
                        }
                    }
                    Key::Audit(number) => {
                        value::encode(place, entry, &mut buffer)?;
                        audit.insert(number, &*buffer).map_err(|error| wrote(error.into()))?;
                    }
                    key => {
                        let key = fact_key(place, &key)?;
                        if entry.removes() {
                            facts.remove(&*key).map_err(|error| wrote(error.into()))?;
                        } else {
                            value::encode(place, entry, &mut buffer)?;
                            facts.insert(&*key, &*buffer).map_err(|error| wrote(error.into()))?;
                        }
                    }
                }
            }
            let newest = audit.last().map_err(|error| wrote(error.into()))?.map(|(key, _)| key.value());
            let too_old = newest.unwrap_or(0).saturating_sub(AUDIT_KEPT);
            audit.retain_in(..=too_old, |_, _| false).map_err(|error| wrote(error.into()))?;
            if last_job != self.last_job {
                let mut meta = transaction.open_table(META).map_err(|error| wrote(error.into()))?;
                meta.insert(LAST_JOB, last_job).map_err(|error| wrote(error.into()))?;
            }
        }
        transaction.commit().map_err(|error| wrote(error.into()))?;
        self.last_job = last_job;
        Ok(())
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore")
            .field("place", &self.source.to_string())
            .field("format", &FORMAT)
            .field("open", &self.open.is_some())
            .finish_non_exhaustive()
    }
}
