//! Snapshots over the network: [`Rdb`].

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;
use std::sync::Arc;

use sched_core::{Executor, InstanceName, RunContext, RunError, RunPhase};

use super::check::RdbCheck;
use super::connection::Connection;
use super::gate::ForkLimits;
use super::info::{Info, NEEDED};
use super::replication::{self, RdbStream, Way};
use super::server::RedisServer;
use crate::DriverError;
use crate::backup::{Backup, Completed};
use crate::destination::Destination;
use crate::server::Instances;

/// The name of the snapshot in its backup.
pub const FILE: &str = "dump.rdb";
/// Before this version a server keeps what is written meanwhile in memory for whoever takes a snapshot, up to a limit.
const NO_SLOW_READERS: (u32, u32) = (7, 0);
const CHUNK: usize = 128 << 10;

/// Has a server send a snapshot as to a new replica (`PSYNC`), from anywhere and without a tool; a replica is the better
/// choice, which the profile prefers.
///
/// A server pays for a slow reader: the forked process lives until all is sent, and before Redis 7 what is written
/// meanwhile is kept in memory until the server's patience ends (`client-output-buffer-limit replica`). So the snapshot
/// is taken at full speed into a temporary file (phases `fork` and `save`), checked, and only then brought to its
/// destination at the granted rate (phase `upload`, which may stand still). The file has no name and is gone with this
/// process.
///
/// Where there is no room for that, a server from Redis 7 can save it [on its own disk](Self::over_its_disk) first and
/// send it from there at any rate.
///
/// The manifest's facts are `server`, `role`, `format`, and `replication_id` with `offset`: where in its history the
/// server was.
///
/// ```
/// use sched_drivers::destination::LocalDirectory;
/// use sched_drivers::redis::{Rdb, RedisServer};
///
/// let executor = Rdb::new(
///     |instance| (instance.as_str() == "carts").then(|| RedisServer::new("10.0.0.5:6379")),
///     LocalDirectory::new("/var/backups"),
/// );
/// // `.executor("redis", executor)` of the scheduler's builder.
/// ```
#[derive(Clone, Debug)]
pub struct Rdb {
    instances: Instances<RedisServer>,
    destination: Arc<dyn Destination>,
    limits: ForkLimits,
    way: Way,
    spool: PathBuf,
}

impl Rdb {
    /// Snapshots of the servers that `find` gives for instances.
    pub fn new(
        find: impl Fn(&InstanceName) -> Option<RedisServer> + Send + Sync + 'static,
        destination: impl Destination + 'static,
    ) -> Self {
        Self {
            instances: Instances::new(find),
            destination: Arc::new(destination),
            limits: ForkLimits::default(),
            way: Way::Direct,
            spool: std::env::temp_dir(),
        }
    }

