//! This very machine, really loaded: low jobs are deferred for the right reason, high ones start, and the deferred ones
//! start soon after the load has stopped.
//!
//! The thresholds follow from what the machine does with and without the load, and what the scheduler should do follows
//! from what its own probe read: so others may use the machine too. If they keep it busy after the load has stopped, the
//! test says so and does not ask for the deferred jobs.

use std::fs::File;
use std::io::{Seek, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use backup_sched::limits::{FnProbe, Threshold};
use backup_sched::{
    CapacityProbe, Event, EventKind, Gate, HostProbe, JobHandle, JobState, LoadLevel, Now, Priority,
    RunContext, Scheduler, Scope, Subscription, Thresholds,
};
use crossbeam_channel::{Receiver, unbounded};

const PERIOD: Duration = Duration::from_millis(300);
/// Readings whose median tells what the machine does.
const READINGS: usize = 5;
/// Within this time a probe has been asked many times.
const SOON: Duration = Duration::from_secs(5);
/// Readings within which a machine that nobody else loads is calm again.
const CALM_READINGS: usize = 25;
/// The load must move a signal by this share of what it is under load.
const TELLING: f64 = 0.25;

/// Something that loads the machine until it is dropped.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(threads: usize, mut work: impl FnMut() -> Box<dyn FnMut() + Send>) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let threads = (0..threads).map(|_| {
            let (stop, mut step) = (stop.clone(), work());
            thread::spawn(move || {
                while !stop.load(Relaxed) {
                    step();
                }
            })
        });
        Self { threads: threads.collect(), stop }
    }

    /// Every CPU, and some more.
    fn cpu() -> Self {
        let cpus = thread::available_parallelism().map_or(2, usize::from);
        Self::start(2 * cpus, || Box::new(|| (0..100_000).for_each(|n| _ = std::hint::black_box(n))))
    }

    /// Writes that reach the disk.
    fn disk() -> Self {
        Self::start(2, || {
            let mut file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let block = vec![7; 1 << 20];
            let mut blocks = 0;
            Box::new(move || {
                if blocks % 64 == 0 {
                    file.rewind().unwrap();
                }
                blocks += 1;
                write_through(&mut file, &block);
            })
        })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

fn write_through(file: &mut File, block: &[u8]) {
    file.write_all(block).unwrap();
    file.sync_data().unwrap();
}

/// A scheduler with the real probe, beside all that this probe read of one signal.
struct Watched {
    scheduler: Scheduler,
    events: Subscription,
    values: Receiver<f64>,
}

impl Watched {
    fn start(signal: &'static str, busy: Thresholds) -> Self {
        let mut host = HostProbe::new("local").disk_bytes_per_sec(1_000_000_000);
        let (told, values) = unbounded();
        let probe = FnProbe::new("host", PERIOD, move |now: Now| {
            let readings = host.sample(now)?;
            let of_signal = readings.iter().find(|reading| reading.signal.as_str() == signal);
            if let Some(value) = of_signal.and_then(|reading| reading.utilization()) {
                told.send(value).ok();
            }
            Ok(readings)
        });
        let builder = Scheduler::builder().executor("sqlite", |ctx: &RunContext| Ok(ctx.checkpoint()?));
        // Nothing but the load gate is to be seen here.
        let builder = builder.probe(probe).thresholds(Thresholds::none()).busy_thresholds(busy);
        let scheduler = builder.max_running(8).start().unwrap();
        let events = scheduler.subscribe(100_000).unwrap();
        Self { scheduler, events, values }
    }

    /// The median of the next readings.
    fn level(&self) -> f64 {
        self.values.try_iter().for_each(drop);
        let mut values: Vec<_> =
            (0..READINGS).map(|_| self.values.recv_timeout(SOON).expect("the probe answers")).collect();
        values.sort_by(f64::total_cmp);
        values[READINGS / 2]
    }

    fn event(&self, what: impl Fn(&Event) -> bool) -> EventKind {
        loop {
            let event = self.events.recv_timeout(SOON).expect("the event comes");
            if what(&event) {
                return event.kind.clone();
            }
        }
    }

    fn submit(&self, instance: &str, priority: Priority) -> JobHandle {
        self.scheduler.schedule_backup(instance, "sqlite", priority).unwrap()
    }
}

/// Thresholds between what the machine does without the load and with it. Where others load it so much that the two
/// cannot be told apart, thresholds that a loaded machine is over all the same.
fn thresholds(signal: &'static str, load: fn() -> Load) -> Threshold {
    let machine = Watched::start(signal, Thresholds::none());
    let mut loaded = 0.0;
    for _ in 0..2 {
        let quiet = machine.level();
        let running = load();
        loaded = machine.level();
        drop(running);
        println!("{signal}: {quiet:.3} without the load, {loaded:.3} with it");
        if loaded - quiet >= TELLING * loaded {
            return Threshold::new(quiet + 0.5 * (loaded - quiet), quiet + 0.3 * (loaded - quiet)).unwrap();
        }
    }
    Threshold::new(0.8 * loaded, 0.6 * loaded).unwrap()
}

/// Submits a low job while the machine is loaded, until one is deferred: the signal may fall for a moment.
fn deferred_low(watched: &Watched, signal: &str, threshold: Threshold) -> JobHandle {
    for attempt in 0..5 {
        watched.values.try_iter().for_each(drop);
        let low = watched.submit(&format!("low-{attempt}"), Priority::Low);
        let decided = watched.event(|event| {
            let of_low = event.job.as_ref().is_some_and(|job| job.id == low.id());
            of_low && matches!(event.kind, EventKind::Deferred { .. } | EventKind::Admitted { .. })
        });
        let EventKind::Deferred { by, .. } = decided else {
            watched.event(|event| matches!(&event.kind, EventKind::LoadChanged { state, .. } if state.level > LoadLevel::Calm));
            continue;
        };
        assert_eq!((&by.gate, &by.scope), (&Gate::Load, &local()), "{by}");
        let measured = by.reason.measured.clone().expect("a value");
        assert_eq!((measured.signal.as_str(), measured.threshold), (signal, threshold.open_below()));
        assert!(measured.value > threshold.close_above(), "{by}");
        println!("low is deferred: {by}");
        return low;
    }
    panic!("low jobs started while {signal} was over its threshold")
}

/// Loads the machine and lets it go.
fn load_and_let_go(signal: &'static str, load: fn() -> Load) {
    let threshold = thresholds(signal, load);
    let watched = Watched::start(signal, Thresholds::none().with(signal, threshold));
    let running = load();
    watched.event(|event| matches!(&event.kind, EventKind::LoadChanged { .. }));
    let low = deferred_low(&watched, signal, threshold);
    let high = watched.submit("high", Priority::High);
    let ended = high.wait_timeout(SOON).expect("a high job does not wait");
    assert_eq!(ended.state, JobState::Succeeded);

    drop(running);
    let calm = (0..CALM_READINGS)
        .any(|_| watched.values.recv_timeout(SOON).expect("the probe answers") < threshold.open_below());
    if !calm && low.ended().is_none() {
        println!("{signal}: others load this machine so much that it does not fall");
        return;
    }
    let ended = low.wait_timeout(SOON).expect("it starts as soon as the signal is low");
    assert_eq!(ended.state, JobState::Succeeded);
    println!("low has started after {:?}", ended.waited);
}

fn local() -> Scope {
    Scope::Host("local".into())
}

#[test]
#[ignore = "needs the machine for itself"]
fn low_jobs_wait_while_cpu_and_then_disk_are_busy_and_high_ones_do_not() {
    load_and_let_go("cpu", Load::cpu);
    load_and_let_go("disk", Load::disk);
}
