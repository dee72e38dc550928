//! How busy a node is, and how well: [`CassandraStatus`].

use std::collections::BTreeMap;
use std::time::Duration;

use sched_core::{MonoTime, Now};
use sched_limits::Reading;

use super::{CassandraNode, CqlConnection, CqlRow, CqlRows};
use crate::DriverError;
use crate::server::{ServerStatus, StatusSource, Workload};

/// A node says something every second; the others take it for down after about twenty.
const SILENT: Duration = Duration::from_secs(20);

/// Reads how busy a node of Cassandra is from its virtual tables, over one connection.
///
/// - `active`: requests of clients at work or waiting for a thread, this one left out. The capacity is how many reads
///   the node works on at once (`concurrent_reads`): beyond that they wait for each other.
/// - Its workload: what clients asked of this node (reads and writes that it coordinated). Touched are the rows that
///   its own reads went over, by the median of each table, and the partitions that it wrote.
/// - Its health: `pending_compactions`, `pending_reads`, `pending_mutations`, `read_p99_ms` and `write_p99_ms` (the worst
///   table's, of tables that were used since the last reading), `hint_files` that wait for other nodes, and `down_nodes`
///   that gossip has not heard for 20 s.
///
/// `pending_compactions` counts compactions that run or wait for a thread. That is less than what `nodetool
/// compactionstats` estimates, which no virtual table of Cassandra 5.0 tells: a table that is far behind counts once. Set
/// its limit accordingly, or read the estimate with a probe of Prometheus under the same name.
///
/// A reading needs SELECT on `system_views`. Tables of keyspaces that begin with `system` are left out.
#[derive(Debug)]
pub struct CassandraStatus {
    node: CassandraNode,
    connection: Option<CqlConnection>,
    last: Option<(MonoTime, Counters)>,
    beats: Heartbeats,
}

impl CassandraStatus {
    /// Reads a node, which is connected to at the first reading.
    pub fn new(node: CassandraNode) -> Self {
        Self { node, connection: None, last: None, beats: Heartbeats::default() }
    }

    fn ask(&mut self) -> Result<Told, DriverError> {
        let mut cql = match self.connection.take() {
            Some(connection) => connection,
            None => CqlConnection::open(&self.node)?,
        };
        let latency = |of: &str| {
            format!(
                "SELECT keyspace_name, table_name, count, p99th_ms FROM system_views.coordinator_{of}_latency"
            )
        };
        let told = Told {
            pools: cql.query(
                "SELECT name, active_tasks, active_tasks_limit, pending_tasks FROM system_views.thread_pools",
            )?,
            reads: cql.query(&latency("read"))?,
            scans: cql.query(&latency("scan"))?,
            writes: cql.query(&latency("write"))?,
            rows_read: optional(
                &mut cql,
                "SELECT keyspace_name, table_name, count, p50th FROM system_views.rows_per_read",
            )?,
            written: cql
                .query("SELECT keyspace_name, table_name, count FROM system_views.local_write_latency")?,
            hints: optional(&mut cql, "SELECT files FROM system_views.pending_hints")?,
            gossip: optional(
                &mut cql,
                "SELECT address, port, generation, heartbeat FROM system_views.gossip_info",
            )?,
        };
        // Kept only after a success.
        self.connection = Some(cql);
        Ok(told)
    }
}

