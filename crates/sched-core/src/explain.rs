//! Why a job is where it is: [`Explanation`].

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::JobRef;
use crate::gate::{ClosedGate, Gate, Scope, short};
use crate::plan::Plan;
use crate::state::JobState;

/// Everything that keeps a job from starting, or what it is doing, at one moment.
///
/// Serializable for machines; its `Display` is for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Explanation {
    /// When this was true.
    pub at: Timestamp,
    /// The job.
    pub job: JobRef,
    /// Its state.
    pub state: JobState,
    /// Every closed gate, strongest first. Empty unless the job waits, or when only others go first.
    pub closed: Vec<ClosedGate>,
    /// Whose gate it stands at; `None` when nothing but its turn keeps it, or it waits for time.
    pub waits_at: Option<Scope>,
    /// Jobs that wait for the same and go first; exact up to 1,000. `None` unless it stands in a line.
    pub ahead: Option<usize>,
    /// Finish by.
    pub deadline: Timestamp,
    /// Start by, to finish in time.
    pub latest_start: Timestamp,
    /// When the engine looks at the job next, if nothing happens before.
    pub next_look: Option<Timestamp>,
    /// When a planner wants it to start, and why then.
    pub plan: Option<Plan>,
    /// Why a paused, cancelled or failed job is so.
    pub because: Option<String>,
}

impl Explanation {
    /// What would have to change for the job to start now, in the order of the closed gates.
    pub fn remedies(&self) -> Vec<String> {
        self.closed.iter().map(remedy).collect()
    }
}

fn remedy(closed: &ClosedGate) -> String {
    let scope = &closed.scope;
    match (&closed.gate, &closed.reason.measured) {
        (Gate::Hold, _) => format!("release the hold on {scope}"),
        (Gate::Blackout, _) => match closed.until {
            Some(until) => format!("wait until {until}, or take the blackout out of {scope}"),
            None => format!("take the blackout out of {scope}"),
        },
        (Gate::Window | Gate::Plan, _) => match closed.until {
            Some(until) => format!("wait until {until}, or order it to run now"),
            None => "order it to run now".into(),
        },
        (Gate::Capacity | Gate::Load, Some(m)) => {
            let (value, threshold) = (short(m.value), short(m.threshold));
            format!("{} of {scope} must fall below {threshold} {} (now {value})", m.signal, m.unit)
        }
        (Gate::Capacity, None) => format!("{scope} must have room again"),
        (Gate::Load, None) => format!("the load of {scope} must fall, or the slack must run out"),
        (Gate::Breaker, _) => format!("attempts of {scope} must succeed again"),
        (Gate::Limit, _) => format!("a running job of {scope} must end, or its limit be raised"),
        (Gate::Health, _) => format!("{scope} must come up, or be given another member"),
        (Gate::Resource(name), m) => match (closed.behind, m) {
            (Some(owner), _) => format!("{owner} must start first, or be cancelled"),
            (None, Some(m)) if m.signal.as_str() != name.as_str() => {
                let (value, threshold) = (short(m.value), short(m.threshold));
                let (signal, unit) = (&m.signal, &m.unit);
                format!(
                    "running jobs must give back {name} of {scope}, or {signal} reach {threshold} {unit} (now {value})"
                )
            }
            (None, Some(m)) => {
                let missing = short(m.threshold - m.value);
                format!("running jobs must give back {missing} more of {name} of {scope}")
            }
            (None, None) => format!("running jobs must give back {name} of {scope}"),
        },
        (Gate::Overlap, _) => match closed.behind {
            Some(other) => format!("{other} must end"),
            None => "the running backup of this instance must end".into(),
        },
        (Gate::Time, _) => match closed.until {
            Some(until) => format!("wait until {until}, or order it to run now"),
            None => "order it to run now".into(),
        },
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let JobRef { id, instance, kind, priority, .. } = &self.job;
        writeln!(f, "{id} ({kind} backup of {instance}, {priority}) is {}", self.state)?;
        if let Some(because) = &self.because {
            writeln!(f, "  because: {because}")?;
        }
        for (gate, remedy) in self.closed.iter().zip(self.remedies()) {
            writeln!(f, "  closed: {gate}")?;
            writeln!(f, "    to open: {remedy}")?;
        }
        if let Some(ahead) = self.ahead {
            let line = self.waits_at.as_ref().map_or_else(|| "its turn".into(), |scope| format!("{scope}"));
            writeln!(f, "  ahead of it, waiting for {line}: {ahead}")?;
        }
        if let Some(next) = self.next_look {
            writeln!(f, "  looked at again: as soon as anything changes, at the latest {next}")?;
        }
        write!(f, "  latest start {}, deadline {}", self.latest_start, self.deadline)
    }
}
