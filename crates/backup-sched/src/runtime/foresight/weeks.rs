//! What is learned of the load of scopes, and where it is a peak. Pure.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sched_core::{LoadState, MonoTime, Now, Scope, wall_until};
use sched_limits::LOST_AFTER_PERIODS;
use sched_workload::{
    DetectError, Forecast, LearnedWeek, LoadReading, LocalClock, OwnLoad, PeakDetector, PeakSettings,
    PeakSettingsError,
};

use super::scope::{Gathered, Learned};
use crate::forecast::{ForecastConfig, LearnedScope};

/// A detector's pressure in percent of its target: what weeks learn and peaks are looked for in.
const PERCENT: f64 = 100.0;

/// A wall that moved by more beside the monotonic clock has jumped.
const JUMP: SignedDuration = SignedDuration::from_mins(5);
/// Nothing is learned for so long after the wall has jumped: it may be wrong, and what is learned for a wrong hour, or for
/// one weeks from now, stays. Of an hour that is missing little is lost.
const SETTLES_WITHIN: Duration = Duration::from_secs(3600);

/// Scopes that are looked at between two looks at messages: some hundred microseconds of work.
const PORTION: usize = 64;
/// A scope without a detector is forgotten when for so long nothing was told of it and nobody ran there. A job that has
/// waited longer is planned by the next of its scopes.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(8 * 7 * 24 * 3600);
/// Scopes that are looked at for that with each that becomes known: two, so that there are never many more than are in use.
const LOOKED_AT: usize = 2;

/// The learned week of every scope of which readings came or that was handed in.
pub(crate) struct Weeks {
    sample: Duration,
    min_days: u32,
    peaks: Option<PeakSettings>,
    clock: RefCell<LocalClock>,
    scopes: BTreeMap<Scope, Learned>,
    /// When a scope's sample is over or its newest too old.
    alarms: BTreeSet<(MonoTime, Scope)>,
    /// Scopes whose peak may stand otherwise than was told.
    news: BTreeSet<Scope>,
    trusted: bool,
    /// Who was looked at last for being forgotten.
    looked_at: Option<Scope>,
    /// The newest time that was told.
    now: Option<Now>,
    /// Until when the wall is not learned by.
    unsettled: Option<MonoTime>,
    /// Of which somebody keeps what is learned, and has not heard the newest; `None` when nobody does.
    unkept: Option<BTreeSet<Scope>>,
}

impl Weeks {
    pub(crate) fn new(config: &ForecastConfig) -> Result<Self, PeakSettingsError> {
        if let Some(peaks) = config.peaks {
            peaks.check()?;
        }
        Ok(Self {
            sample: config.sample,
            min_days: config.min_days,
            peaks: config.peaks,
            clock: RefCell::new(LocalClock::new(config.zone.clone())),
            scopes: BTreeMap::new(),
            alarms: BTreeSet::new(),
            news: BTreeSet::new(),
            trusted: false,
            looked_at: None,
            now: None,
            unsettled: None,
            unkept: None,
        })
    }

    /// A detector tells the load of a scope once a `period`.
    pub(crate) fn watch(&mut self, scope: &Scope, period: Duration) {
        let silence = self.sample + period.saturating_mul(LOST_AFTER_PERIODS);
        let settings = self.peaks;
        let learned = self.learned(scope);
        learned.watched = true;
        if silence > learned.stale_after {
            learned.stale_after = silence;
            learned.peaks = peaks(settings, silence);
        }
    }

    /// Whether there is no scope of which anything could be known.
    pub(crate) fn is_empty(&self) -> bool {
        self.scopes.is_empty()
    }

    /// Takes in what a detector said of a scope. Where so few ask for anything that nothing can be measured, next to
    /// nothing is to be done: the week learns that, or it would know of the busy hours only.
    pub(crate) fn heard(
        &mut self,
        now: Now,
        scope: &Scope,
        detector: usize,
        said: &Result<LoadReading, DetectError>,
    ) {
        let (pressure, measured) = match said {
            Ok(reading) => (reading.strength(), reading.pressure.is_some()),
            Err(DetectError::TooFew { .. }) => (0.0, true),
            Err(_) => return,
        };
        self.watch_wall(now);
        let seconds = i64::try_from(self.sample.as_secs()).unwrap_or(i64::MAX).max(1);
        let interval = now.wall.as_second().div_euclid(seconds);
        if self.scopes.get(scope).is_some_and(|learned| learned.interval().is_some_and(|at| at != interval)) {
            self.close(now, scope);
        }
        let ends = Timestamp::from_second(interval.saturating_add(1).saturating_mul(seconds));
        let left = wall_until(now.wall, ends.unwrap_or(Timestamp::MAX));
        self.learned(scope).gather(now, interval, now.mono + left, (detector, PERCENT * pressure, measured));
        self.set_alarm(scope);
    }