impl StatusSource for CassandraStatus {
    fn read(&mut self, now: Now) -> Result<ServerStatus, DriverError> {
        let told = self.ask()?;
        let counters = Counters::of(&told);
        let before = self.last.replace((now.mono, counters.clone()));
        let work = before.map(|(at, before)| Work::since(&before, &counters, now.mono.since(at)));
        let pool = |name, column| pool(&told.pools, name, column);
        let asked = pool("Native-Transport-Requests", "active_tasks")
            + pool("Native-Transport-Requests", "pending_tasks");
        // The one that asks is at work itself.
        let mut status = ServerStatus::new((asked - 1.0).max(0.0));
        let at_once = pool("ReadStage", "active_tasks_limit");
        if at_once > 0.0 {
            status = status.capacity(at_once);
        }
        let compactions =
            pool("CompactionExecutor", "pending_tasks") + pool("CompactionExecutor", "active_tasks");
        let hints: f64 = told.hints.iter().filter_map(|row| row.number("files")).sum();
        let down = self.beats.down(now.mono, told.gossip.iter().filter_map(beat));
        status = status
            .health(Reading::new("pending_compactions", compactions, "tasks"))
            .health(Reading::new("pending_reads", pool("ReadStage", "pending_tasks"), "tasks"))
            .health(Reading::new("pending_mutations", pool("MutationStage", "pending_tasks"), "tasks"))
            .health(Reading::new("hint_files", hints, "files"))
            .health(Reading::new("down_nodes", down as f64, "nodes"));
        if let Some(work) = work {
            status = status.health(Reading::new("read_p99_ms", work.read_p99_ms, "ms")).health(Reading::new(
                "write_p99_ms",
                work.write_p99_ms,
                "ms",
            ));
            if let Some(workload) = work.workload {
                status = status.workload(workload);
            }
        }
        Ok(status)
    }
}

/// The rows of a table that not all versions have; none where it is not there.
fn optional(cql: &mut CqlConnection, asked: &str) -> Result<CqlRows, DriverError> {
    match cql.query(asked) {
        Err(DriverError::Answer { .. }) => Ok(CqlRows::default()),
        answer => answer,
    }
}

/// The tables of one reading.
struct Told {
    pools: CqlRows,
    reads: CqlRows,
    scans: CqlRows,
    writes: CqlRows,
    rows_read: CqlRows,
    written: CqlRows,
    hints: CqlRows,
    gossip: CqlRows,
}

fn pool(pools: &CqlRows, name: &str, column: &str) -> f64 {
    let found = pools.iter().find(|row| row.text("name").as_deref() == Some(name));
    found.and_then(|row| row.number(column)).unwrap_or_default()
}

/// Something that only grows while the node runs, of one table, and what is typical of its size.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Count {
    count: f64,
    typical: f64,
}

/// By keyspace and table.
type Counts = BTreeMap<(String, String), Count>;

#[derive(Clone, Debug, Default, PartialEq)]
struct Counters {
    reads: Counts,
    scans: Counts,
    writes: Counts,
    rows_read: Counts,
    written: Counts,
}

impl Counters {
    fn of(told: &Told) -> Self {
        Self {
            reads: counts(&told.reads, "p99th_ms"),
            scans: counts(&told.scans, "p99th_ms"),
            writes: counts(&told.writes, "p99th_ms"),
            rows_read: counts(&told.rows_read, "p50th"),
            written: counts(&told.written, "p50th_ms"),
        }
    }
}

fn counts(rows: &CqlRows, typical: &str) -> Counts {
    let count = |row: CqlRow<'_>| {
        let keyspace = row.text("keyspace_name").filter(|keyspace| !keyspace.starts_with("system"))?;
        let count = Count { count: row.number("count")?, typical: row.number(typical).unwrap_or_default() };
        Some(((keyspace, row.text("table_name")?), count))
    };
    rows.iter().filter_map(count).collect()
}

/// What was done between two readings.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Work {
    workload: Option<Workload>,
    read_p99_ms: f64,
    write_p99_ms: f64,
}

