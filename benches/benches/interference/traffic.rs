//! The foreground: open-loop requests, whose latency counts from the moment they should have started.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use backup_sched::core::{Clock, MonoTime};
use backup_sched::{ForegroundLatency, SystemClock};
use parking_lot::Mutex;

use crate::Failure;
use crate::tech::{Client, Technology};

/// One request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// When it should have started.
    pub(crate) due: MonoTime,
    pub(crate) latency: Duration,
}

/// Where latencies are told to as they are measured, besides being kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listener(Arc<Mutex<Option<(ForegroundLatency, f64)>>>);

impl Listener {
    /// From now on they are told here, if anybody listens, so many times as long as they were.
    pub(crate) fn tell(&self, to: Option<ForegroundLatency>, times: f64) {
        *self.0.lock() = to.map(|to| (to, times));
    }

    /// From now on nobody is told.
    pub(crate) fn hush(&self) {
        *self.0.lock() = None;
    }

    fn record(&self, latency: Duration) {
        if let Some((to, times)) = &*self.0.lock() {
            to.record(latency.mul_f64(*times));
        }
    }
}

/// Requests a second, which may change while the traffic runs.
#[derive(Clone, Debug)]
pub(crate) struct Rate(Arc<AtomicU64>);

impl Rate {
    pub(crate) fn new(per_second: f64) -> Self {
        Self(Arc::new(AtomicU64::new(per_second.to_bits())))
    }

    pub(crate) fn set(&self, per_second: f64) {
        self.0.store(per_second.to_bits(), Relaxed);
    }

    fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}

/// When requests are due: with exponential gaps, whoever serves them. Who is free takes the next, as from the pool of
/// connections of an application: a connection that waits for the disk delays its own request, not those behind it.
struct Arrivals {
    rate: Rate,
    state: Mutex<(MonoTime, fastrand::Rng)>,
}

impl Arrivals {
    fn next(&self) -> MonoTime {
        let (due, rng) = &mut *self.state.lock();
        *due = *due + Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / self.rate.get());
        *due
    }
}

/// A running foreground.
pub(crate) struct Traffic {
    over: Arc<AtomicBool>,
    arrivals: Arc<Arrivals>,
    workers: Vec<JoinHandle<Result<Vec<Sample>, Failure>>>,
}

impl Traffic {
    /// Starts requests over as many connections as the technology takes.
    pub(crate) fn start(
        technology: &dyn Technology,
        rate: &Rate,
        listener: &Listener,
        seed: u64,
    ) -> Result<Self, Failure> {
        let over = Arc::new(AtomicBool::new(false));
        let workers = technology.workers() as u64;
        let clients: Vec<_> =
            (0..workers).map(|worker| technology.client(seed * 1000 + worker)).collect::<Result<_, _>>()?;
        let state = Mutex::new((SystemClock.mono(), fastrand::Rng::with_seed(seed * 7919)));
        let arrivals = Arc::new(Arrivals { rate: rate.clone(), state });
        let workers = clients.into_iter().map(|client| {
            let (arrivals, listener, over) = (Arc::clone(&arrivals), listener.clone(), Arc::clone(&over));
            thread::spawn(move || Connection { client, arrivals, listener, over }.run())
        });
        Ok(Self { workers: workers.collect(), over, arrivals })
    }

    /// Ends it and gives every request, in the order in which they were due.
    pub(crate) fn stop(self) -> Result<Vec<Sample>, Failure> {
        self.over.store(true, Relaxed);
        let mut samples = Vec::new();
        for worker in self.workers {
            samples.extend(worker.join().map_err(|_| "a foreground worker panicked")??);
        }
        // Who has not been served by now has waited so long at least. Left out, the worst would look the best.
        let now = SystemClock.mono();
        let mut due = self.arrivals.next();
        while due < now {
            samples.push(Sample { due, latency: now.since(due) });
            due = self.arrivals.next();
        }
        samples.sort_by_key(|sample| sample.due);
        Ok(samples)
    }
}

struct Connection {
    client: Box<dyn Client>,
    arrivals: Arc<Arrivals>,
    listener: Listener,
    over: Arc<AtomicBool>,
}

impl Connection {
    fn run(mut self) -> Result<Vec<Sample>, Failure> {
        let mut samples = Vec::new();
        while !self.over.load(Relaxed) {
            let due = self.arrivals.next();
            // Behind schedule it does not wait, and the delay counts: users do not stop coming because we are slow.
            wait_until(due, &self.over);
            self.client.request()?;
            let latency = SystemClock.mono().since(due);
            self.listener.record(latency);
            samples.push(Sample { due, latency });
        }
        Ok(samples)
    }
}

fn wait_until(due: MonoTime, over: &AtomicBool) {
    while !over.load(Relaxed) {
        let left = due.since(SystemClock.mono());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left.min(Duration::from_millis(100)));
    }
}

/// Requests a second that the server answers at most, with every connection busy all the time.
pub(crate) fn capacity(technology: &dyn Technology, time: Duration) -> Result<f64, Failure> {
    let over = AtomicBool::new(false);
    let mut clients = Vec::new();
    for worker in 0..technology.workers() {
        clients.push(technology.client(900_000 + worker as u64)?);
    }
    let begun = SystemClock.mono();
    let done = thread::scope(|scope| {
        let threads: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                let over = &over;
                scope.spawn(move || -> Result<u64, Failure> {
                    let mut done = 0;
                    while !over.load(Relaxed) {
                        client.request()?;
                        done += 1;
                    }
                    Ok(done)
                })
            })
            .collect();
        wait_until(begun + time, &over);
        over.store(true, Relaxed);
        threads.into_iter().try_fold(0, |sum, thread| {
            let done = thread.join().map_err(|_| "a foreground worker panicked")??;
            Ok::<u64, Failure>(sum + done)
        })
    })?;
    Ok(done as f64 / SystemClock.mono().since(begun).as_secs_f64())
}
