//! All levels put together: [`Policies`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sched_core::{
    BackupKind, Calendar, CalendarName, GroupName, HostName, InstanceName, JobSpec, JobTerms, ResourceName,
    Scope, TechnologyName,
};

use crate::calendar::{Caught, WindowRules};
use crate::chain::{ChainId, Chains};
use crate::config::node::Node;
use crate::config::problem::{Findings, Problems, Source};
use crate::config::{Config, Entry, Label, check, parse, read};
use crate::error::PolicyError;
use crate::fleet::{Cluster, Host, Instance, Technology};
use crate::level::{Layer, Level};
use crate::nearest;
use crate::profile::Profile;
use crate::values::Effective;
use crate::windows::KnownCalendar;

/// The technology that all others are like.
pub(crate) const GENERIC: &str = "generic";

/// The text of the built-in technologies, in the format that [`Policies::with_toml`] reads.
pub const BUILTIN: &str = include_str!("builtin.toml");

/// The policies of a fleet: technologies, labels, clusters and instances, each level over the weaker ones.
///
/// A value: changing it makes another one, and whatever cannot be used leaves it as it was. Technologies are compared in
/// lower case, and their other names are understood.
#[derive(Clone, Debug)]
pub struct Policies {
    pub(crate) calendars: BTreeMap<CalendarName, KnownCalendar>,
    pub(crate) technologies: BTreeMap<TechnologyName, Known>,
    pub(crate) aliases: BTreeMap<TechnologyName, TechnologyName>,
    pub(crate) labels: BTreeMap<String, Entry<Label>>,
    pub(crate) clusters: BTreeMap<GroupName, Resolved<Cluster>>,
    /// By a fast hash: the names are the operator's.
    pub(crate) instances: HashMap<InstanceName, Resolved<Instance>, foldhash::fast::RandomState>,
    /// The instances of each cluster.
    pub(crate) members: HashMap<GroupName, Vec<InstanceName>>,
    pub(crate) hosts: BTreeMap<HostName, Host>,
    pub(crate) fleet: Host,
    pub(crate) chains: Chains,
    warnings: Problems,
}

/// A technology and all that was said of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// What it comes with, if it is built in.
    pub(crate) builtin: Option<Entry<Technology>>,
    /// What the host says, later ones over earlier ones.
    pub(crate) own: Vec<Entry<Technology>>,
    pub(crate) chain: ChainId,
}

/// Something with a policy, and what counts for it.
#[derive(Clone, Debug)]
pub(crate) struct Resolved<T> {
    pub(crate) entry: Entry<T>,
    pub(crate) technology: TechnologyName,
    pub(crate) chain: ChainId,
}

impl Policies {
    /// MySQL, MariaDB, PostgreSQL, Cassandra, ScyllaDB, etcd, Redis and Valkey, MongoDB, ClickHouse, SQLite, and
    /// `generic`, as [`BUILTIN`] has them.
    pub fn builtin() -> Self {
        static PARSED: std::sync::LazyLock<Policies> = std::sync::LazyLock::new(Policies::parse_builtin);
        PARSED.clone()
    }

    fn parse_builtin() -> Self {
        let mut findings = Findings::default();
        let source = Source::new("builtin.toml", BUILTIN);
        let node = parse::toml(BUILTIN, &mut findings);
        let config = read::config(&node, Some(&source), &mut findings);
        debug_assert!(!findings.has_errors(), "{}", findings.problems(Some(&source)));
        let mut policies = Self {
            calendars: BTreeMap::new(),
            technologies: BTreeMap::new(),
            aliases: BTreeMap::new(),
            labels: BTreeMap::new(),
            clusters: BTreeMap::new(),
            instances: HashMap::default(),
            members: HashMap::new(),
            hosts: BTreeMap::new(),
            fleet: Host::default(),
            chains: Chains::default(),
            warnings: Problems::default(),
        };
        for (name, entry) in config.technologies {
            policies.add_aliases(&name, &entry);
            policies.technologies.insert(name, Known { builtin: Some(entry), ..Known::default() });
        }
        policies.compile();
        policies
    }

    /// With what `profile` says of a technology put over what was said of it before; a new technology is like
    /// `generic`.
    ///
    /// # Errors
    /// When the name or a value cannot be used.
    pub fn with(self, technology: impl Into<TechnologyName>, profile: Profile) -> Result<Self, PolicyError> {
        let name = technology.into();
        name.check().map_err(|source| PolicyError::Name { name: name.clone(), source })?;
        let config = Config::new().technology(name, Technology::default(), profile);
        Ok(self.with_config(config)?)
    }

    /// With a calendar of the program's own that policies may name as their window. Should it panic, it is set aside: no
    /// window is open from then on, and what waits for one starts when it has no slack left.
    #[must_use]
    pub fn with_calendar(mut self, name: impl Into<CalendarName>, calendar: Arc<dyn Calendar>) -> Self {
        let calendar = Arc::new(Caught::new(calendar));
        self.calendars.insert(name.into(), KnownCalendar { calendar, rules: None });
        self
    }

