//! A cluster of Cassandra starts, and `nodetool` sees all of it.

use sched_testbed::{Cassandra, CassandraOptions};

/// A node takes clients before it has heard of the others by gossip, which is told once a second. Each question starts a
/// `nodetool`, which takes longer than that.
const QUESTIONS: usize = 30;

#[test]
#[ignore = "needs java and Maven"]
fn two_nodes_see_each_other() {
    let cluster =
        Cassandra::start_with(&CassandraOptions { nodes: 2, ..CassandraOptions::default() }).unwrap();
    for (number, node) in cluster.nodes().iter().enumerate() {
        let status = || cluster.ask(number, &["status"]).unwrap_or_else(|error| error.to_string());
        let up = |text: &str| text.lines().filter(|line| line.starts_with("UN ")).count();
        let mut texts = (0..QUESTIONS).map(|_| status());
        let text = texts.find(|text| up(text) == 2).unwrap_or_else(&status);
        assert_eq!(up(&text), 2, "{text}");
        let own = format!("UN  {} ", node.address());
        assert!(text.lines().any(|line| line.starts_with(&own)), "{text}");
    }
}
