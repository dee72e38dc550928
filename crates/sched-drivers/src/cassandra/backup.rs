//! Snapshots and their way to the destination: [`CassandraBackup`].

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sched_core::{BackupKind, Executor, InstanceName, RunContext, RunError, RunPhase};

use super::nodetool::Nodetool;
use super::place::{Known, Place};
use super::tag::Tag;
use super::{CassandraNode, CqlConnection, files, together, upload};
use crate::DriverError;
use crate::backup::{Backup, Completed};
use crate::destination::Destination;
use crate::server::Instances;

/// How often a snapshot is tried to be cleared before an error is made of it.
const CLEAR_TRIES: u32 = 3;

/// Backs up clusters of Cassandra, whole or a node at a time: snapshots of all nodes together, then the SSTables one
/// node after the other, then the snapshots cleared.
///
/// What a job does depends on its kind:
///
/// | kind | what |
/// |---|---|
/// | `full` | a snapshot of all nodes of the instance together, the upload node by node, and the snapshot cleared |
/// | `snapshot` | only the snapshot, which stays for the uploads |
/// | `upload` | the newest such snapshot of the instance's nodes, and clears it there |
///
/// An instance is whatever the function says that finds its nodes: the name of a cluster gives all of them, that of a
/// node one. So a small cluster is one `full` job of the cluster. A large one is a `snapshot` of the cluster (with
/// [`together_with`](sched_core::JobSpec::together_with) for the hosts of the others), and then an `upload` job for each
/// node, which the scheduler starts one at a time. What is a copy of one moment is each table of each node: Cassandra
/// has no moment of a cluster.
///
/// A snapshot pins the disk space of what is compacted meanwhile, so it is cleared also after a failure or a
/// cancellation. Only an upload that failed and will be tried again leaves it for the next attempt. What a crash leaves
/// is recognized by its name, and cleared by the next job of the kind that took it;
/// [`expires_after`](Self::expires_after) has the node itself clear it.
///
/// ```
/// use sched_drivers::cassandra::{CassandraBackup, CassandraNode};
/// use sched_drivers::destination::LocalDirectory;
///
/// let executor = CassandraBackup::new(
///     |instance| vec![CassandraNode::new(instance.as_str(), "127.0.0.1")],
///     LocalDirectory::new("/var/backups"),
/// );
/// // `.executor("cassandra", executor)` of the scheduler's builder.
/// ```
#[derive(Clone)]
pub struct CassandraBackup {
    instances: Instances<Vec<CassandraNode>>,
    destination: Arc<dyn Destination>,
    keyspaces: Vec<String>,
    at_once: usize,
    snapshot_timeout: Duration,
    expires_after: Option<Duration>,
    check: bool,
}

impl CassandraBackup {
    /// Backs up the nodes that `find` gives for instances; none: there is no such instance.
    pub fn new(
        find: impl Fn(&InstanceName) -> Vec<CassandraNode> + Send + Sync + 'static,
        destination: impl Destination + 'static,
    ) -> Self {
        Self {
            instances: Instances::new(move |instance| Some(find(instance)).filter(|nodes| !nodes.is_empty())),
            destination: Arc::new(destination),
            keyspaces: Vec::new(),
            at_once: 16,
            snapshot_timeout: Duration::from_secs(600),
            expires_after: None,
            check: true,
        }
    }

    /// Adds a keyspace. Default: all, those of the system among them.
    #[must_use]
    pub fn keyspace(mut self, keyspace: impl Into<String>) -> Self {
        self.keyspaces.push(keyspace.into());
        self
    }

    /// Sets how many nodes are told at once, at least 1: each needs a `nodetool`, of about 100 MB. Default 16.
    #[must_use]
    pub fn at_once(mut self, nodes: usize) -> Self {
        self.at_once = nodes.max(1);
        self
    }

    /// Sets how long the snapshot of one node may take: it flushes its memtables first. Default 10 min.
    #[must_use]
    pub fn snapshot_timeout(mut self, timeout: Duration) -> Self {
        self.snapshot_timeout = timeout;
        self
    }

    /// Has the nodes clear the snapshots by themselves after so long, at least 1 min, even if no scheduler ever does;
    /// uploads must be done by then. Needs Cassandra 4.1. Default never.
    #[must_use]
    pub fn expires_after(mut self, after: Duration) -> Self {
        self.expires_after = Some(after);
        self
    }

