//! One base backup of PostgreSQL with `pg_basebackup`.
//!
//! `cargo run --release -p sched-examples-outside --example postgres -- --testbed` (or `HOST[:PORT] --user NAME --password-file FILE`)

use std::path::Path;
use std::process::{Command, ExitCode};

use sched_drivers::postgres::{BaseBackup, Checkpoint, PostgresServer, PostgresStatus};
use sched_drivers::secret::SecretString;
use sched_drivers::server::{Monitor, MonitorConfig};
use sched_examples_outside::{Args, Failure, INSTANCE, Restore, Subject, back_up, host_and_port, run, tool};
use sched_testbed::Postgres;

fn main() -> ExitCode {
    run("postgres", "HOST[:PORT]", example)
}

fn example(args: Args) -> Result<(), Failure> {
    let testbed = args.address().is_none().then(filled).transpose()?;
    let server = match (args.address(), &testbed) {
        (Some((address, account)), _) => {
            let (host, port) = host_and_port(address, 5432)?;
            let server = PostgresServer::new(host, account.user.as_deref().unwrap_or("postgres")).port(port);
            account.password.iter().fold(server, |server, password| server.password(password.clone()))
        }
        (None, Some(own)) => PostgresServer::new(own.host(), own.user())
            .port(own.port())
            .password(SecretString::from(own.password())),
        (None, None) => return Err("no server".into()),
    };
    let status = PostgresStatus::new(server.clone());
    let subject = Subject {
        technology: "postgresql",
        monitor: Monitor::new(INSTANCE, status, MonitorConfig::default()),
        checked: "the stream held backup_label and a whole backup_manifest, and the tool succeeded",
        restore: testbed.as_ref().map(|own| -> Restore<'_> { Box::new(move |folder| restored(own, folder)) }),
    };
    back_up(&args, subject, |directory| {
        // A spread checkpoint is kinder to a busy server, and takes minutes.
        let backup = BaseBackup::new(move |_| Some(server.clone()), directory).checkpoint(Checkpoint::Fast);
        move |ctx| backup.make(ctx)
    })
}

/// A server with some orders.
fn filled() -> Result<Postgres, Failure> {
    let server = Postgres::start()?;
    server
        .sql("create table orders as select id, md5(id::text) as item from generate_series(1, 50000) id")?;
    Ok(server)
}

/// A second server on what was made recovers, and has what the first had.
fn restored(first: &Postgres, folder: &Path) -> Result<String, Failure> {
    let second = first.restore(|data| {
        tool(Command::new("tar").arg("-xf").arg(folder.join("base.tar")).arg("-C").arg(data))
    })?;
    match second.sql("select count(*) from orders")?.trim() {
        "50000" => Ok("a server on it has recovered, with all 50000 orders".into()),
        other => Err(format!("{other} orders are there").into()),
    }
}