    /// With all that `config` says put over this. What it says of a calendar, label, cluster, host or instance takes the place of
    /// what was said before.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn with_config(self, config: Config) -> Result<Self, Problems> {
        // What was set in code is held to the same rules as a file by becoming one.
        let node = config.write();
        let mut findings = Findings::default();
        let config = read::config(&node, None, &mut findings);
        self.apply(config, &node, findings, None)
    }

    /// With all that a TOML text says put over this; `file` is the name that problems and origins mention.
    ///
    /// # Errors
    /// Everything that is wrong with it, with lines and columns.
    pub fn with_toml(self, file: &str, text: &str) -> Result<Self, Problems> {
        let mut findings = Findings::default();
        let source = Source::new(file, text);
        let node = parse::toml(text, &mut findings);
        let config = read::config(&node, Some(&source), &mut findings);
        self.apply(config, &node, findings, Some(&source))
    }

    fn apply(
        mut self,
        config: Config,
        node: &Node<'_>,
        mut findings: Findings,
        source: Option<&Source<'_>>,
    ) -> Result<Self, Problems> {
        let mut check = check::Check::new(node, &mut findings);
        check.references(&self, &config);
        let said = check::Said::of(&config);
        self.merge(config);
        self.compile();
        check.sense(&self, &said);
        let failed = check.has_errors();
        let problems = findings.problems(source);
        if failed {
            return Err(problems);
        }
        self.warnings = problems;
        Ok(self)
    }

    /// All calendars by name: what an engine is to be given before jobs name them.
    pub fn calendars(&self) -> impl Iterator<Item = (&CalendarName, &Arc<dyn Calendar>)> {
        self.calendars.iter().map(|(name, known)| (name, &known.calendar))
    }

    /// The calendars with business hours, each as a calendar that is open in these.
    pub fn business_hours(&self) -> impl Iterator<Item = (CalendarName, Arc<dyn Calendar>)> {
        let hours = |(name, known): (&CalendarName, &KnownCalendar)| {
            let rules = known.rules.as_ref().filter(|rules| !rules.business_hours.is_empty())?;
            let mut open = WindowRules::new(rules.zone.clone());
            open.windows.clone_from(&rules.business_hours);
            // Hours that no clock shows are none.
            Some((name.clone(), Arc::new(open.build().ok()?) as Arc<dyn Calendar>))
        };
        self.calendars.iter().filter_map(hours)
    }

    /// How much there is of which resource at hosts and in the fleet as a whole: what an engine is to be given before jobs
    /// demand it.
    pub fn capacities(&self) -> impl Iterator<Item = (Scope, &ResourceName, u64)> {
        let hosts = self.hosts.iter().map(|(name, host)| (Scope::Host(name.clone()), host));
        std::iter::once((Scope::Fleet, &self.fleet)).chain(hosts).flat_map(|(place, host)| {
            let all = host.resources.iter().flatten();
            all.map(move |(name, total)| (place.clone(), name, *total))
        })
    }

    /// All technologies by name.
    pub fn technologies(&self) -> impl Iterator<Item = &TechnologyName> {
        self.technologies.keys()
    }

    /// All instances that the configuration names, in no order.
    pub fn instances(&self) -> impl Iterator<Item = (&InstanceName, &Instance)> {
        self.instances.iter().map(|(name, instance)| (name, &instance.entry.about))
    }

    /// What is probably not meant in what was put over last.
    pub fn warnings(&self) -> &Problems {
        &self.warnings
    }

    /// How many different sets of levels there are: whoever has the same set shares what is worked out from it.
    pub fn distinct(&self) -> usize {
        self.chains.len()
    }

    /// The name under which a technology is known here: lower case, and the usual one of several.
    ///
    /// # Errors
    /// When there is no such technology.
    pub fn canonical_name(&self, technology: &TechnologyName) -> Result<TechnologyName, PolicyError> {
        if let Some((name, _)) = self.technologies.get_key_value(technology) {
            return Ok(name.clone());
        }
        let name = plain(technology);
        let known = self.technologies.get_key_value(&name).map(|(name, _)| name);
        let known = known.or_else(|| self.aliases.get(&name));
        known.cloned().ok_or_else(|| self.unknown(technology))
    }

    /// What counts for backups of a kind of a technology, where no cluster and no instance says anything else.
    ///
    /// # Errors
    /// When there is no such technology.
    pub fn technology(
        &self,
        technology: &TechnologyName,
        kind: BackupKind,
    ) -> Result<&Arc<Effective>, PolicyError> {
        let name = self.canonical_name(technology)?;
        let known = self.technologies.get(&name).ok_or_else(|| self.unknown(technology))?;
        Ok(self.chains.effective(known.chain, kind))
    }

    /// What counts for a request: its instance's policy if the configuration names it, else that of the first of its
    /// groups that is a cluster of this technology, else that of its technology.
    ///
    /// # Errors
    /// When its technology is unknown, or not the one that the configuration says.
    pub fn effective(&self, spec: &JobSpec) -> Result<&Arc<Effective>, PolicyError> {
        Ok(self.chains.effective(self.chain(spec)?, spec.kind))
    }

    pub(crate) fn chain(&self, spec: &JobSpec) -> Result<ChainId, PolicyError> {
        let of = |configured: &TechnologyName, chain| {
            if *configured == spec.technology || *configured == self.canonical_name(&spec.technology)? {
                return Ok(chain);
            }
            let (instance, configured) = (spec.instance.clone(), configured.clone());
            Err(PolicyError::OtherTechnology { instance, configured, asked: spec.technology.clone() })
        };
        if let Some(instance) = self.instances.get(&spec.instance) {
            return of(&instance.technology, instance.chain);
        }
        if self.clusters.is_empty() {
            return self.technology_chain(&spec.technology);
        }
        if let Some(cluster) = self.clusters.get(&GroupName::from(spec.instance.as_str())) {
            return of(&cluster.technology, cluster.chain);
        }
        let groups = spec.groups.iter().filter_map(|group| self.clusters.get(group));
        let technology = self.canonical_name(&spec.technology)?;
        let mut groups = groups.filter(|cluster| cluster.technology == technology);
        groups.next().map_or_else(|| self.technology_chain(&technology), |cluster| Ok(cluster.chain))
    }

    fn technology_chain(&self, technology: &TechnologyName) -> Result<ChainId, PolicyError> {
        if let Some(known) = self.technologies.get(technology) {
            return Ok(known.chain);
        }
        let name = self.canonical_name(technology)?;
        self.technologies.get(&name).map(|known| known.chain).ok_or_else(|| self.unknown(technology))
    }

    /// The terms under which a request runs.
    ///
    /// # Errors
    /// As [`effective`](Self::effective).
    pub fn resolve(&self, spec: &JobSpec) -> Result<JobTerms, PolicyError> {
        self.effective(spec).map(|effective| effective.terms(spec))
    }

    /// The levels that concern an instance, weakest first.
    pub(crate) fn layers(&self, spec: &JobSpec) -> Result<Vec<Layer<'_>>, PolicyError> {
        let technology = self.canonical_name(&spec.technology)?;
        let mut layers = Vec::new();
        for name in self.lineage(&technology) {
            let Some((name, known)) = self.technologies.get_key_value(&name) else { continue };
            let builtin = known.builtin.iter().map(|entry| (Level::BuiltIn(name.clone()), entry));
            let own = known.own.iter().map(|entry| (Level::Technology(name.clone()), entry));
            let layer = |(level, entry)| layer(level, entry);
            layers.extend(builtin.chain(own).map(layer));
        }
        let instance = self.instances.get_key_value(&spec.instance);
        let cluster = match instance {
            Some((_, instance)) => instance.entry.about.cluster.as_ref(),
            None => {
                let own = GroupName::from(spec.instance.as_str());
                let names = std::iter::once(&own).chain(&spec.groups);
                let mut known = names.filter_map(|name| self.clusters.get_key_value(name));
                known.find(|(_, cluster)| cluster.technology == technology).map(|(name, _)| name)
            }
        };
        let cluster = cluster.and_then(|cluster| self.clusters.get_key_value(cluster));
        let of_cluster = cluster.and_then(|(_, cluster)| cluster.entry.about.labels.as_ref());
        let own = instance.and_then(|(_, instance)| instance.entry.about.labels.as_ref());
        for label in of_cluster.into_iter().chain(own).flatten() {
            let entry = self.labels.get(label);
            layers.extend(entry.map(|entry| layer(Level::Label(label.clone()), entry)));
        }
        layers.extend(cluster.map(|(name, cluster)| layer(Level::Cluster(name.clone()), &cluster.entry)));
        layers.extend(instance.map(|(name, it)| layer(Level::Instance(name.clone()), &it.entry)));
        Ok(layers)
    }

    fn unknown(&self, technology: &TechnologyName) -> PolicyError {
        let names = self.technologies.keys().map(TechnologyName::as_str);
        let nearest =
            nearest::of(technology.as_str(), names.clone().chain(self.aliases.keys().map(|a| a.as_str())));
        let nearest = nearest.map(|name| self.name_or_generic(Some(&name.into())));
        let known = names.collect::<Vec<_>>().join(", ");
        PolicyError::UnknownTechnology { name: technology.clone(), nearest, known }
    }
}

fn layer<T>(level: Level, entry: &Entry<T>) -> Layer<'_> {
    Layer { level, profile: &entry.policy, lines: &entry.lines }
}

impl Default for Policies {
    fn default() -> Self {
        Self::builtin()
    }
}

pub(crate) fn plain(name: &TechnologyName) -> TechnologyName {
    name.as_str().trim().to_lowercase().into()
}
