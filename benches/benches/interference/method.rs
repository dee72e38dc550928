//! The ways to make a backup that are compared: [`Method`], [`Contender`].

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use backup_sched::core::{
    Charge, Clock, Executor, JobId, MonoTime, Pacer, Reason, RunContext, RunControl, RunError, RunParts,
};
use backup_sched::limits::FixedLaw;
use backup_sched::observe::impact::ImpactSettings;
use backup_sched::{ForegroundLatency, HostProbe, LatencyGoal, Scheduler, SchedulerBuilder, SystemClock};
use parking_lot::Mutex;
use sched_drivers::destination::{Destination, LocalDirectory};

use crate::Failure;
use crate::blocks::rest;
use crate::clock::BlockClock;
use crate::plain::Plain;
use crate::tech::Technology;

/// How backups are made in a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Method {
    /// Not at all.
    None,
    /// By the tool as fast as it can, into a plain file.
    Unthrottled,
    /// The same with the least weight for processor and disk.
    Nice,
    /// By the tool at a fixed rate, in bytes a second, into a plain file.
    Fixed(f64),
    /// By this scheduler, which hears the foreground's latency and is told what may become of it.
    Told,
    /// By this scheduler, which knows neither, only what its probes see.
    KnowingNothing,
}

impl Method {
    /// As it is asked for and named in figures, whatever its rate.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Unthrottled => "unthrottled",
            Self::Nice => "nice",
            Self::Fixed(_) => "fixed",
            Self::Told => "told",
            Self::KnowingNothing => "knowing_nothing",
        }
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::Fixed(rate) => format!("fixed {:.1} MB/s", rate / 1e6),
            other => other.kind().into(),
        }
    }
}

/// How often is looked whether a backup has ended or may begin.
const LOOK: Duration = Duration::from_millis(5);

type Cancel = Box<dyn Fn() + Send>;

/// Whether a worker makes a backup: none does that has gone, however that was.
struct Busy(Arc<AtomicBool>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Relaxed);
    }
}

/// What a contender is made from.
pub(crate) struct Setting<'a> {
    pub(crate) technology: &'a dyn Technology,
    /// Where backups go.
    pub(crate) directory: PathBuf,
    /// What the 99th percentile of the foreground's latency may become.
    pub(crate) slo: Duration,
}

/// A method at work: backup after backup, in its own blocks only.
pub(crate) struct Contender {
    pub(crate) method: Method,
    clock: BlockClock,
    moved: Moved,
    over: Arc<AtomicBool>,
    /// Ends the backup that is under way.
    cancel: Arc<Mutex<Option<Cancel>>>,
    running: Arc<Mutex<Option<Arc<RunControl>>>>,
    /// Between its blocks no backup is left standing.
    lets_go: bool,
    busy: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
    failure: Arc<Mutex<Option<String>>>,
    pub(crate) scheduler: Option<Arc<Scheduler>>,
    /// What a scheduler that is told hears of.
    pub(crate) latency: Option<ForegroundLatency>,
    pub(crate) finished: Arc<AtomicU64>,
    period: Duration,
}

impl Contender {
    pub(crate) fn new(method: Method, setting: &Setting<'_>) -> Result<Self, Failure> {
        let mut contender = Self::idle(method);
        contender.lets_go = setting.technology.holds_what_it_copies();
        match method {
            Method::None => {}
            Method::Unthrottled | Method::Nice => contender.by_hand(setting, None)?,
            Method::Fixed(rate) => contender.by_hand(setting, Some(rate))?,
            Method::Told | Method::KnowingNothing => contender.scheduled(setting, |builder| builder)?,
        }
        Ok(contender)
    }

    /// This scheduler, told, that accounts for what its backups cost; with another law where one is given.
    pub(crate) fn accounted(setting: &Setting<'_>, law: Option<FixedLaw>) -> Result<Self, Failure> {
        let mut contender = Self::idle(Method::Told);
        contender.lets_go = setting.technology.holds_what_it_copies();
        // A pause lasts two periods: with short ones there are enough of them within minutes.
        contender.period = Duration::from_millis(250);
        contender.scheduled(setting, |builder| {
            let builder = builder.measure_impact(ImpactSettings::default());
            match law {
                Some(law) => builder.law("foreground", law),
                None => builder,
            }
        })?;
        Ok(contender)
    }

    fn idle(method: Method) -> Self {
        Self {
            method,
            clock: BlockClock::new(),
            moved: Moved::default(),
            over: Arc::default(),
            cancel: Arc::default(),
            running: Arc::default(),
            lets_go: false,
            busy: Arc::default(),
            worker: None,
            failure: Arc::default(),
            scheduler: None,
            latency: None,
            finished: Arc::default(),
            period: Duration::from_secs(1),
        }
    }

