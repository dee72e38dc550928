//! Load and health of a server: [`PostgresStatus`].

use sched_core::{MonoTime, Now};
use sched_limits::{Counter, Reading};
use tokio_postgres::{Row, Statement};

use super::PostgresServer;
use super::connection::Connection;
use super::survey::sees_sessions;
use crate::DriverError;
use crate::server::{ServerStatus, StatusSource, Workload};

/// One question a reading. Shared statistics are read in memory: no table, no file.
///
/// - A standby that has replayed all it received is not behind, however long ago the primary last wrote.
/// - The checkpointer waits in `CheckpointerMain` when it has nothing to do.
const READING: &str = "
select activity.active, activity.checkpointing, counters.*, archiver.failing_s,
       case when not pg_is_in_recovery() then 0::float8
            when receiver.streaming and pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn() then 0::float8
            else extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp())::float8
       end as lag_s,
       (select extract(epoch from max(coalesce(replay_lag, interval '0')))::float8
        from pg_stat_replication where state = 'streaming') as standby_lag_s
from (select count(*) filter (where state = 'active' and backend_type = 'client backend'
                                    and not starts_with(application_name, $1)) as active,
             bool_or(backend_type = 'checkpointer' and wait_event is distinct from 'CheckpointerMain')
                 as checkpointing
      from pg_stat_activity) as activity,
     (select sum(xact_commit + xact_rollback)::int8 as transactions,
             sum(greatest(tup_returned, tup_fetched))::int8 as read,
             sum(tup_inserted + tup_updated + tup_deleted)::int8 as changed
      from pg_stat_database) as counters,
     (select case when last_failed_time > coalesce(last_archived_time, '-infinity')
                  then extract(epoch from clock_timestamp() - coalesce(last_archived_time, stats_reset))::float8
                  else 0::float8 end as failing_s
      from pg_stat_archiver) as archiver,
     (select count(*) > 0 as streaming from pg_stat_wal_receiver where status = 'streaming') as receiver";

/// Reads load and health of a server over one connection, with one question a reading.
///
/// The role needs `pg_monitor`: without it PostgreSQL shows other sessions as if they did nothing, which would look like
/// an idle server, so that is refused.
///
/// | what | from |
/// |---|---|
/// | requests at work | active client sessions, those of this crate's backups left out |
/// | reads, writes a second | transactions; at most as many are writes as rows were changed |
/// | touched a second | rows returned, fetched, inserted, updated and deleted |
/// | `replication_lag`, s | how far a standby is behind; 0 on a primary |
/// | `standby_lag`, s | how far the worst of those that stream from it is behind, if there are any |
/// | `archiver_failing`, s | for how long no WAL was archived, while that fails; 0 while it does not |
/// | `checkpoint`, share | 1 while a checkpoint is being made, else 0 |
///
/// The lag of others has a name of its own, since limits of `replication_lag` are to keep backups from a standby that is
/// behind, and not from its primary.
///
/// PostgreSQL counts rows when a transaction ends, so a report of an hour shows as a request at work while it runs and
/// as a batch when it is done.
///
/// ```no_run
/// use sched_drivers::postgres::{PostgresServer, PostgresStatus};
/// use sched_drivers::server::{Monitor, MonitorConfig};
///
/// let server = PostgresServer::new("/run/postgresql", "backup");
/// let monitor = Monitor::new("orders", PostgresStatus::new(server), MonitorConfig::default().busy_at(16.0));
/// ```
#[derive(Debug)]
pub struct PostgresStatus {
    server: PostgresServer,
    session: Option<Session>,
    counters: Counters,
}

#[derive(Debug)]
struct Session {
    connection: Connection,
    reading: Statement,
}

#[derive(Debug, Default)]
struct Counters {
    transactions: Counter,
    read: Counter,
    changed: Counter,
}

impl PostgresStatus {
    /// Reads a server; connects when it is first read.
    pub fn new(server: PostgresServer) -> Self {
        Self { server, session: None, counters: Counters::default() }
    }

    fn open(&self) -> Result<Session, DriverError> {
        let connection = Connection::open(&self.server)?;
        sees_sessions(&connection)?;
        let reading = connection.prepare(READING)?;
        Ok(Session { connection, reading })
    }
}

impl StatusSource for PostgresStatus {
    fn read(&mut self, now: Now) -> Result<ServerStatus, DriverError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.open()?,
        };
        let rows = session.connection.query(&session.reading, &[&super::APPLICATION])?;
        let row = rows.first().ok_or_else(|| DriverError::Answer {
            server: self.server.address(),
            problem: "no row of statistics".into(),
        })?;
        let status = self.counters.status(&session.connection, row, now.mono)?;
        // Only a session that answered is asked again.
        self.session = Some(session);
        Ok(status)
    }
}

impl Counters {
    fn status(
        &mut self,
        connection: &Connection,
        row: &Row,
        at: MonoTime,
    ) -> Result<ServerStatus, DriverError> {
        let active: i64 = connection.column(row, "active")?;
        let mut status = ServerStatus::new(active.max(0) as f64);
        let count = |name| -> Result<u64, DriverError> {
            let value: Option<i64> = connection.column(row, name)?;
            Ok(u64::try_from(value.unwrap_or_default()).unwrap_or_default())
        };
        let transactions = self.transactions.per_sec(at, count("transactions")?);
        let read = self.read.per_sec(at, count("read")?);
        let changed = self.changed.per_sec(at, count("changed")?);
        if let (Some(transactions), Some(read), Some(changed)) = (transactions, read, changed) {
            status = status.workload(workload(transactions, read, changed));
        }
        for (signal, name) in [("replication_lag", "lag_s"), ("standby_lag", "standby_lag_s")] {
            if let Some(lag) = connection.column::<Option<f64>>(row, name)? {
                status = status.health(Reading::new(signal, lag.max(0.0), "s"));
            }
        }
        let failing: f64 = connection.column(row, "failing_s")?;
        status = status.health(Reading::new("archiver_failing", failing.max(0.0), "s"));
        let checkpointing: Option<bool> = connection.column(row, "checkpointing")?;
        let checkpoint = if checkpointing.unwrap_or(false) { 1.0 } else { 0.0 };
        Ok(status.health(Reading::share("checkpoint", checkpoint)))
    }
}

/// A transaction that changes anything changes at least a row.
fn workload(transactions: f64, read: f64, changed: f64) -> Workload {
    let writes = changed.min(transactions);
    Workload::new(transactions - writes, writes, read + changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::QueryPattern;

    #[test]
    fn what_kind_of_work_it_is_follows_from_rows_for_each_transaction() {
        assert_eq!(workload(500.0, 2_000.0, 20.0).pattern(), QueryPattern::PointReads);
        assert_eq!(workload(500.0, 2_000.0, 900.0).pattern(), QueryPattern::Writes);
        assert_eq!(workload(500.0, 2_000_000.0, 0.0).pattern(), QueryPattern::Batch);
        assert_eq!(workload(2.0, 0.0, 100_000.0).pattern(), QueryPattern::Batch);
        assert_eq!(workload(0.2, 40.0, 0.0).pattern(), QueryPattern::Idle);
    }
}
