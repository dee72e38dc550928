//! PostgreSQL: one server, a table by key, each update committed to disk.

use std::sync::Arc;

use backup_sched::JobSpec;
use sched_drivers::destination::Destination;
use sched_drivers::postgres::{BaseBackup, Checkpoint, PostgresServer, PostgresStatus};
use sched_drivers::secret::SecretString;
use sched_drivers::server::{Monitor, MonitorConfig};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client as Connection, NoTls, Statement};

use super::{Client, Kind, Technology};
use crate::Failure;
use crate::method::AnyExecutor;

/// Bytes of payload in a row, and what PostgreSQL adds.
const PAYLOAD: u64 = 1000;
const ROW: u64 = PAYLOAD + 60;

/// Segments of the log, of 16 MiB, that are made beforehand: more than a run of twenty rounds writes.
const SEGMENTS: u32 = 512;

pub(super) struct Postgres {
    server: sched_testbed::Postgres,
    rows: i64,
}

impl Postgres {
    pub(super) fn start(bytes: u64) -> Result<Self, Failure> {
        // Only backups make checkpoints, and no vacuum falls into some of the blocks: the database's own work would differ
        // from block to block.
        let settings = [
            ("shared_buffers", "256MB"),
            ("min_wal_size", "10GB"),
            ("max_wal_size", "20GB"),
            ("checkpoint_timeout", "1d"),
            ("autovacuum", "off"),
        ];
        let server = sched_testbed::Postgres::start_with(&settings)?;
        let rows = (bytes / ROW) as i64;
        // Without vacuum rows that are updated must find room beside themselves: else they move, scans reach ever further, and
        // after ten minutes the same requests took half as much of the processors again.
        server.sql(
            "create table item (id bigint primary key, stock bigint not null, data text not null)
             with (fillfactor = 85)",
        )?;
        server.sql(&format!(
            "insert into item select id, 0, (select string_agg(md5(id::text || part::text), '')
             from generate_series(1, {parts}) part) from generate_series(0, {last}) id",
            parts = PAYLOAD / 32,
            last = rows - 1,
        ))?;
        server.sql("vacuum analyze item")?;
        // Segments of the log that are there before they are needed. While the slot of a backup holds old ones, none is used
        // again, and each new one is filled with zeros and synced with all who commit waiting for it: 3 ms on an idle
        // disk, 20 to 50 beside a backup that writes.
        server.sql(&format!(
            "do $$ begin for n in 1..{SEGMENTS} loop
             perform pg_logical_emit_message(false, 'bench', 'another'); perform pg_switch_wal(); end loop; end $$"
        ))?;
        server.sql("checkpoint")?;
        Ok(Self { server, rows })
    }

    fn account(&self) -> PostgresServer {
        PostgresServer::new(self.server.host(), self.server.user())
            .port(self.server.port())
            .password(SecretString::from(self.server.password()))
    }
}

impl Technology for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn versions(&self) -> String {
        let version = self.server.sql("show server_version").unwrap_or_default();
        format!("PostgreSQL {}, pg_basebackup", version.trim())
    }

    fn client(&self, seed: u64) -> Result<Box<dyn Client>, Failure> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let mut config = tokio_postgres::Config::new();
        config.host(self.server.host()).port(self.server.port()).user(self.server.user());
        config.password(self.server.password()).dbname("postgres");
        let (connection, statements) = runtime.block_on(async {
            let (connection, io) = config.connect(NoTls).await?;
            tokio::spawn(io);
            let statements = [
                connection.prepare("select stock from item where id = $1").await?,
                connection
                    .prepare("select sum(stock)::bigint from item where id between $1 and $1 + 40")
                    .await?,
                connection.prepare("update item set stock = stock + 1 where id = $1").await?,
            ];
            Ok::<_, tokio_postgres::Error>((connection, statements))
        })?;
        let rng = fastrand::Rng::with_seed(seed);
        Ok(Box::new(PostgresClient { runtime, connection, statements, rows: self.rows, rng }))
    }

    fn spec(&self) -> JobSpec {
        JobSpec::new("shop", "postgresql")
    }

    fn executor(&self, to: Arc<dyn Destination>) -> Result<AnyExecutor, Failure> {
        let account = self.account();
        // A spread checkpoint takes minutes in which a script would move nothing: it would look slow and gentle.
        Ok(Arc::new(BaseBackup::new(move |_| Some(account.clone()), to).checkpoint(Checkpoint::Fast)))
    }

    fn monitor(&self) -> Option<Monitor> {
        Some(Monitor::new("shop", PostgresStatus::new(self.account()), MonitorConfig::default()))
    }
}

struct PostgresClient {
    runtime: Runtime,
    connection: Connection,
    statements: [Statement; 3],
    rows: i64,
    rng: fastrand::Rng,
}

impl Client for PostgresClient {
    fn request(&mut self) -> Result<(), Failure> {
        let id = self.rng.i64(0..self.rows);
        let statement = &self.statements[Kind::draw(&mut self.rng) as usize];
        self.runtime.block_on(self.connection.query(statement, &[&id]))?;
        Ok(())
    }
}
