//! The threaded scheduler under the backups of 10 to 100,000 instances, whose executors only pace simulated bytes:
//! what a job costs, how memory grows, and how many threads there are.
//!
//! `cargo bench -p sched-benches --bench load`

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use backup_sched::core::MAX_SIZE_BYTES;
use backup_sched::{JobHandle, JobSpec, JobState, Order, RunContext, RunError, Scheduler, Scope};
use sched_benches::{Row, median, quick, timed, write_results};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

const AT_ONCE: u32 = 4;
const INSTANCES_A_HOST: usize = 10;
const BYTES: u64 = 1 << 20;

/// Threads of this process, where the system tells.
fn threads() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Threads:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}

struct Load {
    scheduler: Scheduler,
    most_threads: Arc<AtomicUsize>,
}

impl Load {
    fn new() -> Self {
        let most_threads = Arc::new(AtomicUsize::new(0));
        let seen = most_threads.clone();
        let backup = move |ctx: &RunContext| -> Result<(), RunError> {
            if ctx.job().0.is_multiple_of(64) {
                seen.fetch_max(threads(), Relaxed);
            }
            for done in 1..=4 {
                ctx.pace(BYTES / 4)?;
                ctx.progress(done * BYTES / 4, BYTES);
            }
            Ok(())
        };
        // The ceiling is never reached: what is measured is the scheduler, not the pacing.
        let builder = Scheduler::builder().executor("sqlite", backup).max_running(AT_ONCE);
        let scheduler = builder.rate_ceiling(MAX_SIZE_BYTES).start().expect("it starts");
        Self { scheduler, most_threads }
    }

    /// A backup of each of so many instances; returns the microseconds for one, and the bytes for a waiting one.
    fn run(&self, instances: usize) -> (f64, f64) {
        let spec = |n: usize| {
            let host = format!("host-{}", n / INSTANCES_A_HOST);
            JobSpec::new(format!("db-{n}"), "sqlite").host(host).size_bytes(BYTES)
        };
        let order = Order::new("bench", "all are submitted first");
        let region = Region::new(GLOBAL);
        let (took, bytes) = timed(|| {
            self.scheduler.hold(Scope::Fleet, order).expect("it runs");
            let mut handles: Vec<JobHandle> = Vec::with_capacity(instances);
            for from in (0..instances).step_by(1_000) {
                let specs = (from..instances.min(from + 1_000)).map(spec);
                handles
                    .extend(self.scheduler.submit_all(specs).into_iter().map(|h| h.expect("a good request")));
            }
            let change = region.change();
            let bytes = change.bytes_allocated as f64 - change.bytes_deallocated as f64;
            self.scheduler.release(Scope::Fleet).expect("it runs");
            for handle in handles {
                assert_eq!(handle.wait().state, JobState::Succeeded);
            }
            bytes
        });
        (took / 1e3 / instances as f64, bytes / instances as f64)
    }
}

/// Microseconds for a thread that does nothing: the least that a job on a thread of its own costs.
fn bare_thread(count: usize) -> f64 {
    let (took, ()) = timed(|| {
        for _ in 0..count {
            std::thread::spawn(|| ()).join().expect("it does nothing");
        }
    });
    took / 1e3 / count as f64
}

fn main() {
    let rounds = if quick() { 2 } else { 5 };
    let largest = if quick() { 2_000 } else { 100_000 };
    let sizes = [10, 1_000, 10_000.min(largest), largest];
    let names = ["us_per_job_10", "us_per_job_1k", "us_per_job_10k", "us_per_job_100k"];
    let mut times: Vec<Vec<f64>> = vec![vec![]; sizes.len()];
    let (mut memory, mut bare, mut most) = (vec![vec![]; sizes.len()], vec![], 0);
    for _ in 0..rounds {
        for (at, instances) in sizes.into_iter().enumerate() {
            // A fresh scheduler each time: what was learned of instances must not count for the next size.
            let load = Load::new();
            load.run(10);
            // Small fleets again and again, or the figure would be noise.
            let again = (1_000 / instances).max(1);
            for _ in 0..again {
                let (time, bytes) = load.run(instances);
                times[at].push(time);
                memory[at].push(bytes);
            }
            most = most.max(load.most_threads.load(Relaxed));
            load.scheduler.shutdown(Duration::from_secs(10));
        }
        bare.push(bare_thread(2_000));
    }
    let bare = median(bare);
    let mut rows: Vec<_> = names
        .into_iter()
        .zip(times)
        .map(|(name, times)| {
            let samples = times.len();
            Row::new(name, (median(times), "µs"), ("a thread that does nothing", bare), samples)
        })
        .collect();
    let (small, large) = (median(memory[1].clone()), median(memory[3].clone()));
    rows.push(Row::new("bytes_per_instance", (large, "bytes"), ("with 1,000 instances", small), rounds));
    rows.push(Row::new("threads", (most as f64, "threads"), ("running jobs", f64::from(AT_ONCE)), rounds));
    let path = write_results("load", &rows);
    println!("100,000 over 1,000 instances: {:.2}", rows[3].value / rows[1].value);
    println!("written to {}", path.display());
}
