//! One database as its contents: [`Dump`].

use std::sync::Arc;

use sched_core::{Executor, InstanceName, RunContext, RunError, RunPhase};

use super::connection::Connection;
use super::fault;
use super::server::{PostgresServer, Servers};
use super::survey::Survey;
use super::tool::Tool;
use crate::DriverError;
use crate::backup::{Backup, Completed};
use crate::destination::Destination;

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
/// use sched_drivers::destination::LocalDirectory;
/// use sched_drivers::postgres::{Dump, PostgresServer};
///
/// let shop = PostgresServer::new("/run/postgresql", "backup").database("shop");
/// let executor = Dump::new(LocalDirectory::new("/var/backups")).server("shop", shop);
/// ```
#[derive(Clone, Debug)]
pub struct Dump {
    servers: Servers,
    destination: Arc<dyn Destination>,
}

impl Dump {
    /// Dumps into a destination.
    pub fn new(destination: impl Destination + 'static) -> Self {
        Self { servers: Servers::default(), destination: Arc::new(destination) }
    }

    /// Says which server and database hold an instance. Name every member of a group.
    #[must_use]
    pub fn server(mut self, instance: impl Into<InstanceName>, server: PostgresServer) -> Self {
        self.servers.add(instance.into(), server);
        self
    }

    /// Makes one backup; [`run`](Executor::run) does the same, and keeps what was made to itself.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses, the tool is missing, too old or fails, the destination takes no
    /// more, or the attempt is cancelled. Nothing stays of the backup then.
    pub fn back_up(&self, ctx: &RunContext) -> Result<Completed, DriverError> {
        let server = self.servers.of(ctx)?;
        let survey = Survey::of(&Connection::open(server)?)?;
        let tool = Tool::find(ctx, "pg_dump", server, &survey)?;

        let mut backup = Backup::begin(ctx, &*self.destination)?;
        backup.tool(&tool.version);
        backup.fact("database", &server.database);
        backup.fact("role", survey.role());
        backup.fact("server_version", &survey.version);
        backup.fact("system_identifier", &survey.system_identifier);

        ctx.phase(RunPhase::new("copy").floor(FLOOR_BYTES_PER_SEC));
        let (command, _password) = server.command(&tool.program)?;
        let command = command.args(["--format=custom", "--no-password", "--lock-wait-timeout=10s"]);
        let mut begin = Vec::new();
        let see = |bytes: &[u8]| {
            let room = MAGIC.len() - begin.len();
            begin.extend_from_slice(&bytes[..bytes.len().min(room)]);
        };
        backup.store_output_seen(FILE, &command, see).map_err(|error| fault::of_tool(server, error))?;
        if begin != MAGIC {
            let problem = "it does not begin as an archive of pg_dump does";
            return Err(DriverError::Corrupt { what: FILE.into(), problem: problem.into() });
        }
        backup.complete()
    }
}

impl Executor for Dump {
    fn run(&self, ctx: &RunContext) -> Result<(), RunError> {
        self.back_up(ctx).map(drop).map_err(|error| error.into_run_error(ctx))
    }
}
