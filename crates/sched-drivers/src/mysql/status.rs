//! Load and health of a server: [`MySqlStatus`].

use std::collections::HashMap;

use ::mysql::Conn;
use ::mysql::prelude::Queryable;
use sched_core::{MonoTime, Now};
use sched_limits::Reading;

use super::server::MySqlServer;
use super::version::{Product, ServerVersion};
use super::{fault, replication};
use crate::DriverError;
use crate::server::{ServerStatus, StatusSource, Workload};

/// Of a replica that stands or has lost its primary nobody knows how far it is behind, only that it falls back more and
/// more: it is told as a day late, which every limit of `replication_lag` is below.
const STANDS_S: f64 = 86_400.0;

const READS: [&str; 2] = ["Com_select", "Qcache_hits"];
const WRITES: [&str; 9] = [
    "Com_insert",
    "Com_insert_select",
    "Com_update",
    "Com_update_multi",
    "Com_delete",
    "Com_delete_multi",
    "Com_replace",
    "Com_replace_select",
    "Com_load",
];
/// Rows of tables that were read: MariaDB counts those of all engines, MySQL's InnoDB its own.
const ROWS_READ: [&str; 2] = ["Rows_read", "Innodb_rows_read"];
/// Rows that were changed: MySQL counts those of temporary tables among the handler's.
const ROWS_CHANGED_MARIADB: [&str; 3] = ["Handler_write", "Handler_update", "Handler_delete"];
const ROWS_CHANGED_MYSQL: [&str; 3] = ["Innodb_rows_inserted", "Innodb_rows_updated", "Innodb_rows_deleted"];
const MOMENT: [&str; 4] =
    ["Uptime", "Threads_running", "Innodb_history_list_length", "Innodb_os_log_pending_fsyncs"];

/// Work that counts as running without being the foreground's: those that send the binary log, and dumps. What a dump
/// reads is not to make the foreground look like a batch.
const BACKGROUND: &str = "SELECT COALESCE(SUM(COMMAND LIKE 'Binlog Dump%'), 0), \
     COALESCE(SUM(INFO LIKE 'SELECT /*!40001 SQL_NO_CACHE */%'), 0) \
     FROM information_schema.PROCESSLIST WHERE COMMAND <> 'Sleep'";

/// Reads a server's status counters, replication and running statements over one connection.
///
/// | reading | unit | of |
/// |---|---|---|
/// | `replication_lag` | s | replicas; 86,400 when one stands or has lost its primary. A primary: 0 |
/// | `history_list_length` | transactions | InnoDB: what purge has before it |
/// | `log_pending_fsyncs` | fsyncs | InnoDB's redo log, where the server tells (MySQL, MariaDB before 10.8) |
///
/// The account needs `PROCESS` and `REPLICA MONITOR` (`REPLICATION CLIENT` on MySQL).
///
/// While a dump reads, rows are not counted: they are the dump's.
#[derive(Debug)]
pub struct MySqlStatus {
    server: MySqlServer,
    connected: Option<Connected>,
}

#[derive(Debug)]
struct Connected {
    connection: Conn,
    version: ServerVersion,
    before: Option<Counters>,
    /// Rows a request before a dump began to read.
    touched_per_request: f64,
}

/// What the server has counted since it started.
#[derive(Clone, Copy, Debug)]
struct Counters {
    at: MonoTime,
    uptime_s: f64,
    reads: f64,
    writes: f64,
    touched: f64,
}

impl MySqlStatus {
    /// Reads that server; it is connected to when it is read first.
    pub fn new(server: MySqlServer) -> Self {
        Self { server, connected: None }
    }

    fn connect(&self) -> Result<Connected, DriverError> {
        let mut connection = self.server.connect()?;
        let version = self.server.identify(&mut connection)?.version;
        Ok(Connected { connection, version, before: None, touched_per_request: 0.0 })
    }
}

impl StatusSource for MySqlStatus {
    fn read(&mut self, now: Now) -> Result<ServerStatus, DriverError> {
        let mut connected = match self.connected.take() {
            Some(connected) => connected,
            None => self.connect()?,
        };
        // Not kept after an error: the next reading connects anew.
        let status = connected.read(&self.server.address(), now.mono)?;
        self.connected = Some(connected);
        Ok(status)
    }
}

