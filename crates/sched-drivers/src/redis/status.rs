//! Load and health of one server: [`RedisStatus`].

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use sched_core::{MonoTime, Now};
use sched_limits::Reading;

use super::connection::Connection;
use super::info::Info;
use super::resp::Value;
use super::server::RedisServer;
use crate::DriverError;
use crate::server::{ServerStatus, StatusSource, Workload};

/// What drivers, replicas and monitoring ask: no foreground.
const NOT_WORK: [&str; 8] = ["info", "command", "ping", "auth", "hello", "replconf", "psync", "bgsave"];

/// Reads `INFO`.
///
/// - Requests at work: how much of its main thread is busy, of 1; all commands share that thread, so at three quarters
///   others begin to wait. At the first reading it is the average of the server's life.
/// - Work done: commands that read or write, as `COMMAND` calls them. Redis does not count what a command touches: a µs of
///   its time is reckoned as one entry, so that commands of more than a ms on average are a batch.
/// - Health:
///
/// | reading | what it says |
/// |---|---|
/// | `latest_fork_ms` | how long the last fork stalled it; 0 when there was none |
/// | `memory_in_use` | the share of the machine's memory that it takes |
/// | `saving` | 1 while a child saves or rewrites the log |
/// | `blocked_clients` | clients that wait for data, such as in `BLPOP` |
/// | `replication_lag` | s since a replica heard of its primary; 0 of a primary |
/// | `replica_lag` | s since it heard of its slowest replica, if it has any |
/// | `replication_down` | 1 when a replica has lost its primary |
pub struct RedisStatus {
    server: RedisServer,
    connection: Option<Open>,
    last: Option<(MonoTime, Info)>,
}

struct Open {
    connection: Connection,
    /// Commands that write; empty when the user may not ask.
    writes: HashSet<String>,
}

impl RedisStatus {
    /// The status of `server`.
    pub fn new(server: RedisServer) -> Self {
        Self { server, connection: None, last: None }
    }

    fn info(&mut self) -> Result<Info, DriverError> {
        let open = match &mut self.connection {
            Some(open) => open,
            None => {
                let mut connection = Connection::open(&self.server, None)?;
                let writes = writes(&connection.ask(&[b"COMMAND"])?);
                self.connection.insert(Open { connection, writes })
            }
        };
        open.connection.info()
    }
}

impl StatusSource for RedisStatus {
    fn read(&mut self, now: Now) -> Result<ServerStatus, DriverError> {
        let info = self.info().inspect_err(|_| self.connection = None)?;
        // All its counters begin anew with its process, and commands' by order (`CONFIG RESETSTAT`).
        let same = |last: &Info| last.text("run_id") == info.text("run_id");
        let last = self.last.take().filter(|(_, last)| same(last));
        let passed = last.as_ref().map(|(at, _)| now.mono.since(*at)).filter(|passed| !passed.is_zero());
        let mut status = match (&last, passed) {
            (Some((_, last)), Some(passed)) => {
                let writes = self.connection.as_ref().map(|open| &open.writes);
                let busy = (cpu_s(&info) - cpu_s(last)).max(0.0) / passed.as_secs_f64();
                let status = ServerStatus::new(busy);
                match writes {
                    Some(writes) => status.workload(workload(last, &info, writes, passed)),
                    None => status,
                }
            }
            _ => {
                let life = info.number("uptime_in_seconds").unwrap_or(0.0).max(1.0);
                ServerStatus::new(cpu_s(&info) / life)
            }
        };
        status.capacity = Some(1.0);
        status.health = health(&info);
        self.last = Some((now.mono, info));
        Ok(status)
    }
}

impl fmt::Debug for RedisStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStatus").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Processor time of the thread that serves, in s; of the whole process where the server does not tell them apart.
fn cpu_s(info: &Info) -> f64 {
    let sum = |user, sys| Some(info.number(user)? + info.number(sys)?);
    sum("used_cpu_user_main_thread", "used_cpu_sys_main_thread")
        .or_else(|| sum("used_cpu_user", "used_cpu_sys"))
        .unwrap_or(0.0)
}

