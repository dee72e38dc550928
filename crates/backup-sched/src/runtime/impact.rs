//! What the impact ledger hears, and what becomes of the pauses that it wants: [`Impact`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sched_core::{BackupKind, InstanceName, JobId, MonoTime, Now, PauseMark, Scope};
use sched_observe::impact::{Backup, BackupImpact, ImpactLedger, ImpactSnapshot, ImpactWeeks, Why};
use sched_workload::LatencyWindow;

/// A backup that is slowed to what it was promised must move so many times as much before, or there is too little to
/// compare.
const CONTRAST: f64 = 10.0;

/// The ledger, which backups it watches, and why they stand.
pub(crate) struct Impact {
    ledger: ImpactLedger,
    detectors: Vec<Option<Ear>>,
    running: BTreeMap<JobId, Watched>,
}

/// A detector that tells latencies.
struct Ear {
    scope: Scope,
    /// How long its windows are.
    period: Duration,
    /// Until when it was heard.
    heard: Option<MonoTime>,
    /// A window has just ended: pauses begin with the next.
    due: bool,
}

#[derive(Default)]
struct Watched {
    /// The rate that its phase is promised; `None`: it is not to be slowed.
    floor: Option<u64>,
    /// Bytes that it had moved by its pacer when it was looked at last; only what paces itself can be slowed.
    paced: u64,
    pausable: bool,
    /// It stands at a checkpoint, because of load or by order.
    stands: bool,
    /// A control law has stopped its place for a look at the foreground alone.
    looked_away: bool,
    /// The ledger has stopped it: from the first time on a window suffices, the second is late enough without one.
    until: Option<(MonoTime, MonoTime)>,
    told: bool,
}

impl Watched {
    fn moves(&self) -> bool {
        !(self.stands || self.looked_away || self.until.is_some())
    }
}

impl Impact {
    pub(crate) fn new(
        ledger: ImpactLedger,
        detectors: impl Iterator<Item = Option<(Scope, Duration)>>,
    ) -> Self {
        let ear = |(scope, period)| Ear { scope, period, heard: None, due: false };
        let detectors = detectors.map(|detector| detector.map(ear)).collect();
        Self { ledger, detectors, running: BTreeMap::new() }
    }

    /// An attempt begins. `feels`: the scopes whose latency it may raise, innermost first; the first that a detector
    /// listens at counts.
    pub(crate) fn began(
        &mut self,
        now: Now,
        (job, kind): (JobId, BackupKind),
        floor: Option<u64>,
        mut feels: impl Iterator<Item = Scope>,
    ) {
        let ear = |scope| self.detectors.iter().flatten().find(|ear| ear.scope == scope);
        let Some(Ear { scope, period, .. }) = feels.find_map(ear) else { return };
        self.running.insert(job, Watched { floor, ..Watched::default() });
        let instance = foreground(scope);
        self.ledger.set_window(now, &instance, *period);
        self.ledger.begin(now, Backup { job, instance, kind, pausable: false });
    }

    /// A phase begins.
    pub(crate) fn phase(&mut self, now: Now, job: JobId, floor: Option<u64>) {
        self.change(now, job, |watched| watched.floor = floor);
    }

    /// An attempt stands at a checkpoint, or moves again.
    pub(crate) fn mark(&mut self, now: Now, job: JobId, mark: PauseMark) {
        self.change(now, job, |watched| watched.stands = mark == PauseMark::Standing);
    }

    /// An attempt has ended; what it cost.
    pub(crate) fn ended(&mut self, now: Now, job: JobId) -> Option<BackupImpact> {
        self.running.remove(&job)?;
        self.ledger.end(now, job)
    }

    /// A detector was asked, and what it was told since it was asked before. `paced` says how many bytes each job has moved by its pacer.
    pub(crate) fn heard(
        &mut self,
        now: Now,
        detector: usize,
        window: Option<&LatencyWindow>,
        paced: impl Fn(JobId) -> u64,
    ) {
        let Some(Some(ear)) = self.detectors.get_mut(detector) else { return };
        let (from, name) = (ear.heard.replace(now.mono), foreground(&ear.scope));
        ear.due = window.is_some();
        let seconds = from.map_or(0.0, |from| now.mono.since(from).as_secs_f64());
        if let (Some(from), Some(window)) = (from, window) {
            self.ledger.record_window(now, from, &name, window.counts());
        }
        for (job, watched) in &mut self.running {
            // The window that was waited for has come.
            watched.until = watched
                .until
                .map(|(enough, late)| if now.mono >= enough { (enough, now.mono) } else { (enough, late) });
            let before = std::mem::replace(&mut watched.paced, paced(*job));
            let moved = watched.paced.saturating_sub(before) as f64;
            // What stands moves nothing, and is paced all the same.
            let enough = |floor: u64| moved > 0.0 && moved >= CONTRAST * floor as f64 * seconds;
            let pausable = watched.floor.is_some_and(enough) || !watched.moves() && watched.pausable;
            if pausable != watched.pausable {
                watched.pausable = pausable;
                self.ledger.set_pausable(now, *job, pausable);
            }
        }
    }

