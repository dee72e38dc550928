//! One SQLite file in WAL mode.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use backup_sched::JobSpec;
use rusqlite::{Connection, params};
use sched_drivers::destination::Destination;
use sched_drivers::server::{Monitor, MonitorConfig};
use sched_drivers::sqlite::{SqliteBackup, SqliteStatus};

use super::{Client, Kind, Technology};
use crate::Failure;
use crate::method::AnyExecutor;

/// Bytes of payload in a row.
const PAYLOAD: usize = 1000;

pub(super) struct Sqlite {
    path: PathBuf,
    rows: i64,
}

impl Sqlite {
    pub(super) fn start(directory: &Path, bytes: u64) -> Result<Self, Failure> {
        let (path, rows) = (directory.join("shop.db"), (bytes / PAYLOAD as u64) as i64);
        let mut db = Connection::open(&path)?;
        db.execute_batch(
            "PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY;
             CREATE TABLE item (id INTEGER PRIMARY KEY, stock INTEGER NOT NULL, data BLOB NOT NULL);",
        )?;
        let (mut rng, mut data) = (fastrand::Rng::with_seed(1), vec![0; PAYLOAD]);
        let fill = db.transaction()?;
        {
            let mut insert = fill.prepare("INSERT INTO item VALUES (?1, 0, ?2)")?;
            for id in 0..rows {
                rng.fill(&mut data);
                insert.execute(params![id, data])?;
            }
        }
        fill.commit()?;
        db.execute_batch("PRAGMA journal_mode = WAL;")?;
        Ok(Self { path, rows })
    }
}

impl Technology for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn versions(&self) -> String {
        format!("SQLite {}, online backup API", rusqlite::version())
    }

    fn workers(&self) -> usize {
        4
    }

    fn client(&self, seed: u64) -> Result<Box<dyn Client>, Failure> {
        let db = Connection::open(&self.path)?;
        db.busy_timeout(Duration::from_secs(30))?;
        db.execute_batch("PRAGMA synchronous = FULL;")?;
        Ok(Box::new(SqliteClient { db, rows: self.rows, rng: fastrand::Rng::with_seed(seed) }))
    }

    fn spec(&self) -> JobSpec {
        JobSpec::new("shop", "sqlite")
    }

    /// The log cannot begin anew while a backup reads.
    fn holds_what_it_copies(&self) -> bool {
        true
    }

    fn executor(&self, to: Arc<dyn Destination>) -> Result<AnyExecutor, Failure> {
        let path = self.path.clone();
        Ok(Arc::new(SqliteBackup::new(move |_| Some(path.clone()), to).unchecked()))
    }

    fn monitor(&self) -> Option<Monitor> {
        Some(Monitor::new("shop", SqliteStatus::new(&self.path), MonitorConfig::default()))
    }
}

struct SqliteClient {
    db: Connection,
    rows: i64,
    rng: fastrand::Rng,
}

impl Client for SqliteClient {
    fn request(&mut self) -> Result<(), Failure> {
        let id = self.rng.i64(0..self.rows);
        match Kind::draw(&mut self.rng) {
            Kind::Read => {
                let mut read = self.db.prepare_cached("SELECT stock, data FROM item WHERE id = ?1")?;
                read.query_row([id], |row| row.get::<_, i64>(0))?;
            }
            Kind::Scan => {
                let mut scan =
                    self.db.prepare_cached("SELECT sum(stock) FROM item WHERE id BETWEEN ?1 AND ?1 + 40")?;
                scan.query_row([id], |row| row.get::<_, Option<i64>>(0))?;
            }
            Kind::Write => {
                let mut update = self.db.prepare_cached("UPDATE item SET stock = stock + 1 WHERE id = ?1")?;
                update.execute([id])?;
            }
        }
        Ok(())
    }
}
