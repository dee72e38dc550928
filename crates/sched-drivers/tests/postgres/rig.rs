//! What the tests of PostgreSQL share: a shop that is written to, and a destination that they can meddle with.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sched_core::{InstanceName, JobId, JobSpec, ManualClock, RunContext, RunControl, RunParts};
use sched_drivers::command::ProcessMark;
use sched_drivers::destination::{ArtifactWriter, BackupId, BackupSink, Destination, LocalDirectory};
use sched_drivers::postgres::PostgresServer;
use sched_drivers::secret::SecretString;
use sched_testbed::{Postgres, wait_until};
use tempfile::TempDir;

pub(crate) const LONG: Duration = Duration::from_secs(120);

/// Two tables between which money moves, and a table of notes, each of which gets a mark once it is committed: where
/// the log stood by then.
const SHOP: &str = "
create table here(id int primary key, money bigint not null);
create table there(id int primary key, money bigint not null);
insert into here select n, 1000 from generate_series(1, 1000) n;
insert into there select n, 1000 from generate_series(1, 1000) n;
create table notes(id bigserial primary key, text text default repeat('x', 200));
create table marks(id bigint primary key, lsn pg_lsn not null);
create table ballast as select n, md5(n::text) as text from generate_series(1, 200000) n;
create unique index on ballast(n);
analyze";

/// One round of the shop.
const ROUND: &str = "
\\set from random(1, 1000)
\\set to random(1, 1000)
begin;
update here set money = money - 7 where id = :from;
update there set money = money + 7 where id = :to;
commit;
insert into notes default values returning id \\gset
insert into marks values (:id, pg_current_wal_flush_lsn());
";

pub(crate) const MONEY: &str = "select (select sum(money) from here) + (select sum(money) from there)";

/// A server with a shop.
pub(crate) fn shop() -> Postgres {
    shop_with(&[])
}

pub(crate) fn shop_with(settings: &[(&str, &str)]) -> Postgres {
    let postgres = Postgres::start_with(settings).unwrap();
    postgres.sql(SHOP).unwrap();
    // What a session did is counted when it ends, which is after its client has.
    let others =
        "select count(*) from pg_stat_activity where application_name = 'psql' and pid <> pg_backend_pid()";
    wait_until("all is counted", LONG, || (postgres.sql(others).unwrap() == "0").then_some(())).unwrap();
    postgres
}

/// How the superuser reaches a server.
pub(crate) fn reach(postgres: &Postgres) -> PostgresServer {
    PostgresServer::new(postgres.host(), postgres.user())
        .port(postgres.port())
        .password(SecretString::from(postgres.password()))
}

/// Every instance is at this server.
pub(crate) fn at(server: PostgresServer) -> impl Fn(&InstanceName) -> Option<PostgresServer> + Send + Sync {
    move |_| Some(server.clone())
}

pub(crate) fn context() -> RunContext {
    context_that_tells(|_| {})
}

/// An attempt that tells the phases as they begin.
pub(crate) fn context_that_tells(phase: impl Fn(&str) + Send + Sync + 'static) -> RunContext {
    let control = RunControl::new(|_| {}).on_phase(move |begun| phase(&begun.name));
    let spec = Arc::new(JobSpec::new("shop", "postgresql"));
    let clock = Arc::new(ManualClock::default());
    RunContext::new(RunParts::new(JobId(7), spec, Arc::new(control), clock))
}

/// Customers, until dropped.
pub(crate) struct Foreground {
    pgbench: Child,
    _script: TempDir,
}

impl Foreground {
    /// Rounds of the shop, some of which are over when this returns.
    pub(crate) fn start(postgres: &Postgres) -> Self {
        let (script, path) = script(ROUND);
        let mut pgbench = postgres.tool("pgbench");
        pgbench.args(["--no-vacuum", "--client=2", "--rate=200", "--time=600", "--file"]).arg(path);
        let pgbench = pgbench.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let foreground = Self { pgbench, _script: script };
        more_marks(postgres, 20);
        foreground
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let _ = self.pgbench.kill();
        let _ = self.pgbench.wait();
    }
}

