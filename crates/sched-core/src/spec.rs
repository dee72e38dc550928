//! What a host asks for: [`JobSpec`].

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::name::{
    DestinationName, GroupName, HostName, InstanceName, NameError, ResourceName, TechnologyName, TenantName,
    VolumeName,
};
use crate::terms::Demand;

/// Largest accepted size: 1 EiB. No known database is larger; a bigger number is a unit mistake.
pub const MAX_SIZE_BYTES: u64 = 1 << 60;

/// Most members that one request may choose from: the largest replica sets have fifty.
pub const MAX_MEMBERS: usize = 64;

/// Identifies one job of one engine; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job-{}", self.0)
    }
}

/// How urgent a job is beside others. Orders from least to most urgent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Waits for everything else; still bounded by its deadline.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Passes the load gate at once, never a capacity gate.
    High,
    /// Goes before every other class.
    Critical,
}

impl Priority {
    /// All classes, from least to most urgent.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Critical];
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

/// What part of the data a backup takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BackupKind {
    /// Everything.
    #[default]
    Full,
    /// What changed since the previous backup of any kind.
    Incremental,
    /// What changed since the last full backup.
    Differential,
    /// A closed log segment (WAL, binlog, oplog).
    Log,
    /// A point-in-time snapshot on the host itself.
    Snapshot,
    /// Moving an existing snapshot to its destination.
    Upload,
}

impl BackupKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Full, Self::Incremental, Self::Differential, Self::Log, Self::Snapshot, Self::Upload];
}

impl fmt::Display for BackupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
            Self::Differential => "differential",
            Self::Log => "log",
            Self::Snapshot => "snapshot",
            Self::Upload => "upload",
        })
    }
}

/// A request for one backup. Everything but instance and technology may be left to the technology's policy.
///
/// ```
/// use sched_core::{JobSpec, Priority};
/// use std::time::Duration;
///
/// let spec = JobSpec::new("orders", "postgresql")
///     .priority(Priority::High)
///     .size_bytes(40 << 30)
///     .rpo(Duration::from_secs(6 * 3600));
/// assert!(spec.check().is_ok());
/// ```
///
/// Stores keep it, and schedulers of different versions read it: fields that are not known are left out, and a field that
/// must not be left out needs another version of the tables. A host that takes requests as text from people, where one may
/// be misspelt, has to look for such fields itself; policies, which people write, refuse them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobSpec {
    /// What is backed up.
    pub instance: InstanceName,
    /// The technology, which selects policy and executor.
    pub technology: TechnologyName,
    /// What part of the data; `full` unless said.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kind: BackupKind,
    /// The host whose resources it uses; `local` unless said.
    #[serde(default, skip_serializing_if = "is_default")]
    pub host: HostName,
    /// Urgency class; the policy's when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Bytes to move, 1 to [`MAX_SIZE_BYTES`]; `None` when unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// How long it is expected to take at the paced rate (90th percentile); estimated from size when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_duration: Option<Duration>,
    /// Finish by this wall time. Takes precedence over `rpo`. A moment in the past is accepted: the backup is
    /// overdue, is said to be, and starts as soon as it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// Recovery point objective, counted from the submission; the policy's when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo: Option<Duration>,
    /// Not before this wall time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Ceiling of this job's own rate; 0 is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes_per_sec: Option<u64>,
    /// Resources needed beyond the policy's, by name.
    #[serde(default, skip_serializing_if = "Demand::is_empty")]
    pub demand: Demand,
    /// The volume of the host that it reads, where volumes have limits of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeName>,
    /// Where the backup goes: what it shares a circuit breaker and a limit with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<DestinationName>,
    /// Whom the work is for; `default` unless said.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tenant: TenantName,
    /// Groups whose limits it counts against, such as its cluster. Each must be known to the engine.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<GroupName>,
    /// Members that can be backed up in the place of each other, best first: the first that is up is taken, or after
    /// [`patience`](Self::patience) the first that is free. Until the job starts, a better one that becomes free is
    /// taken again. The chosen one's host stands for `host`, and gates of its instance count: the job does not start
    /// while it is held, down, or backed up in the same way under another name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Member>,
    /// How long the best member that is up is waited for while a gate of its own, of its instance or its host, keeps
    /// the job from it; default 10 min. What members share, such as the slots of the fleet, costs no patience.
    #[serde(default = "default_patience", skip_serializing_if = "is_default_patience")]
    pub patience: Duration,
    /// Other hosts that take part at the same time: the job starts when there is room on all of them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub together: BTreeSet<HostName>,
}

/// One of several members of a cluster that can be backed up in the place of each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Member {
    /// Its name.
    pub instance: InstanceName,
    /// The host that it runs on.
    pub host: HostName,
}

