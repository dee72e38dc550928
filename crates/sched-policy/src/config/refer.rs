//! Whether all that a configuration refers to exists.

use std::collections::{BTreeMap, BTreeSet};

use sched_core::{CalendarName, GroupName, InstanceName, TechnologyName};

use super::check::Check;
use super::{Config, Entry};
use crate::fleet::Instance;
use crate::nearest;
use crate::policies::{Policies, plain};
use crate::profile::{Profile, kind_key};

impl Check<'_, '_> {
    /// Whether all that is referred to exists.
    pub(crate) fn references(&mut self, policies: &Policies, config: &Config) {
        self.name_technologies(policies, config);
        for (name, rules) in &config.calendars {
            if let Err(error) = rules.clone().build() {
                self.error(&["calendars", name.as_str()], error.to_string());
            }
        }
        self.windows(policies, config);
        for (name, entry) in &config.technologies {
            let at = ["technologies", name.as_str()];
            if let Some(like) = &entry.about.like {
                self.technology(like, &[at[0], at[1], "like"]);
                self.circle(policies, config, name);
            }
        }
        for (name, entry) in &config.clusters {
            let at = ["clusters", name.as_str()];
            match &entry.about.technology {
                Some(technology) => self.technology(technology, &[at[0], at[1], "technology"]),
                None => self.error(&at, "a cluster needs a `technology`".into()),
            }
            self.labels(policies, config, entry.about.labels.as_deref(), &[at[0], at[1], "labels"]);
        }
        for (name, entry) in &config.instances {
            self.instance(policies, config, name, &entry.about);
        }
    }

