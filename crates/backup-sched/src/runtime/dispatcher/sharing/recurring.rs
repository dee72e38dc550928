//! What recurs in a scheduler's shares, and what was learned of the load there.

use std::collections::{BTreeMap, HashMap};

use sched_core::store::ScheduleEntry;
use sched_core::{InstanceName, JobSpec, Now, Scope, TechnologyName};
use sched_workload::LearnedWeek;

use super::Dispatcher;
use crate::runtime::Key;
use crate::runtime::left::Left;

/// Where what recurs is, by the policies in force.
#[derive(Default)]
pub(super) struct Places {
    instances: HashMap<InstanceName, u32>,
    by_share: HashMap<u32, Vec<Key>>,
    /// The [changes](crate::runtime::Schedules::changes) by which all was looked at.
    indexed: Option<u64>,
}

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
    fn share_of_recurring(&mut self, key: &Key, technology: &TechnologyName) -> Option<u32> {
        let sharing = self.sharing.as_mut()?;
        if let Some(share) = sharing.recurring.instances.get(&key.0) {
            return Some(*share);
        }
        let spec = JobSpec::new(&key.0, technology).kind(key.1);
        let spec = self.parts.current.read().resolve_one(spec, false).ok()?.spec;
        let share = sharing.desk.share_of(&spec);
        spec.hosts().for_each(|host| sharing.desk.place_host(host, share));
        sharing.recurring.instances.insert(key.0.clone(), share);
        Some(share)
    }

    /// The share of each that recurs, by policies that others are about to replace: those may put instances elsewhere.
    pub(in super::super) fn take_places_of_recurring(&mut self) -> HashMap<InstanceName, u32> {
        self.look_at_recurring();
        let places = self.sharing.as_mut().map(|sharing| std::mem::take(&mut sharing.recurring));
        places.unwrap_or_default().instances
    }

    /// Other policies are in force. What they have moved into another share begins now: whoever made it until now has dealt
    /// with the slots that have passed, may be making the last one still, and cannot be asked.
    pub(in super::super) fn place_recurring_anew(&mut self, now: Now, before: &HashMap<InstanceName, u32>) {
        self.look_at_recurring();
        let wall = self.parts.engine.trusted(now).wall;
        let Some(sharing) = &self.sharing else { return };
        let is_here = |share: Option<&u32>| share.is_some_and(|share| sharing.owned.contains(share));
        let moved = |key: &Key| {
            let (was, is) = (before.get(&key.0), sharing.recurring.instances.get(&key.0));
            (was != is).then(|| is_here(was) && is_here(is))
        };
        let moved: Vec<(Key, bool)> =
            self.parts.schedules.all().filter_map(|(key, _)| Some((key.clone(), moved(key)?))).collect();
        for (key, stays_here) in moved {
            if stays_here {
                // It goes on as it stands; its new share is written down.
                self.parts.schedules.mark_unkept(&key);
            } else {
                self.parts.schedules.begin(wall, &key);
            }
        }
    }

    /// What recurs in a share.
    fn recurring_in(&mut self, share: u32) -> Vec<Key> {
        self.look_at_recurring();
        let here = self.sharing.as_ref().and_then(|sharing| sharing.recurring.by_share.get(&share));
        here.cloned().unwrap_or_default()
    }

    /// Looks where all is that recurs, once, and again when something else recurs.
    fn look_at_recurring(&mut self) {
        let changes = self.parts.schedules.changes();
        if self.sharing.as_ref().is_none_or(|sharing| sharing.recurring.indexed == Some(changes)) {
            return;
        }
        let recurring = self.parts.schedules.all();
        let all: Vec<(Key, TechnologyName)> =
            recurring.map(|(key, technology)| (key.clone(), technology.clone())).collect();
        self.place_members();
        let mut by_share = HashMap::<u32, Vec<Key>>::new();
        for (key, technology) in all {
            if let Some(share) = self.share_of_recurring(&key, &technology) {
                by_share.entry(share).or_default().push(key);
            }
        }
        self.sharing.iter_mut().for_each(|sharing| {
            sharing.recurring.by_share = std::mem::take(&mut by_share);
            sharing.recurring.indexed = Some(changes);
        });
    }

    /// Hosts of clusters are where these are, also if nothing recurs there.
    fn place_members(&self) {
        let Some(sharing) = &self.sharing else { return };
        for (name, instance) in self.parts.current.read().policies.instances() {
            let Some(cluster) = &instance.cluster else { continue };
            let host = instance.host.clone().unwrap_or_else(|| name.as_str().into());
            let technology = instance.technology.clone().unwrap_or_else(|| "any".into());
            let spec = JobSpec::new(name, &technology).host(&host).group(cluster);
            sharing.desk.place_host(&host, sharing.desk.share_of(&spec));
        }
    }

    /// What recurs in a share goes on as it was left. Of what was never written down it is written now how it stands.
    pub(super) fn take_recurring(&mut self, now: Now, share: u32, left: &mut Left) {
        let wall = self.parts.engine.trusted(now).wall;
        let mut all: BTreeMap<Key, Option<ScheduleEntry>> =
            self.recurring_in(share).into_iter().map(|key| (key, None)).collect();
        // Also what the policies have elsewhere by now, and what recurs no more: it has recovery points all the same.
        all.extend(std::mem::take(&mut left.schedules).into_iter().map(|(key, entry)| (key, Some(entry))));
        for (key, entry) in all {
            let job = entry.as_ref().and_then(|entry| entry.job);
            let goes_on = job.is_some_and(|job| left.jobs.contains_key(&job));
            self.parts.schedules.take_over(wall, &key, entry.as_ref(), goes_on);
        }
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
