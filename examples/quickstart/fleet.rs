//! Seven SQLite databases of different sizes and importance.

use std::error::Error;
use std::path::{Path, PathBuf};

use backup_sched::Priority;
use rusqlite::{Connection, params};

/// Bytes of payload in a row: with its key about three rows fill a page.
const PAYLOAD: usize = 1200;

/// One database to be backed up.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) name: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) rows: i64,
    pub(crate) priority: Priority,
    pub(crate) bytes: u64,
}

/// Names, sizes in MB and classes: a shop.
const SHOP: [(&str, u64, Priority); 7] = [
    ("orders", 80, Priority::High),
    ("events", 70, Priority::Low),
    ("customers", 60, Priority::Normal),
    ("catalog", 35, Priority::Normal),
    ("sessions", 25, Priority::Low),
    ("ledger", 20, Priority::Critical),
    ("settings", 10, Priority::Normal),
];

/// Creates the databases in `dir`, `percent` of their full size.
pub(crate) fn create(
    dir: &Path,
    percent: u64,
    made: impl Fn(&Database),
) -> Result<Vec<Database>, Box<dyn Error>> {
    let mut fleet = Vec::new();
    for (name, megabytes, priority) in SHOP {
        let rows = (megabytes * 1_000_000 * percent / 100 / PAYLOAD as u64) as i64;
        let path = dir.join(name).with_extension("db");
        fill(&path, rows)?;
        let bytes = std::fs::metadata(&path)?.len();
        let database = Database { name, path, rows, priority, bytes };
        made(&database);
        fleet.push(database);
    }
    Ok(fleet)
}

fn fill(path: &Path, rows: i64) -> rusqlite::Result<()> {
    let mut db = Connection::open(path)?;
    // Nothing to lose yet, so the load is not slowed by syncing.
    db.execute_batch(
        "PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY;
         CREATE TABLE item (id INTEGER PRIMARY KEY, stock INTEGER NOT NULL, data BLOB NOT NULL);",
    )?;
    let mut rng = fastrand::Rng::with_seed(rows.unsigned_abs());
    let mut data = vec![0; PAYLOAD];
    let batch = db.transaction()?;
    {
        let mut insert = batch.prepare("INSERT INTO item (id, stock, data) VALUES (?1, ?2, ?3)")?;
        for id in 0..rows {
            rng.fill(&mut data);
            insert.execute(params![id, rng.u16(..), data])?;
        }
    }
    batch.commit()?;
    db.pragma_update(None, "journal_mode", "WAL")
}

/// A connection as a careful application opens it: WAL, and a commit is on disk when it returns.
pub(crate) fn open(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open(path)?;
    db.busy_timeout(std::time::Duration::from_secs(10))?;
    db.pragma_update(None, "synchronous", "FULL")?;
    Ok(db)
}

/// What a copy must agree on with its source: the number of rows and the sum of a column that the traffic changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    rows: i64,
    stock: i64,
}

pub(crate) fn contents(db: &Connection) -> rusqlite::Result<Contents> {
    db.query_row("SELECT count(*), sum(stock) FROM item", [], |row| {
        Ok(Contents { rows: row.get(0)?, stock: row.get(1)? })
    })
}
