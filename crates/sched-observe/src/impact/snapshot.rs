//! What a report is made of, and the report: [`ImpactSnapshot`], [`ImpactWeeks`].

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use sched_core::InstanceName;

use super::cost::Cost;
use super::pairs::Reservoir;
use super::report::{BackupImpact, ImpactReport, InstanceImpact, Period};
use super::verdict::{LatencyEvent, Tally};

/// An instance's weeks, by the second of their Mondays.
pub(super) type Weeks = BTreeMap<i64, Week>;

/// What an instance's backups of a week have shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Week {
    pub(super) tally: Tally,
    pub(super) pairs: Reservoir,
}

/// What was known at one time of what backups cost. It is taken from an [`ImpactLedger`](super::ImpactLedger) in no time, and
/// read wherever there is time.
#[derive(Clone, Debug)]
pub struct ImpactSnapshot {
    pub(super) weeks: ImpactWeeks,
    pub(super) under_way: Vec<Cost>,
    pub(super) ended: Vec<Arc<BackupImpact>>,
    pub(super) events: Vec<Arc<LatencyEvent>>,
}

/// The weeks of all instances at one time.
#[derive(Clone, Debug)]
pub struct ImpactWeeks(pub(super) Vec<(InstanceName, Arc<Weeks>)>);

impl ImpactSnapshot {
    /// All of it. The ratios take time: some .2 ms for each instance and week.
    pub fn report(&self) -> ImpactReport {
        let ended = self.ended.iter().map(|ended| BackupImpact::clone(ended));
        ImpactReport {
            all: self.weeks.all(),
            weeks: self.weeks.each(),
            instances: self.weeks.instances(),
            backups: self.under_way.iter().map(Cost::impact).chain(ended).collect(),
            events: self.events.iter().map(|event| LatencyEvent::clone(event)).collect(),
        }
    }
}

impl ImpactWeeks {
    /// What all backups of all instances have cost.
    pub fn all(&self) -> Period {
        period(None, self.0.iter().flat_map(|(_, weeks)| weeks.values()))
    }

    /// Week by week, oldest first.
    fn each(&self) -> Vec<Period> {
        let mut each: BTreeMap<i64, Vec<&Week>> = BTreeMap::new();
        for (monday, week) in self.0.iter().flat_map(|(_, weeks)| weeks.iter()) {
            each.entry(*monday).or_default().push(week);
        }
        each.into_iter().map(|(monday, weeks)| period(Some(monday), weeks.into_iter())).collect()
    }

    fn instances(&self) -> Vec<InstanceImpact> {
        let of = |(name, weeks): &(InstanceName, Arc<Weeks>)| InstanceImpact {
            instance: name.clone(),
            all: period(None, weeks.values()),
            weeks: weeks.iter().map(|(monday, week)| period(Some(*monday), std::iter::once(week))).collect(),
        };
        self.0.iter().map(of).collect()
    }
}

fn period<'a>(monday: Option<i64>, weeks: impl Iterator<Item = &'a Week> + Clone) -> Period {
    let mut tally = Tally::default();
    weeks.clone().for_each(|week| tally.add(&week.tally));
    Period {
        week: monday.and_then(|second| Timestamp::from_second(second).ok()),
        tally,
        comparisons: weeks.clone().map(|week| week.pairs.pairs()).sum(),
        ratios: Reservoir::pooled(weeks.map(|week| &week.pairs)),
    }
}
