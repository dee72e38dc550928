//! PostgreSQL on loopback: [`Postgres`].

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::run;
use crate::{ServerProcess, TestbedError, free_port, program, wait_until};

const PACKAGE: &str = "postgresql";
const SUPERUSER: &str = "testbed";
/// A server that recovers, or writes its first checkpoint, on a busy machine.
const UP_WITHIN: Duration = Duration::from_secs(120);

/// A PostgreSQL server that trusts nobody without a password and keeps nothing safe from a power cut (`fsync=off`), unless
/// it was started with the setting `("fsync", "on")`.
///
/// As root it runs as the user `postgres`, since it refuses to run as root.
#[derive(Debug)]
pub struct Postgres {
    process: ServerProcess,
    directory: TempDir,
    bin: PathBuf,
    port: u16,
    password: String,
}

impl Postgres {
    /// Starts a primary with an empty database `postgres`.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not start.
    pub fn start() -> Result<Self, TestbedError> {
        Self::start_with(&[])
    }

    /// Starts a primary with settings such as `("wal_keep_size", "64MB")`.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, or does not start with them.
    pub fn start_with(settings: &[(&str, &str)]) -> Result<Self, TestbedError> {
        let (bin, directory) = (bin()?, directory()?);
        let password = "a:pass\\word";
        let file = directory.path().join("password");
        fs::write(&file, password).map_err(io("write a password"))?;
        give_away(&file)?;
        let data = data(&directory);
        let mut initdb = as_server(&bin.join("initdb"));
        initdb.arg("--pgdata").arg(&data).arg("--pwfile").arg(&file);
        initdb.args(["--username", SUPERUSER, "--auth", "scram-sha-256", "--no-sync", "--encoding", "UTF8"]);
        run(initdb.args(["--locale", "C"]))?;
        append(&data.join("pg_hba.conf"), "host replication all 127.0.0.1/32 scram-sha-256\n")?;
        let mut text = String::new();
        for (name, value) in settings {
            text += &format!("{name} = '{value}'\n");
        }
        append(&data.join("postgresql.conf"), &text)?;
        Self::on(bin, directory, password)
    }

    /// Starts a server on a backup: `unpack` fills the empty data directory, which it is told. The server is ready when
    /// it has recovered.
    ///
    /// # Errors
    /// When `unpack` fails, or the server does not recover.
    pub fn restore(
        &self,
        unpack: impl FnOnce(&Path) -> Result<(), TestbedError>,
    ) -> Result<Self, TestbedError> {
        let directory = directory()?;
        let data = data(&directory);
        fs::create_dir(&data).map_err(io("make a data directory"))?;
        unpack(&data)?;
        give_away_all(&data)?;
        Self::on(self.bin.clone(), directory, &self.password)
    }

    /// Starts a standby that streams from this server, under the application name `name`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn standby(&self, name: &str) -> Result<Self, TestbedError> {
        let directory = directory()?;
        let data = data(&directory);
        let source = format!(
            "host=127.0.0.1 port={} user={SUPERUSER} application_name={name} password='{}'",
            self.port,
            self.password.replace('\\', "\\\\")
        );
        let mut copy = as_server(&self.bin.join("pg_basebackup"));
        copy.arg("--pgdata").arg(&data).args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]);
        run(copy.arg("--dbname").arg(source))?;
        Self::on(self.bin.clone(), directory, &self.password)
    }

    fn on(bin: PathBuf, directory: TempDir, password: &str) -> Result<Self, TestbedError> {
        let port = free_port()?;
        let process = run_server(&bin, &directory, port)?;
        let mut started = Self { process, directory, bin, port, password: password.to_owned() };
        started.wait_until_ready()?;
        Ok(started)
    }

    /// Kills the server with all its connections, and starts it again at the same address. What it had not written is not
    /// lost: the system is still there.
    ///
    /// # Errors
    /// When it does not recover.
    pub fn crash_and_restart(&mut self) -> Result<(), TestbedError> {
        self.process.kill();
        self.process = run_server(&self.bin, &self.directory, self.port)?;
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> Result<(), TestbedError> {
        let ready = self.tool("pg_isready");
        let question = std::cell::RefCell::new(ready);
        self.process.wait_until("a PostgreSQL server is ready", UP_WITHIN, || {
            question.borrow_mut().output().ok().filter(|output| output.status.success()).map(drop)
        })
    }

    /// Its address.
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The name of its superuser.
    pub fn user(&self) -> &'static str {
        SUPERUSER
    }

    /// The superuser's password: one with a colon and a backslash, which files of passwords must escape.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        data(&self.directory)
    }

    /// The process, to stop or kill it.
    pub fn process(&mut self) -> &mut ServerProcess {
        &mut self.process
    }

    /// One of PostgreSQL's programs, told how to connect as the superuser.
    pub fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.env("PGHOST", self.host()).env("PGPORT", self.port.to_string());
        command.env("PGUSER", SUPERUSER).env("PGPASSWORD", &self.password).env("PGDATABASE", "postgres");
        command.env("PGCONNECT_TIMEOUT", "10").stdin(Stdio::null());
        command
    }

    /// What SQL gives: rows on lines, columns separated by `|`.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn sql(&self, sql: &str) -> Result<String, TestbedError> {
        let mut psql = self.tool("psql");
        psql.args(["--no-psqlrc", "-qAt", "--set", "ON_ERROR_STOP=1", "--command", sql]);
        Ok(run(&mut psql)?.trim_end().to_owned())
    }

    /// Adds lines before those of `pg_hba.conf`, and a text to `postgresql.conf`, and has the server read both.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn configure(&self, hba: &str, settings: &str) -> Result<(), TestbedError> {
        let file = self.data().join("pg_hba.conf");
        let old = fs::read_to_string(&file).map_err(io("read pg_hba.conf"))?;
        fs::write(&file, format!("{hba}\n{old}")).map_err(io("write pg_hba.conf"))?;
        append(&self.data().join("postgresql.conf"), settings)?;
        self.sql("select pg_reload_conf()").map(drop)
    }

    /// Gives a file or folder to the user that the server runs as.
    ///
    /// # Errors
    /// When that is not allowed.
    pub fn give(&self, path: &Path) -> Result<(), TestbedError> {
        give_away(path)
    }

    /// Waits until a standby has replayed all that this primary has written by now.
    ///
    /// # Errors
    /// When it does not catch up.
    pub fn wait_for(&self, standby: &Self) -> Result<(), TestbedError> {
        let at = self.sql("select pg_current_wal_flush_lsn()")?;
        let question = format!("select pg_last_wal_replay_lsn() >= '{at}'");
        wait_until("a standby catches up", UP_WITHIN, || {
            standby.sql(&question).ok().filter(|answer| answer == "t").map(drop)
        })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // At once, but with its own processes and shared memory cleaned up. A stopped one must go on to hear of it.
        self.process.signal(Signal::QUIT);
        self.process.signal(Signal::CONT);
        let process = &mut self.process;
        let _ = wait_until("the server ends", Duration::from_secs(10), || (!process.runs()).then_some(()));
        self.process.kill();
    }
}

