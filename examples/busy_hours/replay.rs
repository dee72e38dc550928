//! The load as the scheduler would have met it, day after day.

use std::time::Duration;

use backup_sched::LoadLevel;
use backup_sched::workload::plan::{LinkLedger, OpenInterval, PlanRequest, PlanSettings, Planner};
use backup_sched::workload::{
    Forecast, LearnedWeek, LocalClock, OwnLoad, PeakDetector, PeakSettings, WEEK_HOURS,
};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, ZonedDateTime};

use crate::trace::Trace;

/// Days that only teach: a week, so that each weekday was seen once.
pub(crate) const WARM_DAYS: usize = 7;
/// Starts are looked for in steps of this length, where the samples are not further apart.
const STEP: i64 = 900;
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Who says when the day's backup starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Planned,
    FixedHour,
    PreviousDay,
    Hindsight,
}

impl Method {
    pub(crate) const EACH: [Self; 4] = [Self::Planned, Self::FixedHour, Self::PreviousDay, Self::Hindsight];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Planned => "planned by what was learned",
            Self::FixedHour => "every day at 02:00",
            Self::PreviousDay => "where the day before was lowest",
            Self::Hindsight => "the best, known only afterwards",
        }
    }

    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::FixedHour => "fixed",
            Self::PreviousDay => "previous",
            Self::Hindsight => "best",
        }
    }
}

/// A local day, and where each method puts its backup.
pub(crate) struct Day {
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
    /// After the first days, and seen whole.
    pub(crate) judged: bool,
    /// What was expected at its first moment.
    pub(crate) forecast: Forecast,
    /// A start for each of [`Method::EACH`], and the mean load of its run.
    pub(crate) starts: [Option<(Timestamp, f64)>; 4],
}

/// A load that was higher than is usual at its hour.
pub(crate) struct Alarm {
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
}

/// What came of a trace.
pub(crate) struct Replay {
    pub(crate) zone: TimeZone,
    pub(crate) hours: u32,
    pub(crate) days: Vec<Day>,
    pub(crate) alarms: Vec<Alarm>,
    /// The load expected in each hour of a week from Monday on, as it was learned in the end.
    pub(crate) week: Vec<f32>,
    day_loads: Vec<f64>,
}

impl Replay {
    pub(crate) fn run(trace: &Trace, zone: TimeZone, hours: u32) -> Self {
        let mut learner = Learner::new(trace, zone.clone());
        let mut replay =
            Self { zone: zone.clone(), hours, days: vec![], alarms: vec![], week: vec![], day_loads: vec![] };
        let (first, last) = (trace.samples[0].0, trace.samples[trace.samples.len() - 1].0);
        let mut midnight = start_of_day(first.to_zoned_datetime(zone));
        while midnight.timestamp() <= last {
            let tomorrow = start_of_day(midnight.saturating_add(1.day()));
            replay.day(trace, &mut learner, midnight.timestamp(), tomorrow.timestamp());
            midnight = tomorrow;
        }
        replay.week = learner.week_from_monday(&midnight);
        replay.alarms = learner.alarms;
        replay
    }

    /// Mean load while the judged backups of a method ran.
    pub(crate) fn mean(&self, method: Method) -> f64 {
        let at = Method::EACH.iter().position(|known| *known == method).unwrap_or_default();
        let loads = self.judged().filter_map(|day| day.starts[at].map(|(_, load)| load));
        mean(loads)
    }

    /// Mean load of the judged days.
    pub(crate) fn mean_load(&self) -> f64 {
        mean(self.day_loads.iter().copied())
    }

    fn judged(&self) -> impl Iterator<Item = &Day> {
        self.days.iter().filter(|day| day.judged)
    }

    fn day(&mut self, trace: &Trace, learner: &mut Learner, from: Timestamp, until: Timestamp) {
        let run = HOUR * self.hours;
        let slots = usize::try_from((until.as_second() - from.as_second()) / STEP).unwrap_or(96);
        let forecast = learner.week.forecast(&mut learner.clock, from, Duration::from_secs(900), slots);
        let planned = learner.live_through(trace, from, until, run);
        let first = trace.samples[0].0;
        let last = trace.samples[trace.samples.len() - 1].0;
        let step = SignedDuration::from_secs(trace.step_secs);
        let whole = from >= first && until <= last.saturating_add(step).unwrap_or(last);
        let judged = whole && self.days.len() >= WARM_DAYS;
        let load = |start: Timestamp| Some((start, trace.mean(start, later(start, run))?));
        let day_before = self.days.last().map(|day| (day.from, day.until));
        let fixed = self.zoned_hour(from, 2);
        let previous = day_before.and_then(|(before, end)| {
            let best = cheapest(trace, before, end, run)?;
            from.checked_add(SignedDuration::from_secs(best.as_second() - before.as_second())).ok()
        });
        let starts = [planned, Some(fixed), previous, cheapest(trace, from, until, run)];
        let starts = starts.map(|start| start.filter(|at| later(*at, run) <= until).and_then(load));
        let judged = judged && starts.iter().all(Option::is_some);
        if judged {
            self.day_loads.extend(trace.mean(from, until));
        }
        self.days.push(Day { from, until, judged, forecast, starts });
    }

