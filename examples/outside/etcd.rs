//! One snapshot of an etcd cluster, taken from a follower.
//!
//! `cargo run --release -p sched-examples-outside --example etcd -- --testbed` (or `URL --user NAME --password-file FILE`)

use std::path::Path;
use std::process::ExitCode;

use sched_drivers::etcd::{EtcdCluster, EtcdStatus, Snapshot};
use sched_drivers::server::{Monitor, MonitorConfig};
use sched_examples_outside::{Args, Failure, INSTANCE, Restore, Subject, back_up, run};

/// Settings that the testbed's cluster holds.
const SETTINGS: usize = 20;

fn main() -> ExitCode {
    run("etcd", "URL", example)
}

fn example(args: Args) -> Result<(), Failure> {
    let testbed = args.address().is_none().then(filled).transpose()?;
    let (cluster, watched) = match (args.address(), &testbed) {
        (Some((url, account)), _) => {
            let cluster = EtcdCluster::new(url);
            let cluster = match (&account.user, &account.password) {
                (Some(user), Some(password)) => cluster.login(user, password.clone()),
                _ => cluster,
            };
            (cluster, url.to_owned())
        }
        (None, Some(own)) => {
            let urls = own.urls();
            let more = urls[1..].iter();
            (more.fold(EtcdCluster::new(&urls[0]), |cluster, url| cluster.endpoint(url)), urls[0].clone())
        }
        (None, None) => return Err("no server".into()),
    };
    let status = EtcdStatus::new(cluster.clone(), watched);
    let subject = Subject {
        technology: "etcd",
        monitor: Monitor::new(INSTANCE, status, MonitorConfig::default()),
        checked: "the SHA-256 digest that the server puts at the end, and the size that it announced",
        restore: testbed.is_some().then(|| -> Restore<'_> { Box::new(restored) }),
    };
    back_up(&args, subject, |directory| {
        let backup = Snapshot::new(move |_| Some(cluster.clone()), directory);
        move |ctx| backup.make(ctx)
    })
}

/// Three members with some settings.
fn filled() -> Result<sched_testbed::EtcdCluster, Failure> {
    let cluster = sched_testbed::EtcdCluster::start()?;
    for n in 0..SETTINGS {
        cluster.members[0].ctl(&["put", &format!("setting-{n}"), &"on ".repeat(1000)])?;
    }
    Ok(cluster)
}

/// A member that is restored from what was made has what the cluster had.
fn restored(folder: &Path) -> Result<String, Failure> {
    let second = sched_testbed::EtcdServer::restored(&folder.join("snapshot.db"))?;
    let keys = second.ctl(&["get", "setting-", "--prefix", "--keys-only"])?;
    match keys.lines().filter(|line| !line.is_empty()).count() {
        SETTINGS => Ok(format!("a member of its own is up, with all {SETTINGS} settings")),
        other => Err(format!("{other} settings are there").into()),
    }
}
