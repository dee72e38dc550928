//! The values of a policy: what one level says of them ([`Values`]), and what counts in the end ([`Effective`]).

use std::collections::BTreeMap;
use std::time::Duration;

use sched_core::{
    CalendarName, JobSpec, JobTerms, Priority, ResourceName, RetryPolicy, RunPhase, SensitivityName,
    SignalName, WindowEnd,
};

use crate::amount::Amount;
use crate::config::value::{Field, Keys, Value, keys};
use crate::load::LoadLimit;
use crate::phase::Phase;
use crate::schedule::{Every, Jitter, LONGEST_JITTER, Misfire, Overlap, Recurrence};
use crate::sensitivity;
use crate::units::ByteRate;
use crate::zone::Zone;

/// The shortest expected duration: starting a tool and closing its files takes that long whatever the size.
const SHORTEST: Duration = Duration::from_secs(10);

/// Declares the values once: the partial struct with everything optional, the effective one with everything there.
macro_rules! values {
    ($( $(#[doc = $doc:literal])+ $field:ident: $type:ty, )*) => {
        keys! {
            /// What one level says about backups of one kind; what is `None` is left to weaker levels.
            pub struct Values {
                $( $(#[doc = $doc])+ $field: $type, )*
            }
        }

        impl Values {
            /// Puts what `over` says over this.
            pub(crate) fn overlay(&mut self, over: &Self) {
                $( match (&mut self.$field, &over.$field) {
                    (Some(held), Some(said)) => held.overlay(said),
                    (held @ None, Some(said)) => *held = Some(said.clone()),
                    (_, None) => {}
                } )*
            }
        }

        /// What counts for the backups of one kind of one instance: every value has been said by some level.
        #[derive(Clone, Debug, Default, PartialEq)]
        #[non_exhaustive]
        pub struct Effective {
            $( $(#[doc = $doc])+ pub $field: $type, )*
            /// What follows from `load` and is the same for all who have these values.
            sensitivity: Option<SensitivityName>,
        }

        impl From<Values> for Effective {
            /// What nobody says is zero or nothing. The built-in `generic` says everything; a test holds it to that.
            fn from(values: Values) -> Self {
                let sensitivity = values.load.as_ref().and_then(sensitivity::name);
                Self { $( $field: values.$field.unwrap_or_default(), )* sensitivity }
            }
        }

        impl From<&Effective> for Values {
            fn from(effective: &Effective) -> Self {
                Self { $( $field: Some(effective.$field.clone()), )* }
            }
        }
    };
}

values! {
    /// Urgency class. `high` and `critical` pass the load gate; `critical` goes before every other class.
    priority: Priority,
    /// Recovery point objective: the backup must be renewed within this time. More than 0.
    rpo: Duration,
    /// How often a backup is made without being asked for: `"rpo"` (the scheduler picks the moment within `rpo`), an
    /// interval such as `"6h"`, or a cron expression. What is said of all kinds schedules full backups; of another kind
    /// say `log.schedule`.
    schedule: Option<Every>,
    /// Whose clock a cron expression means.
    schedule_zone: Zone,
    /// How far instances are spread after the time that `schedule` says: over this time, each always at the same place in
    /// it. `"auto"`: over the whole interval where there is one, else not at all. At most 366 days.
    jitter: Jitter,
    /// What becomes of a slot that comes while the former backup has not ended: all that came make one right after it, or
    /// are left out. Two are never made at once.
    overlap: Overlap,
    /// What becomes of slots that were missed while the scheduler was down: `"coalesce"` makes one backup of all, `"skip"`
    /// none, and a duration one if the newest is not later than that. With `"rpo"` none is ever left out.
    misfire: Misfire,
    /// The rate that a paced backup is expected to reach, from which its duration is estimated. More than 0.
    expected_rate: ByteRate,
    /// Expected duration where the size is unknown.
    expected_duration: Duration,
    /// Whether a run may stand still for a while, where its phase is not known.
    pausable: bool,
    /// Whether a run may be cancelled, to go again later, when a critical job needs what it holds.
    cancellable: bool,
    /// The rate below which slowing a run does harm, where its phase is not known. 0: none.
    floor: ByteRate,
    /// The most that one run may move.
    ceiling: Option<ByteRate>,
    /// What a run goes through, in order, and what each part tolerates.
    phases: Vec<Phase>,
    /// What a run holds, by resource; 0 takes away what a weaker level says. What a built-in technology demands counts
    /// only where the file says how much there is.
    demand: BTreeMap<ResourceName, Amount>,
    /// Which members of a cluster are backed up, by role, the best first. Empty: any.
    roles: Vec<String>,
    /// Whether every member of a cluster is backed up, rather than one for all.
    every_member: bool,
    /// How long a better member is waited for before the next is taken.
    patience: Duration,
    /// How many runs of the technology there may be at once in a cluster. At least 1.
    max_per_cluster: Option<u32>,
    /// How many runs of the technology there may be at once on a host. At least 1.
    max_per_host: Option<u32>,
    /// How many runs of the technology there may be at once to a destination. At least 1.
    max_per_destination: Option<u32>,
    /// Activities that exclude each other: two runs of a cluster that name the same one are never at once.
    never_together: Vec<String>,
    /// Signals that hold a start back while it can wait, and from which value on; `high` and `critical` heed none. One
    /// that nobody measures holds nothing back.
    load: BTreeMap<SignalName, Option<LoadLimit>>,
    /// By how much the foreground's latency may grow over its healthy level while a backup runs: 1.1 is 10 %. At least 1;
    /// the least of those that run at a place counts.
    latency_factor: f64,
    /// The calendar that says when backups may run: one of the file's `[calendars]`, or one that the program adds.
    window: Option<CalendarName>,
    /// Whether a backup starts outside its windows when it would be late otherwise. A blackout keeps it all the same.
    open_window_when_late: bool,
    /// What becomes of a run when its window ends: it finishes, pauses until the next, or stops and goes on with the next.
    window_end: WindowEnd,
    /// The longest run, pauses excluded. More than 0.
    timeout: Option<Duration>,
    /// Attempts in all, the first included. At least 1.
    retry_attempts: u32,
    /// The longest wait before the second attempt; it doubles with each.
    retry_base: Duration,
    /// The longest wait before any attempt. At least `retry_base`.
    retry_cap: Duration,
}

impl Values {
    /// The keys of all values, in the order of the documentation.
    pub fn keys() -> impl Iterator<Item = &'static str> {
        FIELDS.iter().map(|field| field.key)
    }

    /// What is wrong with a value taken by itself, and what would be right.
    pub(crate) fn wrong(&self, key: &str) -> Option<&'static str> {
        let wrong = match key {
            "rpo" => (self.rpo == Some(Duration::ZERO), "0 cannot be met; give a positive duration"),
            "jitter" => (
                matches!(self.jitter, Some(Jitter::Within(spread)) if spread > LONGEST_JITTER),
                "it is at most 366 days",
            ),
            "expected_rate" => (self.expected_rate == Some(ByteRate(0)), "at 0 B/s no backup would ever end"),
            "ceiling" => (
                self.ceiling == Some(Some(ByteRate(0))),
                "0 B/s would never finish; write \"none\" for no ceiling",
            ),
            "timeout" => (
                self.timeout == Some(Some(Duration::ZERO)),
                "0 would end every run; write \"none\" for no time-out",
            ),
            "latency_factor" => (self.latency_factor.is_some_and(|factor| factor < 1.0), "it is at least 1"),
            "retry_attempts" => {
                (self.retry_attempts == Some(0), "it is at least 1: the first attempt counts")
            }
            "max_per_cluster" => (self.max_per_cluster == Some(Some(0)), NO_LIMIT),
            "max_per_host" => (self.max_per_host == Some(Some(0)), NO_LIMIT),
            "max_per_destination" => (self.max_per_destination == Some(Some(0)), NO_LIMIT),
            _ => return None,
        };
        wrong.0.then_some(wrong.1)
    }
}

const NO_LIMIT: &str = "0 would never start a backup; write \"none\" for no limit";

impl Effective {
    /// The terms of a request: its own values where it has any, else these.
    pub fn terms(&self, spec: &JobSpec) -> JobTerms {
        let mut terms = JobTerms::default();
        terms.priority = spec.priority.unwrap_or(self.priority);
        terms.rpo = spec.rpo.unwrap_or(self.rpo);
        terms.expected_duration = spec.expected_duration.unwrap_or_else(|| self.estimate(spec.size_bytes));
        terms.demand = Default::default();
        for (resource, amount) in &self.demand {
            terms.demand.add(resource, amount.of(spec.size_bytes));
        }
        for (resource, amount) in spec.demand.iter() {
            terms.demand.add(resource, amount);
        }
        terms.pausable = self.pausable;
        terms.cancellable = self.cancellable;
        terms.floor_bytes_per_sec = self.floor.0;
        terms.window = self.window.clone();
        terms.open_window_when_late = self.open_window_when_late;
        terms.window_end = self.window_end;
        terms.timeout = self.timeout;
        terms.phases = self.phases.iter().map(RunPhase::from).collect();
        terms.sensitivity = self.sensitivity.clone();
        terms.latency_growth_ppm = Some(((self.latency_factor - 1.0) * 1e6).round() as u32);
        terms.retry = RetryPolicy::new(self.retry_attempts, self.retry_base, self.retry_cap);
        terms
    }

    /// When backups are made without being asked for; `None` if they are not.
    pub fn recurrence(&self) -> Option<Recurrence> {
        let mut recurrence = Recurrence::new(self.schedule.clone()?);
        recurrence.zone = self.schedule_zone.clone();
        recurrence.jitter = self.jitter;
        recurrence.overlap = self.overlap;
        recurrence.misfire = self.misfire;
        Some(recurrence)
    }

    /// The name of what holds starts back, by `load` as it was worked out; `None` where no signal does.
    pub fn sensitivity(&self) -> Option<&SensitivityName> {
        self.sensitivity.as_ref()
    }

    /// What an executor announces when the phase of that name begins; `None` if the policy has none.
    pub fn phase(&self, name: &str) -> Option<RunPhase> {
        self.phases.iter().find(|phase| phase.name == name).map(RunPhase::from)
    }

    /// How long a backup of that size takes at the expected rate.
    pub fn estimate(&self, size_bytes: Option<u64>) -> Duration {
        match size_bytes {
            Some(size) => Duration::from_secs(size / self.expected_rate.0.max(1)).max(SHORTEST),
            None => self.expected_duration,
        }
    }
}

/// All keys a policy may have, with what they mean.
pub(crate) const FIELDS: &[Field] = Values::FIELDS;

#[cfg(test)]
mod tests {
    use crate::config::node::Node;
    use crate::config::{parse, problem::Findings, read};
    use crate::policies::BUILTIN;

    use super::*;

    /// Where nobody else says anything, `generic` does.
    #[test]
    fn generic_says_everything() {
        let mut findings = Findings::default();
        let node = parse::toml(BUILTIN, &mut findings);
        let config = read::config(&node, None, &mut findings);
        assert!(!findings.has_errors(), "{}", findings.problems(None));
        let said: Vec<_> = config.technologies[&"generic".into()].policy.all.said();
        let said: Vec<_> = said.into_iter().map(|(key, _): (_, Node<'_>)| key).collect();
        assert_eq!(said, FIELDS.iter().map(|field| field.key).collect::<Vec<_>>());
    }
}
