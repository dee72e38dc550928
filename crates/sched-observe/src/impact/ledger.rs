//! The ledger of all instances: [`ImpactLedger`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sched_core::{BackupKind, InstanceName, JobId, MonoTime, Now, PauseMark};
use serde::{Deserialize, Serialize};

use super::foreground::Foreground;
use super::moment::Levels;
use super::report::{BackupImpact, ImpactReport};
use super::settings::{ImpactSettings, ImpactSettingsError};
use super::snapshot::{ImpactSnapshot, ImpactWeeks, Week, Weeks};
use super::verdict::LatencyEvent;

/// Latency events that are kept for the report.
const EVENTS: usize = 256;
const WEEK: i64 = 7 * 86_400;
/// 1970 began on a Thursday: its first Monday, in seconds.
const MONDAY: i64 = 4 * 86_400;

/// A backup that may touch an instance's foreground.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The job.
    pub job: JobId,
    /// Whose foreground it may touch.
    pub instance: InstanceName,
    /// What part of the data.
    pub kind: BackupKind,
    /// Whether it may stand still, or be slowed until it hardly moves, for a second or two.
    pub pausable: bool,
}

/// Why a backup stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// To see the foreground alone, at a time that has nothing to do with what the foreground feels.
    Comparison,
    /// For anything else. What stands because of load stands when latency is high, so that nothing can be compared.
    Other,
}

/// A pause that the ledger wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PauseRequest {
    /// Who is to stand.
    pub job: JobId,
    /// For how long, from when it stands: whole windows, where there are windows.
    pub length: Duration,
}

/// Finds out what backups do to their foregrounds, from moments with and without them.
///
/// Inputs go in with their time, in its order: who runs ([`begin`](Self::begin), [`mark`](Self::mark),
/// [`set_pausable`](Self::set_pausable), [`end`](Self::end)) and what requests took ([`record`](Self::record)). After any of
/// them, and at [`next_look`](Self::next_look), [`tick`](Self::tick) says whom to pause for a moment;
/// [`events`](Self::events) and [`report`](Self::report) say what came of it. It has no thread and no clock, and the same
/// inputs give the same report.
///
/// ```
/// use sched_core::{BackupKind, Clock, JobId, ManualClock, PauseMark};
/// use sched_observe::impact::{Backup, ImpactLedger, ImpactSettings, Verdict, Why};
/// use std::time::Duration;
///
/// let clock = ManualClock::default();
/// let mut ledger = ImpactLedger::new(ImpactSettings::default())?;
/// let job = JobId(1);
/// ledger.begin(clock.now(), Backup { job, instance: "orders".into(), kind: BackupKind::Full, pausable: true });
/// let mut resume = None;
/// for millis in 0..400_000_u64 {
///     clock.advance(Duration::from_millis(1));
///     let now = clock.now();
///     // After five minutes the backup makes every request half as slow again.
///     let slow = if millis > 300_000 && resume.is_none() { 1.5 } else { 1.0 };
///     let latency = Duration::from_micros(1_000 + millis * 7_919 % 1_000).mul_f64(slow);
///     ledger.record(now, &"orders".into(), latency);
///     for pause in ledger.tick(now) {
///         ledger.mark(now, pause.job, PauseMark::Standing, Why::Comparison);
///         resume = Some(now.mono + pause.length);
///     }
///     if resume.is_some_and(|at| now.mono >= at) {
///         ledger.mark(now, job, PauseMark::Moving, Why::Comparison);
///         resume = None;
///     }
/// }
/// let cost = ledger.end(clock.now(), job).expect("it ran");
/// assert_eq!(cost.verdict, Verdict::Caused);
/// assert_eq!(cost.tally.caused, 1);
/// # Ok::<(), sched_observe::impact::ImpactSettingsError>(())
/// ```
#[derive(Debug)]
pub struct ImpactLedger {
    settings: ImpactSettings,
    rng: fastrand::Rng,
    instances: BTreeMap<InstanceName, Instance>,
    running: BTreeMap<JobId, InstanceName>,
    ended: VecDeque<Arc<BackupImpact>>,
    events: VecDeque<Arc<LatencyEvent>>,
    /// Events that nobody has taken yet.
    fresh: Vec<LatencyEvent>,
}

