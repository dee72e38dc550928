//! How what was said becomes what counts: who has which levels.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sched_core::{ResourceName, SLOTS, TechnologyName};

use crate::chain::{ChainId, Chains};
use crate::config::{Config, Entry};
use crate::fleet::{Host, Technology};
use crate::policies::{GENERIC, Known, Policies, Resolved, plain};
use crate::profile::Profile;
use crate::windows::KnownCalendar;

impl Policies {
    pub(crate) fn merge(&mut self, config: Config) {
        for (name, rules) in config.calendars {
            self.calendars.extend(KnownCalendar::of(rules).map(|calendar| (name, calendar)));
        }
        for (name, entry) in config.technologies {
            let name = self.canonical_name(&name).unwrap_or_else(|_| plain(&name));
            self.add_aliases(&name, &entry);
            self.technologies.entry(name).or_default().own.push(entry);
        }
        self.labels.extend(config.labels);
        self.hosts.extend(config.hosts);
        if config.fleet != Host::default() {
            self.fleet = config.fleet;
        }
        for (name, entry) in config.clusters {
            let technology = self.name_or_generic(entry.about.technology.as_ref());
            self.clusters.insert(name, Resolved { entry, technology, chain: ChainId::default() });
        }
        self.instances.reserve(config.instances.len());
        for (name, entry) in config.instances {
            let cluster = entry.about.cluster.as_ref().and_then(|cluster| self.clusters.get(cluster));
            let own = entry.about.technology.as_ref();
            let technology = match (own, cluster) {
                (None, Some(cluster)) => cluster.technology.clone(),
                (own, _) => self.name_or_generic(own),
            };
            self.instances.insert(name, Resolved { entry, technology, chain: ChainId::default() });
        }
    }

    pub(crate) fn add_aliases(&mut self, name: &TechnologyName, entry: &Entry<Technology>) {
        for alias in entry.about.aliases.iter().flatten() {
            self.aliases.insert(plain(alias), name.clone());
        }
    }

    /// The name as it is known here; the checks have seen to it that there is one.
    pub(crate) fn name_or_generic(&self, name: Option<&TechnologyName>) -> TechnologyName {
        let known = name.and_then(|name| self.canonical_name(name).ok());
        known.unwrap_or_else(|| GENERIC.into())
    }

    /// Works out who has which levels.
    pub(crate) fn compile(&mut self) {
        let mut chains = Chains::default();
        let trimmed = self.trimmed_builtins();
        let mut by_technology = HashMap::new();
        for name in self.technologies.keys() {
            let mut profiles = Vec::new();
            for name in self.lineage(name) {
                let known = &self.technologies[&name];
                profiles.extend(trimmed.get(&name).cloned());
                profiles.extend(known.own.iter().map(|entry| entry.policy.clone()));
            }
            profiles.retain(|profile| !profile.is_empty());
            by_technology.insert(name.clone(), profiles);
        }
        let chain = |chains: &mut Chains, technology: &TechnologyName, own: Vec<&Arc<Profile>>| {
            let technology = by_technology.get(technology).into_iter().flatten();
            let own = own.into_iter().filter(|profile| !profile.is_empty());
            chains.intern(technology.chain(own).cloned().collect())
        };
        for (name, known) in &mut self.technologies {
            known.chain = chain(&mut chains, name, Vec::new());
        }
        for cluster in self.clusters.values_mut() {
            let labels = cluster.entry.about.labels.iter().flatten();
            let labels = labels.filter_map(|label| Some(&self.labels.get(label)?.policy));
            let levels = labels.chain([&cluster.entry.policy]);
            cluster.chain = chain(&mut chains, &cluster.technology, levels.collect());
        }
        for instance in self.instances.values_mut() {
            let about = &instance.entry.about;
            let cluster = about.cluster.as_ref().and_then(|cluster| self.clusters.get(cluster));
            let of_cluster = cluster.and_then(|cluster| cluster.entry.about.labels.as_ref());
            let labels = of_cluster.into_iter().chain(&about.labels).flatten();
            let labels = labels.filter_map(|label| Some(&self.labels.get(label)?.policy));
            let cluster = cluster.map(|cluster| &cluster.entry.policy);
            let levels = labels.chain(cluster).chain([&instance.entry.policy]);
            instance.chain = chain(&mut chains, &instance.technology, levels.collect());
        }
        self.chains = chains;
        self.members.clear();
        for (name, instance) in &self.instances {
            if let Some(cluster) = &instance.entry.about.cluster {
                self.members.entry(cluster.clone()).or_default().push(name.clone());
            }
        }
    }

    /// The built-in profiles without demands on resources of which nobody has said how much there is: the engine would
    /// refuse them.
    fn trimmed_builtins(&self) -> BTreeMap<TechnologyName, Arc<Profile>> {
        let known = |resource: &ResourceName| {
            let has = |host: &Host| host.resources.as_ref().is_some_and(|all| all.contains_key(resource));
            resource.as_str() == SLOTS || has(&self.fleet) || self.hosts.values().any(has)
        };
        let trim = |profile: &Arc<Profile>| {
            let mut profile = Profile::clone(profile);
            for values in profile.kinds.values_mut().chain([&mut profile.all]) {
                if let Some(demand) = &mut values.demand {
                    demand.retain(|resource, _| known(resource));
                }
            }
            Arc::new(profile)
        };
        let builtin = |(name, known): (&TechnologyName, &Known)| {
            Some((name.clone(), trim(&known.builtin.as_ref()?.policy)))
        };
        self.technologies.iter().filter_map(builtin).collect()
    }

    /// What was said last of which technology this one is like.
    pub(crate) fn like(&self, name: &TechnologyName) -> Option<TechnologyName> {
        let known = self.technologies.get(name)?;
        let said = known.own.iter().rev().chain(&known.builtin);
        said.filter_map(|entry| entry.about.like.clone()).next()
    }

    /// The technologies that a technology is like, itself last and `generic` first.
    pub(crate) fn lineage(&self, name: &TechnologyName) -> Vec<TechnologyName> {
        let mut lineage = vec![name.clone()];
        while let Some(last) = lineage.last().filter(|last| last.as_str() != GENERIC) {
            let next = self.name_or_generic(self.like(last).as_ref());
            // The checks refuse circles.
            if lineage.contains(&next) {
                break;
            }
            lineage.push(next);
        }
        lineage.reverse();
        lineage
    }
}
