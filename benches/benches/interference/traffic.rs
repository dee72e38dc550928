//! The foreground: open-loop requests, whose latency counts from the moment they should have started.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use backup_sched::core::{Clock, MonoTime};
use backup_sched::{ForegroundLatency, SystemClock};

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
pub(crate) struct Listener(Arc<parking_lot::Mutex<Option<ForegroundLatency>>>);

impl Listener {
    /// From now on they are told here, or to nobody.
    pub(crate) fn tell(&self, to: Option<ForegroundLatency>) {
        *self.0.lock() = to;
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

/// A running foreground.
pub(crate) struct Traffic {
    over: Arc<AtomicBool>,
    workers: Vec<JoinHandle<Result<Vec<Sample>, Failure>>>,
}

impl Traffic {
    /// Starts requests with exponential gaps, from as many threads as the technology takes connections.
    pub(crate) fn start(
        technology: &dyn Technology,
        rate: &Rate,
        listener: &Listener,
        seed: u64,
    ) -> Result<Self, Failure> {
        let over = Arc::new(AtomicBool::new(false));
        let workers = technology.workers();
        let begun = SystemClock.mono();
        let mut threads = Vec::new();
        for worker in 0..workers {
            let client = technology.client(seed * 1000 + worker as u64)?;
            let open_loop = OpenLoop {
                client,
                rate: rate.clone(),
                share: 1.0 / workers as f64,
                listener: listener.clone(),
                over: Arc::clone(&over),
                rng: fastrand::Rng::with_seed(seed * 7919 + worker as u64),
            };
            threads.push(thread::spawn(move || open_loop.run(begun)));
        }
        Ok(Self { over, workers: threads })
    }

    /// Ends it and gives every request, in the order in which they were due.
    pub(crate) fn stop(self) -> Result<Vec<Sample>, Failure> {
        self.over.store(true, Relaxed);
        let mut samples = Vec::new();
        for worker in self.workers {
            samples.extend(worker.join().map_err(|_| "a foreground worker panicked")??);
        }
        samples.sort_by_key(|sample| sample.due);
        Ok(samples)
    }
}

struct OpenLoop {
    client: Box<dyn Client>,
    rate: Rate,
    share: f64,
    listener: Listener,
    over: Arc<AtomicBool>,
    rng: fastrand::Rng,
}

impl OpenLoop {
    fn run(mut self, begun: MonoTime) -> Result<Vec<Sample>, Failure> {
        let mut samples = Vec::new();
        let mut due = begun;
        while !self.over.load(Relaxed) {
            due = self.after(due);
            // Behind schedule it does not wait, and the delay counts: users do not stop coming because we are slow.
            wait_until(due, &self.over);
            self.client.request()?;
            let latency = SystemClock.mono().since(due);
            if let Some(listener) = &*self.listener.0.lock() {
                listener.record(latency);
            }
            samples.push(Sample { due, latency });
        }
        // Who has not been served by now has waited so long at least. Left out, the worst would look the best.
        let now = SystemClock.mono();
        due = self.after(due);
        while due < now {
            samples.push(Sample { due, latency: now.since(due) });
            due = self.after(due);
        }
        Ok(samples)
    }

    /// When the next request should start.
    fn after(&mut self, due: MonoTime) -> MonoTime {
        let gap = -(1.0 - self.rng.f64()).ln() / (self.rate.get() * self.share);
        due + Duration::from_secs_f64(gap)
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