    /// Whether each window is a calendar's name.
    fn windows(&mut self, policies: &Policies, config: &Config) {
        fn of<'c, N: AsRef<str>, T>(
            table: &'static str,
            entries: &'c BTreeMap<N, Entry<T>>,
        ) -> impl Iterator<Item = (&'static str, &'c str, &'c Profile)> {
            entries.iter().map(move |(name, entry)| (table, name.as_ref(), &*entry.policy))
        }
        let technologies = of("technologies", &config.technologies);
        let clusters = of("clusters", &config.clusters);
        let levels = technologies.chain(of("labels", &config.labels)).chain(clusters);
        for (table, name, profile) in levels.chain(of("instances", &config.instances)) {
            let kinds = profile.kinds.iter().map(|(kind, values)| (Some(kind_key(*kind)), values));
            for (kind, values) in kinds.chain([(None, &profile.all)]) {
                let Some(Some(window)) = &values.window else { continue };
                if config.calendars.contains_key(window) || policies.calendars.contains_key(window) {
                    continue;
                }
                let known = config.calendars.keys().chain(policies.calendars.keys());
                let message = missing("calendar", window.as_str(), known.map(CalendarName::as_str));
                let path: Vec<_> = [table, name].into_iter().chain(kind).chain(["window"]).collect();
                self.error(&path, message);
            }
        }
    }

    fn instance(&mut self, policies: &Policies, config: &Config, name: &InstanceName, about: &Instance) {
        let at = ["instances", name.as_str()];
        if let Some(technology) = &about.technology {
            self.technology(technology, &[at[0], at[1], "technology"]);
        }
        self.labels(policies, config, about.labels.as_deref(), &[at[0], at[1], "labels"]);
        let Some(cluster) = &about.cluster else {
            if about.technology.is_none() {
                self.error(&at, "an instance needs a `technology`, or a `cluster` that has one".into());
            }
            return;
        };
        let own = config.clusters.get(cluster).map(|entry| entry.about.technology.as_ref());
        let known = policies.clusters.get(cluster).map(|resolved| Some(&resolved.technology));
        match (own.or(known), &about.technology) {
            (None, _) => {
                let known = config.clusters.keys().chain(policies.clusters.keys()).map(GroupName::as_str);
                let message = missing("cluster", cluster.as_str(), known);
                self.error(&[at[0], at[1], "cluster"], message);
            }
            (Some(Some(of_cluster)), Some(own)) if self.canonical(of_cluster) != self.canonical(own) => {
                let message = format!("its cluster {cluster} is {of_cluster}, not {own}: leave this out");
                self.error(&[at[0], at[1], "technology"], message);
            }
            _ => {}
        }
    }

    /// Notes what each name means, and reports names that mean two technologies.
    fn name_technologies(&mut self, policies: &Policies, config: &Config) {
        let known = policies.technologies().map(|name| (name.clone(), name.clone()));
        self.technologies = known.chain(policies.aliases.clone()).collect();
        for name in config.technologies.keys() {
            let name = plain(name);
            self.technologies.entry(name.clone()).or_insert(name);
        }
        for (name, entry) in &config.technologies {
            let own = self.canonical(name);
            for alias in entry.about.aliases.iter().flatten() {
                let taken = self.technologies.entry(plain(alias)).or_insert_with(|| own.clone()).clone();
                if taken != own {
                    let message = format!("{alias:?} means {taken} already");
                    self.error(&["technologies", name.as_str(), "aliases"], message);
                }
            }
        }
    }

    /// The usual name of a technology; its own where it is not known.
    fn canonical(&self, name: &TechnologyName) -> TechnologyName {
        let plain = plain(name);
        self.technologies.get(&plain).cloned().unwrap_or(plain)
    }

    fn technology(&mut self, name: &TechnologyName, at: &[&str]) {
        if !self.technologies.contains_key(&plain(name)) {
            let usual = self.technologies.values().map(TechnologyName::as_str);
            let names = self.technologies.keys().map(TechnologyName::as_str);
            let message = match nearest::of(name.as_str(), names) {
                // Whichever of its names is alike, the usual one is suggested.
                Some(nearest) => meant("technology", name.as_str(), self.canonical(&nearest.into()).as_str()),
                // Who never needed one of his own may not know that he can have one.
                None => {
                    let missing = missing("technology", name.as_str(), usual);
                    format!("{missing}; add your own as `[technologies.{name}]`")
                }
            };
            self.error(at, message);
        }
    }

    fn labels(&mut self, policies: &Policies, config: &Config, labels: Option<&[String]>, at: &[&str]) {
        for label in labels.into_iter().flatten() {
            if !config.labels.contains_key(label) && !policies.labels.contains_key(label) {
                let known = config.labels.keys().chain(policies.labels.keys()).map(String::as_str);
                self.error(at, missing("label", label, known));
            }
        }
    }

    fn circle(&mut self, policies: &Policies, config: &Config, name: &TechnologyName) {
        let mut way = vec![self.canonical(name)];
        loop {
            let last = &way[way.len() - 1];
            let said = config.technologies.iter().find(|(name, _)| self.canonical(name) == *last);
            let like = match said.and_then(|(_, entry)| entry.about.like.as_ref()) {
                Some(like) => Some(like.clone()),
                None => policies.like(last),
            };
            let Some(like) = like.map(|like| self.canonical(&like)) else { return };
            let closed = way.contains(&like);
            let is_own = like == way[0];
            way.push(like);
            if is_own {
                let way: Vec<_> = way.iter().map(TechnologyName::as_str).collect();
                let message = format!("this goes round in a circle: {}", way.join(" is like "));
                self.error(&["technologies", name.as_str(), "like"], message);
            }
            if closed {
                return;
            }
        }
    }
}

fn missing<'k>(what: &str, name: &str, known: impl Iterator<Item = &'k str>) -> String {
    let known: BTreeSet<_> = known.collect();
    match nearest::of(name, known.iter().copied()) {
        Some(nearest) => meant(what, name, nearest),
        None if known.is_empty() => format!("there is no {what} {name:?}, and no other"),
        None => {
            let shown: Vec<_> = known.iter().take(12).copied().collect();
            let more = if known.len() > shown.len() { ", …" } else { "" };
            format!("there is no {what} {name:?}; known are {}{more}", shown.join(", "))
        }
    }
}

fn meant(what: &str, name: &str, nearest: &str) -> String {
    format!("there is no {what} {name:?}; did you mean {nearest:?}?")
}
