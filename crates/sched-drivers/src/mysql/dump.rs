//! Contents of a server as statements: [`Dump`].

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use sched_core::{Executor, InstanceName, RunContext, RunError, RunPhase};

use super::known::{Known, check_grants};
use super::position::{Lines, Position};
use super::server::MySqlServer;
use super::tool::Tool;
use super::version::{Fit, Product, ServerVersion};
use crate::DriverError;
use crate::backup::{Backup, Completed};
use crate::destination::Destination;
use crate::server::Instances;

/// The least rate at which a dump goes on; that of the built-in profile: its snapshot keeps purge from running.
const FLOOR_BYTES_PER_SEC: u64 = 4_000_000;

/// Dumps a server through `mariadb-dump`, or `mysqldump` where the server is MySQL: one file `dump.sql`, to be fed to
/// the client of the same product.
///
/// - The dump is of one moment as far as tables are InnoDB's (`--single-transaction`), with routines, triggers and
///   events. DDL on a table that is still to be dumped makes the attempt fail.
/// - In the phase `lock`, until the first table, the tool is not slowed: MySQL's takes a global read lock there, which
///   waits for the end of running statements while others wait for it. MariaDB's does not.
/// - Where the server writes a binary log, the manifest's facts say where that stood: `binlog_file`,
///   `binlog_position`, and `gtid`. That holds for a replica, too, whose own log it then is. `--dump-slave` is not used:
///   it stops replication for as long as the dump runs, and for good when the dump is killed.
/// - The account must be able to read everything that is dumped, or the tool leaves it out and says nothing: that is
///   checked before.
///
/// MariaDB was tried (10.11); MySQL was not.
#[derive(Clone, Debug)]
pub struct Dump {
    instances: Instances<MySqlServer>,
    destination: Arc<dyn Destination>,
    tool: Tool,
    databases: Vec<String>,
    floor_bytes_per_sec: u64,
}

impl Dump {
    /// Dumps the servers that `find` gives for instances.
    pub fn new(
        find: impl Fn(&InstanceName) -> Option<MySqlServer> + Send + Sync + 'static,
        destination: impl Destination + 'static,
    ) -> Self {
        Self {
            instances: Instances::new(find),
            destination: Arc::new(destination),
            tool: Tool::default(),
            databases: Vec::new(),
            floor_bytes_per_sec: FLOOR_BYTES_PER_SEC,
        }
    }

    /// Adds a database to those that are dumped. Default: all.
    #[must_use]
    pub fn database(mut self, name: impl Into<String>) -> Self {
        self.databases.push(name.into());
        self
    }

    /// Sets the tool, by its name in `PATH` or by its path. Default: `mariadb-dump` or `mysqldump`, as the server is.
    #[must_use]
    pub fn tool(mut self, program: impl Into<OsString>) -> Self {
        self.tool.program = Some(program.into());
        self
    }

    /// Sets how long the tool may run. Default: as long as the attempt.
    #[must_use]
    pub fn run_timeout(mut self, timeout: Duration) -> Self {
        self.tool.timeout = Some(timeout);
        self
    }

    /// Sets the least rate of the phase `copy` in bytes a second. Default 4 MB/s.
    #[must_use]
    pub fn floor(mut self, bytes_per_sec: u64) -> Self {
        self.floor_bytes_per_sec = bytes_per_sec;
        self
    }

    /// Makes one backup.
    ///
    /// # Errors
    /// Whatever kept it from being complete; nothing of it stays.
    pub fn make(&self, ctx: &RunContext) -> Result<Completed, DriverError> {
        let server = self.instances.of(ctx)?;
        let mut known = Known::ask(&server)?;
        let (version, binary_log) = (known.identity.version, known.identity.binary_log);
        self.check_grants(&mut known)?;
        let usual = match version.product {
            Product::MariaDb => ("mariadb-dump", "mariadb-client"),
            Product::MySql => ("mysqldump", "mysql-client"),
        };
        let fitting = self.tool.fitting(ctx, usual, version, Fit::Statements)?;
        let Known { connection, identity, .. } = known;
        // One connection at a time: the tool makes its own.
        drop(connection);

        let mut backup = Backup::begin(ctx, &*self.destination)?;
        backup.tool(fitting.called);
        backup.fact("server_version", &identity.version_text);
        backup.fact("format", "sql");
        let secret = server.option_file(version.product)?;
        let mut first = OsString::from("--defaults-extra-file=");
        first.push(secret.path());
        let command = fitting.command.arg(first).args(self.arguments(version, binary_log));

        let copy = RunPhase::new("copy").floor(self.floor_bytes_per_sec);
        ctx.phase(RunPhase::new("lock").floor(u64::MAX));
        let (mut lines, mut read) = (Lines::default(), Read::default());
        let see = |bytes: &[u8]| {
            lines.see(bytes, |line| {
                if read.line(line) {
                    ctx.phase(copy.clone());
                }
            });
        };
        backup.store_output_seen("dump.sql", &command, see).map_err(|error| server.blame(error))?;
        if !read.complete {
            let problem = "it has no end".into();
            return Err(DriverError::Corrupt { what: "dump.sql".into(), problem });
        }
        for (name, value) in read.position.facts() {
            backup.fact(name, value);
        }
        backup.complete()
    }