#[derive(Debug)]
struct Instance {
    foreground: Foreground,
    weeks: Arc<Weeks>,
}

impl ImpactLedger {
    /// An empty ledger.
    ///
    /// # Errors
    /// When the settings make no sense.
    pub fn new(settings: ImpactSettings) -> Result<Self, ImpactSettingsError> {
        settings.check()?;
        Ok(Self {
            rng: fastrand::Rng::with_seed(settings.seed),
            settings,
            instances: BTreeMap::new(),
            running: BTreeMap::new(),
            ended: VecDeque::new(),
            events: VecDeque::new(),
            fresh: Vec::new(),
        })
    }

    /// A backup begins to move data.
    pub fn begin(&mut self, now: Now, backup: Backup) {
        self.end(now, backup.job);
        self.running.insert(backup.job, backup.instance.clone());
        self.at(now, &backup.instance.clone()).foreground.begin(now, backup);
    }

    /// A phase begins that may stand, or must not.
    pub fn set_pausable(&mut self, now: Now, job: JobId, pausable: bool) {
        self.of(now, job, |foreground| foreground.set_pausable(now, job, pausable));
    }

    /// A backup has come to stand, or moves again; whoever asked for it. `why` counts when it comes to stand.
    pub fn mark(&mut self, now: Now, job: JobId, mark: PauseMark, why: Why) {
        self.of(now, job, |foreground| foreground.mark(now, job, mark, why));
    }

    /// A backup has ended, well or badly. What it cost; `None` if it was not running.
    pub fn end(&mut self, now: Now, job: JobId) -> Option<BackupImpact> {
        let impact = self.of(now, job, |foreground| foreground.end(now, job))??;
        let instance = self.running.remove(&job)?;
        let (harmful, weeks) = (impact.tally.caused > 0, self.settings.weeks);
        self.at(now, &instance).week(now, weeks).tally.ended(harmful);
        if self.ended.len() == self.settings.backups {
            self.ended.pop_back();
        }
        self.ended.push_front(Arc::new(impact.clone()));
        Some(impact)
    }

    /// A request was answered now, after so long.
    pub fn record(&mut self, now: Now, instance: &InstanceName, latency: Duration) {
        self.hear(now, instance, |foreground| foreground.record(now, latency, 1));
    }

    /// Requests that were answered from `from` until now, by how long each took and how many there were. Windows should be
    /// about as long as a moment; of one in which some backup came to stand or to move, nothing can be said.
    pub fn record_window(
        &mut self,
        now: Now,
        from: MonoTime,
        instance: &InstanceName,
        latencies: impl IntoIterator<Item = (Duration, u32)>,
    ) {
        self.hear(now, instance, |foreground| foreground.window(now, from, latencies.into_iter()));
    }

    /// How long the windows are in which an instance is heard of, from now on: its pauses take so many of them as show at least
    /// one in which the foreground has settled, at least two, and are as much rarer as they are longer. Zero, as it is at first:
    /// requests are told one by one.
    pub fn set_window(&mut self, now: Now, instance: &InstanceName, window: Duration) {
        self.at(now, instance).foreground.set_window(now, window);
    }

    /// How busy an instance's foreground is from now on, in any unit: backups that cannot pause are held against moments
    /// of the same hour and load.
    pub fn set_load(&mut self, now: Now, instance: &InstanceName, load: f64) {
        self.at(now, instance).foreground.set_load(load);
    }

    /// Time has passed. Whom to pause now, and for how long; whoever does so tells it by [`mark`](Self::mark), and one that
    /// is not carried out within some seconds is forgotten.
    pub fn tick(&mut self, now: Now) -> Vec<PauseRequest> {
        let busy = self.instances.values_mut().filter(|instance| !instance.foreground.is_idle());
        busy.filter_map(|instance| instance.foreground.tick(now)).collect()
    }

    /// The same for one instance alone, as for whoever hears of it in windows and pauses from one window to another.
    pub fn tick_of(&mut self, now: Now, instance: &InstanceName) -> Option<PauseRequest> {
        self.instances.get_mut(instance).and_then(|instance| instance.foreground.tick(now))
    }

