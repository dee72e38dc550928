//! The foreground: open-loop transactions, whose latency is counted from the moment they should have started.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use backup_sched::core::MonoTime;
use backup_sched::{Clock, ForegroundLatency, SystemClock};
use crossbeam_channel::{Receiver, Sender, bounded};
use rusqlite::{Connection, params};

use crate::fleet::{self, Database};

/// Threads of the application, each with its own connections and its own arrivals.
const WORKERS: u64 = 4;

/// One request: when it should have started, and how long after that it was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: MonoTime,
    pub(crate) latency: Duration,
}

/// A running foreground.
pub(crate) struct Traffic {
    stop: Option<Sender<()>>,
    workers: Vec<JoinHandle<rusqlite::Result<Vec<Sample>>>>,
}

impl Traffic {
    /// Starts `per_second` requests a second in all, with exponential gaps, until stopped.
    pub(crate) fn start(fleet: &[Database], per_second: f64, latency: &ForegroundLatency) -> Self {
        let (stop, stopped) = bounded(0);
        let each = per_second / WORKERS as f64;
        let worker = |seed| {
            let (fleet, stopped, latency) = (fleet.to_vec(), stopped.clone(), latency.clone());
            thread::spawn(move || open_loop(&fleet, each, seed, &stopped, &latency))
        };
        Self { stop: Some(stop), workers: (0..WORKERS).map(worker).collect() }
    }

    /// Ends the traffic and returns every request.
    pub(crate) fn stop(mut self) -> Result<Vec<Sample>, String> {
        self.stop = None;
        let mut samples = Vec::new();
        for worker in self.workers {
            let result = worker.join().map_err(|_| "a foreground worker panicked".to_owned())?;
            samples.extend(result.map_err(|error| format!("the foreground failed: {error}"))?);
        }
        samples.sort_by_key(|sample| sample.at);
        Ok(samples)
    }
}

fn open_loop(
    fleet: &[Database],
    per_second: f64,
    seed: u64,
    stopped: &Receiver<()>,
    latency: &ForegroundLatency,
) -> rusqlite::Result<Vec<Sample>> {
    let mut client = Client::open(fleet, seed)?;
    let mut samples = Vec::new();
    let mut due = SystemClock.now().mono;
    loop {
        let gap = -(1.0 - client.rng.f64()).ln() / per_second;
        due = due + Duration::from_secs_f64(gap);
        let wait = due.since(SystemClock.now().mono);
        // Behind schedule it does not wait, and the delay counts: users do not stop coming because we are slow.
        if stopped.recv_timeout(wait).is_err_and(|e| e.is_disconnected()) {
            return Ok(samples);
        }
        client.request()?;
        let sample = Sample { at: due, latency: SystemClock.now().mono.since(due) };
        latency.record(sample.latency);
        samples.push(sample);
    }
}

/// Requests a second that the application can answer at most, measured for `time`.
pub(crate) fn capacity(fleet: &[Database], time: Duration) -> rusqlite::Result<f64> {
    let over = Arc::new(AtomicBool::new(false));
    let begun = SystemClock.now().mono;
    let worker = |seed| {
        let (fleet, over) = (fleet.to_vec(), over.clone());
        thread::spawn(move || -> rusqlite::Result<u64> {
            let mut client = Client::open(&fleet, 1000 + seed)?;
            let mut done = 0;
            while !over.load(Relaxed) {
                client.request()?;
                done += 1;
            }
            Ok(done)
        })
    };
    let workers: Vec<_> = (0..WORKERS).map(worker).collect();
    crate::wait(time);
    over.store(true, Relaxed);
    let mut done = 0;
    for worker in workers {
        done += worker.join().unwrap_or(Ok(0))?;
    }
    Ok(done as f64 / SystemClock.now().mono.since(begun).as_secs_f64())
}

/// One thread of the application.
struct Client {
    databases: Vec<(Connection, i64)>,
    rng: fastrand::Rng,
}

impl Client {
    fn open(fleet: &[Database], seed: u64) -> rusqlite::Result<Self> {
        let open = |db: &Database| Ok((fleet::open(&db.path)?, db.rows));
        let databases = fleet.iter().map(open).collect::<rusqlite::Result<_>>()?;
        Ok(Self { databases, rng: fastrand::Rng::with_seed(seed) })
    }

    /// Half reads by key, a quarter short range scans, a quarter updates of one row, each committed to disk.
    fn request(&mut self) -> rusqlite::Result<()> {
        let (db, rows) = &self.databases[self.rng.usize(..self.databases.len())];
        let id = self.rng.i64(0..*rows);
        match self.rng.u8(..4) {
            0 | 1 => {
                let mut read = db.prepare_cached("SELECT stock, data FROM item WHERE id = ?1")?;
                read.query_row(params![id], |row| row.get::<_, i64>(0)).map(drop)
            }
            2 => {
                let mut scan =
                    db.prepare_cached("SELECT sum(stock) FROM item WHERE id BETWEEN ?1 AND ?1 + 40")?;
                scan.query_row(params![id], |row| row.get::<_, i64>(0)).map(drop)
            }
            _ => {
                let mut update = db.prepare_cached("UPDATE item SET stock = ?2 WHERE id = ?1")?;
                update.execute(params![id, self.rng.u16(..)]).map(drop)
            }
        }
    }
}