    fn check_grants(&self, known: &mut Known<'_>) -> Result<(), DriverError> {
        let server = known.server.address();
        let version = known.identity.version;
        check_grants(
            &mut known.connection,
            &server,
            &self.databases,
            &["SELECT", "SHOW VIEW", "TRIGGER", "EVENT"],
        )?;
        if known.identity.binary_log && version.product == Product::MySql {
            check_grants(&mut known.connection, &server, &[], &["RELOAD", "REPLICATION CLIENT"])?;
        }
        Ok(())
    }

    /// The arguments after the first.
    fn arguments(&self, version: ServerVersion, binary_log: bool) -> Vec<String> {
        let mut arguments = [
            "--single-transaction",
            "--quick",
            "--routines",
            "--triggers",
            "--events",
            // Bytes that are no text survive every client's character set.
            "--hex-blob",
            "--no-tablespaces",
            "--default-character-set=utf8mb4",
            // Its comments are what is looked for in the dump, whatever an option file says.
            "--comments",
            // The most that the protocol can: a larger row makes it fail.
            "--max-allowed-packet=1G",
        ]
        .map(str::to_owned)
        .to_vec();
        if binary_log {
            let word = match version.product {
                Product::MySql if version.at_least(8, 1) => "--source-data=2",
                _ => "--master-data=2",
            };
            arguments.push(word.into());
            if version.product == Product::MariaDb {
                arguments.push("--gtid".into());
            }
        }
        if self.databases.is_empty() {
            arguments.push("--all-databases".into());
        } else {
            // A name that begins with a dash is no option.
            arguments.extend(["--databases".into(), "--".into()]);
            arguments.extend(self.databases.iter().cloned());
        }
        arguments
    }
}

impl Executor for Dump {
    fn run(&self, ctx: &RunContext) -> Result<(), RunError> {
        self.make(ctx).map(drop).map_err(|error| error.into_run_error(ctx))
    }
}

/// What the dump has said so far.
#[derive(Default)]
struct Read {
    position: Position,
    copies: bool,
    complete: bool,
}

impl Read {
    /// Whether this is where the tables begin: the lock, if there was one, is gone.
    fn line(&mut self, line: &str) -> bool {
        self.position.read(line);
        self.complete = line.starts_with("-- Dump completed");
        let begins = !self.copies && line.starts_with("-- Current Database: ");
        self.copies |= begins;
        begins
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::Stream;

    #[test]
    fn tables_begin_once_and_only_the_last_line_is_the_end() {
        let mut read = Read::default();
        let copies =
            ["-- x", "-- Current Database: `a`", "-- Current Database: `b`"].map(|line| read.line(line));
        assert_eq!(copies, [false, true, false]);
        read.line("-- Dump completed on 2026-11-29 13:54:47");
        assert!(read.complete);
        read.line("INSERT");
        assert!(!read.complete);
    }

    #[test]
    fn a_database_is_no_option() {
        let nowhere = Stream::new(|_, _| Ok(Box::new(std::io::sink())));
        let dump = Dump::new(|_| None, nowhere).database("--result-file=x");
        let version = ServerVersion { product: Product::MariaDb, major: 10, minor: 11, patch: 0 };
        let arguments = dump.arguments(version, true);
        assert_eq!(arguments[arguments.len() - 3..], ["--databases", "--", "--result-file=x"]);
        assert!(arguments.contains(&"--gtid".to_owned()));
        assert!(!dump.arguments(version, false).contains(&"--master-data=2".to_owned()));
    }
}
