//! Whole clusters as they lie on disk: [`BaseBackup`].

use std::sync::Arc;

use sched_core::{Executor, InstanceName, RunContext, RunError, RunPhase};

use super::base_tar::{BaseTar, Part};
use super::connection::Connection;
use super::fault;
use super::server::PostgresServer;
use super::slot::WalHold;
use super::survey::{Survey, size_bytes};
use super::tool::Tool;
use crate::DriverError;
use crate::backup::{Backup, Completed};
use crate::destination::Destination;
use crate::server::Instances;

/// The name of the archive in a backup.
const FILE: &str = "base.tar";
/// WAL is held back while the copy runs, so it should not crawl.
const FLOOR_BYTES_PER_SEC: u64 = 1_000_000;

/// How the checkpoint is made that a base backup starts with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Checkpoint {
    /// Spread over minutes, as the server makes its own: production does not notice it.
    #[default]
    Spread,
    /// At once: the disk is busy with it for as long as it takes.
    Fast,
}

/// Makes base backups with `pg_basebackup`: all databases of a cluster, from a primary or a standby, as one tar archive
/// `base.tar` that recovers to the moment at which the copy ended.
///
/// While the copy runs, a temporary replication slot keeps the WAL that it needs; it is gone with the connection. If
/// the server has no slot to give, the backup runs without and the manifest's fact `wal_held` says why.
///
/// To restore, unpack the archive into an empty data directory of mode 0700 and start a server of the same major
/// version on it. `pg_verifybackup` checks the files before that.
///
/// The manifest's facts: `start_lsn`, `end_lsn`, `timeline`, `system_identifier`, `server_version`, `role`, `wal`
/// (`included`, or `archive`: restore it from there), `wal_held`.
///
/// Phases: `checkpoint`, `copy` and `wal`, as in the built-in policies. Where no slot holds the WAL, the last is `wal_not_held`
/// and must not be slowed.
///
/// ```no_run
/// use std::collections::BTreeMap;
/// use sched_drivers::destination::LocalDirectory;
/// use sched_drivers::postgres::{BaseBackup, PostgresServer};
/// use sched_drivers::secret::SecretString;
///
/// let password = SecretString::from(std::fs::read_to_string("/etc/shop/backup-password")?.trim());
/// // Looked up, not put together: whoever submits a job chooses the name of its instance.
/// let hosts = BTreeMap::from([("orders-1", "db1.example.com"), ("orders-2", "db2.example.com")]);
/// let executor = BaseBackup::new(
///     move |instance| {
///         let host = *hosts.get(instance.as_str())?;
///         Some(PostgresServer::new(host, "backup").password(password.clone()))
///     },
///     LocalDirectory::new("/var/backups"),
/// );
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BaseBackup {
    instances: Instances<PostgresServer>,
    destination: Arc<dyn Destination>,
    checkpoint: Checkpoint,
    includes_wal: bool,
}

impl BaseBackup {
    /// Base backups into `destination`. `find` tells the server of an instance; name every member of a group. It is asked for
    /// every attempt, so that a password that was changed counts from then on.
    pub fn new(
        find: impl Fn(&InstanceName) -> Option<PostgresServer> + Send + Sync + 'static,
        destination: impl Destination + 'static,
    ) -> Self {
        Self {
            instances: Instances::new(find),
            destination: Arc::new(destination),
            checkpoint: Checkpoint::Spread,
            includes_wal: true,
        }
    }

    /// Sets how the checkpoint at the start is made. Default [`Checkpoint::Spread`].
    #[must_use]
    pub fn checkpoint(mut self, checkpoint: Checkpoint) -> Self {
        self.checkpoint = checkpoint;
        self
    }

    /// Leaves out the WAL that makes the copy consistent, where an archive has it: such a backup recovers with
    /// `restore_command` only. Its end waits until the archive has all of it.
    #[must_use]
    pub fn without_wal(mut self) -> Self {
        self.includes_wal = false;
        self
    }