    /// Leaves out the comparison of each SSTable with the checksum that Cassandra keeps beside it.
    #[must_use]
    pub fn unchecked(mut self) -> Self {
        self.check = false;
        self
    }

    /// Makes one backup from a snapshot of its own, which is cleared whatever happens.
    ///
    /// # Errors
    /// When a node cannot be reached or its files not be read, something of the way fails, the attempt is cancelled, or
    /// the backup is complete and its snapshot could not be cleared.
    pub fn full(&self, ctx: &RunContext) -> Result<Completed, DriverError> {
        let known = self.know(ctx)?;
        upload::check_directories(&known)?;
        let tag = Tag::of(ctx);
        let _used = Used::new(&tag);
        ctx.phase(RunPhase::new("snapshot"));
        self.clear_leftovers(ctx, &known)?;
        // Before the snapshot: a destination that takes nothing should not cost one.
        let backup = Backup::begin(ctx, &self.destination)?;
        let taken = self.take(ctx, &known, &tag);
        let made = taken.and_then(|()| upload::all(ctx, &known, &tag, backup, self.check));
        self.clear_after(ctx, &known, &tag, made)
    }

    /// Takes a snapshot of all nodes together and returns its name. Former ones that no upload has taken, and that none
    /// is at, are cleared first.
    ///
    /// # Errors
    /// When one of the nodes takes none; then those of the others are cleared.
    pub fn snapshot(&self, ctx: &RunContext) -> Result<String, DriverError> {
        let known = self.know(ctx)?;
        let tag = Tag::of(ctx);
        let _used = Used::new(&tag);
        ctx.phase(RunPhase::new("snapshot"));
        self.clear_leftovers(ctx, &known)?;
        let taken = self.take(ctx, &known, &tag).and_then(|()| Ok(ctx.checkpoint()?));
        if taken.is_err() {
            // What cannot be cleared now is, by the next one.
            let _ = self.clear(ctx, &known, &tag);
        }
        taken.map(|()| tag.to_string())
    }

    /// Uploads the newest snapshot that [`snapshot`](Self::snapshot) left, and clears it, unless this fails in a way
    /// after which the scheduler tries again.
    ///
    /// # Errors
    /// As [`full`](Self::full), and when there is no snapshot.
    pub fn upload(&self, ctx: &RunContext) -> Result<Completed, DriverError> {
        let known = self.know(ctx)?;
        upload::check_directories(&known)?;
        let tag = self.newest(&known)?;
        let _used = Used::new(&tag);
        let made = Backup::begin(ctx, &self.destination)
            .and_then(|backup| upload::all(ctx, &known, &tag, backup, self.check));
        match made {
            Err(error) if tries_again(ctx, &error) => Err(error),
            made => self.clear_after(ctx, &known, &tag, made),
        }
    }

    /// Finds the nodes and asks them where they stand.
    fn know(&self, ctx: &RunContext) -> Result<Vec<Known>, DriverError> {
        let nodes = self.instances.of(ctx)?;
        let names: BTreeSet<&str> = nodes.iter().map(CassandraNode::name).collect();
        if names.len() < nodes.len() {
            let problem = "two of its nodes have the same name; each needs one of its own".into();
            return Err(DriverError::Setting { what: ctx.instance().to_string(), problem });
        }
        let ask = |node: &CassandraNode| {
            let mut cql = CqlConnection::open(node)?;
            Place::ask(node, &mut cql).map(|place| Known { node: node.clone(), place })
        };
        together::each(&nodes, self.at_once, ask).into_iter().collect()
    }

    /// Clears what attempts of the same kind left that ended without doing so.
    fn clear_leftovers(&self, ctx: &RunContext, known: &[Known]) -> Result<(), DriverError> {
        let clear = |known: &Known| {
            let nodetool = Nodetool::new(&known.node, ctx);
            for tag in nodetool.tags()? {
                let used = IN_USE.lock().contains(&tag) || tag.taken_by_another();
                if tag.is_of(ctx.spec().kind) && !used {
                    nodetool.clear(&tag)?;
                }
            }
            Ok(())
        };
        together::each(known, self.at_once, clear).into_iter().collect()
    }