impl Member {
    /// A member on its host.
    pub fn new(instance: impl Into<InstanceName>, host: impl Into<HostName>) -> Self {
        Self { instance: instance.into(), host: host.into() }
    }
}

/// Long enough for a replica to restart, short beside any recovery point objective.
fn default_patience() -> Duration {
    Duration::from_secs(600)
}

fn is_default_patience(patience: &Duration) -> bool {
    *patience == default_patience()
}

/// What is left open is not written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl JobSpec {
    /// A full backup of `instance`, everything else left to the policy of `technology`.
    pub fn new(instance: impl Into<InstanceName>, technology: impl Into<TechnologyName>) -> Self {
        Self {
            instance: instance.into(),
            technology: technology.into(),
            kind: BackupKind::default(),
            host: HostName::default(),
            priority: None,
            size_bytes: None,
            expected_duration: None,
            deadline: None,
            rpo: None,
            not_before: None,
            max_bytes_per_sec: None,
            demand: Demand::default(),
            volume: None,
            destination: None,
            tenant: TenantName::default(),
            groups: BTreeSet::new(),
            members: Vec::new(),
            patience: default_patience(),
            together: BTreeSet::new(),
        }
    }

    /// Sets the kind of backup.
    #[must_use]
    pub fn kind(mut self, kind: BackupKind) -> Self {
        self.kind = kind;
        self
    }

    /// Sets the host whose resources the job uses.
    #[must_use]
    pub fn host(mut self, host: impl Into<HostName>) -> Self {
        self.host = host.into();
        self
    }

    /// Sets the urgency class.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Sets the number of bytes to move.
    #[must_use]
    pub fn size_bytes(mut self, size_bytes: u64) -> Self {
        self.size_bytes = Some(size_bytes);
        self
    }

    /// Sets how long the job is expected to take at the paced rate.
    #[must_use]
    pub fn expected_duration(mut self, expected: Duration) -> Self {
        self.expected_duration = Some(expected);
        self
    }

    /// Sets the wall time by which the job must have finished.
    #[must_use]
    pub fn deadline(mut self, deadline: Timestamp) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Sets the recovery point objective, counted from submission.
    #[must_use]
    pub fn rpo(mut self, rpo: Duration) -> Self {
        self.rpo = Some(rpo);
        self
    }

    /// Sets the wall time before which the job must not start.
    #[must_use]
    pub fn not_before(mut self, not_before: Timestamp) -> Self {
        self.not_before = Some(not_before);
        self
    }

    /// Sets a ceiling on the job's own rate, in bytes a second.
    #[must_use]
    pub fn max_bytes_per_sec(mut self, rate: u64) -> Self {
        self.max_bytes_per_sec = Some(rate);
        self
    }

    /// Adds `amount` of `resource` to what the job holds while it runs.
    #[must_use]
    pub fn demand(mut self, resource: impl Into<ResourceName>, amount: u64) -> Self {
        self.demand.add(resource, amount);
        self
    }

    /// Sets the volume of the host that it reads.
    #[must_use]
    pub fn volume(mut self, volume: impl Into<VolumeName>) -> Self {
        self.volume = Some(volume.into());
        self
    }

    /// Sets where the backup goes.
    #[must_use]
    pub fn destination(mut self, destination: impl Into<DestinationName>) -> Self {
        self.destination = Some(destination.into());
        self
    }

    /// Sets whom the work is for.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<TenantName>) -> Self {
        self.tenant = tenant.into();
        self
    }

    /// The hosts on which it may run: those of its members, or its own.
    pub fn hosts(&self) -> impl Iterator<Item = &HostName> {
        let own = self.members.is_empty().then_some(&self.host);
        self.members.iter().map(|member| &member.host).chain(own)
    }

    /// Adds a group whose limit the job counts against.
    #[must_use]
    pub fn group(mut self, group: impl Into<GroupName>) -> Self {
        self.groups.insert(group.into());
        self
    }

    /// Adds a member that can be backed up; the best is added first.
    #[must_use]
    pub fn member(mut self, instance: impl Into<InstanceName>, host: impl Into<HostName>) -> Self {
        self.members.push(Member::new(instance, host));
        self
    }

    /// Sets how long a better member is waited for before the next is taken.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Adds a host that takes part at the same time.
    #[must_use]
    pub fn together_with(mut self, host: impl Into<HostName>) -> Self {
        self.together.insert(host.into());
        self
    }

    /// Whether the request makes sense by itself.
    ///
    /// # Errors
    /// The first field that does not, with what would be right.
    pub fn check(&self) -> Result<(), SpecError> {
        let name =
            |field, result: Result<(), NameError>| result.map_err(|source| SpecError::Name { field, source });
        name("instance", self.instance.check())?;
        name("technology", self.technology.check())?;
        name("host", self.host.check())?;
        name("tenant", self.tenant.check())?;
        for (resource, _) in self.demand.iter() {
            name("demand", resource.check())?;
        }
        if let Some(volume) = &self.volume {
            name("volume", volume.check())?;
        }
        if let Some(destination) = &self.destination {
            name("destination", destination.check())?;
        }
        for group in &self.groups {
            name("groups", group.check())?;
        }
        for member in &self.members {
            name("members", member.instance.check().and_then(|()| member.host.check()))?;
        }
        if self.members.len() > MAX_MEMBERS {
            return Err(SpecError::TooManyMembers { members: self.members.len() });
        }
        for host in &self.together {
            name("together", host.check())?;
        }
        match self.size_bytes {
            Some(0) => return Err(SpecError::ZeroSize),
            Some(size_bytes) if size_bytes > MAX_SIZE_BYTES => {
                return Err(SpecError::AbsurdSize { size_bytes });
            }
            _ => {}
        }
        if self.max_bytes_per_sec == Some(0) {
            return Err(SpecError::ZeroRate);
        }
        if self.rpo == Some(Duration::ZERO) {
            return Err(SpecError::ZeroRpo);
        }
        match (self.not_before, self.deadline) {
            (Some(not_before), Some(deadline)) if not_before >= deadline => {
                Err(SpecError::StartsAfterDeadline { not_before, deadline })
            }
            _ => Ok(()),
        }
    }
}