    /// How long its clock ran.
    pub(crate) fn elapsed(&self) -> Duration {
        self.clock.mono().since(MonoTime::ZERO)
    }

    /// What the scheduler says that its backups did to the p99, with the interval.
    pub(crate) fn ledger_p99(&self) -> Option<(f64, f64, f64)> {
        let report = self.scheduler.as_ref()?.impact().ok()??;
        report.all.ratios.p99.map(|ratio| (ratio.value, ratio.low, ratio.high))
    }

    /// Lets its backups go on, or has them stand; one that would hold what it copies ends instead, and another begins when
    /// they go on.
    pub(crate) fn run(&self, runs: bool) {
        self.clock.run(runs);
        if let Some(control) = &*self.running.lock() {
            control.wake();
        }
        while !runs && self.lets_go && self.busy.load(Relaxed) {
            if let Some(cancel) = &*self.cancel.lock() {
                cancel();
            }
            rest(LOOK);
        }
    }

    /// Has its first backup begin, where that stands between blocks: a checkpoint or a snapshot before the first byte would fill
    /// the first block, and none after it. Waits so long at most. Schedulers have worked before, and heard what they do.
    pub(crate) fn begin(&self, longest: Duration) {
        if self.method == Method::None || self.lets_go || self.scheduler.is_some() {
            return;
        }
        self.run(true);
        let begun = SystemClock.mono();
        while self.moved() == 0 && self.failure().is_none() && SystemClock.mono().since(begun) < longest {
            rest(LOOK);
        }
        self.run(false);
    }

    /// Bytes moved so far.
    pub(crate) fn moved(&self) -> u64 {
        self.moved.total()
    }

    /// Why it does not work, if it does not.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    /// Makes backups by `once`, one after the other, while its clock runs.
    fn worker(&mut self, mut once: impl FnMut() -> Result<(), String> + Send + 'static) {
        let (over, failure, finished) =
            (Arc::clone(&self.over), Arc::clone(&self.failure), Arc::clone(&self.finished));
        let (clock, busy, lets_go) = (self.clock.clone(), Arc::clone(&self.busy), self.lets_go);
        self.worker = Some(thread::spawn(move || {
            let busy = Busy(busy);
            while !over.load(Relaxed) {
                busy.0.store(true, Relaxed);
                if !clock.runs() {
                    busy.0.store(false, Relaxed);
                    rest(LOOK);
                    continue;
                }
                match once() {
                    Ok(()) => drop(finished.fetch_add(1, Relaxed)),
                    Err(_) if over.load(Relaxed) => return,
                    Err(_) if lets_go && !clock.runs() => {}
                    Err(error) => {
                        *failure.lock() = Some(error);
                        return;
                    }
                }
            }
        }));
    }

    /// Backup after backup as a script makes them.
    fn by_hand(&mut self, setting: &Setting<'_>, rate: Option<f64>) -> Result<(), Failure> {
        let directory = setting.directory.join(self.method.name().replace([' ', '/'], "-"));
        let executor = setting.technology.executor(Arc::new(Plain::new(&directory)))?;
        let spec = setting.technology.spec();
        let (clock, moved, running) = (self.clock.clone(), self.moved.clone(), Arc::clone(&self.running));
        let cancel = Arc::clone(&self.cancel);
        let pacer: Arc<dyn Pacer> = Arc::new(Throttle::new(clock.clone(), rate));
        let nice = self.method == Method::Nice;
        // Contenders may begin in the same millisecond: their backups must not be taken for one.
        static CONTENDERS: AtomicU64 = AtomicU64::new(1_000);
        let job = JobId(CONTENDERS.fetch_add(1, Relaxed));
        let mut attempt = 0;
        self.worker(move || {
            if nice {
                // Tools that this thread starts inherit both.
                stand_back();
            }
            attempt += 1;
            let control = Arc::new(RunControl::new(|_| {}));
            *running.lock() = Some(Arc::clone(&control));
            let cancelled = Arc::clone(&control);
            *cancel.lock() = Some(Box::new(move || cancelled.cancel(Reason::new("the block is over"))));
            let mut parts = RunParts::new(job, Arc::new(spec.clone()), control, Arc::new(clock.clone()));
            parts.attempt = attempt;
            parts.pacer = Arc::clone(&pacer);
            let ctx = RunContext::new(parts);
            let result = moved.counting(&ctx, || executor.run(&ctx));
            let _ = std::fs::remove_dir_all(&directory);
            result.map_err(|error| error.to_string())
        });
        Ok(())
    }

