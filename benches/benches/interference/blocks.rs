//! Rounds of blocks in random order: [`Comparison`].

use std::collections::VecDeque;
use std::time::Duration;

use backup_sched::core::{Clock, MonoTime};
use backup_sched::{ForegroundLatency, SystemClock};
use indicatif::ProgressBar;

use crate::Failure;
use crate::method::{Contender, Method, Setting};
use crate::stalls::Stalls;
use crate::stats::{self, Block, Ratio};
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
    /// What counts, of a method's block and of those without a backup before and after it.
    pub(crate) measured: Duration,
    pub(crate) alone: Duration,
    pub(crate) least_rounds: usize,
    pub(crate) most_rounds: usize,
    /// No more rounds once the interval of what the scheduler that is told does to the p99 is so narrow.
    pub(crate) narrow: f64,
}

/// What the foreground's p99 may become beside what it is without a backup.
const SLO: f64 = 1.1;

/// The foreground's p99 without a backup, by the newest looks at it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alone(VecDeque<Block>);

impl Alone {
    /// A look of 5 s is off by a third, and older ones tell of another machine: some ten minutes count.
    const NEWEST: usize = 24;
    /// So many times the median of all looks a stall of the machine, which would make a goal of whatever it took.
    const STALL: u64 = 3;

    pub(crate) fn add(&mut self, look: Block) {
        if self.0.len() == Self::NEWEST {
            self.0.pop_front();
        }
        self.0.push_back(look);
    }

    /// Of all looks together, but for those that a stall has spoilt.
    pub(crate) fn p99(&self) -> Duration {
        let p99 = |look: &Block| look.value_at_quantile(0.99);
        let mut all: Vec<u64> = self.0.iter().map(p99).collect();
        all.sort_unstable();
        let median = all.get(all.len().saturating_sub(1) / 2).map_or(1, |p99| (*p99).max(1));
        let sound = self.0.iter().filter(|look| p99(look) <= median * Self::STALL);
        Duration::from_micros((stats::pooled(sound, 0.99) as u64).max(1))
    }

    /// What may become of it.
    pub(crate) fn slo(&self) -> Duration {
        self.p99().mul_f64(SLO)
    }
}

/// Up to so many times the goal the foreground of a single second counts as undisturbed.
const CALM: f64 = 1.5;

/// What is kept of one block beside its latencies.
#[derive(Clone, Debug)]
pub(crate) struct Shot {
    pub(crate) round: usize,
    /// In seconds since the first.
    pub(crate) begun: f64,
    /// Bytes a second that backups moved.
    pub(crate) rate: f64,
    /// Shares of the time in which some task waited for processor and disk.
    pub(crate) stalls: (f64, f64),
    /// Median and 99th percentile of each half second, in µs.
    pub(crate) course: Vec<(f64, f64)>,
}

/// One method's blocks.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) method: Method,
    pub(crate) shots: Vec<Shot>,
    /// Latencies of each round, and those without a backup right before and after: machines drift.
    pub(crate) blocks: Vec<Block>,
    pub(crate) alone: Vec<Block>,
    pub(crate) finished: u64,
    /// What it does to the quantiles.
    pub(crate) p99: Ratio,
    pub(crate) p999: Ratio,
}

impl Measured {
    fn new(method: Method) -> Self {
        let (p99, p999) = (Ratio::NONE, Ratio::NONE);
        Self { method, shots: Vec::new(), blocks: Vec::new(), alone: Vec::new(), finished: 0, p99, p999 }
    }

    fn mean(&self, of: impl Fn(&Shot) -> f64) -> f64 {
        self.shots.iter().map(of).sum::<f64>() / self.shots.len().max(1) as f64
    }

    /// Half seconds of the newest block.
    pub(crate) fn newest(&self) -> &[(f64, f64)] {
        self.shots.last().map_or(&[], |shot| &shot.course)
    }

    /// Bytes a second over all blocks.
    pub(crate) fn rate(&self) -> f64 {
        self.mean(|shot| shot.rate)
    }

    /// Shares of the time in which some task waited for processor and disk, over all blocks.
    pub(crate) fn stalls(&self) -> (f64, f64) {
        (self.mean(|shot| shot.stalls.0), self.mean(|shot| shot.stalls.1))
    }

    /// What the blocks so far say.
    fn judge(&mut self) {
        self.p99 = stats::ratio(&self.blocks, &self.alone, 0.99, 1);
        self.p999 = stats::ratio(&self.blocks, &self.alone, 0.999, 1);
    }
}

/// All methods at one load.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    /// Requests a second.
    pub(crate) per_second: f64,
    /// No backup first.
    pub(crate) methods: Vec<Measured>,
}

impl Comparison {
    pub(crate) fn of(&self, method: Method) -> Option<&Measured> {
        self.methods.iter().find(|measured| measured.method == method)
    }

    pub(crate) fn none(&self) -> &Measured {
        &self.methods[0]
    }
}

