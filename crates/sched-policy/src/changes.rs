//! What differs between two policies: [`Changes`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use sched_core::{
    BackupKind, CalendarName, GroupName, InstanceName, JobSpec, ResourceName, Scope, TechnologyName,
};
use serde::Serialize;

use crate::chain::ChainId;
use crate::config::value::Keys;
use crate::policies::{Policies, Resolved};
use crate::values::{Effective, Values};

/// How many instances a change is shown for by name.
const MOST_SHOWN: usize = 20;

/// The keys whose values differ, in the order of the documentation, for each kind in which some do.
pub type KeysByKind = BTreeMap<BackupKind, Vec<&'static str>>;

/// Whose terms differ between two [`Policies`], and in which values.
///
/// Jobs that run keep what they started with: an executor has been told its floor and phases, and what a run holds has
/// been given to it. Jobs that wait are placed anew under the new terms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Changes {
    /// Calendars that are open at other times, are new, or gone.
    pub calendars: BTreeSet<CalendarName>,
    /// Technologies whose own terms differ. One that is new or gone differs in everything.
    pub technologies: BTreeMap<TechnologyName, Arc<KeysByKind>>,
    /// Instances that the configuration names and whose terms differ. One that is named only before or only after
    /// differs from its technology's terms, if at all.
    pub instances: BTreeMap<InstanceName, Arc<KeysByKind>>,
    /// Instances of which something else is said than before: their host, size, cluster, role or destination.
    pub moved: BTreeMap<InstanceName, Vec<&'static str>>,
    /// Clusters of which something else is said than before: their technology, labels, destination or tenant.
    pub clusters: BTreeMap<GroupName, Vec<&'static str>>,
    /// Hosts, and the fleet, that have other resources than before.
    pub places: BTreeSet<Scope>,
}

impl Changes {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        let Self { calendars, technologies, instances, moved, clusters, places } = self;
        calendars.is_empty()
            && technologies.is_empty()
            && instances.is_empty()
            && moved.is_empty()
            && clusters.is_empty()
            && places.is_empty()
    }

    /// How much differs, in a line: `1 calendar, 40 instances`.
    pub fn summary(&self) -> String {
        let moved = self.moved.keys().filter(|name| !self.instances.contains_key(*name)).count();
        let counts = [
            (self.calendars.len(), "calendar"),
            (self.technologies.len(), "technology"),
            (self.clusters.len(), "cluster"),
            (self.instances.len() + moved, "instance"),
            (self.places.len(), "place"),
        ];
        let said = counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| match what {
            "technology" if count > 1 => format!("{count} technologies"),
            what => format!("{count} {what}{}", if count > 1 { "s" } else { "" }),
        });
        let said: Vec<_> = said.collect();
        if said.is_empty() { "nothing differs".into() } else { said.join(", ") }
    }
}

impl Policies {
    /// Whose terms differ in `newer`, which is usually this after a file was read again.
    pub fn changes(&self, newer: &Self) -> Changes {
        let mut compare = Compare { old: self, new: newer, known: HashMap::new() };
        let mut changes = Changes::default();
        let names = self.calendars.keys().chain(newer.calendars.keys());
        let differing = names.filter(|name| self.calendars.get(*name) != newer.calendars.get(*name));
        changes.calendars = differing.cloned().collect();
        changes.places = places(self, newer);
        for (name, cluster) in &newer.clusters {
            let moved = self.clusters.get(name).map(|old| moved(old, cluster));
            changes
                .clusters
                .extend(moved.filter(|moved| !moved.is_empty()).map(|moved| (name.clone(), moved)));
        }
        let names: HashSet<_> = self.technologies.keys().chain(newer.technologies.keys()).collect();
        for name in names {
            let chain = |policies: &Self| policies.technologies.get(name).map(|known| known.chain);
            let keys = compare.chains(chain(self), chain(newer));
            changes.technologies.extend(keys.map(|keys| (name.clone(), keys)));
        }
        let only_new = newer.instances.iter().filter(|(name, _)| !self.instances.contains_key(*name));
        let names = self.instances.iter().chain(only_new);
        for (name, instance) in names {
            let spec = JobSpec::new(name, &instance.technology);
            // Who is not named has what its technology says.
            let chain = |policies: &Self| match policies.instances.get(name) {
                Some(instance) => Some(instance.chain),
                None => policies.chain(&spec).ok(),
            };
            let keys = compare.chains(chain(self), chain(newer));
            changes.instances.extend(keys.map(|keys| (name.clone(), keys)));
            if let (Some(old), Some(new)) = (self.instances.get(name), newer.instances.get(name)) {
                let moved = moved(old, new);
                changes.moved.extend((!moved.is_empty()).then(|| (name.clone(), moved)));
            }
        }
        changes
    }
}

