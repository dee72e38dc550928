//! A server with data, somebody who writes to it, and what must be true of a copy of it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;

use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder};
use sched_core::{InstanceName, JobSpec};
use sched_drivers::backup::Completed;
use sched_drivers::destination::Destination;
use sched_drivers::mysql::{Dump, MySqlServer, PhysicalBackup};
use sched_drivers::secret::SecretString;
use sched_testbed::{MariaDb, TestbedError};

use super::rig::{self, Attempt};

/// All that means something in an option file.
pub(crate) const PASSWORD: &str = r#"p"a\s#s;' [x] "#;

/// Enough that a backup does not fit into the pipe of its tool.
const BULK_ROWS: u32 = 20_000;

pub(crate) fn spec() -> JobSpec {
    JobSpec::new("shop", "mariadb")
}

/// A server with a database `shop` and an account that may make backups and nothing else.
pub(crate) fn fill(server: &MariaDb) {
    let password = PASSWORD.replace('\\', r"\\").replace('\'', "''");
    server
        .sql(&format!(
            "CREATE USER backup@'%' IDENTIFIED BY '{password}';
             GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR, REPLICA MONITOR, REPLICATION MASTER ADMIN,
                 SELECT, SHOW VIEW, TRIGGER, EVENT ON *.* TO backup@'%';
             CREATE DATABASE shop; USE shop;
             CREATE TABLE debit (n INT PRIMARY KEY, amount INT, note VARBINARY(200)) ENGINE=InnoDB;
             CREATE TABLE credit (n INT PRIMARY KEY, amount INT, note VARBINARY(200)) ENGINE=InnoDB;
             CREATE TABLE bulk (n INT PRIMARY KEY, note VARBINARY(1000)) ENGINE=InnoDB;
             INSERT INTO bulk SELECT seq, CONCAT(REPEAT(SHA2(seq, 256), 15), UNHEX(SHA1(seq)))
                 FROM seq_1_to_{BULK_ROWS};
             CREATE PROCEDURE balance() SELECT SUM(amount) FROM debit;
             CREATE TRIGGER both_sides AFTER INSERT ON debit FOR EACH ROW
                 INSERT INTO credit VALUES (NEW.n, -NEW.amount, NEW.note)"
        ))
        .unwrap();
}

/// The account `backup` over TCP.
pub(crate) fn account(server: &MariaDb) -> MySqlServer {
    MySqlServer::tcp("127.0.0.1", server.port()).password(SecretString::from(PASSWORD))
}

pub(crate) fn physical(server: &MySqlServer, to: impl Destination + 'static) -> PhysicalBackup {
    PhysicalBackup::new(only(server), to)
}

pub(crate) fn dump(server: &MySqlServer, to: impl Destination + 'static) -> Dump {
    Dump::new(only(server), to)
}

fn only(server: &MySqlServer) -> impl Fn(&InstanceName) -> Option<MySqlServer> + use<> {
    let server = server.clone();
    move |instance| (instance.as_str() == "shop").then(|| server.clone())
}

/// A connection of the administrator.
pub(crate) fn root(server: &MariaDb) -> Conn {
    let socket = server.socket().to_str().map(str::to_owned);
    Conn::new(OptsBuilder::new().user(Some("root")).socket(socket)).unwrap()
}

/// How many connections the account `backup` has.
pub(crate) fn connections(server: &MariaDb) -> usize {
    let list = server.sql("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'backup'").unwrap();
    list.lines().count()
}

/// Cancels an attempt when a test is done with it, also by failing: whoever waits for its thread would wait for ever.
pub(crate) struct CancelsAtEnd<'a>(pub(crate) &'a Attempt);

impl Drop for CancelsAtEnd<'_> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Somebody who commits one transaction after the other, each of which is a row in both tables.
pub(crate) struct Foreground {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    /// The sequence number of the last global transaction id before the first transaction.
    base: u64,
    thread: Option<JoinHandle<()>>,
}

