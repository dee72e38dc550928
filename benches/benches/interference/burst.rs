//! A foreground that steps up in the middle of a backup, and down again: [`measure`].

use std::time::Duration;

use backup_sched::SystemClock;
use backup_sched::core::{Clock, MonoTime};
use indicatif::ProgressBar;

use crate::Failure;
use crate::blocks::rest;
use crate::method::{Contender, Method, Setting};
use crate::stats::{self, Block};
use crate::tech::Technology;
use crate::traffic::{Listener, Rate, Traffic};

const LOW: f64 = 0.3;
pub(crate) const HIGH: f64 = 0.8;
/// How long each stretch lasts: low, high, low.
const STRETCH: Duration = Duration::from_secs(30);
/// How long the scheduler works at the low load before.
const WARM_UP: Duration = Duration::from_secs(60);
/// How often it is repeated, with and without a backup, by turns.
const REPEATS: u64 = 4;
/// Latencies are held against each other in windows that end so often.
const STEP: Duration = Duration::from_secs(1);
/// How many steps a window holds: fewer requests say nothing of a p99.
const WINDOW: usize = 3;
/// At most so much above no backup it is over.
const OVER: f64 = 1.2;
/// From this share of the rate before the step on freed capacity is used again.
const USED: f64 = 0.8;

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Burst {
    /// From the step up until the p99 is at most 1.2 times that without a backup; `STRETCH` when it never was.
    pub(crate) recovery: Duration,
    /// From the step down until the backup is as fast as before the step up; `STRETCH` when it never was.
    pub(crate) reuse: Duration,
}

pub(crate) fn measure(
    technology: &dyn Technology,
    capacity: f64,
    setting: &Setting<'_>,
    progress: &ProgressBar,
) -> Result<Burst, Failure> {
    let contender = Contender::new(Method::Told, setting)?;
    let steps = (STRETCH.as_secs() * 3 / STEP.as_secs()) as usize;
    let listener = Listener::default();
    let traffic = Traffic::start(technology, &Rate::new(capacity * LOW), &listener, 499)?;
    listener.tell(contender.latency.clone(), 1.0);
    contender.run(true);
    rest(WARM_UP);
    listener.hush();
    contender.run(false);
    traffic.stop()?;
    let (mut with, mut without) = (vec![stats::empty(); steps], vec![stats::empty(); steps]);
    let mut moved = vec![0.0; steps];
    for repeat in 0..REPEATS {
        for backup in [true, false] {
            progress.set_message(format!("{}: burst {} of {REPEATS}", technology.name(), repeat + 1));
            let rate = Rate::new(capacity * LOW);
            let listener = Listener::default();
            let traffic = Traffic::start(technology, &rate, &listener, 500 + repeat)?;
            rest(Duration::from_secs(3));
            if backup {
                listener.tell(contender.latency.clone(), 1.0);
                contender.run(true);
            }
            let from = SystemClock.mono();
            for (step, sum) in moved.iter_mut().enumerate() {
                let third = step * 3 / steps;
                rate.set(capacity * if third == 1 { HIGH } else { LOW });
                let before = contender.moved();
                rest((from + STEP * (step as u32 + 1)).since(SystemClock.mono()));
                if backup {
                    *sum += (contender.moved() - before) as f64;
                }
            }
            listener.hush();
            contender.run(false);
            let into = if backup { &mut with } else { &mut without };
            for sample in traffic.stop()? {
                if let Some(bin) = bin(sample.due, from).and_then(|bin| into.get_mut(bin)) {
                    bin.saturating_record(u64::try_from(sample.latency.as_micros()).unwrap_or(u64::MAX));
                }
            }
        }
    }
    if let Some(error) = contender.failure() {
        return Err(error.into());
    }
    Ok(Burst { recovery: recovery(&with, &without), reuse: reuse(&moved) })
}

fn bin(due: MonoTime, from: MonoTime) -> Option<usize> {
    (due >= from).then(|| (due.since(from).as_millis() / STEP.as_millis()) as usize)
}

/// The first window after the step up that is as good as without a backup.
fn recovery(with: &[Block], without: &[Block]) -> Duration {
    let third = with.len() / 3;
    let p99 = |of: &[Block], end: usize| stats::pooled(&of[end + 1 - WINDOW..=end], 0.99);
    let over = (third + WINDOW - 1..2 * third).find(|end| p99(with, *end) <= OVER * p99(without, *end));
    over.map_or(STRETCH, |end| STEP * (end + 1 - third) as u32)
}

/// The first window after the step down in which the backup is about as fast as before the step up.
fn reuse(moved: &[f64]) -> Duration {
    let third = moved.len() / 3;
    let speed = |end: usize| moved[end + 1 - WINDOW..=end].iter().sum::<f64>() / WINDOW as f64;
    let before = moved[third / 2..third].iter().sum::<f64>() / (third - third / 2) as f64;
    let used = (2 * third + WINDOW - 1..3 * third).find(|end| speed(*end) >= USED * before);
    used.map_or(STRETCH, |end| STEP * (end + 1 - 2 * third) as u32)
}