/// The places that have other resources.
fn places(old: &Policies, new: &Policies) -> BTreeSet<Scope> {
    let of = |policies: &Policies| -> BTreeSet<(Scope, ResourceName, u64)> {
        policies.capacities().map(|(place, name, total)| (place, name.clone(), total)).collect()
    };
    let (old, new) = (of(old), of(new));
    old.symmetric_difference(&new).map(|(place, ..)| place.clone()).collect()
}

/// What is said otherwise of what an instance or a cluster is.
fn moved<T: Keys + PartialEq>(old: &Resolved<T>, new: &Resolved<T>) -> Vec<&'static str> {
    if old.entry.about == new.entry.about {
        return Vec::new();
    }
    let said = |of: &Resolved<T>| of.entry.about.said().into_iter().collect::<BTreeMap<_, _>>();
    let (old, new) = (said(old), said(new));
    let keys = T::FIELDS.iter().map(|field| field.key);
    keys.filter(|key| old.get(key) != new.get(key)).collect()
}

/// Compares each pair of chains once.
struct Compare<'p> {
    old: &'p Policies,
    new: &'p Policies,
    known: HashMap<(ChainId, ChainId), Option<Arc<KeysByKind>>>,
}

impl Compare<'_> {
    fn chains(&mut self, old: Option<ChainId>, new: Option<ChainId>) -> Option<Arc<KeysByKind>> {
        let (Some(from), Some(to)) = (old, new) else {
            let everything = || Values::FIELDS.iter().map(|field| field.key).collect();
            return Some(Arc::new(BackupKind::ALL.into_iter().map(|kind| (kind, everything())).collect()));
        };
        let (old, new) = (&self.old.chains, &self.new.chains);
        let keys = self.known.entry((from, to)).or_insert_with(|| {
            let keys = BackupKind::ALL.into_iter().filter_map(|kind| {
                let keys = differing(old.effective(from, kind), new.effective(to, kind));
                (!keys.is_empty()).then_some((kind, keys))
            });
            let keys: KeysByKind = keys.collect();
            (!keys.is_empty()).then(|| Arc::new(keys))
        });
        keys.clone()
    }
}

fn differing(old: &Effective, new: &Effective) -> Vec<&'static str> {
    if old == new {
        return Vec::new();
    }
    let (old, new) = (Values::from(old).said(), Values::from(new).said());
    old.into_iter().zip(new).filter(|(old, new)| old != new).map(|((key, _), _)| key).collect()
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing differs");
        }
        for name in &self.calendars {
            writeln!(f, "calendar {name}")?;
        }
        for (name, keys) in &self.technologies {
            writeln!(f, "technology {name}: {}", shown(keys))?;
        }
        for (name, keys) in self.instances.iter().take(MOST_SHOWN) {
            writeln!(f, "instance {name}: {}", shown(keys))?;
        }
        for (name, keys) in self.moved.iter().take(MOST_SHOWN) {
            writeln!(f, "instance {name}: its {}", keys.join(", "))?;
        }
        for (name, keys) in self.clusters.iter().take(MOST_SHOWN) {
            writeln!(f, "cluster {name}: its {}", keys.join(", "))?;
        }
        for place in self.places.iter().take(MOST_SHOWN) {
            writeln!(f, "resources of {place}")?;
        }
        let more = [self.clusters.len(), self.places.len()].map(|all| all.saturating_sub(MOST_SHOWN));
        if more[0] + more[1] > 0 {
            writeln!(f, "and {} more clusters and places", more[0] + more[1])?;
        }
        let more = [self.instances.len(), self.moved.len()].map(|all| all.saturating_sub(MOST_SHOWN));
        if more[0] + more[1] > 0 {
            writeln!(f, "and {} more instances", more[0] + more[1])?;
        }
        f.write_str("jobs that wait are placed anew; jobs that run keep what they started with")
    }
}

/// `rpo, timeout; of log backups: priority`: what differs in all kinds is not repeated for each.
fn shown(keys: &KeysByKind) -> String {
    let in_all: Vec<_> = match keys.get(&BackupKind::Full) {
        Some(full) if keys.len() == BackupKind::ALL.len() => {
            full.iter().filter(|key| keys.values().all(|keys| keys.contains(key))).copied().collect()
        }
        _ => Vec::new(),
    };
    let mut by_rest: Vec<(String, Vec<String>)> = Vec::new();
    for (kind, keys) in keys {
        let rest: Vec<_> = keys.iter().filter(|key| !in_all.contains(key)).copied().collect();
        let rest = rest.join(", ");
        match by_rest.iter_mut().find(|(known, _)| *known == rest) {
            _ if rest.is_empty() => {}
            Some((_, kinds)) => kinds.push(kind.to_string()),
            None => by_rest.push((rest, vec![kind.to_string()])),
        }
    }
    let all = (!in_all.is_empty()).then(|| in_all.join(", "));
    let rest = by_rest.into_iter().map(|(rest, kinds)| format!("of {} backups {rest}", kinds.join(", ")));
    all.into_iter().chain(rest).collect::<Vec<_>>().join("; ")
}