    /// Makes one backup; [`run`](Executor::run) does the same, and keeps what was made to itself.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses, the tool is missing, too old or fails, the destination takes no
    /// more, or the attempt is cancelled. Nothing stays of the backup then.
    pub fn make(&self, ctx: &RunContext) -> Result<Completed, DriverError> {
        let server = &self.instances.of(ctx)?;
        let connection = Connection::open(server)?;
        let survey = Survey::of(&connection)?;
        allow(server, &survey)?;
        let tool = Tool::find(ctx, "pg_basebackup", server, &survey)?;
        let expected = size_bytes(&connection);
        let hold = WalHold::take(connection);

        let mut backup = Backup::begin(ctx, &*self.destination)?;
        backup.tool(&tool.version);
        backup.expect(expected.unwrap_or_default());
        backup.fact("role", survey.role());
        backup.fact("server_version", &survey.version);
        backup.fact("system_identifier", &survey.system_identifier);
        backup.fact("wal", if self.includes_wal { "included" } else { "archive" });
        backup.fact("wal_held", hold.slot.as_ref().map_or_else(|why| format!("no: {why}"), |_| "yes".into()));

        // Nothing moves meanwhile, so there is nothing to be slowed.
        ctx.phase(RunPhase::new("checkpoint"));
        let (command, _password) = server.command(&tool.program, &survey.session)?;
        let command = command.args(self.arguments());
        let mut tar = BaseTar::default();
        let held = hold.slot.is_ok();
        let mut begins = |part| ctx.phase(phase(part, held));
        backup
            .store_output_seen(FILE, &command, |bytes| tar.take(bytes, &mut begins))
            .inspect_err(|_| hold.connection.end_session(&survey.session))
            .map_err(|error| fault::of_tool(server, error))?;
        let positions = tar.positions(FILE)?;
        backup.fact("start_lsn", positions.start_lsn);
        backup.fact("end_lsn", positions.end_lsn);
        backup.fact("timeline", positions.timeline.to_string());
        drop(hold);
        backup.complete()
    }

    fn arguments(&self) -> [&'static str; 7] {
        let checkpoint = match self.checkpoint {
            Checkpoint::Spread => "--checkpoint=spread",
            Checkpoint::Fast => "--checkpoint=fast",
        };
        let wal = if self.includes_wal { "--wal-method=fetch" } else { "--wal-method=none" };
        // The size is known without a walk through the data directory.
        [
            "--pgdata=-",
            "--format=tar",
            "--no-password",
            "--no-estimate-size",
            "--label=backup-sched",
            checkpoint,
            wal,
        ]
    }
}

impl Executor for BaseBackup {
    fn run(&self, ctx: &RunContext) -> Result<(), RunError> {
        self.make(ctx).map(drop).map_err(|error| error.into_run_error(ctx))
    }
}

/// Whether the server lets a base backup be made as one stream.
fn allow(server: &PostgresServer, survey: &Survey) -> Result<(), DriverError> {
    if !survey.may_replicate {
        return Err(DriverError::Refused {
            server: server.address(),
            error: format!("role {} may not replicate", fault::quoted(&server.user)),
            remedy: fault::replication_remedy(server),
        });
    }
    if !survey.tablespaces.is_empty() {
        let names = survey.tablespaces.join(", ");
        let problem = format!(
            "{names} lie outside the data directory, and one stream holds one directory; use `Dump` for the \
             databases, or move their tables to pg_default and drop them"
        );
        return Err(DriverError::Setting { what: format!("tablespaces of {}", server.address()), problem });
    }
    Ok(())
}

/// What was written meanwhile may be as much as the data, and a slot holds it for as long as it takes. Without one the server
/// removes it with its next checkpoints, so that it cannot wait.
fn phase(part: Part, held: bool) -> RunPhase {
    match part {
        Part::Data => RunPhase::new("copy").floor(FLOOR_BYTES_PER_SEC),
        Part::Wal if held => RunPhase::new("wal").floor(FLOOR_BYTES_PER_SEC),
        Part::Wal => RunPhase::new("wal_not_held").floor(u64::MAX),
    }
}
