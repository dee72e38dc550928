//! Whether what counts in the end can be kept to.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use sched_core::{BackupKind, GroupName, HostName, InstanceName, ResourceName, TechnologyName};

use super::check::{Check, Said};
use super::problem::Severity;
use super::value::Keys;
use crate::chain::ChainId;
use crate::fleet::{Instance, host_of};
use crate::policies::{Policies, Resolved};
use crate::profile::{Profile, kind_key};
use crate::units::ByteSize;
use crate::values::{Effective, Values};

impl Check<'_, '_> {
    /// Whether what counts in the end can be kept to.
    pub(crate) fn sense(&mut self, policies: &Policies, said: &Said) {
        let mut seen = Seen::default();
        for name in &said.technologies {
            let Ok(name_here) = policies.canonical_name(name) else { continue };
            let Some(known) = policies.technologies.get(&name_here) else { continue };
            let profile = known.own.last().map(|entry| &*entry.policy);
            let owner = Owner { table: "technologies", name: name.as_str(), technology: &name_here, profile };
            self.values(policies, &owner, known.chain, &mut seen);
            self.own_limits(policies, &owner, known.chain);
        }
        for name in &said.clusters {
            if let Some(Resolved { entry, technology, chain }) = policies.clusters.get(name) {
                let owner = Owner {
                    table: "clusters",
                    name: name.as_str(),
                    technology,
                    profile: Some(&entry.policy),
                };
                self.values(policies, &owner, *chain, &mut seen);
                self.own_limits(policies, &owner, *chain);
                self.members(policies, name, *chain);
            }
        }
        for name in &said.labels {
            if let Some(entry) = policies.labels.get(name) {
                self.limits(policies, ["labels", name], &entry.policy, None);
            }
        }
        let mut looked_at = BTreeSet::new();
        for name in &said.instances {
            let Some(instance) = policies.instances.get(name) else { continue };
            let Resolved { entry, technology, chain } = instance;
            let owner =
                Owner { table: "instances", name: name.as_str(), technology, profile: Some(&entry.policy) };
            if looked_at.insert(*chain) {
                self.values(policies, &owner, *chain, &mut seen);
                self.own_limits(policies, &owner, *chain);
            }
            let full = policies.chains.effective(*chain, BackupKind::Full);
            self.size(&owner, full, entry.about.size);
            self.capacity(policies, name, instance);
        }
    }

    fn own_limits(&mut self, policies: &Policies, owner: &Owner<'_>, chain: ChainId) {
        if let Some(profile) = owner.profile {
            self.limits(policies, [owner.table, owner.name], profile, Some(chain));
        }
    }

    /// What contradicts itself, said once for everybody of a technology.
    fn values(&mut self, policies: &Policies, owner: &Owner<'_>, chain: ChainId, seen: &mut Seen) {
        for kind in BackupKind::ALL {
            let effective = policies.chains.effective(chain, kind);
            let found = contradictions(effective).into_iter().chain(too_seldom(effective, &mut seen.gaps));
            for (severity, keys, message) in found {
                if seen.told.insert((owner.technology.clone(), message.clone())) {
                    let path = owner.path(kind, keys);
                    self.add(severity, &path, format!("{message} ({kind} backups)"));
                }
            }
        }
    }

    /// Whether there is somebody to take a cluster's backup from.
    fn members(&mut self, policies: &Policies, name: &GroupName, chain: ChainId) {
        let members = policies.members.get(name).map_or(0, Vec::len);
        let full = policies.chains.effective(chain, BackupKind::Full);
        if members == 0
            && BackupKind::ALL.iter().any(|kind| policies.chains.effective(chain, *kind).schedule.is_some())
        {
            let message = "it has a schedule and no instances: nothing is backed up".to_owned();
            self.add(Severity::Warning, &["clusters", name.as_str()], message);
        }
        if members > 0 && policies.by_role(name, full).is_err() {
            let roles = full.roles.join(", ");
            let message =
                format!("none of its {members} instances has a role that its policy takes: {roles}");
            self.add(Severity::Warning, &["clusters", name.as_str()], message);
        }
    }

    fn size(&mut self, owner: &Owner<'_>, full: &Effective, size: Option<ByteSize>) {
        let Some(size) = size else { return };
        let takes = full.estimate(Some(size.0));
        let shown = humantime::format_duration(takes);
        if takes > full.rpo {
            let rpo = humantime::format_duration(full.rpo);
            let message = format!(
                "at {} {size} take {shown}, longer than the recovery point of {rpo} allows",
                full.expected_rate
            );
            self.add(Severity::Warning, &[owner.table, owner.name, "size"], message);
        }
        if let Some(timeout) = full.timeout.filter(|timeout| takes > *timeout) {
            let timeout = humantime::format_duration(timeout);
            let message = format!(
                "at {} {size} take {shown}, and the time-out of {timeout} ends every run before",
                full.expected_rate
            );
            self.add(Severity::Warning, &[owner.table, owner.name, "size"], message);
        }
    }

