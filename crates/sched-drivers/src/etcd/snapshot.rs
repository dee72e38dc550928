//! Snapshots of an etcd cluster: [`Snapshot`].

use std::io;
use std::sync::Arc;

use sched_core::{Executor, InstanceName, RunContext, RunError, RunPhase};

use super::cluster::EtcdCluster;
use super::gateway::Gateway;
use super::members::{self, EtcdMember, EtcdMembers};
use super::stream::SnapshotStream;
use crate::DriverError;
use crate::backup::{Backup, Completed};
use crate::destination::Destination;
use crate::server::Instances;

/// The name of the snapshot in its backup.
pub const FILE: &str = "snapshot.db";

/// Makes a snapshot of one member: a caught-up follower, or the leader where no follower is fit. A learner makes none.
///
/// The file `snapshot.db` holds the database and, at its end, the SHA-256 digest that the server made of it; both size
/// and digest are checked before the backup is complete. The server keeps a read transaction open meanwhile, so that
/// its database grows by what is changed: the only phase, `snapshot`, neither stands still nor is slowed unless the
/// policy says otherwise.
///
/// It goes through the gateway on the client port rather than through `etcdctl snapshot save`: no tool to install and
/// to match with the server's version, and no password in arguments or environment, which is where `etcdctl` wants it.
///
/// The manifest's facts are `member`, `role`, `etcd_version`, `cluster_id` and `revision_at_least`: the snapshot holds
/// all up to that revision, and maybe some that followed.
///
/// ```
/// use sched_drivers::destination::LocalDirectory;
/// use sched_drivers::etcd::{EtcdCluster, Snapshot};
///
/// let cluster = EtcdCluster::new("http://10.0.0.1:2379").endpoint("http://10.0.0.2:2379");
/// let executor = Snapshot::new(
///     move |instance| (instance.as_str() == "settings").then(|| cluster.clone()),
///     LocalDirectory::new("/var/backups"),
/// );
/// // `.executor("etcd", executor)` of the scheduler's builder.
/// ```
#[derive(Clone, Debug)]
pub struct Snapshot {
    instances: Instances<EtcdCluster>,
    destination: Arc<dyn Destination>,
    max_behind: u64,
}

impl Snapshot {
    /// Snapshots of the clusters that `find` gives for instances. Where instances are members of a group, it gives the
    /// cluster with the [preferred](EtcdCluster::prefer) member.
    pub fn new(
        find: impl Fn(&InstanceName) -> Option<EtcdCluster> + Send + Sync + 'static,
        destination: impl Destination + 'static,
    ) -> Self {
        Self {
            instances: Instances::new(find),
            destination: Arc::new(destination),
            max_behind: EtcdMembers::MAX_BEHIND,
        }
    }

    /// Sets how many entries of the log the member may lack. Default 1000.
    #[must_use]
    pub fn max_behind(mut self, entries: u64) -> Self {
        self.max_behind = entries;
        self
    }

    /// Makes one snapshot.
    ///
    /// # Errors
    /// [`NotReady`](DriverError::NotReady) when no member is fit; [`Corrupt`](DriverError::Corrupt) when what came is
    /// not what the server digested; else when a member, the destination or the attempt's orders stop it.
    pub fn make(&self, ctx: &RunContext) -> Result<Completed, DriverError> {
        ctx.checkpoint()?;
        let cluster = self.instances.of(ctx)?;
        let mut gateway = Gateway::new(&cluster)?;
        let all = members::ask_all(&mut gateway, &cluster.endpoints)?;
        let member = members::choose(&all, cluster.preferred.as_deref(), self.max_behind)
            .ok_or_else(|| self.nobody(&cluster, &all))?;
        ctx.phase(RunPhase::new("snapshot").floor(u64::MAX));
        let mut backup = Backup::begin(ctx, &self.destination)?;
        describe(&mut backup, member);
        let source = |source: io::Error| DriverError::Source {
            what: format!("the snapshot of {}", member.url),
            source,
        };
        let mut stream = SnapshotStream::begin(gateway.snapshot(&member.url)?).map_err(source)?;
        backup.expect(stream.total_bytes());
        backup.store(FILE, &mut stream)?;
        stream.verify(FILE)?;
        backup.complete()
    }

    fn nobody(&self, cluster: &EtcdCluster, all: &[EtcdMember]) -> DriverError {
        let why = |member: &EtcdMember| {
            let state = match &member.state {
                None if !member.not_asked.is_empty() => format!(
                    "does not answer, and is asked by https alone: right is https:// in its --advertise-client-urls, not {}",
                    member.not_asked.join(", ")
                ),
                None => "does not answer".into(),
                Some(state) if !state.errors.is_empty() => state.errors.join(", "),
                Some(state) => format!("lacks {} entries", state.behind),
            };
            format!("{} ({}, {}) {state}", member.name, member.role.name(), member.url)
        };
        let each: Vec<String> = all.iter().map(why).collect();
        DriverError::NotReady {
            server: cluster.endpoints.join(", "),
            problem: format!("no member is caught up to {} entries: {}", self.max_behind, each.join("; ")),
        }
    }
}

impl Executor for Snapshot {
    fn run(&self, ctx: &RunContext) -> Result<(), RunError> {
        self.make(ctx).map(drop).map_err(|error| error.into_run_error(ctx))
    }
}

fn describe(backup: &mut Backup<'_>, member: &EtcdMember) {
    backup.tool(concat!("backup-sched ", env!("CARGO_PKG_VERSION"), ", gateway of etcd"));
    backup.fact("member", member.name.clone());
    backup.fact("role", member.role.name());
    if let Some(state) = &member.state {
        backup.fact("etcd_version", state.version.clone());
        backup.fact("cluster_id", format!("{:x}", state.cluster));
        backup.fact("revision_at_least", state.revision.to_string());
    }
}