    /// Sets what a fork may cost.
    #[must_use]
    pub fn limits(mut self, limits: ForkLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets where the temporary file goes. Default: the system's directory for such, which may be in memory. It needs
    /// room for what the server holds in memory.
    #[must_use]
    pub fn spool(mut self, directory: impl Into<PathBuf>) -> Self {
        self.spool = directory.into();
        self
    }

    /// Has the server save the snapshot on its own disk first, and sends it from there at the granted rate, without a
    /// temporary file here. Needs Redis 7.
    #[must_use]
    pub fn over_its_disk(mut self) -> Self {
        self.way = Way::OverItsDisk;
        self
    }

    /// Makes one backup.
    ///
    /// # Errors
    /// [`NotReady`](DriverError::NotReady) when the server, or the room for the temporary file, does not allow it now;
    /// [`Corrupt`](DriverError::Corrupt) when what came is no whole snapshot; else when the server, the destination or
    /// the attempt's orders stop it.
    pub fn make(&self, ctx: &RunContext) -> Result<Completed, DriverError> {
        let made = self.try_make(ctx);
        // Whoever waits for the server learns of orders through an error of its connection.
        made.map_err(|error| if ctx.is_cancelled() { DriverError::Cancelled } else { error })
    }

    fn try_make(&self, ctx: &RunContext) -> Result<Completed, DriverError> {
        ctx.checkpoint()?;
        let server = self.instances.of(ctx)?;
        let mut connection = Connection::open(&server, Some(ctx))?;
        let info = connection.info()?;
        let needed = match self.way {
            Way::Direct => NEEDED,
            Way::OverItsDisk => NO_SLOW_READERS,
        };
        info.check_version(&server.address, needed)?;
        self.limits.check(&server.address, &info)?;
        if self.way == Way::Direct {
            self.check_room(&info)?;
        }
        let mut backup = Backup::begin(ctx, &self.destination)?;
        describe(&mut backup, &info);
        ctx.phase(RunPhase::new("fork").floor(u64::MAX));
        let position = replication::begin(&mut connection, self.way)?;
        backup.fact("replication_id", position.id);
        backup.fact("offset", position.offset);
        ctx.phase(RunPhase::new("save").floor(u64::MAX));
        let stream = RdbStream::begin(&mut connection)?;
        let upload = || ctx.phase(RunPhase::new("upload").pausable());
        let format = match self.way {
            Way::Direct => {
                let mut check = RdbCheck::new(stream);
                let (spool, bytes) = self.take(ctx, &mut check)?;
                let format = check.verify(FILE)?;
                // The server is done with it.
                drop(connection);
                upload();
                backup.expect(bytes);
                backup.store(FILE, spool)?;
                format
            }
            Way::OverItsDisk => {
                upload();
                if let Some(bytes) = stream.length() {
                    backup.expect(bytes);
                }
                let mut check = RdbCheck::new(stream);
                backup.store(FILE, &mut check)?;
                check.verify(FILE)?
            }
        };
        backup.fact("format", format);
        backup.complete()
    }

    /// Refuses before the server forks what would not fit.
    fn check_room(&self, info: &Info) -> Result<(), DriverError> {
        let needed = info.bytes("used_memory_dataset").unwrap_or(0);
        let spool = || self.spool.display().to_string();
        let room = rustix::fs::statvfs(&self.spool)
            .map_err(|error| DriverError::Destination { what: spool(), source: error.into() })?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if free >= needed {
            return Ok(());
        }
        let (free, needed) = (free >> 20, needed >> 20);
        let problem = format!(
            "the temporary file may need {needed} MiB in {}, and {free} MiB are free; give another directory, or have \
             the server save on its own disk",
            spool()
        );
        Err(DriverError::NotReady { server: spool(), problem })
    }

    /// Takes all that comes into a temporary file.
    fn take(&self, ctx: &RunContext, mut from: impl Read) -> Result<(File, u64), DriverError> {
        let what = || format!("a temporary file in {}", self.spool.display());
        let failed = |source: io::Error| DriverError::Destination { what: what(), source };
        let mut spool = tempfile::tempfile_in(&self.spool).map_err(failed)?;
        let mut buffer = vec![0; CHUNK];
        let mut bytes = 0;
        loop {
            let read = from
                .read(&mut buffer)
                .map_err(|source| DriverError::Source { what: "the snapshot".into(), source })?;
            if read == 0 {
                break;
            }
            ctx.pace(read as u64)?;
            spool.write_all(&buffer[..read]).map_err(failed)?;
            bytes += read as u64;
        }
        spool.rewind().map_err(failed)?;
        Ok((spool, bytes))
    }
}

impl Executor for Rdb {
    fn run(&self, ctx: &RunContext) -> Result<(), RunError> {
        self.make(ctx).map(drop).map_err(|error| error.into_run_error(ctx))
    }
}

pub(super) fn describe(backup: &mut Backup<'_>, info: &Info) {
    backup.tool(concat!("backup-sched ", env!("CARGO_PKG_VERSION")));
    backup.fact("server", info.version());
    backup.fact("role", if info.is_replica() { "replica" } else { "primary" });
}