fn workload(last: &Info, info: &Info, writes: &HashSet<String>, passed: Duration) -> Workload {
    let before: std::collections::HashMap<&str, (f64, f64)> =
        last.commands().map(|(name, calls, usec)| (name, (calls, usec))).collect();
    let (mut read, mut written, mut usecs) = (0.0, 0.0, 0.0);
    for (name, calls, usec) in info.commands() {
        let command = name.split('|').next().unwrap_or(name);
        if NOT_WORK.contains(&command) {
            continue;
        }
        let (old_calls, old_usec) = before.get(name).copied().unwrap_or_default();
        // Fewer than before: the statistics were reset meanwhile.
        let (old_calls, old_usec) = if calls < old_calls { (0.0, 0.0) } else { (old_calls, old_usec) };
        *if writes.contains(command) { &mut written } else { &mut read } += calls - old_calls;
        usecs += (usec - old_usec).max(0.0);
    }
    let seconds = passed.as_secs_f64();
    Workload::new(read / seconds, written / seconds, usecs / seconds)
}

fn health(info: &Info) -> Vec<Reading> {
    let number = |name: &str| info.number(name).unwrap_or(0.0).max(0.0);
    let bit = |on: bool| f64::from(u8::from(on));
    let saving = info.flag("rdb_bgsave_in_progress") || info.flag("aof_rewrite_in_progress");
    let mut health = vec![
        Reading::new("latest_fork_ms", number("latest_fork_usec") / 1000.0, "ms"),
        Reading::new("saving", bit(saving), "saves"),
        Reading::new("blocked_clients", number("blocked_clients"), "clients"),
    ];
    let total = number("total_system_memory");
    if total > 0.0 {
        health.push(Reading::share("memory_in_use", (number("used_memory_rss") / total).min(1.0)));
    }
    let lag = if info.is_replica() {
        let down = info.text("master_link_status") != Some("up");
        health.push(Reading::new("replication_down", bit(down), "links"));
        let since = if down { "master_link_down_since_seconds" } else { "master_last_io_seconds_ago" };
        info.number(since).filter(|seconds| *seconds >= 0.0)
    } else {
        Some(0.0)
    };
    let of_replicas = info.replicas().iter().filter_map(|replica| replica.lag_s).max().map(|lag| lag as f64);
    health.extend(lag.map(|lag| Reading::new("replication_lag", lag, "s")));
    health.extend(of_replicas.map(|lag| Reading::new("replica_lag", lag, "s")));
    health
}

/// The commands that write, out of what `COMMAND` says.
fn writes(answer: &Value) -> HashSet<String> {
    let Value::List(commands) = answer else { return HashSet::new() };
    let writes = |command: &Value| match command {
        Value::List(parts) => {
            let Some(Value::List(flags)) = parts.get(2) else { return None };
            let writes = flags.iter().any(|flag| flag.text().as_deref() == Some("write"));
            parts.first()?.text().filter(|_| writes)
        }
        _ => None,
    };
    commands.iter().filter_map(writes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_are_told_apart_and_statistics_that_were_reset_are_not_negative() {
        let writes = HashSet::from(["set".to_owned()]);
        let info = |get: u32, set: u32| {
            Info::parse(&format!(
                "cmdstat_get:calls={get},usec={get}\ncmdstat_set:calls={set},usec={}\ncmdstat_info:calls=9,usec=9000\n",
                set * 3
            ))
        };
        let between = |last: &Info, now: &Info| workload(last, now, &writes, Duration::from_secs(2));
        assert_eq!(between(&info(10, 10), &info(30, 14)), Workload::new(10.0, 2.0, 16.0));
        assert_eq!(between(&info(30, 14), &info(4, 2)), Workload::new(2.0, 1.0, 5.0));
    }

    #[test]
    fn a_replica_that_lost_its_primary_lags_for_as_long() {
        let readings = health(&Info::parse(
            "role:slave\nmaster_link_status:down\nmaster_link_down_since_seconds:42\nmaster_last_io_seconds_ago:-1\n\
             latest_fork_usec:1500\nused_memory_rss:25\ntotal_system_memory:100\n",
        ));
        let value = |name: &str| readings.iter().find(|r| r.signal.as_str() == name).map(|r| r.value);
        assert_eq!((value("replication_lag"), value("replication_down")), (Some(42.0), Some(1.0)));
        assert_eq!((value("latest_fork_ms"), value("memory_in_use")), (Some(1.5), Some(0.25)));
        for reading in &readings {
            reading.check().unwrap();
        }
    }
}
