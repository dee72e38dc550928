//! What recurs in a scheduler's shares, and what was learned of the load there.

use sched_core::{JobSpec, Now, Scope, TechnologyName};
use sched_workload::LearnedWeek;

use super::Dispatcher;
use crate::runtime::Key;
use crate::runtime::left::Left;

impl Dispatcher {
    /// Whether what recurs for an instance is this scheduler's business.
    pub(in super::super) fn makes_recurring(&mut self, key: &Key, technology: &TechnologyName) -> bool {
        let share = self.share_of_recurring(key, technology);
        let sharing = self.sharing.as_ref();
        sharing.zip(share).is_none_or(|(sharing, share)| sharing.makes(share))
    }

    /// Whether this scheduler writes down what becomes of what recurs: also while it gives the share up.
    pub(in super::super) fn keeps_recurring(&mut self, key: &Key, technology: &TechnologyName) -> bool {
        let share = self.share_of_recurring(key, technology);
        let sharing = self.sharing.as_ref();
        sharing.zip(share).is_none_or(|(sharing, share)| {
            let owned = sharing.owned.contains(&share);
            if owned {
                sharing.desk.place(&key.0, share);
            }
            owned
        })
    }

    /// The share of what recurs; `None` when the policies in force do not say where it is.
    pub(super) fn share_of_recurring(&mut self, key: &Key, technology: &TechnologyName) -> Option<u32> {
        let sharing = self.sharing.as_mut()?;
        if let Some(share) = sharing.instances.get(&key.0) {
            return Some(*share);
        }
        let spec = JobSpec::new(&key.0, technology).kind(key.1);
        let spec = self.parts.current.read().resolve_one(spec, false).ok()?.spec;
        let share = sharing.desk.share_of(&spec);
        sharing.instances.insert(key.0.clone(), share);
        Some(share)
    }

    /// Other policies may put instances elsewhere.
    pub(in super::super) fn forget_shares_of_instances(&mut self) {
        self.sharing.iter_mut().for_each(|sharing| sharing.instances.clear());
    }

    /// What recurs in a share goes on as it was left. Of what was never written down it is written now how it stands.
    pub(super) fn take_recurring(&mut self, now: Now, share: u32, left: &mut Left) {
        let wall = self.parts.engine.trusted(now).wall;
        let all: Vec<(Key, TechnologyName)> =
            self.parts.schedules.all().map(|(key, technology)| (key.clone(), technology.clone())).collect();
        let mut kept = std::mem::take(&mut left.schedules);
        for (key, technology) in all {
            let entry = kept.remove(&key);
            if entry.is_some() || self.share_of_recurring(&key, &technology) == Some(share) {
                let goes_on = entry
                    .as_ref()
                    .and_then(|entry| entry.job)
                    .is_some_and(|job| left.jobs.contains_key(&job));
                self.parts.schedules.take_over(wall, &key, entry.as_ref(), goes_on);
            }
        }
        // What recurs no more has recovery points all the same.
        kept.iter().for_each(|(key, entry)| self.parts.schedules.take_over(wall, key, Some(entry), false));
    }

    /// What others have learned of the load there counts, unless more was seen from here.
    pub(super) fn take_weeks(&mut self, now: Now, weeks: Vec<(Scope, LearnedWeek)>) {
        let (foresight, _, trusted) = self.parts.foresight(now);
        for (scope, week) in weeks {
            if foresight.weeks().week(&scope).is_none_or(|own| own.days() <= week.days()) {
                foresight.put(trusted, &scope, week);
            }
        }
    }
}