    /// Time has passed. Tells, of a portion of the scopes, those whose peak has begun, is of other numbers, has ended or is
    /// not known any more since the last call; to be called again at once while [`next_look`](Self::next_look) is due.
    pub(crate) fn tick(&mut self, now: Now) -> Vec<(Scope, Option<LoadState>)> {
        self.watch_wall(now);
        for _ in 0..PORTION {
            let due = self.alarms.first().filter(|(at, _)| *at <= now.mono).cloned();
            let Some((_, scope)) = due else { break };
            if self.scopes.get(&scope).is_some_and(|learned| learned.closes_by(now.mono)) {
                self.close(now, &scope);
            }
            self.learned(&scope).grow_old(now.mono);
            self.set_alarm(&scope);
            self.news.insert(scope);
        }
        let mut told = Vec::new();
        for _ in 0..PORTION {
            let Some(scope) = self.news.pop_first() else { break };
            let state = self.scopes.get_mut(&scope).and_then(Learned::news);
            told.extend(state.map(|state| (scope, state)));
        }
        told
    }

    /// When [`tick`](Self::tick) may have something to say.
    pub(crate) fn next_look(&self) -> Option<MonoTime> {
        if !self.news.is_empty() {
            return Some(self.now.map_or(MonoTime::ZERO, |now| now.mono));
        }
        self.alarms.first().map(|(at, _)| *at)
    }

    /// A run that moves, or no longer does, is at these scopes.
    pub(crate) fn run(&mut self, now: Now, scopes: &[Scope], moves: bool) {
        for scope in scopes {
            if let Some(learned) = self.scopes.get_mut(scope) {
                learned.touched = now.mono;
                if moves {
                    learned.movement.begin(now);
                } else {
                    learned.movement.end(now);
                }
            }
        }
    }

    /// Takes in samples that the host has kept, oldest first; returns how many. Those from the future and what is not a
    /// number are left out.
    pub(crate) fn learn(&mut self, now: Now, scope: &Scope, samples: &[(Timestamp, f64)]) -> usize {
        let usable = |(at, load): &&(Timestamp, f64)| *at <= now.wall && !load.is_nan();
        let mut taken = 0;
        self.learned(scope);
        let Some(learned) = self.scopes.get_mut(scope) else { return 0 };
        for (at, load) in samples.iter().filter(usable) {
            let slot = self.clock.get_mut().slot(*at);
            let own = if learned.movement.covers(*at) { OwnLoad::Unknown } else { OwnLoad::None };
            learned.take(now, (*at, slot), *load, Some(*load), own);
            taken += 1;
        }
        self.trusted |= learned.week.days() >= self.min_days;
        self.news.insert(scope.clone());
        self.mark_unkept(scope);
        self.set_alarm(scope);
        taken
    }

    /// What was learned elsewhere or before takes the place of what is known of a scope.
    pub(crate) fn put(&mut self, now: Now, scope: &Scope, week: LearnedWeek) {
        self.trusted |= week.days() >= self.min_days;
        let learned = self.learned(scope);
        (learned.week, learned.touched) = (week, now.mono);
        self.mark_unkept(scope);
    }

    /// Somebody keeps from now on what is learned: what is known by now he has.
    pub(crate) fn keep(&mut self) {
        self.unkept = Some(BTreeSet::new());
    }

    fn mark_unkept(&mut self, scope: &Scope) {
        self.unkept.iter_mut().for_each(|unkept| _ = unkept.insert(scope.clone()));
    }

    /// Whether there is something to keep.
    pub(crate) fn has_unkept(&self) -> bool {
        self.unkept.as_ref().is_some_and(|unkept| !unkept.is_empty())
    }

    /// What is to be kept of scopes that were learned of, or forgotten, since they were told last; of so many of them.
    pub(crate) fn take_unkept(&mut self, most: usize) -> Vec<(Scope, Option<LearnedWeek>)> {
        let Some(unkept) = &mut self.unkept else { return Vec::new() };
        let scopes: Vec<_> = std::iter::from_fn(|| unkept.pop_first()).take(most).collect();
        scopes.into_iter().map(|scope| (scope.clone(), self.week(&scope))).collect()
    }

    /// Another scope is to be known: forgets what is in use no more, of a few that have their turn to be looked at.
    pub(crate) fn make_room(&mut self, now: Now) {
        for _ in 0..LOOKED_AT {
            let after = self.looked_at.take().map_or(Bound::Unbounded, Bound::Excluded);
            let Some((scope, learned)) = self.scopes.range((after, Bound::Unbounded)).next() else { return };
            let scope = scope.clone();
            if learned.is_out_of_use() && now.mono.since(learned.touched) >= FORGOTTEN_AFTER {
                self.scopes.remove(&scope);
                self.news.remove(&scope);
                self.mark_unkept(&scope);
            }
            self.looked_at = Some(scope);
        }
    }