    /// Backup after backup by this scheduler.
    fn scheduled(
        &mut self,
        setting: &Setting<'_>,
        change: impl FnOnce(SchedulerBuilder) -> SchedulerBuilder,
    ) -> Result<(), Failure> {
        let directory = setting.directory.join(self.method.name());
        let destination: Arc<dyn Destination> = Arc::new(LocalDirectory::new(&directory));
        let inner = setting.technology.executor(destination)?;
        let moved = self.moved.clone();
        let counted = move |ctx: &RunContext| {
            let result = moved.counting(ctx, || inner.run(ctx));
            let _ = std::fs::remove_dir_all(&directory);
            result
        };
        let spec = setting.technology.spec();
        let mut builder = Scheduler::builder()
            .clock(self.clock.clone())
            .executor(spec.technology.as_str(), counted)
            .max_running(1)
            .rate_ceiling(CEILING);
        if self.method == Method::Told {
            let latency = ForegroundLatency::new();
            builder = builder.foreground(latency.clone(), LatencyGoal::p99(setting.slo).period(self.period));
            self.latency = Some(latency);
        } else {
            builder = builder.probe(HostProbe::new("local"));
            if let Some(monitor) = setting.technology.monitor() {
                builder = builder.probe(monitor.probe());
            }
        }
        let scheduler = Arc::new(change(builder).start()?);
        self.scheduler = Some(Arc::clone(&scheduler));
        let cancel = Arc::clone(&self.cancel);
        self.worker(move || {
            let handle = scheduler.submit(spec.clone()).map_err(|error| error.to_string())?;
            let (scheduler, job) = (Arc::clone(&scheduler), handle.id());
            *cancel.lock() = Some(Box::new(move || drop(scheduler.cancel(job))));
            let ended = handle.wait();
            ended.error.map_or(Ok(()), |error| Err(error.to_string()))
        });
        Ok(())
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        if let Some(control) = self.running.lock().take() {
            control.cancel(Reason::new("the bench is over"));
        }
        *self.cancel.lock() = None;
        self.clock.run(true);
        if let Some(scheduler) = self.scheduler.take() {
            scheduler.shutdown(Duration::ZERO);
        }
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

/// What the scheduler's full share stands for: beyond what one backup does on such a machine.
pub(crate) const CEILING: u64 = 400_000_000;

/// Gives the least weight for processor and disk to this thread and to what it starts.
fn stand_back() {
    let _ = rustix::process::setpriority_process(None, 19);
    let thread = rustix::thread::gettid();
    let number = thread.as_raw_nonzero().to_string();
    let _ = Command::new("ionice").args(["-c", "3", "-p", &number]).status();
}

/// Bytes that went through attempts, those that run among them.
#[derive(Clone, Debug, Default)]
struct Moved {
    before: Arc<AtomicU64>,
    now: Arc<Mutex<Option<RunContext>>>,
}

impl Moved {
    fn counting(&self, ctx: &RunContext, run: impl FnOnce() -> Result<(), RunError>) -> Result<(), RunError> {
        *self.now.lock() = Some(ctx.clone());
        let result = run();
        let mut now = self.now.lock();
        self.before.fetch_add(ctx.control().progress().paced_bytes, Relaxed);
        *now = None;
        result
    }

    fn total(&self) -> u64 {
        let now = self.now.lock();
        let running = now.as_ref().map_or(0, |ctx| ctx.control().progress().paced_bytes);
        self.before.load(Relaxed) + running
    }
}

/// A rate that stays as it is, on a clock that stands outside of the method's blocks; without one only the latter.
#[derive(Debug)]
struct Throttle {
    clock: BlockClock,
    rate: Option<f64>,
    next: Mutex<MonoTime>,
}

impl Throttle {
    fn new(clock: BlockClock, rate: Option<f64>) -> Self {
        Self { clock, rate, next: Mutex::new(MonoTime::ZERO) }
    }
}

impl Pacer for Throttle {
    fn charge(&self, bytes: u64) -> Charge {
        let now = self.clock.mono();
        let mut next = self.next.lock();
        let at = (*next).max(now);
        *next = at + self.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(bytes as f64 / rate));
        Charge(u128::from(at.as_nanos()))
    }

    fn wait(&self, charge: Charge) -> Option<Duration> {
        let at = MonoTime::from_nanos(u64::try_from(charge.0).unwrap_or(u64::MAX));
        self.clock.runs().then(|| at.since(self.clock.mono()))
    }

    fn max_chunk(&self) -> u64 {
        128 << 10
    }
}

/// As many executors as there are technologies.
pub(crate) type AnyExecutor = Arc<dyn Executor>;
