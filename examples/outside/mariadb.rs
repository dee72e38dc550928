//! One backup of MariaDB's files with `mariadb-backup`, which must run on the server's machine. For a user of the server:
//! docs/drivers.md says what it needs.
//!
//! `cargo run --release -p sched-examples-outside --example mariadb -- --testbed` (or `HOST[:PORT] --user NAME --password-file FILE`)

use std::fs::File;
use std::path::Path;
use std::process::{Command, ExitCode};

use sched_drivers::mysql::{MySqlServer, MySqlStatus, PhysicalBackup};
use sched_drivers::secret::SecretString;
use sched_drivers::server::{Monitor, MonitorConfig};
use sched_examples_outside::{Args, Failure, INSTANCE, Restore, Subject, back_up, host_and_port, run, tool};
use sched_testbed::{MariaDb, TestbedError};

const PASSWORD: &str = "of the testbed alone";

fn main() -> ExitCode {
    run("mariadb", "HOST[:PORT]", example)
}

fn example(args: Args) -> Result<(), Failure> {
    let testbed = args.address().is_none().then(filled).transpose()?;
    let server = match (args.address(), &testbed) {
        (Some((address, account)), _) => {
            let (host, port) = host_and_port(address, 3306)?;
            let server = MySqlServer::tcp(host, port).user(account.user.as_deref().unwrap_or("root"));
            account.password.iter().fold(server, |server, password| server.password(password.clone()))
        }
        (None, Some(own)) => {
            MySqlServer::tcp("127.0.0.1", own.port()).user("backup").password(SecretString::from(PASSWORD))
        }
        (None, None) => return Err("no server".into()),
    };
    let status = MySqlStatus::new(server.clone());
    let subject = Subject {
        technology: "mariadb",
        monitor: Monitor::new(INSTANCE, status, MonitorConfig::default()),
        checked: "the tool is of the server's series, said that it completed, and no redo log was lost to it",
        restore: testbed.is_some().then(|| -> Restore<'_> { Box::new(restored) }),
    };
    back_up(&args, subject, |directory| {
        let backup = PhysicalBackup::new(move |_| Some(server.clone()), directory);
        move |ctx| backup.make(ctx)
    })
}

/// A server with some orders, and an account that may do what a backup needs and no more.
fn filled() -> Result<MariaDb, Failure> {
    let server = MariaDb::start()?;
    server.sql(&format!(
        "create database shop; use shop;
         create table orders (id bigint primary key, item char(32) not null);
         insert into orders select seq, md5(seq) from seq_1_to_50000;
         create user backup@'127.0.0.1' identified by '{PASSWORD}';
         grant reload, lock tables, process, binlog monitor, replica monitor on *.* to backup@'127.0.0.1';"
    ))?;
    Ok(server)
}

/// A second server on what was made has what the first had.
fn restored(folder: &Path) -> Result<String, Failure> {
    let second = MariaDb::restored(2, |data| {
        let stream = File::open(folder.join("base.mbstream"))
            .map_err(|source| TestbedError::Io { what: "open the stream".into(), source })?;
        tool(Command::new("mbstream").arg("-x").arg("-C").arg(data).stdin(stream))?;
        let target = format!("--target-dir={}", data.display());
        tool(Command::new("mariadb-backup").args(["--no-defaults", "--prepare", &target]))
    })?;
    match second.sql("select count(*) from shop.orders")?.lines().last() {
        Some("50000") => Ok("a server on it is up, with all 50000 orders".into()),
        other => Err(format!("{other:?} orders are there").into()),
    }
}
