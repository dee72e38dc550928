//! A cluster of Cassandra starts, and `nodetool` sees all of it.

use std::process::Command;
use std::time::{Duration, Instant};

use sched_testbed::{Cassandra, CassandraOptions};

/// A node takes clients before it has heard of the others by gossip, which is told once a second.
const GOSSIP: Duration = Duration::from_secs(60);

#[test]
#[ignore = "needs java and Maven"]
fn two_nodes_see_each_other() {
    let cluster =
        Cassandra::start_with(&CassandraOptions { nodes: 2, ..CassandraOptions::default() }).unwrap();
    let words = cluster.nodetool();
    for node in cluster.nodes() {
        let port = node.jmx_port().to_string();
        let status = || {
            let output =
                Command::new(&words[0]).args(&words[1..]).args(["-p", &port, "status"]).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let up = |text: &str| text.lines().filter(|line| line.starts_with("UN ")).count();
        // Each turn starts a `nodetool`, which takes longer than a pause would.
        let asked = Instant::now();
        let mut text = status();
        while up(&text) < 2 && asked.elapsed() < GOSSIP {
            text = status();
        }
        assert_eq!(up(&text), 2, "{text}");
        let own = format!("UN  {} ", node.address());
        assert!(text.lines().any(|line| line.starts_with(&own)), "{text}");
    }
}
