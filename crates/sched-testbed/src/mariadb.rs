//! MariaDB: [`MariaDb`].

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::{ServerProcess, TestbedError, free_port, program};

const PACKAGE: &str = "mariadb-server";
const CLIENT_PACKAGE: &str = "mariadb-client";
const DIRECTORIES: [&str; 3] = ["/usr/sbin", "/usr/bin", "/usr/local/bin"];
/// Generous: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(120);
/// As whom a server runs that root starts: as root it refuses to.
const USER: &str = "mysql";

/// A MariaDB server with a data directory of its own, with a binary log, and with an administrator `root` without a
/// password who may come from this machine.
///
/// ```no_run
/// use sched_testbed::MariaDb;
///
/// let primary = MariaDb::start()?;
/// primary.sql("CREATE DATABASE shop")?;
/// let replica = primary.replica()?;
/// replica.catch_up(&primary)?;
/// assert_eq!(replica.sql("SHOW DATABASES LIKE 'shop'")?, "shop\n");
/// # Ok::<(), sched_testbed::TestbedError>(())
/// ```
#[derive(Debug)]
pub struct MariaDb {
    process: ServerProcess,
    home: TempDir,
    port: u16,
    options: Vec<OsString>,
}

impl MariaDb {
    /// A new, empty server.
    ///
    /// # Errors
    /// When it is not installed or does not come up.
    pub fn start() -> Result<Self, TestbedError> {
        Self::start_with(1, &[])
    }

    /// A new, empty server of that number in its replication group, with more options, such as
    /// `--innodb-log-file-size=8M`.
    ///
    /// # Errors
    /// When it is not installed or does not come up.
    pub fn start_with(server_id: u32, options: &[&str]) -> Result<Self, TestbedError> {
        let home = home()?;
        let mut install = Command::new(program("mariadb-install-db", &DIRECTORIES, PACKAGE)?);
        install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        install.arg(path_option("--datadir=", &data(&home))).args(as_user());
        install.env("TMPDIR", scratch(&home));
        run(install, &[])?;
        Self::serve(home, server_id, options)
    }

    /// A server on the files that `fill` puts into its empty data directory: a restored backup.
    ///
    /// # Errors
    /// When `fill` fails, or the server does not come up on what it left.
    pub fn restored(
        server_id: u32,
        fill: impl FnOnce(&Path) -> Result<(), TestbedError>,
    ) -> Result<Self, TestbedError> {
        let home = home()?;
        fill(&data(&home))?;
        if root() {
            let mut own = Command::new("chown");
            own.args(["-R", USER]).arg(data(&home));
            run(own, &[])?;
        }
        Self::serve(home, server_id, &[])
    }

    /// A new server that replicates this one by its global transaction ids, from the first of them on. It is read-only,
    /// as replicas are, but for `root`.
    ///
    /// # Errors
    /// When it does not come up or does not connect.
    pub fn replica(&self) -> Result<Self, TestbedError> {
        let replica = Self::start_with(2, &["--read-only=1"])?;
        let port = self.port;
        self.sql("CREATE OR REPLACE USER replicator@'%' IDENTIFIED BY 'replicator'")?;
        self.sql("GRANT REPLICATION SLAVE ON *.* TO replicator@'%'")?;
        replica.sql(&format!(
            "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, MASTER_USER='replicator', \
             MASTER_PASSWORD='replicator', MASTER_CONNECT_RETRY=1, MASTER_USE_GTID=slave_pos; START SLAVE"
        ))?;
        replica.catch_up(self)?;
        Ok(replica)
    }

    /// Waits until this replica has all that `primary` has committed by now.
    ///
    /// # Errors
    /// When that takes too long.
    pub fn catch_up(&self, primary: &Self) -> Result<(), TestbedError> {
        let position = primary.sql("SELECT @@gtid_binlog_pos")?;
        let limit = PATIENCE.as_secs();
        let caught_up = self.sql(&format!("SELECT MASTER_GTID_WAIT('{}', {limit})", position.trim()))?;
        match caught_up.trim() {
            "0" => Ok(()),
            _ => Err(TestbedError::TimedOut {
                what: "catching up with the primary".into(),
                limit: PATIENCE,
                said: self.sql("SHOW SLAVE STATUS").unwrap_or_else(|error| error.to_string()),
            }),
        }
    }

    /// Runs statements as `root` and returns their rows, columns apart by tabs.
    ///
    /// # Errors
    /// When the server refuses one; the others after it are not run.
    pub fn sql(&self, statements: &str) -> Result<String, TestbedError> {
        self.feed(statements.as_bytes())
    }

