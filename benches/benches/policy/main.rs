//! Policies at the size of a fleet: how long a request's terms take, and what loading a file with 100,000 instances
//! costs in time and memory; when windows open, and what is due next of a million schedules; and how long a scheduler
//! with a job for each instance answers nobody while other policies come into force.
//!
//! `cargo bench -p sched-benches --bench policy`

mod reload;

use std::fmt::Write;
use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sched_benches::{Row, median, quick, timed, write_results};
use sched_core::{BackupKind, Calendar, JobSpec};
use sched_policy::{Outcome, Policies, Recurrence, Timetable, WindowCalendar, WindowRules};

/// Set for the child process that only loads: its highest memory is nobody else's.
const LOAD_ONLY: &str = "POLICY_BENCH_LOAD";

const TECHNOLOGIES: [&str; 4] = ["postgresql", "mysql", "cassandra", "mongodb"];

/// Of an instance of the fleet.
fn technology(n: usize) -> &'static str {
    TECHNOLOGIES[n / 3 % TECHNOLOGIES.len()]
}

fn main() {
    let instances = if quick() { 10_000 } else { 100_000 };
    let text = fleet(instances);
    if std::env::var_os(LOAD_ONLY).is_some() {
        println!("{}", load_bytes(&text));
        return;
    }
    let rounds = if quick() { 3 } else { 7 };
    let mut rows = vec![
        resolving(&text, instances),
        loading(&text, rounds),
        changing(&text, rounds),
        memory(&text),
        next_window(),
        next_due(if quick() { 100_000 } else { 1_000_000 }),
    ];
    rows.extend(reload::pauses(instances, rounds));
    write_results("policy", &rows);
}

/// A fleet in which every tenth instance says something itself, in one of a hundred ways.
fn fleet(instances: usize) -> String {
    let mut text = String::from("[labels.gold]\nrpo = \"6h\"\n[labels.small]\nmax_per_host = 1\n");
    for cluster in 0..instances.div_ceil(3) {
        let technology = TECHNOLOGIES[cluster % TECHNOLOGIES.len()];
        let label = if cluster % 5 == 0 { "labels = [\"gold\"]\n" } else { "" };
        writeln!(
            text,
            "[clusters.c-{cluster}]\ntechnology = \"{technology}\"\n{label}destination = \"s3-{}\"",
            cluster % 8
        )
        .expect("memory");
    }
    for instance in 0..instances {
        let role = if instance % 3 == 0 { "primary" } else { "replica" };
        let (cluster, host, size) = (instance / 3, instance / 4, 10 + instance % 90);
        write!(
            text,
            "[instances.db-{instance}]\ncluster = \"c-{cluster}\"\nrole = \"{role}\"\nhost = \"host-{host}\"\n\
             size = \"{size} GiB\"\n"
        )
        .expect("memory");
        if instance % 10 == 0 {
            writeln!(text, "rpo = \"{}h\"", 12 + instance / 10 % 100).expect("memory");
        }
    }
    text
}

fn load(text: &str) -> Policies {
    match Policies::builtin().with_toml("policy.toml", text) {
        Ok(policies) => policies,
        Err(problems) => panic!("{problems}"),
    }
}

/// A request's terms, all that is asked for once before the clock runs; the peer is making the empty terms alone.
fn resolving(text: &str, instances: usize) -> Row {
    let policies = load(text);
    let specs: Vec<_> = (0..instances)
        .map(|n| JobSpec::new(format!("db-{n}"), technology(n)).kind(BackupKind::Full))
        .collect();
    // In an order that no cache of the machine follows.
    let order: Vec<_> = (0..instances).map(|n| n * 7919 % instances).collect();
    let pass = || {
        for n in &order {
            black_box(policies.effective(&specs[*n]).expect("known"));
        }
    };
    let with_terms = || {
        for n in &order {
            black_box(policies.resolve(&specs[*n]).expect("known"));
        }
    };
    pass();
    let (mut cached, mut terms) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        cached.push(timed(pass).0 / instances as f64);
        terms.push(timed(with_terms).0 / instances as f64);
    }
    let samples = cached.len();
    Row::new(
        "resolve_ns",
        (median(cached), "ns"),
        ("with the terms of a job made from it", median(terms)),
        samples,
    )
}

/// Reading, checking and putting together; the peer is the parser alone.
fn loading(text: &str, rounds: usize) -> Row {
    let (mut whole, mut parser) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        whole.push(timed(|| black_box(load(text))).0 / 1e9);
        parser.push(timed(|| black_box(toml::de::DeTable::parse(text).expect("valid"))).0 / 1e9);
    }
    Row::new("load_100k_s", (median(whole), "s"), ("the TOML parser alone", median(parser)), rounds)
}

/// Finding out whose terms differ when a label that a fifth of the fleet has says something else; the peer is loading
/// the new file.
fn changing(text: &str, rounds: usize) -> Row {
    let old = load(text);
    let changed = text.replacen("rpo = \"6h\"", "rpo = \"5h\"", 1);
    let (mut compared, mut loaded) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (time, new) = timed(|| load(&changed));
        loaded.push(time / 1e6);
        let (time, changes) = timed(|| old.changes(&new));
        compared.push(time / 1e6);
        assert!(!changes.instances.is_empty());
    }
    Row::new("changes_100k_ms", (median(compared), "ms"), ("loading the new file", median(loaded)), rounds)
}