    /// When [`tick`](Self::tick) may want something.
    pub fn next_look(&self, now: Now) -> Option<MonoTime> {
        let busy = self.instances.values().filter(|instance| !instance.foreground.is_idle());
        busy.filter_map(|instance| instance.foreground.next_look(now.mono)).min()
    }

    /// The latency events that are over and have not been taken yet, oldest first.
    pub fn events(&mut self) -> Vec<LatencyEvent> {
        std::mem::take(&mut self.fresh)
    }

    /// What all backups have cost: the [`report`](ImpactSnapshot::report) of a [`snapshot`](Self::snapshot).
    pub fn report(&self) -> ImpactReport {
        self.snapshot().report()
    }

    /// What a report is made of, for whoever has no time to make one here: nothing is estimated yet, and weeks, ended backups
    /// and events are shared until they change. Some tens of nanoseconds for each instance and ended backup, some microseconds
    /// for each running one.
    pub fn snapshot(&self) -> ImpactSnapshot {
        ImpactSnapshot {
            weeks: self.weeks(),
            under_way: self.instances.values().flat_map(|i| i.foreground.under_way()).collect(),
            ended: self.ended.iter().cloned().collect(),
            events: self.events.iter().cloned().collect(),
        }
    }

    /// The weeks of all instances, shared until they change: enough for the sum of all, in some tens of nanoseconds an
    /// instance.
    pub fn weeks(&self) -> ImpactWeeks {
        ImpactWeeks(self.instances.iter().map(|(name, of)| (name.clone(), of.weeks.clone())).collect())
    }

    /// Lets something change at an instance that is known or becomes so, and takes what has come to light.
    fn hear<R>(&mut self, now: Now, instance: &InstanceName, change: impl FnOnce(&mut Foreground) -> R) -> R {
        let changed = change(&mut self.at(now, instance).foreground);
        self.collect(now, instance);
        changed
    }

    fn of<R>(&mut self, now: Now, job: JobId, change: impl FnOnce(&mut Foreground) -> R) -> Option<R> {
        let instance = self.running.get(&job)?.clone();
        Some(self.hear(now, &instance, change))
    }

    fn collect(&mut self, now: Now, name: &InstanceName) {
        let Self { settings, rng, instances, events, fresh, .. } = self;
        let Some(instance) = instances.get_mut(name) else { return };
        let news = &mut instance.foreground.news;
        if news.pairs.is_empty() && news.events.is_empty() {
            return;
        }
        let news = std::mem::take(news);
        let week = instance.week(now, settings.weeks);
        news.pairs.iter().for_each(|pair: &Levels| week.pairs.add(pair, rng));
        for event in news.events {
            week.tally.count(event.verdict);
            if events.len() == EVENTS {
                events.pop_back();
            }
            events.push_front(Arc::new(event.clone()));
            // Whoever takes none loses the oldest.
            if fresh.len() == EVENTS {
                fresh.remove(0);
            }
            fresh.push(event);
        }
    }

    fn at(&mut self, now: Now, name: &InstanceName) -> &mut Instance {
        if !self.instances.contains_key(name) {
            self.make_room();
            let foreground = Foreground::new(now.mono, self.settings, self.rng.fork());
            self.instances.insert(name.clone(), Instance { foreground, weeks: Arc::default() });
        }
        match self.instances.get_mut(name) {
            Some(instance) => instance,
            None => unreachable!("it was inserted above"),
        }
    }

    /// Forgets whoever was silent for longest of those without a backup.
    fn make_room(&mut self) {
        if self.instances.len() < self.settings.instances {
            return;
        }
        let idle = self.instances.iter().filter(|(_, instance)| instance.foreground.is_idle());
        let silent = idle.min_by_key(|(_, instance)| instance.foreground.heard).map(|(name, _)| name.clone());
        if let Some(name) = silent {
            self.instances.remove(&name);
        }
    }
}

impl Instance {
    /// The week of this moment; the oldest is forgotten for it.
    fn week(&mut self, now: Now, most: usize) -> &mut Week {
        let monday = (now.wall.as_second() - MONDAY).div_euclid(WEEK) * WEEK + MONDAY;
        let weeks = Arc::make_mut(&mut self.weeks);
        if !weeks.contains_key(&monday) && weeks.len() >= most {
            weeks.pop_first();
        }
        weeks.entry(monday).or_default()
    }
}
