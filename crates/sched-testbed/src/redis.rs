//! Redis servers: [`RedisServer`], [`RedisPair`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::{ServerProcess, TestbedError, free_port, program};

const PACKAGE: &str = "redis-server and redis-tools";
const PATIENCE: Duration = Duration::from_secs(60);

/// One Redis with its data, which it saves only when it is told to. Dropping it kills it and removes the data.
#[derive(Debug)]
pub struct RedisServer {
    /// The process; killing it is up to the test.
    pub process: ServerProcess,
    port: u16,
    password: Option<String>,
    directory: TempDir,
}

/// A primary with a replica.
#[derive(Debug)]
pub struct RedisPair {
    /// Where is written.
    pub primary: RedisServer,
    /// What follows it.
    pub replica: RedisServer,
}

impl RedisPair {
    /// Starts both and waits until the replica follows.
    ///
    /// # Errors
    /// When Redis is not installed or does not start.
    pub fn start() -> Result<Self, TestbedError> {
        let primary = RedisServer::start(&[])?;
        let port = primary.port.to_string();
        let mut replica = RedisServer::start(&["--replicaof", "127.0.0.1", &port])?;
        replica.wait("a replica that follows", |server| {
            server.cli(&["INFO", "replication"]).ok().filter(|info| info.contains("master_link_status:up"))
        })?;
        Ok(Self { primary, replica })
    }

    /// Waits until the replica has all that the primary has now.
    ///
    /// # Errors
    /// When that takes long.
    pub fn catch_up(&mut self) -> Result<(), TestbedError> {
        let offset = |info: &str, name: &str| -> Option<u64> {
            let line = info.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse().ok()
        };
        let primary = self.primary.cli(&["INFO", "replication"])?;
        let wanted = offset(&primary, "master_repl_offset:").unwrap_or(u64::MAX);
        self.replica.wait("a replica that has caught up", |server| {
            let info = server.cli(&["INFO", "replication"]).ok()?;
            (offset(&info, "slave_repl_offset:")? >= wanted).then_some(())
        })
    }
}

impl RedisServer {
    /// Starts a server with settings of its own, as arguments.
    ///
    /// # Errors
    /// When Redis is not installed or does not start.
    pub fn start(settings: &[&str]) -> Result<Self, TestbedError> {
        Self::launch(directory()?, settings)
    }

    /// Starts a server that loads a snapshot.
    ///
    /// # Errors
    /// When the snapshot cannot be copied, or Redis does not start with it.
    pub fn restored(snapshot: &Path) -> Result<Self, TestbedError> {
        let directory = directory()?;
        fs::copy(snapshot, directory.path().join("dump.rdb"))
            .map_err(|source| TestbedError::Io { what: "copy the snapshot".into(), source })?;
        Self::launch(directory, &[])
    }

    fn launch(directory: TempDir, settings: &[&str]) -> Result<Self, TestbedError> {
        let port = free_port()?;
        let mut command = Command::new(program("redis-server", &[], PACKAGE)?);
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no"]);
        command.args(["--save", "", "--appendonly", "no", "--dbfilename", "dump.rdb", "--dir"]);
        command.arg(directory.path());
        command.args(["--repl-diskless-sync-delay", "0", "--enable-debug-command", "local"]).args(settings);
        let process = ServerProcess::start(command, &directory.path().join("log"))?;
        let password = settings.windows(2).find(|pair| pair[0] == "--requirepass");
        let password = password.map(|pair| pair[1].to_owned());
        let mut server = Self { process, port, password, directory };
        server.wait("a Redis that answers", |server| {
            server.cli(&["PING"]).ok().filter(|answer| answer.trim() == "PONG")
        })?;
        Ok(server)
    }

    /// Its address.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where its data are.
    pub fn data(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// Runs `redis-cli` against it and returns what it wrote.
    ///
    /// # Errors
    /// When it fails, or the server answers an error.
    pub fn cli(&self, args: &[&str]) -> Result<String, TestbedError> {
        let mut command = Command::new(program("redis-cli", &[], PACKAGE)?);
        command.args(["-e", "-p", &self.port.to_string()]).args(args).stdin(Stdio::null());
        if let Some(password) = &self.password {
            command.env("REDISCLI_AUTH", password);
        }
        let io = |source| TestbedError::Io { what: "run redis-cli".into(), source };
        let output = command.output().map_err(io)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        let said = text(&output.stdout) + &text(&output.stderr);
        Err(TestbedError::Failed { program: "redis-cli".into(), said })
    }

    fn wait<T>(&mut self, what: &str, ready: impl Fn(&Self) -> Option<T>) -> Result<T, TestbedError> {
        let found = crate::wait_until(what, PATIENCE, || {
            let found = ready(self).map(Some);
            // One that ended is not waited for.
            if found.is_none() && !self.process.runs() { Some(None) } else { found }
        });
        match found {
            Ok(Some(found)) => Ok(found),
            Ok(None) | Err(_) => {
                let said = self.process.said();
                Err(TestbedError::TimedOut { what: what.into(), limit: PATIENCE, said })
            }
        }
    }
}

fn directory() -> Result<TempDir, TestbedError> {
    tempfile::tempdir().map_err(|source| TestbedError::Io { what: "make a directory".into(), source })
}
