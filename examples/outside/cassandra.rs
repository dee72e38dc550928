//! One backup of a Cassandra node: a snapshot, its upload, and the snapshot cleared. `nodetool` must be there.
//!
//! `cargo run --release -p sched-examples-outside --example cassandra -- --testbed` (or `HOST[:PORT] --user NAME --password-file FILE`)

use std::process::ExitCode;

use sched_drivers::cassandra::{CassandraBackup, CassandraNode, CassandraStatus, CqlConnection};
use sched_drivers::server::{Monitor, MonitorConfig};
use sched_examples_outside::{Args, Failure, INSTANCE, Subject, back_up, host_and_port, run};
use sched_testbed::Cassandra;

const KEYSPACE: &str = "shop";

fn main() -> ExitCode {
    run("cassandra", "HOST[:PORT]", example)
}

fn example(args: Args) -> Result<(), Failure> {
    let testbed = args.address().is_none().then(Cassandra::start).transpose()?;
    let node = match (args.address(), &testbed) {
        (Some((address, account)), _) => {
            let (host, port) = host_and_port(address, 9042)?;
            let node = CassandraNode::new(INSTANCE, host).port(port).jmx(host, 7199);
            match (&account.user, &account.password) {
                (Some(user), Some(password)) => {
                    node.login(user, password.clone()).jmx_login(user, password.clone())
                }
                _ => node,
            }
        }
        (None, Some(own)) => {
            let one = &own.nodes()[0];
            let node = CassandraNode::new(INSTANCE, one.address().to_string())
                .port(one.port())
                .jmx("127.0.0.1", one.jmx_port())
                .nodetool(own.nodetool());
            fill(&node)?;
            node
        }
        (None, None) => return Err("no server".into()),
    };
    let status = CassandraStatus::new(node.clone());
    let keyspace = testbed.is_some().then_some(KEYSPACE);
    let subject = Subject {
        technology: "cassandra",
        monitor: Monitor::new(INSTANCE, status, MonitorConfig::default()),
        checked: "every SSTable of the snapshot is there with the checksum that Cassandra keeps beside it",
        // It takes a cluster of the same shape and minutes: docs/drivers.md says how.
        restore: None,
    };
    back_up(&args, subject, |directory| {
        let backup = CassandraBackup::new(move |_| vec![node.clone()], directory);
        let backup = keyspace.into_iter().fold(backup, |backup, name| backup.keyspace(name));
        move |ctx| backup.full(ctx)
    })
}

/// A table with some items.
fn fill(node: &CassandraNode) -> Result<(), Failure> {
    let mut connection = CqlConnection::open(node)?;
    connection.query(&format!(
        "create keyspace {KEYSPACE} with replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
    ))?;
    connection.query(&format!("create table {KEYSPACE}.item (id bigint primary key, name text)"))?;
    for first in (0..2000).step_by(100) {
        let row = |id| format!("insert into {KEYSPACE}.item (id, name) values ({id}, 'item {id}');");
        let rows: String = (first..first + 100).map(row).collect();
        connection.query(&format!("begin unlogged batch {rows} apply batch"))?;
    }
    Ok(())
}