pub(crate) fn script(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script");
    fs::write(&path, text).unwrap();
    (folder, path)
}

/// Waits until so many more notes are marked.
pub(crate) fn more_marks(postgres: &Postgres, more: u64) {
    let marks = || postgres.sql("select count(*) from marks").unwrap().parse::<u64>().unwrap();
    let enough = marks() + more;
    wait_until("the shop works", LONG, || (marks() >= enough).then_some(())).unwrap();
}

type Hook = dyn FnMut(u64) -> io::Result<()> + Send;

/// A directory that calls `hook` with the bytes written so far before it writes more.
#[derive(Clone)]
pub(crate) struct Meddled {
    directory: LocalDirectory,
    hook: Arc<Mutex<Hook>>,
    /// Who worked for backups into it.
    pub(crate) tools: Arc<Mutex<Vec<ProcessMark>>>,
}

impl Meddled {
    pub(crate) fn new(root: &Path, hook: impl FnMut(u64) -> io::Result<()> + Send + 'static) -> Self {
        let tools = Arc::default();
        Self { directory: LocalDirectory::new(root), hook: Arc::new(Mutex::new(hook)), tools }
    }

    /// Calls `hook` once, when so many bytes are written.
    pub(crate) fn once_at(root: &Path, bytes: u64, mut hook: impl FnMut() + Send + 'static) -> Self {
        let mut done = false;
        Self::new(root, move |written| {
            if written >= bytes && !std::mem::replace(&mut done, true) {
                hook();
                return Ok(());
            }
            Ok(())
        })
    }
}

impl std::fmt::Debug for Meddled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meddled")
    }
}

impl Destination for Meddled {
    fn begin(&self, backup: &BackupId) -> io::Result<Box<dyn BackupSink>> {
        Ok(Box::new(Sink { inner: self.directory.begin(backup)?, meddled: self.clone() }))
    }
}

struct Sink {
    inner: Box<dyn BackupSink>,
    meddled: Meddled,
}

impl BackupSink for Sink {
    fn create(&mut self, file: &str) -> io::Result<Box<dyn ArtifactWriter>> {
        let hook = Arc::clone(&self.meddled.hook);
        Ok(Box::new(Writer { inner: self.inner.create(file)?, hook, written: 0 }))
    }

    fn note_process(&mut self, process: &ProcessMark) -> io::Result<()> {
        self.meddled.tools.lock().unwrap().push(process.clone());
        self.inner.note_process(process)
    }

    fn complete(self: Box<Self>, manifest: &[u8]) -> io::Result<String> {
        self.inner.complete(manifest)
    }

    fn abandon(self: Box<Self>) -> io::Result<()> {
        self.inner.abandon()
    }
}

struct Writer {
    inner: Box<dyn ArtifactWriter>,
    hook: Arc<Mutex<Hook>>,
    written: u64,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.hook.lock().unwrap())(self.written)?;
        let written = self.inner.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl ArtifactWriter for Writer {
    fn finish(self: Box<Self>) -> io::Result<()> {
        self.inner.finish()
    }
}

/// All files below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

/// Nothing of an attempt is left: no file, no process, and on the server no session and no slot.
pub(crate) fn assert_nothing_left(postgres: &Postgres, destination: &Meddled, root: &Path) {
    assert_eq!(files(root), Vec::<PathBuf>::new());
    let tools = destination.tools.lock().unwrap();
    assert_eq!(tools.len(), 1, "the tool was at work");
    assert!(!tools[0].runs());
    let question =
        "select (select count(*) from pg_stat_activity where application_name like 'backup-sched%')
                         + (select count(*) from pg_replication_slots)";
    let gone = || postgres.sql(question).ok().filter(|left| left == "0");
    wait_until("sessions and slots are gone", LONG, gone).unwrap();
}
