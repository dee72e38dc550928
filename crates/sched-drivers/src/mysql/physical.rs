//! Copies of a server's files: [`PhysicalBackup`].

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::mysql::prelude::Queryable;
use parking_lot::Mutex;
use sched_core::{Executor, InstanceName, RunContext, RunError, RunPhase};

use super::known::{Known, check_grants};
use super::position::Position;
use super::server::{Identity, MySqlServer};
use super::tool::Tool;
use super::version::{Fit, Product, ServerVersion};
use super::{fault, replication};
use crate::DriverError;
use crate::backup::{Backup, Completed};
use crate::destination::Destination;
use crate::server::Instances;

/// The least rate at which a copy goes on; that of the built-in profile.
const FLOOR_BYTES_PER_SEC: u64 = 4_000_000;

/// Streams a server's files through `mariadb-backup`, or `xtrabackup` where the server is MySQL: one file, to be
/// unpacked with `mbstream -x` or `xbstream -x` and made ready with `--prepare`.
///
/// - It runs on the server's machine, by a user that can read the data directory, and refuses otherwise.
/// - The phase `copy` has a floor: the redo log is copied while it is written, and what is overwritten before it was
///   copied is lost. It is at least twice the rate at which the server has written redo since it started; what the
///   terms say of the phase counts more. The tool's own `--throttle` is not used: it does not count what is streamed.
/// - In the phase `lock` DDL, and at its end commits, wait for the tool: it is not slowed.
/// - The manifest's facts say where the server's binary log ends in the backup: `binlog_file`, `binlog_position` and
///   `gtid`; of a replica also `primary_position`.
///
/// MariaDB was tried (10.11); MySQL with XtraBackup was not.
#[derive(Clone, Debug)]
pub struct PhysicalBackup {
    instances: Instances<MySqlServer>,
    destination: Arc<dyn Destination>,
    tool: Tool,
    floor_bytes_per_sec: u64,
    elsewhere: bool,
}

impl PhysicalBackup {
    /// Backs up the servers that `find` gives for instances.
    pub fn new(
        find: impl Fn(&InstanceName) -> Option<MySqlServer> + Send + Sync + 'static,
        destination: impl Destination + 'static,
    ) -> Self {
        Self {
            instances: Instances::new(find),
            destination: Arc::new(destination),
            tool: Tool::default(),
            floor_bytes_per_sec: FLOOR_BYTES_PER_SEC,
            elsewhere: false,
        }
    }

    /// Sets the tool, by its name in `PATH` or by its path. Default: `mariadb-backup` or `xtrabackup`, as the server is.
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

    /// Says that the server's data directory is here under the same path although the server names another host, as in
    /// a container. Default no: the files of another server at the same path would be taken for its.
    #[must_use]
    pub fn under_another_host_name(mut self) -> Self {
        self.elsewhere = true;
        self
    }

    /// Makes one backup.
    ///
    /// # Errors
    /// Whatever kept it from being complete; nothing of it stays.
    pub fn make(&self, ctx: &RunContext) -> Result<Completed, DriverError> {
        let server = self.instances.of(ctx)?;
        let mut known = Known::ask(&server)?;
        let version = known.identity.version;
        check_grants(&mut known.connection, &server.address(), &[], needed(&known.identity))?;
        self.check_place(&server.address(), &known.identity)?;
        let kind = Kind::of(version.product);
        let fitting = self.tool.fitting(ctx, kind.usual, version, Fit::Files)?;
        let replica = !replication::channels(&mut known.connection, &server.address(), version)?.is_empty();
        let floor = self.floor_bytes_per_sec.max(known.redo_bytes_per_sec()?.saturating_mul(2));
        let Known { connection, identity, .. } = known;
        // One connection at a time: the tool makes its own.
        drop(connection);

        let mut backup = Backup::begin(ctx, &*self.destination)?;
        backup.tool(fitting.called);
        backup.fact("server_version", &identity.version_text);
        backup.fact("format", kind.stream);
        backup.expect(size_of(&identity.data_directory));
        let secret = server.option_file(version.product)?;
        let scratch = tempfile::tempdir().map_err(|source| DriverError::Setting {
            what: "the directory for temporary files".into(),
            problem: format!("it cannot be written: {source}"),
        })?;
        let option = |name: &str, path: &Path| {
            let mut word = OsString::from(name);
            word.push(path);
            word
        };
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (hears, phases) = (Arc::clone(&heard), ctx.clone());
        let mut command = fitting
            .command
            .arg(option("--defaults-extra-file=", secret.path()))
            .args(["--backup".to_owned(), format!("--stream={}", kind.stream)])
            .arg(option("--datadir=", &identity.data_directory))
            .arg(option("--target-dir=", scratch.path()))
            .listener(move |line| hears.lock().line(line, &phases, floor));
        if replica {
            command = command.arg("--slave-info");
        }
        ctx.phase(RunPhase::new("copy").floor(floor));
        backup
            .store_output(&format!("base.{}", kind.stream), &command)
            .map_err(|error| server.blame(error))?;
        let heard = std::mem::take(&mut *heard.lock());
        if !heard.complete {
            let problem = "the tool did not say that it is complete".into();
            return Err(DriverError::Corrupt { what: "the stream".into(), problem });
        }
        for (name, value) in heard.position.facts() {
            backup.fact(name, value);
        }
        backup.complete()
    }