impl Work {
    fn since(before: &Counters, now: &Counters, passed: Duration) -> Self {
        let secs = passed.as_secs_f64();
        let reads = [(&before.reads, &now.reads), (&before.scans, &now.scans)];
        let writes = [(&before.writes, &now.writes)];
        let sum = |counts: &[(&Counts, &Counts)], of: fn(Count) -> f64| -> f64 {
            counts.iter().flat_map(|(before, now)| grown(before, now)).map(of).sum()
        };
        let worst = |counts: &[(&Counts, &Counts)]| {
            let used = counts.iter().flat_map(|(before, now)| grown(before, now));
            used.map(|count| count.typical).fold(0.0, f64::max)
        };
        let touched = sum(&[(&before.rows_read, &now.rows_read)], |of| of.count * of.typical)
            + sum(&[(&before.written, &now.written)], |of| of.count);
        let a_second = |sum: f64| sum / secs;
        let workload = (secs > 0.0).then(|| {
            Workload::new(
                a_second(sum(&reads, |of| of.count)),
                a_second(sum(&writes, |of| of.count)),
                a_second(touched),
            )
        });
        Self { workload, read_p99_ms: worst(&reads), write_p99_ms: worst(&writes) }
    }
}

/// The tables that were used, with by how much; of a node that was started anew, since it was.
fn grown<'a>(before: &'a Counts, now: &'a Counts) -> impl Iterator<Item = Count> + 'a {
    now.iter().filter_map(|(table, now)| {
        let before = before.get(table).map_or(0.0, |before| before.count);
        let count = if now.count < before { now.count } else { now.count - before };
        (count > 0.0).then_some(Count { count, typical: now.typical })
    })
}

/// An address, and how often it was heard in which of its lives.
type Beat = (String, (u64, u64));

fn beat(row: CqlRow<'_>) -> Option<Beat> {
    let address = format!("{}:{}", row.text("address")?, row.number("port").unwrap_or_default());
    Some((address, (row.number("generation")? as u64, row.number("heartbeat")? as u64)))
}

/// Who is heard of, by the counters of gossip.
#[derive(Debug, Default)]
struct Heartbeats(BTreeMap<String, ((u64, u64), MonoTime)>);

impl Heartbeats {
    /// How many have been silent for too long; nobody at the first reading, which tells no time.
    fn down(&mut self, now: MonoTime, beats: impl Iterator<Item = Beat>) -> usize {
        let mut heard = BTreeMap::new();
        for (address, beat) in beats {
            let at = match self.0.get(&address) {
                Some((before, at)) if *before == beat => *at,
                _ => now,
            };
            heard.insert(address, (beat, at));
        }
        self.0 = heard;
        self.0.values().filter(|(_, at)| now.since(*at) > SILENT).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(count: f64, typical: f64) -> Counts {
        BTreeMap::from([(("shop".into(), "item".into()), Count { count, typical })])
    }

    #[test]
    fn work_is_what_grew() {
        let before = Counters { reads: table(100.0, 3.0), writes: table(10.0, 1.0), ..Counters::default() };
        let mut now = before.clone();
        now.reads = table(300.0, 4.0);
        now.scans = table(10.0, 9.0);
        now.rows_read = table(50.0, 5000.0);
        let work = Work::since(&before, &now, Duration::from_secs(10));
        assert_eq!((work.read_p99_ms, work.write_p99_ms), (9.0, 0.0));
        assert_eq!(work.workload, Some(Workload::new(21.0, 0.0, 25_000.0)));
        // A node that was started anew counts from nothing.
        let work = Work::since(&now, &before, Duration::from_secs(10));
        assert_eq!(work.workload, Some(Workload::new(10.0, 0.0, 0.0)));
        assert_eq!(Work::since(&before, &now, Duration::ZERO).workload, None);
    }

    #[test]
    fn who_is_silent_is_down_until_heard_again() {
        let at = |secs| MonoTime::default() + Duration::from_secs(secs);
        let mut beats = Heartbeats::default();
        let mut told = |secs, of_b: (u64, u64)| {
            let told = [("a".to_owned(), (1, secs)), ("b".to_owned(), of_b)];
            beats.down(at(secs), told.into_iter())
        };
        assert_eq!(told(0, (1, 7)), 0);
        assert_eq!(told(20, (1, 7)), 0);
        assert_eq!(told(25, (1, 7)), 1);
        // Started anew: another life.
        assert_eq!(told(30, (2, 1)), 0);
    }
}