    /// An hour of the local day that begins then.
    fn zoned_hour(&self, midnight: Timestamp, hour: i8) -> Timestamp {
        let day = midnight.to_zoned_datetime(self.zone.clone());
        day.with().hour(hour).build().map_or(midnight, |at| at.timestamp())
    }
}

/// What the scheduler knows of an instance, and what it does with it.
struct Learner {
    week: LearnedWeek,
    clock: LocalClock,
    peaks: PeakDetector,
    planner: Planner,
    alarms: Vec<Alarm>,
    /// Samples taken in.
    seen: usize,
}

impl Learner {
    fn new(trace: &Trace, zone: TimeZone) -> Self {
        let mut settings = PeakSettings::default();
        // What is too little to look at: half a percent of the highest load.
        let top = trace.samples.iter().map(|(_, load)| *load).fold(0.0, f64::max);
        settings.least_deviation = (top / 200.0).max(f64::from(f32::MIN_POSITIVE)) as f32;
        Self {
            week: LearnedWeek::new(),
            clock: LocalClock::new(zone),
            peaks: PeakDetector::new(settings).expect("only the least deviation differs from the default"),
            planner: Planner::new(PlanSettings::default()).expect("the default is in range"),
            alarms: Vec::new(),
            seen: 0,
        }
    }

    /// Takes in a day's samples, and plans its backup anew at each step until that begins.
    fn live_through(
        &mut self,
        trace: &Trace,
        from: Timestamp,
        until: Timestamp,
        run: Duration,
    ) -> Option<Timestamp> {
        let ledger = LinkLedger::new(self.planner.settings(), from);
        let windows = [OpenInterval { from, until }];
        let (mut start, mut now): (Option<Timestamp>, _) = (None, from);
        while now < until {
            self.take_in(trace, now);
            let next = later(now, Duration::from_secs(STEP.unsigned_abs()));
            let begun = start.is_some_and(|start| start < now);
            if !begun && later(now, run) <= until {
                let slots = usize::try_from((until.as_second() - now.as_second()) / STEP).unwrap_or(0);
                let step = self.planner.settings().step;
                let forecast = self.week.forecast(&mut self.clock, now, step, slots);
                let request = PlanRequest {
                    windows: &windows,
                    duration: run,
                    forecast: Some(&forecast),
                    current: start,
                    ..PlanRequest::new(now)
                };
                start = self.planner.plan(&request, &ledger).map(|plan| plan.start);
            }
            now = next;
        }
        self.take_in(trace, until);
        start
    }

    /// Takes in the samples from before a moment.
    fn take_in(&mut self, trace: &Trace, until: Timestamp) {
        while let Some((at, load)) = trace.samples.get(self.seen).filter(|(at, _)| *at < until) {
            let slot = self.clock.slot(*at);
            self.peaks.update(&self.week, *at, slot, *load, OwnLoad::None);
            let peak = self.peaks.state(*at).is_some_and(|state| state.level == LoadLevel::Peak);
            let end = later(*at, Duration::from_secs(trace.step_secs.unsigned_abs()));
            match self.alarms.last_mut().filter(|alarm| alarm.until == *at) {
                Some(alarm) if peak => alarm.until = end,
                _ if peak => self.alarms.push(Alarm { from: *at, until: end }),
                _ => {}
            }
            self.week.update(slot, *load, OwnLoad::None);
            self.seen += 1;
        }
    }

    /// The week that follows, from its Monday on.
    fn week_from_monday(&mut self, after: &ZonedDateTime) -> Vec<f32> {
        let to_monday = (7 - after.weekday().to_monday_zero_offset()) % 7;
        let monday = after.saturating_add(i64::from(to_monday).days());
        let forecast = self.week.forecast(&mut self.clock, monday.timestamp(), HOUR, usize::from(WEEK_HOURS));
        forecast.slots.iter().map(|slot| slot.mean).collect()
    }
}

/// The start of the run in a day that meets the least load.
fn cheapest(trace: &Trace, from: Timestamp, until: Timestamp, run: Duration) -> Option<Timestamp> {
    let starts = (0..).map_while(|n| from.checked_add(SignedDuration::from_secs(n * STEP)).ok());
    let starts = starts.take_while(|start| later(*start, run) <= until);
    let loads = starts.filter_map(|start| Some((start, trace.mean(start, later(start, run))?)));
    loads.min_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(start, _)| start)
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    backup_sched::core::wall_plus(at, by)
}

fn start_of_day(at: ZonedDateTime) -> ZonedDateTime {
    at.start_of_day().unwrap_or(at)
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { 0.0 } else { sum / f64::from(count) }
}
