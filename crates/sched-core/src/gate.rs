//! Gates: what can keep a job from starting, how that is said, and for whom.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::name::{
    CalendarName, DestinationName, GroupName, HostName, InstanceName, LinkName, NameError, ResourceName,
    SignalName, TechnologyName, VolumeName,
};
use crate::spec::JobId;

/// Whom a signal, a hold or a gate concerns. More kinds may come: take [`kind`](Self::kind) and [`name`](Self::name), or the
/// text that it prints as, where all are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Scope {
    /// Every job.
    #[default]
    Fleet,
    /// The jobs of the hosts behind one link.
    Link(LinkName),
    /// The jobs on one host.
    Host(HostName),
    /// The jobs on one volume of a host.
    Volume(HostName, VolumeName),
    /// The jobs of one technology.
    Technology(TechnologyName),
    /// The jobs that write to one destination.
    Destination(DestinationName),
    /// The jobs of one group, such as a cluster.
    Group(GroupName),
    /// The jobs of one instance.
    Instance(InstanceName),
    /// The jobs whose windows one calendar says.
    Calendar(CalendarName),
}

impl Scope {
    /// Whether this is a place: part of the tree of fleet, links, hosts and volumes, which may have resources.
    pub fn is_place(&self) -> bool {
        matches!(self, Self::Fleet | Self::Link(_) | Self::Host(_) | Self::Volume(..))
    }

    /// Its kind as its JSON has it: `fleet`, `link`, `host`, `volume`, `technology`, `destination`, `group`, `instance` or
    /// `calendar`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Fleet => "fleet",
            Self::Link(_) => "link",
            Self::Host(_) => "host",
            Self::Volume(..) => "volume",
            Self::Technology(_) => "technology",
            Self::Destination(_) => "destination",
            Self::Group(_) => "group",
            Self::Instance(_) => "instance",
            Self::Calendar(_) => "calendar",
        }
    }

    /// Its name; `None` for the fleet. A volume's does not say which host it is of.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Fleet => None,
            Self::Link(name) => Some(name.as_str()),
            Self::Host(name) => Some(name.as_str()),
            Self::Volume(_, name) => Some(name.as_str()),
            Self::Technology(name) => Some(name.as_str()),
            Self::Destination(name) => Some(name.as_str()),
            Self::Group(name) => Some(name.as_str()),
            Self::Instance(name) => Some(name.as_str()),
            Self::Calendar(name) => Some(name.as_str()),
        }
    }

    /// Whether its name can be used.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn check(&self) -> Result<(), NameError> {
        match self {
            Self::Fleet => Ok(()),
            Self::Link(link) => link.check(),
            Self::Host(host) => host.check(),
            Self::Volume(host, volume) => host.check().and_then(|()| volume.check()),
            Self::Technology(technology) => technology.check(),
            Self::Destination(destination) => destination.check(),
            Self::Group(group) => group.check(),
            Self::Instance(instance) => instance.check(),
            Self::Calendar(calendar) => calendar.check(),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fleet => f.write_str("fleet"),
            Self::Link(link) => write!(f, "link {link}"),
            Self::Host(host) => write!(f, "host {host}"),
            Self::Volume(host, volume) => write!(f, "volume {volume} of host {host}"),
            Self::Technology(technology) => write!(f, "technology {technology}"),
            Self::Destination(destination) => write!(f, "destination {destination}"),
            Self::Group(group) => write!(f, "group {group}"),
            Self::Instance(instance) => write!(f, "instance {instance}"),
            Self::Calendar(calendar) => write!(f, "calendar {calendar}"),
        }
    }
}

/// A kind of gate, strongest first: the order in which they are looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Gate {
    /// An operator holds the scope.
    Hold,
    /// A blackout: nothing may run, however late it is.
    Blackout,
    /// A probe says that the scope is short of something.
    Capacity,
    /// Attempts failed one after another, or one said that the scope is not available; few may try until some succeed.
    Breaker,
    /// A named resource is used up, or promised to a more urgent job.
    Resource(ResourceName),
    /// As many jobs of the scope run as may.
    Limit,
    /// No member that could be backed up is up.
    Health,
    /// The instance's previous backup of this kind has not ended, or one runs under another of its names: as a member
    /// of a cluster.
    Overlap,
    /// It is not time yet: the requested start or the back-off after a failure.
    Time,
    /// None of the job's windows is open.
    Window,
    /// A planner found a better moment, before the latest start.
    Plan,
    /// The foreground is busier than this job tolerates at its present slack.
    Load,
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hold => f.write_str("hold"),
            Self::Blackout => f.write_str("blackout"),
            Self::Capacity => f.write_str("capacity"),
            Self::Breaker => f.write_str("breaker"),
            Self::Resource(name) => write!(f, "resource {name}"),
            Self::Limit => f.write_str("limit"),
            Self::Health => f.write_str("health"),
            Self::Overlap => f.write_str("overlap"),
            Self::Time => f.write_str("time"),
            Self::Window => f.write_str("window"),
            Self::Plan => f.write_str("plan"),
            Self::Load => f.write_str("load"),
        }
    }
}

