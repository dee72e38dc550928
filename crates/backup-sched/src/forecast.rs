//! What a scheduler knows of the load to come, and how starts are planned by it: [`ForecastConfig`], [`JobPlan`].

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sched_core::{JobId, LoadState, Scope};
use sched_workload::plan::{LinkId, PlanExplanation, PlanSettings};
use sched_workload::{Forecast, LearnedWeek, PeakSettings};
use serde::{Deserialize, Serialize};

use crate::error::{JobError, LearnError, Stopped};
use crate::scheduler::Scheduler;

/// Samples that go to the scheduler with one message: less than a millisecond of its time.
const SAMPLES_A_MESSAGE: usize = 4_096;

/// How load is learned, when it is a peak, and how starts are planned by it.
///
/// The load of a scope is the pressure that its detectors tell, in percent of their targets; where one measures nothing, 0
/// for calm, 150 for busy and 250 for a peak. Of several detectors of a scope the busiest counts. While a backup moves
/// there nothing is learned: what it adds is not known.
///
/// What is learned of a scope is kept while a detector is of it. Of another it is forgotten, as further scopes become known,
/// once for eight weeks nothing was told or handed in of it and no backup ran there.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ForecastConfig {
    /// The time zone by whose clock weeks are learned. Default: that of the system.
    pub zone: TimeZone,
    /// Readings of so much time are one sample, their mean: 1 s to 1 h. Default 5 min, which the peaks' default settings
    /// are for.
    pub sample: Duration,
    /// Days of which something must have been seen before starts are planned by a week, 2 to 28. Default 3: two whole
    /// days at least. A week that was handed in counts at once if it has as many.
    pub min_days: u32,
    /// When more load than is usual at this hour is a peak, in percent of the target; `None`: never. Default: as
    /// [`PeakSettings`], but deviations below 5 % are not looked at, so that a peak exceeds the usual by 15 % at least.
    pub peaks: Option<PeakSettings>,
    /// How starts are chosen; `None`: jobs start as soon as their gates allow. Default: as [`PlanSettings`], but nobody
    /// waits for a gain of 5 % of the mean load or less, and of equal starts the earliest is taken.
    pub plans: Option<PlanSettings>,
}

impl Default for ForecastConfig {
    fn default() -> Self {
        let mut peaks = PeakSettings::default();
        peaks.least_deviation = 5.0;
        let plans = PlanSettings::default().min_gain(0.05).prompt(true);
        Self {
            zone: TimeZone::system(),
            sample: Duration::from_secs(300),
            min_days: 3,
            peaks: Some(peaks),
            plans: Some(plans),
        }
    }
}

impl ForecastConfig {
    /// Whether each setting is in its range; the text says which is not, and what would be right.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (sample, days) = (self.sample, self.min_days);
        if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&sample) {
            return Err(format!("a sample of {sample:?}; right is 1 s to 1 h"));
        }
        if !(2..=28).contains(&days) {
            return Err(format!("min_days is {days}; right is 2 to 28"));
        }
        Ok(())
    }
}

/// What is known of the load to come, and of planned starts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ForecastStatus {
    /// Scopes whose load is learned.
    pub known: usize,
    /// Up to 100 of them.
    pub scopes: Vec<LearnedScope>,
    /// Jobs that wait for a planned start.
    pub planned: usize,
    /// Jobs whose start is to be planned next.
    pub to_plan: usize,
    /// How full the links with a known bandwidth are by what runs and what is planned.
    pub links: Vec<LinkUse>,
}

/// What is known of the load of a scope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LearnedScope {
    /// Whose load.
    pub scope: Scope,
    /// Days of which something was seen, no more than 255 of each weekday.
    pub days: u32,
    /// Whether starts are planned by it.
    pub trusted: bool,
    /// When the newest reading was taken.
    pub newest: Option<Timestamp>,
    /// The newest sample, in percent of the detector's target, or the unit of the host's own samples.
    pub load: Option<f64>,
    /// What is usual at this hour, in the same unit.
    pub usual: Option<f32>,
    /// Whether the load is a peak; `None`: unknown.
    pub state: Option<LoadState>,
    /// Backups that move there just now, so that nothing is learned.
    pub own_runs: u32,
}

/// How full a link is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LinkUse {
    /// Which place.
    pub place: Scope,
    /// What it carries.
    pub bytes_per_sec: u64,
    /// The part of it that what runs and what is planned will take in this quarter of an hour: 1 is full.
    pub fill: f64,
}

/// When a waiting job is to start, and what speaks for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobPlan {
    /// The job.
    pub job: JobId,
    /// By whose load it is planned: the nearest scope of which enough is learned.
    pub forecast_of: Scope,
    /// What [`LinkFill::link`](sched_workload::plan::LinkFill::link) stands for.
    pub links: BTreeMap<LinkId, String>,
    /// The start, and those that were considered beside it with their forecast.
    pub plan: PlanExplanation,
}