    /// Not cut short by a cancellation: the nodes would go on, and the snapshot come after it was cleared.
    fn take(&self, ctx: &RunContext, known: &[Known], tag: &Tag) -> Result<(), DriverError> {
        ctx.checkpoint()?;
        let take = |known: &Known| {
            let nodetool = Nodetool::new(&known.node, ctx);
            nodetool.take(tag, &self.keyspaces, self.expires_after, self.snapshot_timeout)
        };
        together::each(known, self.at_once, take).into_iter().collect()
    }

    fn clear(&self, ctx: &RunContext, known: &[Known], tag: &Tag) -> Result<(), DriverError> {
        let clear = |known: &Known| {
            let nodetool = Nodetool::new(&known.node, ctx);
            (1..CLEAR_TRIES).find_map(|_| nodetool.clear(tag).ok()).map_or_else(|| nodetool.clear(tag), Ok)
        };
        together::each(known, self.at_once, clear).into_iter().collect()
    }

    /// Clears the snapshot of a backup that was made, or not. Why it was not made says more than why it stays.
    fn clear_after(
        &self,
        ctx: &RunContext,
        known: &[Known],
        tag: &Tag,
        made: Result<Completed, DriverError>,
    ) -> Result<Completed, DriverError> {
        let cleared = self.clear(ctx, known, tag);
        let made = made?;
        cleared.map(|()| made.clone()).map_err(|error| DriverError::NotReady {
            server: ctx.instance().to_string(),
            problem: format!(
                "the backup {} is complete, but its snapshot stays: {error}; `nodetool clearsnapshot -t {tag}` clears it",
                made.location
            ),
        })
    }

    /// The newest snapshot that all the nodes have.
    fn newest(&self, known: &[Known]) -> Result<Tag, DriverError> {
        let mut common: Option<BTreeSet<Tag>> = None;
        for known in known {
            let tags: BTreeSet<Tag> = files::tags(&known.place.directories)?.into_iter().collect();
            common = Some(match common {
                Some(common) => common.intersection(&tags).cloned().collect(),
                None => tags,
            });
        }
        let in_use = IN_USE.lock();
        let ours = |tag: &Tag| tag.is_of(BackupKind::Snapshot) && !in_use.contains(tag);
        common.unwrap_or_default().into_iter().rfind(ours).ok_or_else(|| DriverError::NotReady {
            server: known.iter().map(|known| known.node.name()).collect::<Vec<_>>().join(", "),
            problem: "there is no snapshot to upload; a job of kind `snapshot` takes one".into(),
        })
    }
}

impl Executor for CassandraBackup {
    fn run(&self, ctx: &RunContext) -> Result<(), RunError> {
        let done = match ctx.spec().kind {
            BackupKind::Full => self.full(ctx).map(drop),
            BackupKind::Snapshot => self.snapshot(ctx).map(drop),
            BackupKind::Upload => self.upload(ctx).map(drop),
            kind => Err(DriverError::Setting {
                what: format!("kind {kind}"),
                problem: "cannot be made of Cassandra; right is `full`, `snapshot` or `upload`".into(),
            }),
        };
        done.map_err(|error| error.into_run_error(ctx))
    }
}

impl fmt::Debug for CassandraBackup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CassandraBackup")
            .field("destination", &self.destination)
            .field("keyspaces", &self.keyspaces)
            .finish_non_exhaustive()
    }
}

/// Snapshots that attempts of this process work with: several executors may back up the same node, each its keyspaces.
static IN_USE: Mutex<BTreeSet<Tag>> = Mutex::new(BTreeSet::new());

/// A snapshot that an attempt works with, so that no other clears it.
struct Used(Tag);

impl Used {
    fn new(tag: &Tag) -> Self {
        IN_USE.lock().insert(tag.clone());
        Self(tag.clone())
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        IN_USE.lock().remove(&self.0);
    }
}

/// Whether the scheduler makes another attempt, which needs the same snapshot.
fn tries_again(ctx: &RunContext, error: &DriverError) -> bool {
    let destination = matches!(error, DriverError::Destination { .. }) && ctx.spec().destination.is_some();
    let attempts_left = ctx.attempt() < ctx.terms().retry.max_attempts;
    !ctx.is_cancelled() && !error.is_permanent() && (destination || attempts_left)
}