impl Connected {
    fn read(&mut self, server: &str, now: MonoTime) -> Result<ServerStatus, DriverError> {
        let fail = |error| fault::of_client(server, error);
        let names = [&MOMENT[..], &READS, &WRITES, &ROWS_READ, &ROWS_CHANGED_MARIADB, &ROWS_CHANGED_MYSQL];
        let names = names.concat().join("','");
        let question = format!("SHOW GLOBAL STATUS WHERE Variable_name IN ('{names}')");
        let rows: Vec<(String, String)> = self.connection.query(question).map_err(fail)?;
        let status: HashMap<String, f64> =
            rows.into_iter().filter_map(|(name, value)| Some((name, value.parse().ok()?))).collect();
        let background: Option<(f64, f64)> = self.connection.query_first(BACKGROUND).map_err(fail)?;
        let (senders, dumps) = background.unwrap_or_default();
        let history = match status.get("Innodb_history_list_length") {
            Some(length) => Some(*length),
            None => self.history().map_err(fail)?,
        };
        let channels = replication::channels(&mut self.connection, server, self.version)?;
        let lag = channels.iter().map(|channel| channel.lag.map_or(STANDS_S, |lag| lag.as_secs_f64()));

        // Itself is among those that run.
        let running = status.get("Threads_running").copied().unwrap_or_default();
        let mut read = ServerStatus::new((running - 1.0 - senders - dumps).max(0.0));
        if let Some(workload) = self.workload(now, &status, dumps > 0.0) {
            read = read.workload(workload);
        }
        read = read.health(Reading::new("replication_lag", lag.fold(0.0, f64::max), "s"));
        if let Some(length) = history {
            read = read.health(Reading::new("history_list_length", length, "transactions"));
        }
        if let Some(pending) = status.get("Innodb_os_log_pending_fsyncs") {
            read = read.health(Reading::new("log_pending_fsyncs", *pending, "fsyncs"));
        }
        Ok(read)
    }

    /// Where the server has no status variable for it.
    fn history(&mut self) -> Result<Option<f64>, ::mysql::Error> {
        self.connection.query_first(
            "SELECT COUNT FROM information_schema.INNODB_METRICS WHERE NAME = 'trx_rseg_history_len'",
        )
    }

    /// What it did since it was read before; `None` at first and after it was restarted.
    fn workload(&mut self, now: MonoTime, status: &HashMap<String, f64>, dumps: bool) -> Option<Workload> {
        let counters = Counters::of(now, status, self.version.product);
        let workload = self.before.and_then(|before| counters.since(&before));
        self.before = Some(counters);
        let mut workload = workload?;
        if dumps {
            workload.touched_per_s = self.touched_per_request * workload.requests_per_s();
        } else {
            self.touched_per_request = workload.touched_per_request();
        }
        Some(workload)
    }
}

impl Counters {
    fn of(at: MonoTime, status: &HashMap<String, f64>, product: Product) -> Self {
        let value = |name: &&str| status.get(*name).copied();
        let sum = |names: &[&str]| names.iter().filter_map(value).sum::<f64>();
        let changed = match product {
            Product::MariaDb => sum(&ROWS_CHANGED_MARIADB),
            Product::MySql => sum(&ROWS_CHANGED_MYSQL),
        };
        Self {
            at,
            uptime_s: value(&"Uptime").unwrap_or_default(),
            reads: sum(&READS),
            writes: sum(&WRITES),
            touched: ROWS_READ.iter().find_map(value).unwrap_or_default() + changed,
        }
    }

    /// `None` when the server was restarted in between, or no time has passed.
    fn since(&self, before: &Self) -> Option<Workload> {
        let seconds = self.at.since(before.at).as_secs_f64();
        let rates =
            [(self.reads, before.reads), (self.writes, before.writes), (self.touched, before.touched)];
        let fell = self.uptime_s < before.uptime_s || rates.iter().any(|(now, before)| now < before);
        if fell || seconds <= 0.0 {
            return None;
        }
        let [reads, writes, touched] = rates.map(|(now, before)| (now - before) / seconds);
        // The question about background work is a select of our own.
        Some(Workload::new((reads - 1.0 / seconds).max(0.0), writes, touched))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn status(uptime: f64, selects: f64, inserts: f64, rows: f64) -> HashMap<String, f64> {
        let of = [("Uptime", uptime), ("Com_select", selects), ("Com_insert", inserts), ("Rows_read", rows)];
        of.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn at(secs: u64) -> MonoTime {
        MonoTime::default() + Duration::from_secs(secs)
    }

    #[test]
    fn rates_are_of_the_time_between_two_readings_without_our_own() {
        let of = |secs, status| Counters::of(at(secs), &status, Product::MariaDb);
        let before = of(10, status(100.0, 50.0, 5.0, 500.0));
        let now = of(20, status(110.0, 151.0, 25.0, 1500.0));
        assert_eq!(now.since(&before), Some(Workload::new(10.0, 2.0, 100.0)));
        assert_eq!(before.since(&before), None);
    }

    #[test]
    fn a_restart_is_no_work() {
        let of = |secs, status| Counters::of(at(secs), &status, Product::MariaDb);
        let before = of(10, status(100.0, 50.0, 5.0, 500.0));
        assert_eq!(of(20, status(3.0, 90.0, 90.0, 900.0)).since(&before), None);
        assert_eq!(of(20, status(200.0, 9.0, 90.0, 900.0)).since(&before), None);
    }
}
