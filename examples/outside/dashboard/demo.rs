//! A small fleet that is made up: its databases, their foreground, and the backups that are asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use backup_sched::core::RunPhase;
use backup_sched::core::store::MemoryStore;
use backup_sched::limits::FnProbe;
use backup_sched::observe::impact::ImpactSettings;
use backup_sched::{
    ForegroundLatency, JobSpec, LatencyGoal, Priority, Reading, RunContext, RunError, Scheduler, Scope,
};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use fastrand::Rng;
use jiff::{Timestamp, ToSpan};

const TECHNOLOGIES: [&str; 5] = ["postgresql", "mysql", "redis", "etcd", "cassandra"];
const HOSTS: usize = 4;
/// What all backups together may move.
pub(crate) const CEILING: u64 = 60_000_000;
const CHUNK: u64 = 256 << 10;
/// The foreground's requests in a second.
const REQUESTS: u64 = 500;

/// Bytes that backups have moved: what the made-up disk is busy with.
type Moved = Arc<AtomicU64>;

/// The scheduler that is shown, and the latency that its foreground will tell.
pub(crate) fn start() -> Result<(Scheduler, ForegroundLatency, Moved), Box<dyn std::error::Error>> {
    let latency = ForegroundLatency::new();
    let moved = Moved::default();
    let goal = LatencyGoal::p99(Duration::from_millis(10)).healthy(Duration::from_millis(4));
    let mut builder = Scheduler::builder()
        .foreground(latency.clone(), goal)
        .rate_ceiling(CEILING)
        .max_running(6)
        .measure_impact(ImpactSettings::default())
        .probe(volume(moved.clone()))
        // Lasts as long as the demonstration; yours would be a file.
        .store(MemoryStore::new());
    for technology in TECHNOLOGIES {
        let moved = moved.clone();
        builder = builder.executor(technology, move |ctx: &RunContext| back_up(ctx, &moved));
    }
    let scheduler = builder.start()?;
    // What the load of two hosts was in the last weeks: busy by day, so that what can wait waits for the night.
    for host in 0..2 {
        scheduler.learn(Scope::Host(host_name(host).into()), past(host))?;
    }
    Ok((scheduler, latency, moved))
}

fn host_name(host: usize) -> String {
    format!("db-{}", host + 1)
}

/// Three weeks of office hours, in percent.
fn past(host: usize) -> impl Iterator<Item = (Timestamp, f64)> {
    let mut rng = Rng::with_seed(host as u64);
    #[expect(clippy::disallowed_methods, reason = "the past before the scheduler's start")]
    let now = Timestamp::now();
    let begin = now - (21 * 24).hours();
    (0..21 * 24 * 4).map(move |quarter| {
        let at = begin + (15 * quarter).minutes();
        let hour = (at.as_second() / 900 % 96) as f64 / 4.0;
        let weekend = (at.as_second() / 86_400 + 4) % 7 >= 5;
        let day = (-((hour - 14.0 + host as f64) / 4.0).powi(2)).exp();
        let load = 12.0 + if weekend { 18.0 } else { 70.0 } * day + 4.0 * rng.f64();
        (at, load)
    })
}

/// How full the volume is that backups are written to.
fn volume(
    moved: Moved,
) -> FnProbe<impl FnMut(backup_sched::Now) -> Result<Vec<Reading>, backup_sched::ProbeError>> {
    FnProbe::new("backup-volume", Duration::from_secs(1), move |_| {
        let used = 600.0 + moved.load(Relaxed) as f64 / 1e9 % 300.0;
        Ok(vec![Reading::new("backup-volume", used, "GB").of(1000.0)])
    })
}

/// A backup that moves nothing, at the pace that it is given.
fn back_up(ctx: &RunContext, moved: &AtomicU64) -> Result<(), RunError> {
    let total = ctx.spec().size_bytes.unwrap_or(CHUNK);
    ctx.phase(RunPhase::new("copy").pausable());
    let mut done = 0;
    while done < total {
        let bytes = CHUNK.min(total - done);
        ctx.pace(bytes)?;
        moved.fetch_add(bytes, Relaxed);
        done += bytes;
        ctx.progress(done, total);
        if done > total / 2 && ctx.attempt() == 1 && ctx.instance().as_str().contains("flaky") {
            return Err(RunError::Retryable("the connection was reset by the server".into()));
        }
    }
    Ok(())
}

/// Asks for backups, and plays the foreground, until it is told to stop.
pub(crate) fn play(
    scheduler: &Scheduler,
    latency: &ForegroundLatency,
    moved: &AtomicU64,
    seed: u64,
    stop: &Receiver<()>,
) {
    let mut rng = Rng::with_seed(seed);
    let (mut before, mut tick) = (0, 0_u64);
    let mut asked = 0;
    loop {
        if tick.is_multiple_of(20) && asked < 400 {
            // Names come from whoever names databases.
            let instance = match rng.usize(0..24) {
                0 => "orders <b>&\"'</b>".to_owned(),
                1 => "flaky-cache".to_owned(),
                n => format!("shop-{n:02}"),
            };
            let number = rng.usize(0..TECHNOLOGIES.len());
            let priority = *rng
                .choice(&[Priority::Low, Priority::Normal, Priority::High, Priority::High])
                .unwrap_or(&Priority::Normal);
            let spec = JobSpec::new(format!("{instance}.{}", TECHNOLOGIES[number]), TECHNOLOGIES[number])
                .host(host_name(rng.usize(0..HOSTS)))
                .priority(priority)
                .size_bytes(rng.u64(10_000_000..160_000_000));
            // A full queue or a pending backup on another host is no reason to end the show.
            asked += usize::from(scheduler.submit(spec).is_ok());
        }
        // Ten times a second: what requests took. They queue behind backups, and there are more of them every minute.
        let now = moved.load(Relaxed);
        let backups = (now - before) as f64 * 10.0 / 120e6;
        before = now;
        let busy = if tick % 600 > 450 { 0.75 } else { 0.35 };
        let used = (busy + backups).min(0.92);
        for _ in 0..REQUESTS / 10 {
            let millis = 1.0 / (1.0 - used) * (0.5 + rng.f64()) + 0.8;
            latency.record(Duration::from_secs_f64(millis / 1e3));
        }
        tick += 1;
        match stop.recv_timeout(Duration::from_millis(100)) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => return,
        }
    }
}