/// Starts the server on its data. What `postgresql.conf` says of `fsync` counts there.
fn run_server(bin: &Path, directory: &TempDir, port: u16) -> Result<ServerProcess, TestbedError> {
    let mut server = as_server(&bin.join("postgres"));
    server.arg("-D").arg(data(directory)).arg("-p").arg(port.to_string());
    let settings = fs::read_to_string(data(directory).join("postgresql.conf")).unwrap_or_default();
    let is_safe = settings.lines().any(|line| line.starts_with("fsync = 'on'"));
    let fsync = if is_safe { "fsync=on" } else { "fsync=off" };
    for setting in [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        fsync,
        "shared_buffers=16MB",
        "log_line_prefix=%m [%p] %a ",
    ] {
        server.arg("-c").arg(setting);
    }
    ServerProcess::start(server, &directory.path().join("log"))
}

fn bin() -> Result<PathBuf, TestbedError> {
    let asked = Command::new("pg_config").arg("--bindir").output().ok();
    let told = asked.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    let mut directories = vec![told.trim().to_owned()];
    // Debian keeps the servers of all versions out of `PATH`; the newest is taken.
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<u32> =
        versions.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok()).collect();
    versions.sort_unstable();
    directories.extend(versions.iter().rev().map(|version| format!("/usr/lib/postgresql/{version}/bin")));
    let directories: Vec<&str> = directories.iter().map(String::as_str).filter(|d| !d.is_empty()).collect();
    let postgres = program("postgres", &directories, PACKAGE)?;
    Ok(postgres.parent().map(Path::to_owned).unwrap_or_default())
}

fn directory() -> Result<TempDir, TestbedError> {
    let directory = tempfile::Builder::new().prefix("postgres-").tempdir().map_err(io("make a directory"))?;
    give_away(directory.path())?;
    Ok(directory)
}

fn data(directory: &TempDir) -> PathBuf {
    directory.path().join("data")
}

/// The user that servers of a test run as, where this is root: its numbers.
fn server_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let number = |user: &str| {
        let fields: Vec<&str> = user.split(':').collect();
        (fields.first() == Some(&"postgres"))
            .then(|| Some((fields[2].parse().ok()?, fields[3].parse().ok()?)))
    };
    users.lines().find_map(number).flatten()
}

/// A program that refuses to run as root, as the user `postgres` where this is root.
fn as_server(program: &Path) -> Command {
    let mut command = match server_user() {
        Some((user, group)) => {
            let mut command = Command::new("setpriv");
            command.arg(format!("--reuid={user}")).arg(format!("--regid={group}")).arg("--init-groups");
            command.arg("--").arg(program);
            command
        }
        None => Command::new(program),
    };
    // Where this process runs may be closed to that user.
    command.current_dir("/").env("LC_ALL", "C");
    command
}

fn give_away(path: &Path) -> Result<(), TestbedError> {
    match server_user() {
        Some((user, group)) => chown(path, Some(user), Some(group)).map_err(io("give a file away")),
        None => Ok(()),
    }
}

fn give_away_all(directory: &Path) -> Result<(), TestbedError> {
    give_away(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).map_err(io("close a directory"))?;
    for entry in fs::read_dir(directory).map_err(io("read a directory"))? {
        let entry = entry.map_err(io("read a directory"))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            give_away_all(&entry.path())?;
        } else {
            give_away(&entry.path())?;
        }
    }
    Ok(())
}

fn append(path: &Path, text: &str) -> Result<(), TestbedError> {
    let file = File::options().append(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(io("write a setting"))
}

fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> TestbedError {
    move |source| TestbedError::Io { what: what.into(), source }
}
