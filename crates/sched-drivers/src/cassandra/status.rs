//! How busy a node is, and how well: [`CassandraStatus`].

use std::collections::BTreeMap;
use std::time::Duration;

use sched_core::{MonoTime, Now};
use sched_limits::Reading;

use super::{CassandraNode, CqlConnection, CqlRow, CqlRows};
use crate::DriverError;
use crate::server::{ServerStatus, StatusSource, Workload};

/// A node is heard every second; the others take it for down after about twenty.
const SILENT_BEATS: u64 = 20;
/// How long the counters of the tables are not read again, for each table.
const EACH_TABLE: Duration = Duration::from_millis(300);

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
    tables_every: Duration,
    last: Option<(MonoTime, Counters)>,
    work: Option<Work>,
    beats: Heartbeats,
}

impl CassandraStatus {
    /// Reads a node, which is connected to at the first reading.
    pub fn new(node: CassandraNode) -> Self {
        Self {
            node,
            connection: None,
            tables_every: Duration::from_secs(30),
            last: None,
            work: None,
            beats: Heartbeats::default(),
        }
    }

    /// Sets how often the counters of the tables are read, which make the workload and the latencies. Default 30 s.
    ///
    /// They cost the node up to .2 ms for each table, more than all the rest. So where there are many they are read less
    /// often, every .3 s for each table: every 5 minutes for a thousand.
    #[must_use]
    pub fn tables_every(mut self, every: Duration) -> Self {
        self.tables_every = every;
        self
    }

    fn tables_are_due(&self, now: MonoTime) -> bool {
        self.last.as_ref().is_none_or(|(at, counters)| {
            now.since(*at) >= self.tables_every.max(EACH_TABLE.saturating_mul(counters.tables))
        })
    }

    fn ask(&mut self, with_tables: bool) -> Result<(Told, Option<Counters>), DriverError> {
        let mut cql = match self.connection.take() {
            Some(connection) => connection,
            None => CqlConnection::open(&self.node)?,
        };
        let told = Told::ask(&mut cql)?;
        let counters = if with_tables { Some(Counters::ask(&mut cql)?) } else { None };
        // Kept only after a success.
        self.connection = Some(cql);
        Ok((told, counters))
    }
}

impl StatusSource for CassandraStatus {
    fn read(&mut self, now: Now) -> Result<ServerStatus, DriverError> {
        let (told, counters) = self.ask(self.tables_are_due(now.mono))?;
        if let Some(counters) = counters {
            self.work =
                self.last.take().and_then(|(at, before)| Work::since(&before, &counters, now.mono.since(at)));
            self.last = Some((now.mono, counters));
        }
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
        let hints = total(told.hints.iter().filter_map(|row| row.number("files")));
        let down = self.beats.down(told.gossip.iter().filter_map(beat));
        status = status
            .health(Reading::new("pending_compactions", compactions, "tasks"))
            .health(Reading::new("pending_reads", pool("ReadStage", "pending_tasks"), "tasks"))
            .health(Reading::new("pending_mutations", pool("MutationStage", "pending_tasks"), "tasks"))
            .health(Reading::new("hint_files", hints, "files"))
            .health(Reading::new("down_nodes", down as f64, "nodes"));
        if let Some(work) = self.work {
            status = status
                .workload(work.workload)
                .health(Reading::new("read_p99_ms", work.read_p99_ms, "ms"))
                .health(Reading::new("write_p99_ms", work.write_p99_ms, "ms"));
        }
        Ok(status)
    }
}

/// What every reading asks for.
struct Told {
    pools: CqlRows,
    hints: CqlRows,
    gossip: CqlRows,
}

impl Told {
    fn ask(cql: &mut CqlConnection) -> Result<Self, DriverError> {
        let pools =
            "SELECT name, active_tasks, active_tasks_limit, pending_tasks FROM system_views.thread_pools";
        let gossip = "SELECT address, port, generation, heartbeat FROM system_views.gossip_info";
        Ok(Self {
            pools: cql.query(pools)?,
            hints: optional(cql, "SELECT files FROM system_views.pending_hints")?,
            gossip: optional(cql, gossip)?,
        })
    }
}

/// The rows of a table that not all versions have; none where it is not there.
fn optional(cql: &mut CqlConnection, asked: &str) -> Result<CqlRows, DriverError> {
    match cql.query(asked) {
        Err(DriverError::Answer { .. }) => Ok(CqlRows::default()),
        answer => answer,
    }
}

fn pool(pools: &CqlRows, name: &str, column: &str) -> f64 {
    let found = pools.iter().find(|row| row.text("name").as_deref() == Some(name));
    found.and_then(|row| row.number(column)).unwrap_or_default()
}