/// Why a [`JobSpec`] was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// A name cannot be used.
    #[error("{field}: the name cannot be used: {source}")]
    Name {
        /// Which field.
        field: &'static str,
        /// Why.
        source: NameError,
    },
    /// `size_bytes` is zero.
    #[error("size_bytes: 0 bytes need no backup; leave the size out when it is unknown")]
    ZeroSize,
    /// `size_bytes` is above [`MAX_SIZE_BYTES`].
    #[error("size_bytes: {size_bytes} is more than 1 EiB ({MAX_SIZE_BYTES}); is the unit bytes?")]
    AbsurdSize {
        /// The size found.
        size_bytes: u64,
    },
    /// `max_bytes_per_sec` is zero.
    #[error("max_bytes_per_sec: 0 would never finish; hold the job instead, or leave the ceiling out")]
    ZeroRate,
    /// More members than [`MAX_MEMBERS`].
    #[error("members: {members} are more than {MAX_MEMBERS}; name those that may be backed up, best first")]
    TooManyMembers {
        /// How many were given.
        members: usize,
    },
    /// `rpo` is zero.
    #[error("rpo: a recovery point objective of 0 cannot be met; give a positive duration")]
    ZeroRpo,
    /// `not_before` does not lie before `deadline`.
    #[error("not_before {not_before} must lie before deadline {deadline}")]
    StartsAfterDeadline {
        /// Earliest start asked for.
        not_before: Timestamp,
        /// Deadline asked for.
        deadline: Timestamp,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_requests_name_the_field_and_the_remedy() {
        let spec = || JobSpec::new("orders", "sqlite");
        let text = |spec: JobSpec| spec.check().unwrap_err().to_string();
        assert_eq!(text(JobSpec::new("", "sqlite")), "instance: the name cannot be used: it is empty");
        assert!(text(spec().size_bytes(0)).contains("leave the size out"));
        assert!(text(spec().size_bytes(u64::MAX)).contains("is the unit bytes?"));
        assert!(text(spec().max_bytes_per_sec(0)).contains("hold the job instead"));
        assert!(text(spec().rpo(Duration::ZERO)).starts_with("rpo:"));
        let at = Timestamp::UNIX_EPOCH;
        assert!(text(spec().not_before(at).deadline(at)).contains("must lie before deadline"));
        assert_eq!(spec().size_bytes(MAX_SIZE_BYTES).check(), Ok(()));
    }

    #[test]
    fn requests_round_trip_and_those_of_a_later_version_are_read() {
        let spec = JobSpec::new("orders", "sqlite").priority(Priority::Low).demand("tape", 2);
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<JobSpec>(&json).unwrap(), spec);
        // As a later scheduler of the same fleet may have written it.
        let later = r#"{"instance":"a","technology":"b","tape":{"of":1},"members":[{"instance":"m","host":"h","rack":7}]}"#;
        let read: JobSpec = serde_json::from_str(later).unwrap();
        assert_eq!(read, JobSpec::new("a", "b").member("m", "h"));
    }
}
