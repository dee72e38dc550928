//! One snapshot of Redis or Valkey, sent as to a new replica.
//!
//! `cargo run --release -p sched-examples-outside --example redis -- --testbed` (or `HOST:PORT --user NAME --password-file FILE`)

use std::path::Path;
use std::process::ExitCode;

use sched_drivers::redis::{Rdb, RedisServer, RedisStatus};
use sched_drivers::server::{Monitor, MonitorConfig};
use sched_examples_outside::{Args, Failure, INSTANCE, Restore, Subject, back_up, run};

fn main() -> ExitCode {
    run("redis", "HOST:PORT", example)
}

fn example(args: Args) -> Result<(), Failure> {
    let testbed = args.address().is_none().then(filled).transpose()?;
    let server = match (args.address(), &testbed) {
        (Some((address, account)), _) => {
            let server = RedisServer::new(address);
            match (&account.user, &account.password) {
                (Some(user), Some(password)) => server.login(user, password.clone()),
                (None, Some(password)) => server.password(password.clone()),
                (_, None) => server,
            }
        }
        (None, Some(own)) => RedisServer::new(own.address()),
        (None, None) => return Err("no server".into()),
    };
    let status = RedisStatus::new(server.clone());
    let subject = Subject {
        technology: "redis",
        monitor: Monitor::new(INSTANCE, status, MonitorConfig::default()),
        checked: "head, end and CRC-64 of the snapshot, before any of it went to its destination",
        restore: testbed.is_some().then(|| -> Restore<'_> { Box::new(restored) }),
    };
    back_up(&args, subject, |directory| {
        let backup = Rdb::new(move |_| Some(server.clone()), directory);
        move |ctx| backup.make(ctx)
    })
}

/// A server with some carts.
fn filled() -> Result<sched_testbed::RedisServer, Failure> {
    let server = sched_testbed::RedisServer::start(&[])?;
    server.cli(&["DEBUG", "POPULATE", "50000", "cart", "100"])?;
    Ok(server)
}

/// A second server that loads what was made has what the first had.
fn restored(folder: &Path) -> Result<String, Failure> {
    let second = sched_testbed::RedisServer::restored(&folder.join("dump.rdb"))?;
    match second.cli(&["DBSIZE"])?.trim() {
        "50000" => Ok("a server has loaded it, with all 50000 carts".into()),
        other => Err(format!("{other} carts are there").into()),
    }
}
