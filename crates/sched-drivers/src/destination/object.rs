//! Backups in object stores: [`ObjectStoreDestination`].

mod access;
mod attempt;
mod fault;
mod upload;

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use object_store::ObjectStore;
use object_store::path::Path;

use self::access::Access;
use self::attempt::ObjectSink;
use super::{BackupId, BackupSink, Destination};
use crate::reactor::Reactor;

/// What stores take as a part of an object, but for the last: 5 MiB is the least in S3.
const LEAST_PART: usize = 5 << 20;
const LARGEST_PART: usize = 1 << 30;
const DEFAULT_PART: usize = 16 << 20;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// A store of objects: S3 and what speaks as it does, Google Cloud Storage, Azure, through the crate [`object_store`],
/// version 0.14, which the host uses to make the store, with the features for its cloud.
///
/// Each backup is a folder `PREFIX/INSTANCE/KIND-TIME-jJOB-aATTEMPT`. Objects cannot be renamed, so each is put where it
/// stays, and **a folder is a backup once it holds `manifest.json`**, which is put last, and only if none is there. An
/// attempt claims its folder first, by a record `PREFIX/INSTANCE/.attempts/KIND-TIME-jJOB-aATTEMPT` that is put only if
/// none is there; it takes no folder that holds anything, and no two attempts have the same.
///
/// An attempt that is abandoned or dropped aborts its uploads, then deletes what it put. What a crash leaves:
///
/// - **Objects without a manifest**, with their record. The next backup of the instance deletes what is in such folders,
///   once it is certain that the process of the record has ended. That is seen from the same machine only: the host's
///   name, `/etc/machine-id` where the machine was started again since, process number, start time and namespace. Tools
///   do not count: they cannot reach the store. Records of machines that never come back are left to the operator.
/// - **Unfinished uploads of many parts**, which cannot be listed through [`object_store`]. Give the bucket a lifecycle
///   rule that aborts them (S3: `AbortIncompleteMultipartUpload`, some days); it never touches what is complete.
///
/// The store must take "put if absent" ([`PutMode::Create`](object_store::PutMode::Create)); one that does not is
/// refused with [`Unsupported`](io::ErrorKind::Unsupported).
///
/// Requests run on the thread that makes the backup, one after another; at most one part of each file being written is
/// in memory. A file that fits into one part is put in one request. Nothing takes longer than the time-out, which is
/// also how late a cancellation may be felt while the store hangs; what is to be cleaned up then waits 5 s a request at
/// most. Connections of the store belong to the runtime that opened them, and rest while no backup is made: give it
/// to this destination alone. Backups are not to be made on a thread of an asynchronous runtime, where waiting panics.
///
/// ```
/// use std::sync::Arc;
/// use sched_core::{JobSpec, ManualClock, RunContext};
/// use sched_drivers::backup::Backup;
/// use sched_drivers::destination::ObjectStoreDestination;
/// use sched_drivers::destination::object_store::memory::InMemory;
///
/// let destination = ObjectStoreDestination::new(Arc::new(InMemory::new()), "backups");
/// let ctx = RunContext::detached(JobSpec::new("orders", "generic"), Arc::new(ManualClock::default()));
/// let mut backup = Backup::begin(&ctx, &destination)?;
/// backup.store("orders.csv", &b"1,2,3"[..])?;
/// let done = backup.complete()?;
/// assert!(done.location.starts_with("backups/orders/full-"));
/// # Ok::<(), sched_drivers::DriverError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ObjectStoreDestination {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    part_bytes: usize,
    request_timeout: Duration,
    /// One for all backups, since they share the store's connections: whoever waits drives them for all.
    reactor: Arc<OnceLock<Arc<Reactor>>>,
}

impl ObjectStoreDestination {
    /// Backups in a store, below `prefix`; an empty one is the whole bucket.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: impl Into<Path>) -> Self {
        Self {
            store,
            prefix: prefix.into(),
            part_bytes: DEFAULT_PART,
            request_timeout: DEFAULT_TIMEOUT,
            reactor: Arc::default(),
        }
    }

    /// Sets the bytes of a part of a larger file, which is what a file being written takes in memory. Default 16 MiB;
    /// from 5 MiB to 1 GiB, and what is outside becomes the nearest of these. A file has at most 10,000 parts, with the
    /// default 156 GiB: a larger one is refused at that size. All parts but the last are of one size, as some stores want.
    #[must_use]
    pub fn part_bytes(mut self, bytes: usize) -> Self {
        self.part_bytes = bytes.clamp(LEAST_PART, LARGEST_PART);
        self
    }

    /// Sets how long a request may take, retries of the store's client and the sending of a part included. Default 60 s,
    /// at least 100 ms.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout.max(Duration::from_millis(100));
        self
    }

    fn reactor(&self) -> io::Result<Arc<Reactor>> {
        if let Some(reactor) = self.reactor.get() {
            return Ok(Arc::clone(reactor));
        }
        let made = Arc::new(Reactor::new()?);
        Ok(Arc::clone(self.reactor.get_or_init(|| made)))
    }
}

impl Destination for ObjectStoreDestination {
    fn begin(&self, backup: &BackupId) -> io::Result<Box<dyn BackupSink>> {
        let access = Access::new(Arc::clone(&self.store), self.reactor()?, self.request_timeout);
        let instance = below(&self.prefix, &backup.folder())?;
        attempt::sweep(&access, &instance)?;
        let name = format!("{}-a{}", backup.name(), backup.attempt);
        ObjectSink::claim(access, &instance, &name, self.part_bytes).map(|sink| Box::new(sink) as _)
    }
}

/// A name in a folder, with its characters as they are.
fn below(folder: &Path, name: &str) -> io::Result<Path> {
    Path::parse(format!("{folder}/{name}")).map_err(|error| fault::of_store(error.into()))
}