/// A measured value beside the threshold it was held against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Measured {
    /// What was measured.
    pub signal: SignalName,
    /// The value found.
    pub value: f64,
    /// The value that would have been right.
    pub threshold: f64,
    /// The unit of both, such as `ms`, `bytes` or `share`.
    pub unit: Cow<'static, str>,
}

impl Measured {
    /// A value and the threshold beside it, both in `unit`, such as `ms`, `bytes` or `share`.
    pub fn new(
        signal: impl Into<SignalName>,
        value: f64,
        threshold: f64,
        unit: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { signal: signal.into(), value, threshold, unit: unit.into() }
    }
}

/// Why something was decided: a sentence, and the numbers behind it where there are any.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reason {
    /// A sentence for people.
    pub text: Cow<'static, str>,
    /// The measurement that decided.
    pub measured: Option<Measured>,
}

impl Reason {
    /// A reason without a measurement.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self { text: text.into(), measured: None }
    }

    /// A reason with the measurement that decided.
    pub fn measured(text: impl Into<Cow<'static, str>>, measured: Measured) -> Self {
        Self { text: text.into(), measured: Some(measured) }
    }

    /// The same reason, behind what it explains.
    pub(crate) fn after(&self, what: impl fmt::Display) -> Self {
        Self { text: format!("{what}: {}", self.text).into(), measured: self.measured.clone() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if let Some(m) = &self.measured {
            write!(f, " ({} {} {}, threshold {})", m.signal, short(m.value), m.unit, short(m.threshold))?;
        }
        Ok(())
    }
}

/// A number with about three digits that count; a whole one with all of them.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// A gate that is closed for a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClosedGate {
    /// Which gate.
    pub gate: Gate,
    /// Whom it concerns.
    pub scope: Scope,
    /// Why it is closed.
    pub reason: Reason,
    /// When it is known to open by itself; `None` when that depends on events.
    pub until: Option<Timestamp>,
    /// The job that keeps it closed, where it is one: the other backup of the instance, or the more urgent job that
    /// room is kept for.
    pub behind: Option<JobId>,
}

impl fmt::Display for ClosedGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.gate, self.scope, self.reason)?;
        match self.until {
            Some(until) => write!(f, "; opens {until}"),
            None => Ok(()),
        }
    }
}

/// How busy the foreground is, as a job sees it. Orders from calm to peak.
///
/// A job with ample slack starts only in `Calm`; with little slack it tolerates `Busy`; without slack anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadLevel {
    /// Nothing speaks against a backup.
    #[default]
    Calm,
    /// Work that can wait should.
    Busy,
    /// Only what cannot wait; running pausable jobs pause.
    Peak,
}

impl fmt::Display for LoadLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Calm => "calm",
            Self::Busy => "busy",
            Self::Peak => "peak",
        })
    }
}

/// The load of one scope as last published, with its reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LoadState {
    /// How busy.
    pub level: LoadLevel,
    /// What says so.
    pub reason: Reason,
}

impl LoadState {
    /// A level, and what says so.
    pub fn new(level: LoadLevel, reason: Reason) -> Self {
        Self { level, reason }
    }
}

/// Whether a scope has room for another job, as probes see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapacityState {
    /// There is room.
    Open,
    /// Nothing new may start.
    Closed {
        /// What is short.
        reason: Reason,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_has_kind_and_name_as_its_json_has_them() {
        let scopes = [
            Scope::Link("a".into()),
            Scope::Host("a".into()),
            Scope::Technology("a".into()),
            Scope::Destination("a".into()),
            Scope::Group("a".into()),
            Scope::Instance("a".into()),
            Scope::Calendar("a".into()),
        ];
        for scope in scopes {
            let json = format!(r#"{{"{}":"{}"}}"#, scope.kind(), scope.name().unwrap());
            assert_eq!(serde_json::to_string(&scope).unwrap(), json);
        }
        let volume = Scope::Volume("h".into(), "v".into());
        assert_eq!((volume.kind(), volume.name()), ("volume", Some("v")));
        assert_eq!((Scope::Fleet.kind(), Scope::Fleet.name()), ("fleet", None));
    }
}
