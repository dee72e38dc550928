//! Rounds of blocks in random order: [`Comparison`].

use std::time::Duration;

use backup_sched::core::{Clock, MonoTime};
use backup_sched::{ForegroundLatency, SystemClock};
use indicatif::ProgressBar;

use crate::Failure;
use crate::method::{Contender, Method, Setting};
use crate::stalls::Stalls;
use crate::stats::{self, Block};
use crate::tech::Technology;
use crate::traffic::{Listener, Rate, Sample, Traffic};

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// How often the foreground is looked at alone, and the tool at full speed, before anything is compared.
    pub(crate) calibrations: u32,
    /// How long each scheduler works before the first block, as one does that has run for a while.
    pub(crate) warm_up: Duration,
    /// The longest that is waited for calm between blocks.
    pub(crate) wash_out: Duration,
    /// The beginning of a block, which does not count.
    pub(crate) settle: Duration,
    /// What counts.
    pub(crate) measured: Duration,
    pub(crate) least_rounds: usize,
    pub(crate) most_rounds: usize,
    /// No more rounds once the interval of what the scheduler that is told does to the p99 is so narrow.
    pub(crate) narrow: f64,
}

/// Up to so many times the goal the foreground of a single second counts as undisturbed.
const CALM: f64 = 1.5;

/// One method's blocks.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) method: Method,
    pub(crate) blocks: Vec<Block>,
    /// Bytes a second in each block.
    pub(crate) rates: Vec<f64>,
    /// Shares of each block's time in which some task waited for processor and disk.
    pub(crate) stalls: Vec<(f64, f64)>,
    /// Median and 99th percentile of each half second of each block, in µs.
    pub(crate) courses: Vec<Vec<(f64, f64)>>,
    /// When each block began, in seconds since the first.
    pub(crate) begun: Vec<f64>,
    pub(crate) finished: u64,
}

impl Measured {
    /// Of the newest block.
    pub(crate) fn newest(&self) -> &[(f64, f64)] {
        self.courses.last().map_or(&[], Vec::as_slice)
    }

    /// Bytes a second over all blocks.
    pub(crate) fn rate(&self) -> f64 {
        self.rates.iter().sum::<f64>() / self.rates.len().max(1) as f64
    }

    /// Shares of the time in which some task waited for processor and disk, over all blocks.
    pub(crate) fn stalls(&self) -> (f64, f64) {
        let mean = |of: fn(&(f64, f64)) -> f64| {
            self.stalls.iter().map(of).sum::<f64>() / self.stalls.len().max(1) as f64
        };
        (mean(|stalls| stalls.0), mean(|stalls| stalls.1))
    }
}

/// All methods at one load.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    /// Requests a second.
    pub(crate) per_second: f64,
    pub(crate) methods: Vec<Measured>,
}

impl Comparison {
    pub(crate) fn of(&self, method: Method) -> Option<&Measured> {
        self.methods.iter().find(|measured| measured.method == method)
    }

    pub(crate) fn none(&self) -> &Measured {
        &self.methods[0]
    }

    pub(crate) fn ratio(&self, measured: &Measured, quantile: f64) -> stats::Ratio {
        stats::ratio(&measured.blocks, &self.none().blocks, quantile, 1)
    }
}