/// The most memory that a process which only loads takes for it; the peer is the text.
fn memory(text: &str) -> Row {
    let this = std::env::current_exe().expect("a path");
    let output = Command::new(this).env(LOAD_ONLY, "1").output().expect("a child process");
    let bytes: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number");
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    Row::new("load_100k_mib", (mib(bytes), "MiB"), ("the text of the file", mib(text.len() as f64)), 1)
}

/// By how much the highest resident memory of this process grows while it loads, text excluded.
fn load_bytes(text: &str) -> u64 {
    drop(Policies::builtin());
    let before = resident("VmRSS:");
    let policies = load(text);
    let peak = resident("VmHWM:");
    drop(black_box(policies));
    peak.saturating_sub(before)
}

/// A line of `/proc/self/status` in bytes.
fn resident(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = status.lines().find_map(|found| found.strip_prefix(line));
    let kib = value.and_then(|value| value.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Windows of four kinds in four zones, among them one over midnight with blackouts.
fn calendars() -> Vec<WindowCalendar> {
    let rules: [(&[&str], &[&str]); 4] = [
        (&["daily 22:00-06:00"], &[]),
        (&["mon-fri 22:00-06:00", "sat,sun"], &["12-24/12-26", "first mon 00:00-12:00"]),
        (&["mon-fri 01:00-04:30", "mon-fri 12:00-13:00", "last fri 18:00-24:00"], &["last day"]),
        (&["sun 02:00-08:00"], &["2026-12-20/2027-01-06"]),
    ];
    let zones = ["UTC", "Europe/Berlin", "America/New_York", "Pacific/Chatham"];
    let of = |zone: &str, (windows, blackouts): &(&[&str], &[&str])| {
        let mut made_of = WindowRules::new(zone.parse().expect("a zone"));
        made_of.windows = windows.iter().map(|rule| rule.parse().expect("a rule")).collect();
        made_of.blackouts = blackouts.iter().map(|rule| rule.parse().expect("a rule")).collect();
        made_of.build().expect("it opens")
    };
    zones.iter().flat_map(|zone| rules.iter().map(move |rules| of(zone, rules))).collect()
}

/// When the next window opens, asked at any moment of two years; the peer is the present stretch alone, as the engine
/// asks for it.
fn next_window() -> Row {
    let (calendars, n) = (calendars(), 200_000);
    let begin: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a moment");
    let moment = |n: i64| begin + SignedDuration::from_secs(n * 7_919_333 % (731 * 86_400));
    let horizon = begin + SignedDuration::from_hours(24 * 2_000);
    let pass = |ask: &dyn Fn(&WindowCalendar, Timestamp)| {
        timed(|| (0..n).for_each(|n| ask(&calendars[n as usize % calendars.len()], moment(n)))).0 / n as f64
    };
    let (mut windows, mut stretches) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        windows.push(pass(&|calendar, at| _ = black_box(calendar.next_open(at, horizon))));
        stretches.push(pass(&|calendar, at| _ = black_box(calendar.at(at))));
    }
    let samples = windows.len();
    Row::new(
        "next_window_ns",
        (median(windows), "ns"),
        ("the stretch of a moment", median(stretches)),
        samples,
    )
}

/// Handing out what is due and saying that it has ended, through two days of a fleet; the peer is the next time of the
/// recurrence alone.
fn next_due(instances: usize) -> Row {
    let now: Timestamp = "2026-11-25T12:00:00Z".parse().expect("a moment");
    let recurrences = ["6h", "0 2 * * *", "30 */6 * * *", "rpo"].map(|every| {
        Arc::new(Recurrence::new(every.parse().expect("an expression")).jitter(Duration::from_secs(7_200)))
    });
    let mut timetable = Timetable::new();
    for n in 0..instances {
        let recurrence = Arc::clone(&recurrences[n % recurrences.len()]);
        timetable.add(now, &format!("db-{n}"), recurrence, Duration::from_secs(86_400), Some(now));
    }
    let (mut calls, mut alone) = (Vec::new(), Vec::new());
    for hour in 1..=48 {
        let now = now + SignedDuration::from_hours(hour);
        let mut handed_out = 0_u32;
        let (took, ()) = timed(|| {
            while let Some(due) = timetable.poll(now) {
                timetable.finished(now, due.id, Outcome::Succeeded { recovery_point: now });
                handed_out += 1;
            }
        });
        if handed_out > 0 {
            calls.push(took / f64::from(handed_out));
        }
        let next = |n: usize| black_box(recurrences[n % 3].next_after("db-1", now));
        alone.push(timed(|| (0..3_000).for_each(|n| _ = next(n))).0 / 3_000.0);
    }
    let samples = calls.len();
    Row::new(
        "next_due_ns",
        (median(calls), "ns"),
        ("the next time of a recurrence alone", median(alone)),
        samples,
    )
}
