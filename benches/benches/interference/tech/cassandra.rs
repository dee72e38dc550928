//! Cassandra: one node, rows by key over CQL.

use std::sync::Arc;

use backup_sched::{BackupKind, JobSpec};
use sched_drivers::cassandra::{CassandraBackup, CassandraNode, CassandraStatus, CqlConnection};
use sched_drivers::destination::Destination;
use sched_drivers::server::{Monitor, MonitorConfig};
use sched_testbed::CassandraOptions;

use super::{Client, Kind, Technology};
use crate::Failure;
use crate::method::AnyExecutor;

const PAYLOAD: usize = 4000;
/// Rows of one statement while the table is filled.
const BATCH: u64 = 8;

pub(super) struct Cassandra {
    cluster: sched_testbed::Cassandra,
    rows: u64,
}

impl Cassandra {
    pub(super) fn start(bytes: u64) -> Result<Self, Failure> {
        let options = CassandraOptions { serving: true, ..CassandraOptions::default() };
        let cluster = sched_testbed::Cassandra::start_with(&options)?;
        let this = Self { rows: bytes / PAYLOAD as u64, cluster };
        let mut connection = CqlConnection::open(&this.node())?;
        for statement in [
            "create keyspace shop with replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
            "create table shop.item (id bigint primary key, stock bigint, data text) \
             with compression = {'enabled': false}",
        ] {
            connection.query(statement)?;
        }
        let mut rng = fastrand::Rng::with_seed(1);
        for first in (0..this.rows).step_by(BATCH as usize) {
            let rows: String =
                (first..(first + BATCH).min(this.rows)).map(|id| insert(id, &mut rng)).collect();
            connection.query(&format!("begin unlogged batch {rows} apply batch"))?;
        }
        // What came of filling it, and the compactions that fall into some of the blocks: the node's own work would differ
        // from block to block.
        for command in ["flush", "compact", "disableautocompaction"] {
            this.cluster.ask(0, &[command, "shop"])?;
        }
        Ok(this)
    }

    fn node(&self) -> CassandraNode {
        let node = &self.cluster.nodes()[0];
        CassandraNode::new("shop-1", node.address().to_string())
            .port(node.port())
            .jmx("127.0.0.1", node.jmx_port())
            .nodetool(self.cluster.nodetool())
    }
}

fn insert(id: u64, rng: &mut fastrand::Rng) -> String {
    let data: String = std::iter::repeat_with(|| rng.alphanumeric()).take(PAYLOAD).collect();
    format!("insert into shop.item (id, stock, data) values ({id}, 0, '{data}');")
}

impl Technology for Cassandra {
    fn name(&self) -> &'static str {
        "cassandra"
    }

    fn versions(&self) -> String {
        let version = CqlConnection::open(&self.node())
            .and_then(|mut connection| connection.query("select release_version from system.local"))
            .ok()
            .and_then(|rows| rows.iter().next()?.text("release_version"));
        format!("Cassandra {}, snapshot and upload", version.unwrap_or_default())
    }

    fn client(&self, seed: u64) -> Result<Box<dyn Client>, Failure> {
        let connection = CqlConnection::open(&self.node())?;
        Ok(Box::new(CassandraClient { connection, rows: self.rows, rng: fastrand::Rng::with_seed(seed) }))
    }

    fn spec(&self) -> JobSpec {
        JobSpec::new("shop-1", "cassandra").kind(BackupKind::Full)
    }

    fn executor(&self, to: Arc<dyn Destination>) -> Result<AnyExecutor, Failure> {
        let node = self.node();
        Ok(Arc::new(CassandraBackup::new(move |_| vec![node.clone()], to).keyspace("shop")))
    }

    fn monitor(&self) -> Option<Monitor> {
        Some(Monitor::new("shop-1", CassandraStatus::new(self.node()), MonitorConfig::default()))
    }
}

struct CassandraClient {
    connection: CqlConnection,
    rows: u64,
    rng: fastrand::Rng,
}

impl Client for CassandraClient {
    fn request(&mut self) -> Result<(), Failure> {
        let id = self.rng.u64(0..self.rows);
        let statement = if Kind::draw(&mut self.rng) == Kind::Write {
            format!("update shop.item set stock = {} where id = {id}", self.rng.u16(..))
        } else {
            format!("select stock, data from shop.item where id = {id}")
        };
        self.connection.query(&statement)?;
        Ok(())
    }
}
