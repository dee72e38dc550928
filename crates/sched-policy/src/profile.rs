//! What one level says about backups: [`Profile`].

use std::collections::BTreeMap;
use std::time::Duration;

use sched_core::{BackupKind, CalendarName, Priority, ResourceName, RetryPolicy, SignalName, WindowEnd};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::amount::Amount;
use crate::config::node::{Entry, Node};
use crate::config::path::Path;
use crate::config::problem::Findings;
use crate::config::value::{Keys, entries, read_table, unknown_key};
use crate::load::LoadLimit;
use crate::phase::Phase;
use crate::schedule::{Every, Recurrence};
use crate::units::ByteRate;
use crate::values::Values;

/// What one level (a technology, label, cluster or instance) says about backups; what it leaves out is left to weaker
/// levels.
///
/// What is said of a kind goes before what is said of all kinds, at whatever level: kinds differ by nature, and a
/// recovery point of a day for an instance is not meant for its log segments.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Profile {
    /// Of every kind.
    pub all: Values,
    /// Of single kinds.
    pub kinds: BTreeMap<BackupKind, Values>,
}

impl Profile {
    /// Says nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Sets the urgency class.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.all.priority = Some(priority);
        self
    }

    /// Sets the recovery point objective.
    #[must_use]
    pub fn rpo(mut self, rpo: Duration) -> Self {
        self.all.rpo = Some(rpo);
        self
    }

    /// Has backups made without being asked for, so often. Of a kind other than full say it with [`kind`](Self::kind).
    #[must_use]
    pub fn schedule(mut self, every: Every) -> Self {
        self.all.schedule = Some(Some(every));
        self
    }

    /// Has backups made as `recurrence` says: how often, in which zone and spread, and what becomes of slots that are
    /// not kept.
    #[must_use]
    pub fn recurrence(self, recurrence: Recurrence) -> Self {
        let mut profile = self.schedule(recurrence.every);
        profile.all.schedule_zone = Some(recurrence.zone);
        profile.all.jitter = Some(recurrence.jitter);
        profile.all.overlap = Some(recurrence.overlap);
        profile.all.misfire = Some(recurrence.misfire);
        profile
    }

    /// Sets the rate from which durations are estimated.
    #[must_use]
    pub fn expected_bytes_per_sec(mut self, rate: u64) -> Self {
        self.all.expected_rate = Some(ByteRate(rate));
        self
    }

    /// Sets the expected duration of backups of unknown size.
    #[must_use]
    pub fn expected_duration(mut self, duration: Duration) -> Self {
        self.all.expected_duration = Some(duration);
        self
    }

    /// Sets whether a run may stand still for a while.
    #[must_use]
    pub fn pausable(mut self, pausable: bool) -> Self {
        self.all.pausable = Some(pausable);
        self
    }

    /// Sets whether a run may be cancelled for a critical job, to go again later.
    #[must_use]
    pub fn cancellable(mut self, cancellable: bool) -> Self {
        self.all.cancellable = Some(cancellable);
        self
    }

    /// Sets the rate below which slowing does harm.
    #[must_use]
    pub fn floor_bytes_per_sec(mut self, floor: u64) -> Self {
        self.all.floor = Some(ByteRate(floor));
        self
    }

    /// Sets the most that one run may move, or none.
    #[must_use]
    pub fn ceiling_bytes_per_sec(mut self, ceiling: Option<u64>) -> Self {
        self.all.ceiling = Some(ceiling.map(ByteRate));
        self
    }

    /// Sets what a run goes through.
    #[must_use]
    pub fn phases(mut self, phases: impl IntoIterator<Item = Phase>) -> Self {
        self.all.phases = Some(phases.into_iter().collect());
        self
    }

    /// Sets the calendar that says when backups may run, and what becomes of a run when a window ends.
    #[must_use]
    pub fn window(mut self, calendar: impl Into<CalendarName>, end: WindowEnd) -> Self {
        self.all.window = Some(Some(calendar.into()));
        self.all.window_end = Some(end);
        self
    }

    /// Sets whether a backup starts outside its windows when it would be late otherwise.
    #[must_use]
    pub fn open_window_when_late(mut self, open: bool) -> Self {
        self.all.open_window_when_late = Some(open);
        self
    }

    /// Sets the longest run.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.all.timeout = Some(Some(timeout));
        self
    }

    /// Sets what happens after a failure.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.all.retry_attempts = Some(retry.max_attempts);
        self.all.retry_base = Some(retry.base);
        self.all.retry_cap = Some(retry.cap);
        self
    }

    /// Sets how much of a resource a run holds, whatever its size.
    #[must_use]
    pub fn demand(self, resource: impl Into<ResourceName>, amount: u64) -> Self {
        self.demand_by_size(resource, Amount { base: amount, per_gib: 0 })
    }

    /// Sets how much of a resource a run holds, as a function of its size.
    #[must_use]
    pub fn demand_by_size(mut self, resource: impl Into<ResourceName>, amount: Amount) -> Self {
        self.all.demand.get_or_insert_default().insert(resource.into(), amount);
        self
    }

    /// Sets from which value on a signal holds a start back, or that it does not.
    #[must_use]
    pub fn load(mut self, signal: impl Into<SignalName>, limit: Option<LoadLimit>) -> Self {
        self.all.load.get_or_insert_default().insert(signal.into(), limit);
        self
    }

    /// Sets which members are backed up, the best first, and how long a better one is waited for.
    #[must_use]
    pub fn roles<R: Into<String>>(mut self, roles: impl IntoIterator<Item = R>, patience: Duration) -> Self {
        self.all.roles = Some(roles.into_iter().map(Into::into).collect());
        self.all.patience = Some(patience);
        self
    }

    /// Sets by how much the foreground's latency may grow.
    #[must_use]
    pub fn latency_factor(mut self, factor: f64) -> Self {
        self.all.latency_factor = Some(factor);
        self
    }

    /// Says of one kind what `profile` says of all.
    #[must_use]
    pub fn kind(mut self, kind: BackupKind, profile: Profile) -> Self {
        self.kinds.insert(kind, profile.all);
        self
    }

    /// What is said, as a table has it.
    pub(crate) fn said(&self) -> Vec<(&'static str, Node<'static>)> {
        let kinds = self.kinds.iter().map(|(kind, values)| (kind_key(*kind), Node::table(values.said())));
        self.all.said().into_iter().chain(kinds).collect()
    }

    /// The values that count for a kind, as (whether said of this kind alone, values), the stronger first.
    pub(crate) fn of(&self, kind: BackupKind) -> impl Iterator<Item = (bool, &Values)> {
        let own = self.kinds.get(&kind).map(|values| (true, values));
        own.into_iter().chain([(false, &self.all)])
    }

    /// Reads one key; `false` if profiles have none of that name.
    pub(crate) fn read_key(&mut self, entry: &Entry<'_>, at: &Path<'_>, findings: &mut Findings) -> bool {
        let Some(kind) = BackupKind::ALL.into_iter().find(|kind| kind_key(*kind) == entry.key) else {
            return read_value(&mut self.all, entry, at, findings);
        };
        let at = at.key(&entry.key);
        let values = self.kinds.entry(kind).or_default();
        for entry in entries(&entry.node, &at, findings).unwrap_or_default() {
            if !read_value(values, entry, &at, findings) {
                unknown_key(entry, Values::FIELDS.iter().map(|field| field.key), &at, findings);
            }
        }
        true
    }
}

