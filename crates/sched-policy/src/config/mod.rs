//! What a configuration says, whichever way it was written: [`Config`].
//!
//! Text becomes a tree of nodes that know where they stand ([`parse`]), the tree becomes a [`Config`] ([`read`]), and
//! [`Policies`](crate::Policies) puts it over what it has and checks whether it makes sense ([`check`]). Each step
//! reports all that is wrong and goes on with the rest.

pub(crate) mod calendar;
pub(crate) mod check;
pub(crate) mod describe;
mod limits;
mod merge;
pub(crate) mod node;
pub(crate) mod parse;
pub(crate) mod path;
pub(crate) mod problem;
pub(crate) mod read;
pub(crate) mod refer;
mod scalar;
mod schedule;
pub(crate) mod sense;
pub(crate) mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

use sched_core::{CalendarName, GroupName, HostName, InstanceName, TechnologyName};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use self::node::Node;
use self::problem::{Findings, Problems, Source};
use self::value::{Keys, Value};
use crate::calendar::WindowRules;
use crate::fleet::{Cluster, Host, Instance, Technology};
use crate::level::Lines;
use crate::profile::Profile;

/// What is said about one thing: what it is, and which policy it has.
#[derive(Clone, Debug)]
pub struct Entry<T> {
    /// What it is.
    pub about: T,
    /// What it says about backups. Those who say the same share it.
    pub policy: Arc<Profile>,
    pub(crate) lines: Lines,
}

impl<T> Entry<T> {
    /// Something with a policy.
    pub fn new(about: T, policy: Profile) -> Self {
        Self { about, policy: Arc::new(policy), lines: Lines::default() }
    }
}

/// What was said counts, not where it stood.
impl<T: PartialEq> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.about == other.about && self.policy == other.policy
    }
}

/// All that a configuration file says, or a program in its place.
///
/// Any format of serde reads and writes it; [`Config::from_toml`] also tells line and column of what is wrong.
///
/// ```
/// use sched_policy::{Config, Instance, Policies, Profile};
///
/// let config = Config::new()
///     .label("gold", Profile::new().rpo(std::time::Duration::from_secs(3600)))
///     .instance("orders-1", Instance::new("postgresql").label("gold"), Profile::new());
/// let policies = Policies::builtin().with_config(config)?;
/// # Ok::<(), sched_policy::Problems>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// What the fleet has as a whole.
    pub fleet: Host,
    /// When backups may run, by name.
    pub calendars: BTreeMap<CalendarName, WindowRules>,
    /// Technologies: changes to built-in ones, and new ones.
    pub technologies: BTreeMap<TechnologyName, Entry<Technology>>,
    /// What clusters and instances may be labelled with.
    pub labels: BTreeMap<String, Entry<Label>>,
    /// Clusters.
    pub clusters: BTreeMap<GroupName, Entry<Cluster>>,
    /// Hosts.
    pub hosts: BTreeMap<HostName, Host>,
    /// Instances.
    pub instances: BTreeMap<InstanceName, Entry<Instance>>,
}

value::keys! {
    /// What many clusters and instances may be.
    pub struct Label {
        /// What it is for, for people.
        description: String,
    }
}

impl Config {
    /// Says nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a TOML text; `file` is the name that problems and origins mention.
    ///
    /// # Errors
    /// Everything that is wrong with it taken by itself, with lines and columns.
    pub fn from_toml(file: &str, text: &str) -> Result<Self, Problems> {
        let mut findings = Findings::default();
        let source = Source::new(file, text);
        let node = parse::toml(text, &mut findings);
        let config = read::config(&node, Some(&source), &mut findings);
        if findings.has_errors() { Err(findings.problems(Some(&source))) } else { Ok(config) }
    }

    /// Adds a calendar.
    #[must_use]
    pub fn calendar(mut self, name: impl Into<CalendarName>, rules: WindowRules) -> Self {
        self.calendars.insert(name.into(), rules);
        self
    }

    /// Adds or changes a technology.
    #[must_use]
    pub fn technology(
        mut self,
        name: impl Into<TechnologyName>,
        technology: Technology,
        policy: Profile,
    ) -> Self {
        self.technologies.insert(name.into(), Entry::new(technology, policy));
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, policy: Profile) -> Self {
        self.labels.insert(name.into(), Entry::new(Label::default(), policy));
        self
    }

    /// Adds a cluster.
    #[must_use]
    pub fn cluster(mut self, name: impl Into<GroupName>, cluster: Cluster, policy: Profile) -> Self {
        self.clusters.insert(name.into(), Entry::new(cluster, policy));
        self
    }

    /// Adds a host.
    #[must_use]
    pub fn host(mut self, name: impl Into<HostName>, host: Host) -> Self {
        self.hosts.insert(name.into(), host);
        self
    }

    /// Adds an instance.
    #[must_use]
    pub fn instance(mut self, name: impl Into<InstanceName>, instance: Instance, policy: Profile) -> Self {
        self.instances.insert(name.into(), Entry::new(instance, policy));
        self
    }

    pub(crate) fn write(&self) -> Node<'static> {
        let tables = [
            ("fleet", Node::table(self.fleet.said())),
            ("calendars", self.calendars.write()),
            ("technologies", all(&self.technologies)),
            ("labels", all(&self.labels)),
            ("clusters", all(&self.clusters)),
            (
                "hosts",
                Node::table(
                    self.hosts
                        .iter()
                        .map(|(name, host)| (name.as_str().to_owned(), Node::table(host.said()))),
                ),
            ),
            ("instances", all(&self.instances)),
        ];
        Node::table(tables.into_iter().filter(|(_, table)| !table.is_empty()))
    }
}

fn all<N: AsRef<str>, T: Keys>(entries: &BTreeMap<N, Entry<T>>) -> Node<'static> {
    let entry = |(name, Entry { about, policy, .. }): (&N, &Entry<T>)| {
        (name.as_ref().to_owned(), Node::table(about.said().into_iter().chain(policy.said())))
    };
    Node::table(entries.iter().map(entry))
}

impl Serialize for Config {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.write().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        let mut findings = Findings::default();
        let config = read::config(&node, None, &mut findings);
        if findings.has_errors() { Err(de::Error::custom(findings.problems(None))) } else { Ok(config) }
    }
}