/// As `sum`, which of nothing is -0.
fn total(of: impl Iterator<Item = f64>) -> f64 {
    of.fold(0.0, |sum, one| sum + one)
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
    /// How many tables there are, those of the system among them: each costs.
    tables: u32,
    reads: Counts,
    scans: Counts,
    writes: Counts,
    rows_read: Counts,
    written: Counts,
}

impl Counters {
    fn ask(cql: &mut CqlConnection) -> Result<Self, DriverError> {
        let of = |columns: &str, view: &str| {
            format!("SELECT keyspace_name, table_name, count, {columns} FROM system_views.{view}")
        };
        let rows_read = optional(cql, &of("p50th", "rows_per_read"))?;
        let mut latency = |view: &str| cql.query(&of("p99th_ms", view));
        let reads = latency("coordinator_read_latency")?;
        Ok(Self {
            tables: u32::try_from(reads.len()).unwrap_or(u32::MAX),
            reads: counts(&reads, "p99th_ms"),
            scans: counts(&latency("coordinator_scan_latency")?, "p99th_ms"),
            writes: counts(&latency("coordinator_write_latency")?, "p99th_ms"),
            rows_read: counts(&rows_read, "p50th"),
            written: counts(&latency("local_write_latency")?, "p99th_ms"),
        })
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

/// What was done between two looks at the tables.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Work {
    workload: Workload,
    read_p99_ms: f64,
    write_p99_ms: f64,
}

impl Work {
    /// Nothing when no time has passed.
    fn since(before: &Counters, now: &Counters, passed: Duration) -> Option<Self> {
        let reads: Vec<Count> =
            grown(&before.reads, &now.reads).chain(grown(&before.scans, &now.scans)).collect();
        let writes: Vec<Count> = grown(&before.writes, &now.writes).collect();
        let requests = |counts: &[Count]| total(counts.iter().map(|of| of.count));
        let worst = |counts: &[Count]| counts.iter().map(|of| of.typical).fold(0.0, f64::max);
        let touched = total(grown(&before.rows_read, &now.rows_read).map(|of| of.count * of.typical))
            + total(grown(&before.written, &now.written).map(|of| of.count));
        let secs = passed.as_secs_f64();
        (secs > 0.0).then(|| Self {
            workload: Workload::new(requests(&reads) / secs, requests(&writes) / secs, touched / secs),
            read_p99_ms: worst(&reads),
            write_p99_ms: worst(&writes),
        })
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

/// Who is heard of, by the counters of gossip. Time is counted in beats, too: the node that is asked adds one to its own
/// every second.
#[derive(Debug, Default)]
struct Heartbeats {
    passed: u64,
    /// With what had passed when it was heard last.
    heard: BTreeMap<String, ((u64, u64), u64)>,
}

impl Heartbeats {
    /// How many have been silent for too long; nobody at the first reading.
    fn down(&mut self, beats: impl Iterator<Item = Beat>) -> usize {
        let mut heard = BTreeMap::new();
        let mut most = 0;
        for (address, (life, beat)) in beats {
            let before = self.heard.remove(&address);
            if let Some(((_, before), _)) = before.filter(|((before, _), _)| *before == life) {
                most = most.max(beat.saturating_sub(before));
            }
            let at = before.filter(|(before, _)| *before == (life, beat)).map(|(_, at)| at);
            heard.insert(address, ((life, beat), at));
        }
        self.passed += most;
        let passed = self.passed;
        self.heard =
            heard.into_iter().map(|(address, (beat, at))| (address, (beat, at.unwrap_or(passed)))).collect();
        self.heard.values().filter(|(_, at)| passed - at > SILENT_BEATS).count()
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
        now.writes = table(10.0, 1.0);
        now.scans = table(10.0, 9.0);
        now.rows_read = table(50.0, 5000.0);
        let work = Work::since(&before, &now, Duration::from_secs(10)).unwrap();
        assert_eq!((work.read_p99_ms, work.write_p99_ms), (9.0, 0.0));
        assert_eq!(work.workload, Workload::new(21.0, 0.0, 25_000.0));
        // A node that was started anew counts from nothing.
        let work = Work::since(&now, &before, Duration::from_secs(10)).unwrap();
        assert_eq!(work.workload, Workload::new(10.0, 0.0, 0.0));
        assert_eq!(Work::since(&before, &now, Duration::ZERO), None);
    }

    #[test]
    fn who_is_silent_is_down_until_heard_again() {
        let mut beats = Heartbeats::default();
        let mut told = |of_a: u64, of_b: (u64, u64)| {
            beats.down([("a".to_owned(), (1, of_a)), ("b".to_owned(), of_b)].into_iter())
        };
        assert_eq!(told(100, (1, 7)), 0);
        assert_eq!(told(120, (1, 7)), 0);
        assert_eq!(told(121, (1, 7)), 1);
        // Started anew: another life.
        assert_eq!(told(130, (2, 1)), 0);
        assert_eq!(told(150, (2, 21)), 0);
    }
}
