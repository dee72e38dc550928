//! A process that embeds a scheduler: it starts one on its store, lives with it for a while, ends it in one way or another, and
//! starts the next.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use backup_sched::limits::Threshold;
use backup_sched::observe::impact::ImpactSettings;
use backup_sched::{Clock, ForegroundLatency, HostProbe, LatencyGoal, Scheduler, SystemClock, Thresholds};
use crossbeam_channel::{Receiver, bounded, never};

use crate::callers::{CALLERS, Caller};
use crate::faults::{Chaos, Fault, pass};
use crate::fleet::{Backup, TECHNOLOGIES, policies};
use crate::ledger::{Ledger, Witness};
use crate::senses::{BadHook, BadStore, bad_probe};

/// Backups that may run at the same time.
const SLOTS: u32 = 4;
/// More than one host comes to.
const MOST_JOBS_A_SECOND: usize = 500;
/// What the foreground's latency is to stay below; that of a calm one, and of one that suffers, is `Caller::foreground`'s.
const GOAL: Duration = Duration::from_millis(20);
/// How long what is left may take when nothing goes wrong any more.
const DONE_WITHIN: Duration = Duration::from_secs(60);

pub(crate) struct Host {
    name: &'static str,
    store: PathBuf,
    pub(crate) ledger: Arc<Ledger>,
    chaos: Arc<Chaos>,
    latency: ForegroundLatency,
    lives: u64,
    /// What the scheduler before told to have left, if it told.
    kept: Option<usize>,
}

impl Host {
    /// One for a soak of some length, whose ledger has all its room from the beginning.
    pub(crate) fn new(name: &'static str, directory: &Path, chaos: &Arc<Chaos>, length: Duration) -> Self {
        let (store, chaos) = (directory.join(format!("{name}.redb")), Arc::clone(chaos));
        let jobs = MOST_JOBS_A_SECOND * length.as_secs() as usize;
        let (ledger, latency) = (Arc::new(Ledger::new(jobs)), ForegroundLatency::new());
        Self { name, store, ledger, chaos, latency, lives: 0, kept: None }
    }

    fn start(&self, recurs: bool, over: &Receiver<()>) -> Scheduler {
        let mut builder = Scheduler::builder().policies(policies(0, recurs)).max_running(SLOTS);
        for technology in TECHNOLOGIES {
            let (ledger, chaos) = (Arc::clone(&self.ledger), Arc::clone(&self.chaos));
            builder = builder.executor(technology, Backup { ledger, chaos });
        }
        let volume = Threshold::new(0.9, 0.8).expect("a threshold");
        let goal = LatencyGoal::p99(GOAL).period(Duration::from_millis(100)).min_samples(10);
        let dice = |what| self.chaos.dice((self.name, self.lives, what));
        let scheduler = builder
            .store(BadStore::new(self.store.clone(), &self.chaos, dice("store")))
            .rate_ceiling(200_000_000)
            .foreground(self.latency.clone(), goal)
            .measure_impact(ImpactSettings::default())
            // What this machine has left says nothing of leaks: it is measured, and nobody waits for it.
            .thresholds(Thresholds::none().with("volume", volume))
            .probe(HostProbe::new("host-0"))
            .probe(bad_probe(&self.chaos, dice("probe"), over))
            .hook(self.ledger.witness())
            .hook(BadHook::new(&self.chaos, dice("hook"), over))
            .engine(|engine| {
                // What is remembered is full before anything is measured.
                (engine.history, engine.decisions, engine.listed) = (100, 500, 50);
                engine.breaker.cool_down = Duration::from_millis(20);
                engine.breaker.longest_cool_down = Duration::from_millis(200);
                engine.pause_within = Duration::from_millis(100);
            })
            .start();
        scheduler.unwrap_or_else(|error| panic!("the {} host cannot start again: {error}", self.name))
    }

    /// One scheduler from its start to its end, for so long or until `stop` says so.
    pub(crate) fn live(&mut self, stop: &Receiver<()>, length: Duration, half_way: impl FnOnce()) {
        self.lives += 1;
        let mut dice = self.chaos.dice((self.name, self.lives));
        let (end, over) = bounded(0);
        let scheduler = self.start(true, &over);
        self.ledger.compare(&scheduler, self.kept.take());
        thread::scope(|scope| {
            for (n, (name, call)) in CALLERS.iter().enumerate() {
                let caller = Caller {
                    scheduler: scheduler.clone(),
                    ledger: &self.ledger,
                    chaos: &self.chaos,
                    dice: self.chaos.dice((self.name, self.lives, n)),
                    latency: &self.latency,
                    over: over.clone(),
                };
                let caller =
                    thread::Builder::new().name((*name).into()).spawn_scoped(scope, move || call(caller));
                caller.expect("a thread");
            }
            pass(stop, length / 2);
            half_way();
            pass(stop, length / 2);
            self.look(&scheduler);
            self.ledger.closes();
            // Callers go on to its end, or it ends when nobody of them holds it any more.
            let grace = match dice.below(4) {
                0 => (Fault::Dropped, None),
                1 => (Fault::CutShort, Some(Duration::ZERO)),
                _ => (Fault::Shutdown, Some(Duration::from_millis(500))),
            };
            self.chaos.count(grace.0);
            if let Some(grace) = grace.1 {
                self.kept = self.end(&scheduler, grace);
            }
            drop(end);
        });
        drop(scheduler);
        self.ledger.is_over();
    }

    /// What is left is done, and nothing goes wrong.
    pub(crate) fn finish(&mut self) {
        self.lives += 1;
        let (_end, over) = bounded(0);
        let scheduler = self.start(false, &over);
        self.ledger.compare(&scheduler, self.kept.take());
        let until = SystemClock.now().mono + DONE_WITHIN;
        loop {
            let now = scheduler.summary().expect("it runs").engine;
            if now.waiting == 0 && now.active.is_empty() {
                break;
            }
            if SystemClock.now().mono > until {
                self.ledger.complain(format!("what is left is not done: {now:?}"));
                break;
            }
            pass(&never(), Duration::from_millis(10));
        }
        self.look(&scheduler);
        self.ledger.closes();
        self.end(&scheduler, Duration::from_secs(5));
        drop(scheduler);
        self.ledger.is_over();
        self.ledger.is_done();
    }

    /// Shuts a scheduler down, and tells how many jobs it leaves to the next.
    fn end(&self, scheduler: &Scheduler, grace: Duration) -> Option<usize> {
        let report = scheduler.shutdown(grace);
        let usual = report.as_ref().filter(|report| report.abandoned.is_empty() && !report.store_behind);
        if usual.is_none() {
            self.ledger.complain(format!("the {} host's shutdown: {report:?}", self.name));
        }
        usual.map(|report| report.kept)
    }

    /// The ledger has heard all that it is held against.
    fn look(&self, scheduler: &Scheduler) {
        let Ok(summary) = scheduler.summary() else {
            return self.ledger.complain(format!("the {} host's scheduler ended by itself", self.name));
        };
        let unheard =
            |hook: &&backup_sched::observe::HookStats| hook.name == Witness::NAME && hook.dropped > 0;
        if let Some(hook) = summary.hooks.iter().find(unheard) {
            self.ledger.complain(format!("the machine is too slow for the ledger: {hook:?}"));
        }
    }
}