    /// Whether the files of the server are here.
    fn check_place(&self, server: &str, identity: &Identity) -> Result<(), DriverError> {
        let setting = |problem: String| DriverError::Setting { what: format!("{server}'s files"), problem };
        let here = rustix::system::uname().nodename().to_string_lossy().into_owned();
        if !self.elsewhere && here != identity.hostname {
            let there = &identity.hostname;
            return Err(setting(format!(
                "they are on {there}, and this is {here}; right is to run there, to use `Dump`, or to say \
                 `under_another_host_name`"
            )));
        }
        let directory = &identity.data_directory;
        // What the tool reads first, and what only the server's user may read.
        fs::read_dir(directory).and_then(|_| fs::File::open(directory.join("ibdata1"))).map(drop).map_err(
            |source| {
                setting(format!(
                    "{} cannot be read here: {source}; right is to run as a user that can, or to use `Dump`",
                    directory.display()
                ))
            },
        )
    }
}

impl Executor for PhysicalBackup {
    fn run(&self, ctx: &RunContext) -> Result<(), RunError> {
        self.make(ctx).map(drop).map_err(|error| error.into_run_error(ctx))
    }
}

impl Known<'_> {
    /// How much redo the server has written a second since it started.
    fn redo_bytes_per_sec(&mut self) -> Result<u64, DriverError> {
        let question = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Innodb_os_log_written', 'Uptime')";
        let rows: Vec<(String, u64)> = self
            .connection
            .query(question)
            .map_err(|error| fault::of_client(&self.server.address(), error))?;
        let value = |name: &str| rows.iter().find(|(found, _)| found == name).map_or(0, |(_, value)| *value);
        // A server that has just started has written what it does once.
        let uptime_s = value("Uptime").max(60);
        Ok(value("Innodb_os_log_written") / uptime_s)
    }
}

/// The tool of a product.
struct Kind {
    /// Its name, and the package that holds it.
    usual: (&'static str, &'static str),
    stream: &'static str,
}

impl Kind {
    fn of(product: Product) -> Self {
        match product {
            Product::MariaDb => Self { usual: ("mariadb-backup", "mariadb-backup"), stream: "mbstream" },
            Product::MySql => Self { usual: ("xtrabackup", "percona-xtrabackup"), stream: "xbstream" },
        }
    }
}

/// What the account needs on everything.
fn needed(identity: &Identity) -> &'static [&'static str] {
    let version: ServerVersion = identity.version;
    match version.product {
        Product::MariaDb if version.at_least(10, 5) => {
            &["RELOAD", "PROCESS", "LOCK TABLES", "BINLOG MONITOR", "SLAVE MONITOR"]
        }
        Product::MySql if version.at_least(8, 0) => {
            &["RELOAD", "PROCESS", "LOCK TABLES", "REPLICATION CLIENT", "BACKUP_ADMIN"]
        }
        _ => &["RELOAD", "PROCESS", "LOCK TABLES", "REPLICATION CLIENT"],
    }
}

/// What the tool has said so far.
#[derive(Default)]
struct Heard {
    position: Position,
    complete: bool,
}

impl Heard {
    fn line(&mut self, line: &str, ctx: &RunContext, floor: u64) {
        // From here on others wait for its end; `u64::MAX`: it is not slowed.
        const LOCKS: [&str; 4] = [
            "BACKUP STAGE BLOCK_DDL",
            "FLUSH TABLES WITH READ LOCK",
            "LOCK TABLES FOR BACKUP",
            "Executing LOCK INSTANCE FOR BACKUP",
        ];
        if LOCKS.iter().any(|mark| line.contains(mark)) && !line.contains("Finished") {
            ctx.phase(RunPhase::new("lock").floor(u64::MAX));
        } else if line.contains("All tables unlocked") {
            ctx.phase(RunPhase::new("copy").floor(floor));
        }
        self.complete |= line.contains("completed OK!");
        self.position.hear(line);
    }
}

/// About as much as there is to copy; 0 when it cannot be known.
fn size_of(data_directory: &Path) -> u64 {
    const COPIED: [&str; 8] = ["ibd", "ibu", "MYD", "MYI", "MAD", "MAI", "frm", "sdi"];
    let files = |directory: &Path| fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let directories = files(data_directory).map(|entry| entry.path()).filter(|path| path.is_dir());
    let all = directories.flat_map(|directory| files(&directory)).chain(files(data_directory));
    all.filter(|entry| {
        let path = entry.path();
        let named = |start: &str| entry.file_name().to_string_lossy().starts_with(start);
        path.extension().is_some_and(|end| COPIED.iter().any(|known| end == *known))
            || named("ibdata")
            || named("undo")
    })
    .filter_map(|entry| entry.metadata().ok())
    .map(|metadata| metadata.len())
    .sum()
}