impl fmt::Display for JobPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PlanExplanation { start, why, compared, considered, .. } = &self.plan;
        writeln!(f, "{} is to start at {start}: {why}", self.job)?;
        write!(f, "  by the forecast of {}; {compared} starts compared, among them", self.forecast_of)?;
        for other in considered {
            let chosen = if other.start == *start { " (chosen)" } else { "" };
            write!(f, "\n  {}{chosen}: cost {:.2}", other.start, other.cost)?;
            if let (Some(load), Some(spread)) = (other.load, other.spread) {
                write!(f, ", load {load:.1} ± {spread:.1}")?;
            }
            for fill in &other.fills {
                let name = self.links.get(&fill.link).map_or("a link", String::as_str);
                write!(f, ", {name} {:.0} % full", 100.0 * fill.fill)?;
            }
        }
        Ok(())
    }
}

impl Scheduler {
    /// Teaches what the load of a scope was: samples by their time, oldest first, in the unit of its detectors (percent
    /// of the target), or any unit in which twice as much is twice as busy where there is no detector. Returns how many
    /// were taken: those from the future, and what is not a number, are left out. Samples of the present make and end
    /// peaks as a detector's do.
    ///
    /// Leave out when backups ran that this scheduler did not run: it knows of its own only, of those that ran since the
    /// scope is known, and of those under way then. Samples of their time teach nothing.
    ///
    /// # Errors
    /// When the scope's name cannot be used, or the scheduler has ended.
    pub fn learn(
        &self,
        scope: Scope,
        samples: impl IntoIterator<Item = (Timestamp, f64)>,
    ) -> Result<usize, LearnError> {
        scope.check()?;
        let (mut samples, mut taken) = (samples.into_iter(), 0);
        loop {
            let some: Vec<_> = samples.by_ref().take(SAMPLES_A_MESSAGE).collect();
            if some.is_empty() {
                return Ok(taken);
            }
            let scope = scope.clone();
            taken += self.link().foresight(move |foresight, _, now| foresight.learn(now, &scope, &some))?;
        }
    }

    /// What is learned of the load of a scope; `None` when nobody tells it.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn learned_week(&self, scope: Scope) -> Result<Option<LearnedWeek>, Stopped> {
        self.link().foresight(move |foresight, _, _| foresight.weeks().week(&scope))
    }

    /// Everything that is learned, to be kept (it serializes) and handed to
    /// [`SchedulerBuilder::learned`](crate::SchedulerBuilder::learned) or [`restore_weeks`](Self::restore_weeks).
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn learned_weeks(&self) -> Result<Vec<(Scope, LearnedWeek)>, Stopped> {
        self.link().foresight(|foresight, _, _| foresight.weeks().all())
    }

    /// Takes learned weeks in the place of what is known of their scopes.
    ///
    /// # Errors
    /// When a scope's name cannot be used, or the scheduler has ended.
    pub fn restore_weeks(
        &self,
        weeks: impl IntoIterator<Item = (Scope, LearnedWeek)>,
    ) -> Result<(), LearnError> {
        let weeks: Vec<_> = weeks.into_iter().collect();
        weeks.iter().try_for_each(|(scope, _)| scope.check())?;
        let put = move |(scope, week): (Scope, LearnedWeek)| {
            self.link().foresight(move |foresight, _, now| foresight.put(now, &scope, week))
        };
        Ok(weeks.into_iter().try_for_each(put)?)
    }

    /// The load that is expected of a scope in so many steps (at most 10,000) from now on, in the unit in which it is
    /// learned; `None` when nobody tells it. Steps under a second count as a second.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn forecast(&self, scope: Scope, step: Duration, steps: usize) -> Result<Option<Forecast>, Stopped> {
        let steps = steps.min(10_000);
        self.link()
            .foresight(move |foresight, _, now| foresight.weeks().forecast(&scope, now.wall, step, steps))
    }

    /// When a waiting job is to start and why then: the starts considered, their forecast, and how full the links are.
    /// `None` when its start is not planned: nothing is learned of its load, it does not wait for its first attempt, or
    /// it is high or critical.
    ///
    /// # Errors
    /// When the job is not known or the scheduler has ended.
    pub fn explain_plan(&self, job: JobId) -> Result<Option<JobPlan>, JobError> {
        let plan = self.link().foresight(move |foresight, engine, now| {
            engine.job_status(job).map(|_| foresight.explain(now, engine, job))
        });
        Ok(plan??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_their_range_are_refused_by_name() {
        let good = ForecastConfig::default();
        assert_eq!(good.check(), Ok(()));
        let sample = |secs| ForecastConfig { sample: Duration::from_secs(secs), ..good.clone() };
        assert!(sample(0).check().unwrap_err().contains("right is 1 s to 1 h"));
        assert!(sample(3601).check().is_err());
        let days = |min_days| ForecastConfig { min_days, ..good.clone() };
        assert!(days(1).check().unwrap_err().contains("min_days is 1"));
        assert!(days(29).check().is_err());
    }
}
