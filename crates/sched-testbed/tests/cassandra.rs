//! A cluster of Cassandra starts, and `nodetool` sees all of it.

use std::process::Command;

use sched_testbed::{Cassandra, CassandraOptions};

#[test]
#[ignore = "needs java and Maven"]
fn two_nodes_see_each_other() {
    let cluster =
        Cassandra::start_with(&CassandraOptions { nodes: 2, ..CassandraOptions::default() }).unwrap();
    let words = cluster.nodetool();
    for node in cluster.nodes() {
        let port = node.jmx_port().to_string();
        let output =
            Command::new(&words[0]).args(&words[1..]).args(["-p", &port, "status"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let up: Vec<&str> = text.lines().filter(|line| line.starts_with("UN ")).collect();
        assert_eq!(up.len(), 2, "{text}");
        assert!(up.iter().any(|line| line.contains(&node.address().to_string())), "{text}");
    }
}