/// Runs the blocks of all methods against each other, each between two without a backup, and says after each round how it
/// stands: a run that is cut short has been worth its time.
pub(crate) fn compare(
    per_second: f64,
    setting: &Setting<'_>,
    methods: &[Method],
    alone: Alone,
    plan: Plan,
    progress: &ProgressBar,
    mut stands: impl FnMut(&Comparison) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let nobody = Contender::new(Method::None, setting)?;
    let contenders: Vec<_> =
        methods.iter().map(|method| Contender::new(*method, setting)).collect::<Result<_, _>>()?;
    let mut bench =
        Bench { setting, plan, alone, rate: Rate::new(per_second), traffics: 0, first: SystemClock.mono() };
    bench.warm_up(&contenders, progress)?;
    let measured = [Method::None].iter().chain(methods).map(|method| Measured::new(*method)).collect();
    let mut comparison = Comparison { per_second, methods: measured };
    for round in 0..plan.most_rounds {
        let mut order: Vec<usize> = (0..contenders.len()).collect();
        fastrand::Rng::with_seed(77 + round as u64).shuffle(&mut order);
        let mut block = |contender: &Contender| {
            progress.set_message(format!("round {}: {}", round + 1, contender.method.name()));
            bench.block(round, contender)
        };
        let (shot, mut before) = block(&nobody)?;
        comparison.methods[0].shots.push(shot);
        let mut all = before.clone();
        for which in order {
            let (shot, latencies) = block(&contenders[which])?;
            let (beside, after) = block(&nobody)?;
            let measured = &mut comparison.methods[which + 1];
            measured.shots.push(shot);
            measured.blocks.push(latencies);
            measured.alone.push(stats::together([&before, &after]));
            measured.finished = contenders[which].finished.load(std::sync::atomic::Ordering::Relaxed);
            comparison.methods[0].shots.push(beside);
            all = stats::together([&all, &after]);
            before = after;
        }
        let none = &mut comparison.methods[0];
        none.blocks.push(all.clone());
        none.alone.push(all);
        comparison.methods.iter_mut().for_each(Measured::judge);
        stands(&comparison)?;
        let sure = comparison.of(Method::Told).is_some_and(|told| told.p99.width() <= plan.narrow);
        if round + 1 >= plan.least_rounds && sure {
            break;
        }
    }
    Ok(())
}

/// What makes one block after the other.
struct Bench<'a> {
    setting: &'a Setting<'a>,
    plan: Plan,
    alone: Alone,
    rate: Rate,
    /// How often the traffic has begun: each has requests of its own.
    traffics: u64,
    first: MonoTime,
}

impl Bench<'_> {
    fn traffic(&mut self, listener: &Listener) -> Result<Traffic, Failure> {
        self.traffics += 1;
        Traffic::start(self.setting.technology, &self.rate, listener, self.traffics)
    }

    /// Schedulers work for a while, as those do that have run for long, and what stands between blocks begins.
    fn warm_up(&mut self, contenders: &[Contender], progress: &ProgressBar) -> Result<(), Failure> {
        let listener = Listener::default();
        let traffic = self.traffic(&listener)?;
        for contender in contenders {
            progress.set_message(format!("warming up: {}", contender.method.name()));
            if contender.scheduler.is_some() {
                listener.tell(contender.latency.clone(), 1.0);
                contender.run(true);
                rest(self.plan.warm_up);
                listener.hush();
                contender.run(false);
            }
            contender.begin(self.plan.warm_up);
        }
        traffic.stop()?;
        self.first = SystemClock.mono();
        Ok(())
    }

    fn block(&mut self, round: usize, contender: &Contender) -> Result<(Shot, Block), Failure> {
        let Plan { wash_out: longest, settle, measured, alone, .. } = self.plan;
        let length = if contender.method == Method::None { alone } else { measured };
        // Whom one method has kept waiting does not wait on in another's block.
        let listener = Listener::default();
        let traffic = self.traffic(&listener)?;
        // The first moments of new connections belong to nobody.
        rest(settle);
        wash_out(&listener, self.alone.slo(), longest);
        if contender.method != Method::None {
            // The goal is a tenth above what the foreground has alone, as that is by now; a scheduler that has one goal for
            // its life hears latencies that much longer or shorter instead.
            listener.tell(contender.latency.clone(), self.setting.slo.div_duration_f64(self.alone.slo()));
            contender.run(true);
        }
        rest(settle);
        let (from, moved, stalls) = (SystemClock.mono(), contender.moved(), Stalls::now());
        rest(length);
        let (to, moved, stalls) = (SystemClock.mono(), contender.moved() - moved, Stalls::now() - stalls);
        // A backup may take a while to end, which is no part of what a scheduler hears.
        listener.hush();
        contender.run(false);
        let samples = traffic.stop()?;
        // What a method left in the cache is its own: the kernel would write it in another's block.
        rustix::fs::syncfs(std::fs::File::open(&self.setting.directory)?)?;
        if let Some(error) = contender.failure() {
            return Err(format!("{}: {error}", contender.method.name()).into());
        }
        let block = samples.iter().filter(|sample| (from..to).contains(&sample.due));
        let mut latencies = stats::empty();
        block.clone().for_each(|sample| latencies.saturating_record(micros(sample)));
        let shot = Shot {
            round,
            begun: from.since(self.first).as_secs_f64(),
            rate: moved as f64 / to.since(from).as_secs_f64(),
            stalls: stalls.over(to.since(from)),
            course: course(block, from, to),
        };
        if contender.method == Method::None {
            self.alone.add(latencies.clone());
        }
        println!(
            "round {}, {}: p50 {:.2} ms, p99 {:.2} ms, {:.1} MB/s; stalls {:.2} cpu, {:.2} io",
            round + 1,
            contender.method.name(),
            latencies.value_at_quantile(0.5) as f64 / 1e3,
            latencies.value_at_quantile(0.99) as f64 / 1e3,
            shot.rate / 1e6,
            shot.stalls.0,
            shot.stalls.1
        );
        Ok((shot, latencies))
    }
}

/// Waits until what the block before left in caches and logs no longer shows, at most so long.
fn wash_out(listener: &Listener, slo: Duration, longest: Duration) {
    let latency = ForegroundLatency::new();
    listener.tell(Some(latency.clone()), 1.0);
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