    /// Whether one run alone fits where the configuration says how much there is: a full backup, and one of another kind
    /// that the instance says the demand of, or that has a schedule.
    fn capacity(&mut self, policies: &Policies, name: &InstanceName, instance: &Resolved<Instance>) {
        let about = &instance.entry.about;
        let host = host_of(name, about);
        let size = about.size.map(|size| size.0);
        let full = policies.chains.effective(instance.chain, BackupKind::Full);
        for kind in BackupKind::ALL {
            let effective = policies.chains.effective(instance.chain, kind);
            for (resource, held) in &effective.demand {
                let of_kind = said_demand(instance.entry.policy.kinds.get(&kind), resource);
                let is_full = kind == BackupKind::Full;
                let asked = held.of(size);
                let as_full =
                    !is_full && full.demand.get(resource).is_some_and(|full| full.of(size) == asked);
                if as_full || !(is_full || of_kind || effective.schedule.is_some()) {
                    continue;
                }
                let short = least(policies, &host, resource).filter(|(_, total)| asked > *total);
                let Some((place, total)) = short else { continue };
                let message = format!(
                    "{} {kind} backup needs {} of {resource}, and {place} has {} in all: it could never start",
                    if kind == BackupKind::Incremental { "an" } else { "a" },
                    amount(asked),
                    amount(total)
                );
                let mut path = vec!["instances", name.as_str()];
                path.extend(of_kind.then(|| kind_key(kind)));
                if of_kind || said_demand(Some(&instance.entry.policy.all), resource) {
                    path.extend(["demand", resource.as_str()]);
                }
                self.error(&path, message);
            }
        }
    }
}

/// Whether a level says how much of a resource its jobs need.
fn said_demand(level: Option<&Values>, resource: &ResourceName) -> bool {
    level.and_then(|level| level.demand.as_ref()).is_some_and(|said| said.contains_key(resource))
}

/// What was told, and worked out, already.
#[derive(Default)]
struct Seen {
    told: BTreeSet<(TechnologyName, String)>,
    /// How far the slots of a schedule are apart.
    gaps: HashMap<String, Option<Duration>>,
}

/// Whose values are looked at.
struct Owner<'o> {
    table: &'o str,
    name: &'o str,
    technology: &'o TechnologyName,
    profile: Option<&'o Profile>,
}

impl<'o> Owner<'o> {
    /// The way to where the owner says the first of the values that it says, or to the owner if it says none.
    fn path(&self, kind: BackupKind, keys: [&'static str; 2]) -> Vec<&'o str> {
        let said = |values: &Values, key: &str| values.said().iter().any(|(said, _)| *said == key);
        let found = self.profile.and_then(|profile| {
            let levels = keys.into_iter().flat_map(|key| profile.of(kind).map(move |level| (key, level)));
            let mut said = levels.filter(|(key, (_, values))| said(values, key));
            said.next().map(|(key, (of_kind, _))| (key, of_kind))
        });
        let mut path = vec![self.table, self.name];
        if let Some((key, of_kind)) = found {
            path.extend(of_kind.then(|| kind_key(kind)));
            path.push(key);
        }
        path
    }
}

/// What is wrong, and the values that it follows from.
type Contradiction = (Severity, [&'static str; 2], String);

fn contradictions(values: &Effective) -> Vec<Contradiction> {
    let mut found = Vec::new();
    let shown = |duration: Duration| humantime::format_duration(duration).to_string();
    if let Some(ceiling) = values.ceiling {
        let slowest = values.phases.iter().map(|phase| phase.floor).chain([values.floor]).max();
        if let Some(floor) = slowest.filter(|floor| *floor > ceiling) {
            let message = format!("the floor of {floor} is above the ceiling of {ceiling}");
            found.push((Severity::Error, ["ceiling", "floor"], message));
        }
    }
    if values.retry_base > values.retry_cap {
        let (base, cap) = (shown(values.retry_base), shown(values.retry_cap));
        let message = format!("the first wait of {base} is longer than the longest of {cap}");
        found.push((Severity::Error, ["retry_cap", "retry_base"], message));
    }
    if values.expected_duration > values.rpo {
        let (takes, rpo) = (shown(values.expected_duration), shown(values.rpo));
        let message =
            format!("a backup is expected to take {takes}, longer than the recovery point of {rpo} allows");
        found.push((Severity::Warning, ["rpo", "expected_duration"], message));
    }
    if let Some(timeout) = values.timeout.filter(|timeout| values.expected_duration > *timeout) {
        let (takes, timeout) = (shown(values.expected_duration), shown(timeout));
        let message =
            format!("a backup is expected to take {takes}, and the time-out of {timeout} ends it before");
        found.push((Severity::Warning, ["timeout", "expected_duration"], message));
    }
    found
}

/// Whether the slots of a schedule are too far apart.
fn too_seldom(values: &Effective, gaps: &mut HashMap<String, Option<Duration>>) -> Option<Contradiction> {
    let recurrence = values.recurrence()?;
    let every = recurrence.every.to_string();
    let gap = *gaps.entry(every.clone()).or_insert_with(|| recurrence.longest_gap());
    let gap = gap.filter(|gap| *gap > values.rpo)?;
    let [gap, rpo] = [gap, values.rpo].map(humantime::format_duration);
    let message =
        format!("the slots of {every:?} are up to {gap} apart, and the recovery point of {rpo} needs more");
    Some((Severity::Warning, ["schedule", "rpo"], message))
}

/// Where there is least of a resource on the way from a host to the fleet, and how much.
fn least(policies: &Policies, host: &HostName, resource: &ResourceName) -> Option<(String, u64)> {
    let of = |host: &crate::fleet::Host| host.resources.as_ref()?.get(resource).copied();
    let at_host = policies.hosts.get(host).and_then(of).map(|total| (format!("host {host}"), total));
    let fleet = of(&policies.fleet).map(|total| ("the fleet".to_owned(), total));
    at_host.into_iter().chain(fleet).min_by_key(|(_, total)| *total)
}

/// An amount of a resource for people: what is as large as this is counted in bytes.
fn amount(amount: u64) -> String {
    if amount < 1 << 20 { amount.to_string() } else { ByteSize(amount).to_string() }
}
