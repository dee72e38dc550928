//! Snapshots that the server saves itself: [`LocalRdb`].

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sched_core::{Executor, InstanceName, RunContext, RunError, RunPhase};

use super::check::RdbCheck;
use super::connection::Connection;
use super::gate::ForkLimits;
use super::info::NEEDED;
use super::rdb::{FILE, describe};
use super::server::RedisServer;
use crate::DriverError;
use crate::backup::{Backup, Completed};
use crate::destination::Destination;
use crate::server::Instances;

/// How often a server that saves is asked whether it is done.
const ASK: Duration = Duration::from_millis(200);

/// Has the server save (`BGSAVE`) and copies its file at the granted rate, which may stand still: for a server on this
/// machine whose data directory can be read. Nothing is kept in memory or in a second file, and the server's own
/// snapshot is fresh afterwards.
///
/// An attempt that is cancelled while the server saves does not stop the save: the server finishes it as one of its own.
#[derive(Clone, Debug)]
pub struct LocalRdb {
    instances: Instances<RedisServer>,
    destination: Arc<dyn Destination>,
    limits: ForkLimits,
    path: Option<PathBuf>,
}

impl LocalRdb {
    /// Snapshots of the servers that `find` gives for instances.
    pub fn new(
        find: impl Fn(&InstanceName) -> Option<RedisServer> + Send + Sync + 'static,
        destination: impl Destination + 'static,
    ) -> Self {
        Self {
            instances: Instances::new(find),
            destination: Arc::new(destination),
            limits: ForkLimits::default(),
            path: None,
        }
    }

    /// Sets what a fork may cost.
    #[must_use]
    pub fn limits(mut self, limits: ForkLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Says where the server's file is, for servers that may not be asked (`CONFIG GET`) or see other paths, as in a
    /// container.
    #[must_use]
    pub fn path(mut self, file: impl Into<PathBuf>) -> Self {
        self.path = Some(file.into());
        self
    }

    /// Makes one backup.
    ///
    /// # Errors
    /// As of [`Rdb`](super::Rdb), and when the server cannot save or its file cannot be read.
    pub fn make(&self, ctx: &RunContext) -> Result<Completed, DriverError> {
        let made = self.try_make(ctx);
        made.map_err(|error| if ctx.is_cancelled() { DriverError::Cancelled } else { error })
    }

    fn try_make(&self, ctx: &RunContext) -> Result<Completed, DriverError> {
        ctx.checkpoint()?;
        let server = self.instances.of(ctx)?;
        let mut connection = Connection::open(&server, Some(ctx))?;
        let info = connection.info()?;
        info.check_version(&server.address, NEEDED)?;
        self.limits.check(&server.address, &info)?;
        let path = match &self.path {
            Some(path) => path.clone(),
            None => asked_path(&mut connection)?,
        };
        let mut backup = Backup::begin(ctx, &self.destination)?;
        describe(&mut backup, &info);
        let before = identity(&path);
        ctx.phase(RunPhase::new("fork").floor(u64::MAX));
        connection.call(&[b"BGSAVE"])?;
        ctx.phase(RunPhase::new("save").floor(u64::MAX));
        wait_for_save(ctx, &mut connection, &server)?;
        drop(connection);
        let source = |source: io::Error| DriverError::Source { what: path.display().to_string(), source };
        // Held open: a later save of the server's own replaces the name, not this file.
        let file = File::open(&path).map_err(source)?;
        if identity(&path) == before {
            return Err(DriverError::Setting {
                what: path.display().to_string(),
                problem: "it is not the file that the server saved just now; right is its dir and dbfilename"
                    .into(),
            });
        }
        ctx.phase(RunPhase::new("upload").pausable());
        backup.expect(file.metadata().map_err(source)?.len());
        let mut check = RdbCheck::new(file);
        backup.store(FILE, &mut check)?;
        let format = check.verify(FILE)?;
        backup.fact("format", format);
        backup.complete()
    }
}

impl Executor for LocalRdb {
    fn run(&self, ctx: &RunContext) -> Result<(), RunError> {
        self.make(ctx).map(drop).map_err(|error| error.into_run_error(ctx))
    }
}

/// Where the server says that it saves.
fn asked_path(connection: &mut Connection) -> Result<PathBuf, DriverError> {
    let mut setting = |name: &str| match connection.call(&[b"CONFIG", b"GET", name.as_bytes()])? {
        super::resp::Value::List(pair) if pair.len() == 2 => {
            pair[1].text().ok_or_else(|| connection.strange(format!("its {name} is no text")))
        }
        _ => Err(connection.strange(format!("it has no {name}"))),
    };
    Ok(Path::new(&setting("dir")?).join(setting("dbfilename")?))
}

/// What tells a file from the one that replaces it.
fn identity(path: &Path) -> Option<(u64, u64, i64, i64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
}

fn wait_for_save(
    ctx: &RunContext,
    connection: &mut Connection,
    server: &RedisServer,
) -> Result<(), DriverError> {
    loop {
        ctx.checkpoint()?;
        let info = connection.info()?;
        if !info.flag("rdb_bgsave_in_progress") {
            return match info.text("rdb_last_bgsave_status") {
                Some("ok") => Ok(()),
                _ => Err(DriverError::NotReady {
                    server: server.address.clone(),
                    problem: "it could not save; its log says why: often no memory to fork, or a full disk"
                        .into(),
                }),
            };
        }
        thread::park_timeout(ASK);
    }
}