impl Foreground {
    pub(crate) fn start(server: &MariaDb) -> Self {
        let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let base = sequence(server.sql("SELECT @@gtid_binlog_pos").unwrap().trim());
        let mut connection = root(server);
        let (stops, commits) = (Arc::clone(&stop), Arc::clone(&committed));
        let thread = std::thread::spawn(move || {
            for n in 1_u64.. {
                if stops.load(SeqCst) {
                    return;
                }
                // The trigger writes the other side: one transaction.
                let row = format!("INSERT INTO shop.debit VALUES ({n}, {}, SHA2({n}, 512))", n * 7 % 1000);
                connection.query_drop(row).unwrap();
                commits.store(n, SeqCst);
            }
        });
        Self { stop, committed, base, thread: Some(thread) }
    }

    pub(crate) fn committed(&self) -> u64 {
        self.committed.load(SeqCst)
    }

    pub(crate) fn wait_for(&self, n: u64) {
        rig::until("the foreground going on", || self.committed() >= n);
    }

    /// Which transaction a global transaction id is.
    pub(crate) fn transaction(&self, gtid: &str) -> u64 {
        sequence(gtid) - self.base
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

/// The last number of `0-1-234`.
fn sequence(gtid: &str) -> u64 {
    gtid.rsplit('-').next().unwrap().parse().unwrap_or_else(|_| panic!("{gtid:?} is a transaction id"))
}

/// What both tables hold up to a transaction, and the third.
pub(crate) fn contents(server: &MariaDb, up_to: u64) -> String {
    let side = |table: &str, sign: &str| {
        format!(
            "SELECT COUNT(*), MAX(n), SUM({sign}amount), SUM(CRC32(CONCAT_WS('|', n, note))) FROM shop.{table} \
             WHERE n <= {up_to};"
        )
    };
    let (debit, credit) = (side("debit", ""), side("credit", "-"));
    let bulk = "SELECT COUNT(*), SUM(CRC32(note)) FROM shop.bulk";
    server.sql(&format!("{debit}{credit}{bulk}")).unwrap()
}

/// A restored server holds exactly the transactions up to the one that its backup names.
pub(crate) fn assert_holds(restored: &MariaDb, original: &MariaDb, transaction: u64) {
    let all = contents(restored, u64::MAX);
    assert_eq!(all, contents(original, transaction));
    let lines: Vec<&str> = all.lines().collect();
    assert_eq!(lines[0], lines[1], "both sides of each transaction");
    assert!(lines[0].starts_with(&format!("{transaction}\t{transaction}\t")), "{all}");
    let routines = "SELECT COUNT(*) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = 'shop'";
    let triggers = "SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'shop'";
    assert_eq!(restored.sql(&format!("{routines}; {triggers}")).unwrap(), "1\n1\n");
    assert_eq!(restored.sql("SELECT COUNT(*) FROM mysql.user WHERE User = 'backup'").unwrap(), "1\n");
}

/// A new server on the files of a physical backup.
pub(crate) fn restore_files(made: &Completed) -> MariaDb {
    let stream = Path::new(&made.location).join("base.mbstream");
    MariaDb::restored(9, |data| {
        let mut unpack = Command::new("mbstream");
        unpack.arg("-x").arg("-C").arg(data).stdin(std::fs::File::open(&stream).unwrap());
        run(unpack)?;
        let mut prepare = Command::new("mariadb-backup");
        prepare.arg("--no-defaults").arg("--prepare");
        prepare.arg(format!("--target-dir={}", data.display())).stdin(Stdio::null());
        run(prepare)
    })
    .unwrap()
}

/// A new server that was fed a dump.
pub(crate) fn restore_dump(made: &Completed) -> MariaDb {
    let server = MariaDb::start_with(9, &[]).unwrap();
    server.feed(&std::fs::read(Path::new(&made.location).join("dump.sql")).unwrap()).unwrap();
    server.sql("FLUSH PRIVILEGES").unwrap();
    server
}

fn run(mut command: Command) -> Result<(), TestbedError> {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let program = command.get_program().to_string_lossy().into_owned();
    if output.status.success() { Ok(()) } else { Err(TestbedError::Failed { program, said }) }
}