    /// Time has passed; `looked_away`: whose place a control law has stopped. Who is to stop, or to go on, as
    /// [`stops`](Self::stops) says.
    pub(crate) fn tick(&mut self, now: Now, looked_away: &BTreeSet<JobId>) -> Vec<JobId> {
        let jobs: Vec<JobId> = self.running.keys().copied().collect();
        let (mut changed, mut wanted) = (Vec::new(), Vec::new());
        for job in jobs {
            let looks = looked_away.contains(&job);
            self.change(now, job, |watched| {
                watched.looked_away = looks;
                if watched.until.is_some_and(|(_, late)| late <= now.mono) {
                    watched.until = None;
                    changed.push(job);
                }
            });
        }
        for ear in self.detectors.iter_mut().flatten() {
            if std::mem::take(&mut ear.due)
                && let Some(pause) = self.ledger.tick_of(now, &foreground(&ear.scope))
            {
                wanted.push((pause.job, pause.length, ear.period));
            }
        }
        for (job, length, period) in wanted {
            if self.running.get(&job).is_some_and(Watched::moves) {
                // The work of the last window's detector may be a little early.
                let enough = now.mono + length.saturating_sub(period / 8);
                self.change(now, job, |watched| watched.until = Some((enough, enough + period / 2)));
                changed.push(job);
            }
        }
        changed
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn next_look(&self) -> Option<MonoTime> {
        self.running.values().filter_map(|watched| Some(watched.until?.1)).min()
    }

    /// Whether the ledger has stopped a job.
    pub(crate) fn stops(&self, job: JobId) -> bool {
        self.running.get(&job).is_some_and(|watched| watched.until.is_some())
    }

    pub(crate) fn snapshot(&self) -> ImpactSnapshot {
        self.ledger.snapshot()
    }

    pub(crate) fn weeks(&self) -> ImpactWeeks {
        self.ledger.weeks()
    }

    /// Changes why a job stands, and tells the ledger if it stands or moves by it.
    fn change(&mut self, now: Now, job: JobId, change: impl FnOnce(&mut Watched)) {
        let Some(watched) = self.running.get_mut(&job) else { return };
        change(watched);
        let standing = !watched.moves();
        if standing != watched.told {
            watched.told = standing;
            let why = if watched.stands { Why::Other } else { Why::Comparison };
            let mark = if standing { PauseMark::Standing } else { PauseMark::Moving };
            self.ledger.mark(now, job, mark, why);
        }
    }
}

/// What a foreground is called in the report: the instance's own name, or that of the wider scope that is listened at.
fn foreground(scope: &Scope) -> InstanceName {
    match scope {
        Scope::Instance(instance) => instance.clone(),
        scope => scope.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use sched_core::{Clock, ManualClock};
    use sched_observe::impact::ImpactSettings;
    use sched_workload::ForegroundLatency;

    use super::*;

    const JOB: JobId = JobId(1);

    /// The share of the time that a backup stands beside a foreground that is always restless and often too slow, so that
    /// little can be told and pauses are wanted again and again.
    fn stood(period: Duration, windows: u32) -> f64 {
        let mut settings = ImpactSettings::default();
        settings.event = settings.event.slo(Duration::from_millis(2));
        settings.event.lasting = 3 * period;
        let ledger = ImpactLedger::new(settings).unwrap();
        let mut impact = Impact::new(ledger, std::iter::once(Some((Scope::Fleet, period))));
        let (clock, latency) = (ManualClock::default(), ForegroundLatency::new());
        let mut rng = fastrand::Rng::with_seed(3);
        impact.began(clock.now(), (JOB, BackupKind::Full), Some(0), std::iter::once(Scope::Fleet));
        let (mut paced, mut stood) = (0, 0);
        for window in 0..windows {
            let stands = impact.stops(JOB);
            (paced, stood) = (paced + u64::from(!stands), stood + u32::from(stands));
            let micros = if window % 50 < 15 { 1_000.0 } else { 10_000.0 * (2.0 * rng.f64()).exp() };
            (0..400).for_each(|_| {
                latency.record(Duration::from_micros((micros * (0.9 + 0.2 * rng.f64())) as u64))
            });
            clock.advance(period);
            impact.heard(clock.now(), 0, Some(&latency.drain()), |_| paced);
            impact.tick(clock.now(), &BTreeSet::new());
        }
        assert!(impact.snapshot().report().events.len() > 10, "there was something to find out");
        f64::from(stood) / f64::from(windows)
    }

    #[test]
    fn pauses_keep_to_their_share_of_the_time_whatever_the_detectors_period() {
        for seconds in [1, 10, 30] {
            let share = stood(Duration::from_secs(seconds), 4_000);
            assert!((0.02..=0.03).contains(&share), "{share} with windows of {seconds} s");
        }
    }
}