    pub(crate) fn week(&self, scope: &Scope) -> Option<LearnedWeek> {
        self.scopes.get(scope).map(|learned| learned.week)
    }

    pub(crate) fn all(&self) -> Vec<(Scope, LearnedWeek)> {
        self.scopes.iter().map(|(scope, learned)| (scope.clone(), learned.week)).collect()
    }

    /// Of these the scopes of which something may be known.
    pub(crate) fn known<'a>(&'a self, scopes: &'a [Scope]) -> impl Iterator<Item = &'a Scope> {
        scopes.iter().filter(|scope| self.scopes.contains_key(scope))
    }

    /// Whether enough is learned of any scope to plan by.
    pub(crate) fn any_trusted(&self) -> bool {
        self.trusted
    }

    /// The first of these scopes of which enough is learned to plan by.
    pub(crate) fn trusted<'a>(&self, scopes: &'a [Scope]) -> Option<&'a Scope> {
        let enough = |learned: &Learned| learned.week.days() >= self.min_days;
        scopes.iter().find(|scope| self.scopes.get(scope).is_some_and(enough))
    }

    pub(crate) fn forecast(
        &self,
        scope: &Scope,
        from: Timestamp,
        step: Duration,
        steps: usize,
    ) -> Option<Forecast> {
        let learned = self.scopes.get(scope)?;
        Some(learned.week.forecast(&mut self.clock.borrow_mut(), from, step, steps))
    }

    /// How many scopes there are, and up to `most` of them.
    pub(crate) fn status(&self, now: Now, most: usize) -> (usize, Vec<LearnedScope>) {
        let slot = self.clock.borrow_mut().slot(now.wall);
        let tell = |(scope, learned): (&Scope, &Learned)| LearnedScope {
            scope: scope.clone(),
            days: learned.week.days(),
            trusted: learned.week.days() >= self.min_days,
            newest: learned.newest,
            load: learned.load,
            usual: learned.week.usual(slot),
            state: learned.state.clone(),
            own_runs: learned.movement.runs(),
        };
        (self.scopes.len(), self.scopes.iter().take(most).map(tell).collect())
    }

    fn learned(&mut self, scope: &Scope) -> &mut Learned {
        let settings = self.peaks;
        self.scopes.entry(scope.clone()).or_insert_with(|| {
            let stale_after = settings.map_or(Duration::ZERO, |settings| settings.stale_after);
            Learned::new(peaks(settings, stale_after), stale_after)
        })
    }

    /// Ends a scope's sample, if it has one.
    fn close(&mut self, now: Now, scope: &Scope) {
        let Some(learned) = self.scopes.get_mut(scope) else { return };
        let Some(Gathered { last, load, measured, own }) = learned.end_sample() else { return };
        let slot = self.clock.get_mut().slot(last);
        let settled = self.unsettled.is_none_or(|until| until <= now.mono);
        let own = if own || !settled { OwnLoad::Unknown } else { OwnLoad::None };
        learned.take(now, (last, slot), load, measured, own);
        self.trusted |= learned.week.days() >= self.min_days;
        self.news.insert(scope.clone());
        self.mark_unkept(scope);
    }

    /// Notes that the wall has jumped.
    fn watch_wall(&mut self, now: Now) {
        let went = |before: Now| {
            SignedDuration::try_from(now.mono.since(before.mono)).unwrap_or(SignedDuration::MAX)
        };
        let jumped =
            |before: Now| now.wall.duration_since(before.wall).saturating_sub(went(before)).abs() > JUMP;
        if self.now.replace(now).is_some_and(jumped) {
            self.unsettled = Some(now.mono + SETTLES_WITHIN);
        }
    }

    fn set_alarm(&mut self, scope: &Scope) {
        let Some(learned) = self.scopes.get_mut(scope) else { return };
        let next = learned.next_look();
        let before = std::mem::replace(&mut learned.alarm, next);
        if before != next {
            before.into_iter().for_each(|at| _ = self.alarms.remove(&(at, scope.clone())));
            self.alarms.extend(next.map(|at| (at, scope.clone())));
        }
    }
}

fn peaks(settings: Option<PeakSettings>, stale_after: Duration) -> Option<PeakDetector> {
    let mut settings = settings?;
    settings.stale_after = settings.stale_after.max(stale_after);
    PeakDetector::new(settings).ok()
}

#[cfg(test)]
mod tests;