fn read_value(values: &mut Values, entry: &Entry<'_>, at: &Path<'_>, findings: &mut Findings) -> bool {
    let known = values.read_key(entry, at, findings);
    if let Some(wrong) = known.then(|| values.wrong(&entry.key)).flatten() {
        findings.error(entry.node.span, &at.key(&entry.key), wrong);
    }
    known
}

/// The key under which a file speaks of a kind.
pub(crate) fn kind_key(kind: BackupKind) -> &'static str {
    match kind {
        BackupKind::Incremental => "incremental",
        BackupKind::Differential => "differential",
        BackupKind::Log => "log",
        BackupKind::Snapshot => "snapshot",
        BackupKind::Upload => "upload",
        _ => "full",
    }
}

impl Keys for Profile {
    const FIELDS: &'static [crate::config::value::Field] = Values::FIELDS;

    fn read_key(&mut self, entry: &Entry<'_>, at: &Path<'_>, findings: &mut Findings) -> bool {
        Profile::read_key(self, entry, at, findings)
    }

    fn said(&self) -> Vec<(&'static str, Node<'static>)> {
        Profile::said(self)
    }
}

impl Serialize for Profile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Node::table(self.said()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Profile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        let mut findings = Findings::default();
        let profile = read_table(&node, &Path::ROOT, &mut findings);
        match profile {
            Some(profile) if !findings.has_errors() => Ok(profile),
            _ => Err(de::Error::custom(findings.problems(None))),
        }
    }
}
