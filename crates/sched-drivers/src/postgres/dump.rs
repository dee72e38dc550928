//! One database as its contents: [`Dump`].

use std::sync::Arc;

use sched_core::{Executor, InstanceName, RunContext, RunError, RunPhase};

use super::connection::Connection;
use super::fault;
use super::server::PostgresServer;
use super::survey::Survey;
use super::tool::Tool;
use crate::DriverError;
use crate::backup::{Backup, Completed};
use crate::destination::Destination;
use crate::server::Instances;

/// The name of the archive in a backup.
const FILE: &str = "database.dump";
/// What every archive of `pg_dump` begins with.
const MAGIC: &[u8] = b"PGDMP";
/// A dump's snapshot holds back vacuum, so it should not crawl.
const FLOOR_BYTES_PER_SEC: u64 = 1_000_000;

/// Makes dumps with `pg_dump`: one database, the one that the server's settings name, as it was at one moment; an
/// archive `database.dump` for `pg_restore`. Roles and other databases are not in it.
///
/// The dump's open snapshot keeps vacuum from removing rows, and on a standby replay may cancel it: see
/// `max_standby_streaming_delay`. A table that somebody locks for longer than 10 s fails it.
///
/// The manifest's facts: `database`, `server_version`, `system_identifier`, `role`.
///
/// One phase: `copy`. It cannot stand still.
///
/// ```no_run
/// use std::collections::BTreeSet;
/// use sched_drivers::destination::LocalDirectory;
/// use sched_drivers::postgres::{Dump, PostgresServer};
///
/// // Each instance is a database of one server; which ones there are is not for whoever submits a job to say.
/// let server = PostgresServer::new("/run/postgresql", "backup");
/// let databases = BTreeSet::from(["orders", "carts"]);
/// let executor = Dump::new(
///     move |instance| {
///         let database = *databases.get(instance.as_str())?;
///         Some(server.clone().database(database))
///     },
///     LocalDirectory::new("/var/backups"),
/// );
/// ```
#[derive(Clone, Debug)]
pub struct Dump {
    instances: Instances<PostgresServer>,
    destination: Arc<dyn Destination>,
}

impl Dump {
    /// Dumps into `destination`. `find` tells the server of an instance; name every member of a group. It is asked for
    /// every attempt, so that a password that was changed counts from then on.
    pub fn new(
        find: impl Fn(&InstanceName) -> Option<PostgresServer> + Send + Sync + 'static,
        destination: impl Destination + 'static,
    ) -> Self {
        Self { instances: Instances::new(find), destination: Arc::new(destination) }
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
        let tool = Tool::find(ctx, "pg_dump", server, &survey)?;

        let mut backup = Backup::begin(ctx, &*self.destination)?;
        backup.tool(&tool.version);
        backup.fact("database", &server.database);
        backup.fact("role", survey.role());
        backup.fact("server_version", &survey.version);
        backup.fact("system_identifier", &survey.system_identifier);

        ctx.phase(RunPhase::new("copy").floor(FLOOR_BYTES_PER_SEC));
        let (command, _password) = server.command(&tool.program, &survey.session)?;
        let command = command.args(["--format=custom", "--no-password", "--lock-wait-timeout=10s"]);
        let mut begin = Vec::new();
        let see = |bytes: &[u8]| {
            let room = MAGIC.len() - begin.len();
            begin.extend_from_slice(&bytes[..bytes.len().min(room)]);
        };
        backup
            .store_output_seen(FILE, &command, see)
            .inspect_err(|_| connection.end_session(&survey.session))
            .map_err(|error| fault::of_tool(server, error))?;
        if begin != MAGIC {
            let problem = "it does not begin as an archive of pg_dump does";
            return Err(DriverError::Corrupt { what: FILE.into(), problem: problem.into() });
        }
        backup.complete()
    }
}

impl Executor for Dump {
    fn run(&self, ctx: &RunContext) -> Result<(), RunError> {
        self.make(ctx).map(drop).map_err(|error| error.into_run_error(ctx))
    }
}