/// Runs the blocks of all methods against each other, and says after each round how it stands: a run that is cut short
/// has been worth its time.
pub(crate) fn compare(
    technology: &dyn Technology,
    per_second: f64,
    setting: &Setting<'_>,
    methods: &[Method],
    plan: Plan,
    progress: &ProgressBar,
    mut stands: impl FnMut(Comparison) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut contenders = Vec::new();
    for method in methods {
        contenders.push(Contender::new(*method, setting)?);
    }
    let mut measured: Vec<Measured> = methods
        .iter()
        .map(|method| Measured {
            method: *method,
            blocks: Vec::new(),
            rates: Vec::new(),
            stalls: Vec::new(),
            courses: Vec::new(),
            begun: Vec::new(),
            finished: 0,
        })
        .collect();
    let rate = Rate::new(per_second);
    let listener = Listener::default();
    let traffic = Traffic::start(technology, &rate, &listener, 0)?;
    for contender in contenders.iter().filter(|contender| contender.scheduler.is_some()) {
        progress.set_message(format!("warming up: {}", contender.method.name()));
        listener.tell(contender.latency.clone());
        contender.run(true);
        rest(plan.warm_up);
        listener.tell(None);
        contender.run(false);
    }
    traffic.stop()?;
    let first = SystemClock.mono();
    let mut blocks = 0;
    for round in 0..plan.most_rounds {
        let mut order: Vec<usize> = (0..contenders.len()).collect();
        fastrand::Rng::with_seed(77 + round as u64).shuffle(&mut order);
        for which in order {
            let contender = &contenders[which];
            progress.set_message(format!("round {}: {}", round + 1, contender.method.name()));
            // Whom one method has kept waiting does not wait on in another's block.
            let listener = Listener::default();
            blocks += 1;
            let traffic = Traffic::start(technology, &rate, &listener, blocks)?;
            // The first moments of new connections belong to nobody.
            rest(plan.settle);
            wash_out(&listener, setting.slo, plan.wash_out);
            listener.tell(contender.latency.clone());
            contender.run(true);
            rest(plan.settle);
            let (from, moved, stalls) = (SystemClock.mono(), contender.moved(), Stalls::now());
            rest(plan.measured);
            let (to, moved, stalls) = (SystemClock.mono(), contender.moved() - moved, Stalls::now() - stalls);
            // A backup may take a while to end, which is no part of what a scheduler hears.
            listener.tell(None);
            contender.run(false);
            let samples = traffic.stop()?;
            // What a method left in the cache is its own: the kernel would write it in another's block.
            rustix::fs::syncfs(std::fs::File::open(&setting.directory)?)?;
            if let Some(error) = contender.failure() {
                return Err(format!("{}: {error}", contender.method.name()).into());
            }
            progress.inc(1);
            let block = samples.iter().filter(|sample| (from..to).contains(&sample.due));
            let measured = &mut measured[which];
            let mut histogram = stats::empty();
            block.clone().for_each(|sample| histogram.saturating_record(micros(sample)));
            let ((cpu, io), time) = (stalls.over(to.since(from)), to.since(from).as_secs_f64());
            let per_second = moved as f64 / time;
            println!(
                "round {}, {}: p50 {:.2} ms, p99 {:.2} ms, {:.1} MB/s; stalls {cpu:.2} cpu, {io:.2} io",
                round + 1,
                measured.method.name(),
                histogram.value_at_quantile(0.5) as f64 / 1e3,
                histogram.value_at_quantile(0.99) as f64 / 1e3,
                per_second / 1e6
            );
            measured.courses.push(course(block, from, to));
            measured.begun.push(from.since(first).as_secs_f64());
            measured.blocks.push(histogram);
            measured.rates.push(per_second);
            measured.stalls.push((cpu, io));
            measured.finished = contender.finished.load(std::sync::atomic::Ordering::Relaxed);
        }
        let comparison = Comparison { per_second, methods: measured.clone() };
        let told = comparison.of(Method::Told);
        let sure = told.is_some_and(|told| comparison.ratio(told, 0.99).width() <= plan.narrow);
        stands(comparison)?;
        if round + 1 >= plan.least_rounds && sure {
            break;
        }
    }
    Ok(())
}

/// Waits until what the block before left in caches and logs no longer shows, at most so long.
fn wash_out(listener: &Listener, slo: Duration, longest: Duration) {
    let latency = ForegroundLatency::new();
    listener.tell(Some(latency.clone()));
    let begun = SystemClock.mono();
    let mut calm = 0;
    while calm < 2 && SystemClock.mono().since(begun) < longest {
        rest(Duration::from_secs(1));
        let second = latency.drain();
        // Who is not served at all is not calm.
        let is_calm = second.samples() > 0 && second.quantile(0.99) <= slo.mul_f64(CALM);
        calm = if is_calm { calm + 1 } else { 0 };
    }
}

fn micros(sample: &Sample) -> u64 {
    u64::try_from(sample.latency.as_micros()).unwrap_or(u64::MAX).max(1)
}

/// Of whole half seconds only: a few requests at the end say nothing of a p99.
fn course<'a>(block: impl Iterator<Item = &'a Sample>, from: MonoTime, to: MonoTime) -> Vec<(f64, f64)> {
    let bin = |at: MonoTime| (at.since(from).as_millis() / 500) as usize;
    let mut bins: Vec<Block> = Vec::new();
    bins.resize_with(bin(to), stats::empty);
    for sample in block {
        if let Some(bin) = bins.get_mut(bin(sample.due)) {
            bin.saturating_record(micros(sample));
        }
    }
    bins.iter().map(|bin| (bin.value_at_quantile(0.5) as f64, bin.value_at_quantile(0.99) as f64)).collect()
}

pub(crate) fn rest(time: Duration) {
    let until = SystemClock.mono() + time;
    loop {
        let left = until.since(SystemClock.mono());
        if left.is_zero() {
            return;
        }
        std::thread::park_timeout(left);
    }
}