    /// Runs a script as `root`, such as a dump.
    ///
    /// # Errors
    /// When the server refuses a statement of it.
    pub fn feed(&self, script: &[u8]) -> Result<String, TestbedError> {
        let mut client = Command::new(program("mariadb", &DIRECTORIES, CLIENT_PACKAGE)?);
        client.args(["--no-defaults", "--batch", "--skip-column-names", "--user=root"]);
        client.arg(path_option("--socket=", &self.socket()));
        run(client, script)
    }

    /// Kills the server as a power cut would, and starts it again on its data.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&mut self) -> Result<(), TestbedError> {
        self.process.kill();
        self.process = start(&self.home, self.port, &self.options)?;
        self.wait_ready()
    }

    /// Its port on `127.0.0.1`.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.home.path().join("socket")
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        data(&self.home)
    }

    /// Its process.
    pub fn process(&mut self) -> &mut ServerProcess {
        &mut self.process
    }

    fn serve(home: TempDir, server_id: u32, options: &[&str]) -> Result<Self, TestbedError> {
        let port = free_port()?;
        let mut all: Vec<OsString> = vec![format!("--server-id={server_id}").into()];
        all.extend(options.iter().map(OsString::from));
        let process = start(&home, port, &all)?;
        let mut server = Self { process, home, port, options: all };
        server.wait_ready()?;
        Ok(server)
    }

    fn wait_ready(&mut self) -> Result<(), TestbedError> {
        let mut client = Command::new(program("mariadb", &DIRECTORIES, CLIENT_PACKAGE)?);
        client.args(["--no-defaults", "--user=root", "--execute=SELECT 1"]);
        client.arg(path_option("--socket=", &self.socket()));
        client.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process.wait_until("MariaDB being ready", PATIENCE, || {
            client.status().is_ok_and(|status| status.success()).then_some(())
        })
    }
}

fn start(home: &TempDir, port: u16, options: &[OsString]) -> Result<ServerProcess, TestbedError> {
    let mut server = Command::new(program("mariadbd", &DIRECTORIES, PACKAGE)?);
    server.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve"]);
    server.args(["--log-bin=bin", "--log-slave-updates", "--report-host=127.0.0.1"]);
    server.args(["--innodb-buffer-pool-size=32M", "--innodb-log-file-size=32M"]);
    // Tests kill servers, not machines.
    server.args(["--innodb-flush-log-at-trx-commit=2", "--sync-binlog=0"]);
    server.arg(path_option("--datadir=", &data(home)));
    server.arg(path_option("--socket=", &home.path().join("socket")));
    server.arg(path_option("--pid-file=", &home.path().join("data/pid")));
    server.arg(path_option("--tmpdir=", &scratch(home)));
    server.arg(format!("--port={port}")).arg(format!("--report-port={port}"));
    server.args(as_user()).args(options);
    ServerProcess::start(server, &home.path().join("log"))
}

/// A directory that the server's user can reach, with one for data that it owns.
fn home() -> Result<TempDir, TestbedError> {
    let io = |source| TestbedError::Io { what: "make a directory for MariaDB".into(), source };
    let home = tempfile::Builder::new().prefix("mariadb-").tempdir().map_err(io)?;
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).map_err(io)?;
    fs::create_dir(data(&home)).and_then(|()| fs::create_dir(scratch(&home))).map_err(io)?;
    if root() {
        // The socket is made in it.
        let mut own = Command::new("chown");
        own.arg("-R").arg(USER).arg(home.path());
        run(own, &[])?;
    }
    Ok(home)
}

fn data(home: &TempDir) -> PathBuf {
    home.path().join("data")
}

/// Its own: a server that starts removes other servers' files from a shared one.
fn scratch(home: &TempDir) -> PathBuf {
    home.path().join("tmp")
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

fn as_user() -> Option<String> {
    root().then(|| format!("--user={USER}"))
}

fn path_option(option: &str, path: &Path) -> OsString {
    let mut word = OsString::from(option);
    word.push(path);
    word
}

/// Runs a program to its end, with `input`, and returns what it wrote.
fn run(mut command: Command, input: &[u8]) -> Result<String, TestbedError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let io = |source| TestbedError::Io { what: format!("run {name}"), source };
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(io)?;
    let stdin = child.stdin.take();
    let (fed, output) = std::thread::scope(|scope| {
        // On a thread of its own, or both could wait for the other to read.
        let feed = scope.spawn(move || stdin.map_or(Ok(()), |mut stdin| stdin.write_all(input)));
        let output = child.wait_with_output();
        (feed.join(), output)
    });
    let output = output.map_err(io)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(TestbedError::Failed { program: name, said });
    }
    match fed {
        Ok(Err(source)) => Err(io(source)),
        _ => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
    }
}
