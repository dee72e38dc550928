//! How a closed gate is said: with its scope, what was measured, and when it opens by itself.

use crate::gate::{ClosedGate, Gate, LoadLevel, Measured, Reason, Scope};
use crate::name::SignalName;
use crate::time::{MonoTime, Now};

use super::Engine;
use super::domain::Shut;
use super::gates::Closed;
use super::index::{DomainIx, JobIx, ResourceIx};
use super::job::{Job, mono_at, wall};

/// What is said of a closed gate.
struct Said {
    scope: Scope,
    reason: Reason,
    until: Option<MonoTime>,
    behind: Option<JobIx>,
}

impl Engine {
    /// The kind of a gate.
    pub(super) fn gate(&self, closed: Closed) -> Gate {
        match closed {
            Closed::Domain(_, shut) => match shut {
                Shut::Hold => Gate::Hold,
                Shut::Blackout => Gate::Blackout,
                Shut::Capacity => Gate::Capacity,
                Shut::Breaker => Gate::Breaker,
                Shut::Limit => Gate::Limit,
                Shut::Health => Gate::Health,
                Shut::Window => Gate::Window,
                Shut::Load(_) => Gate::Load,
            },
            Closed::Resource(_, resource, _) | Closed::Promised(_, _, resource) => {
                Gate::Resource(self.demands.name(resource).clone())
            }
            Closed::Overlap(_) => Gate::Overlap,
            Closed::Time => Gate::Time,
            Closed::Plan => Gate::Plan,
            Closed::Standing => Gate::Load,
        }
    }

    /// A closed gate with its reason, for people and machines.
    pub(super) fn describe(&self, ix: JobIx, closed: Closed, now: Now) -> ClosedGate {
        let job = &self.jobs[ix.at()];
        let said = match closed {
            Closed::Domain(domain, shut) => self.say_shut(now, job, domain, shut),
            Closed::Resource(place, resource, amount) => self.say_lack(place, resource, amount),
            Closed::Promised(place, owner, resource) => self.say_promised(job, place, owner, resource),
            Closed::Overlap(other) => self.say_overlap(job, other),
            Closed::Time => self.say_time(now, job),
            Closed::Plan => self.say_plan(now, ix),
            Closed::Standing => self.say_standing(now, job),
        };
        ClosedGate {
            gate: self.gate(closed),
            scope: said.scope,
            reason: said.reason,
            until: said.until.map(|at| now.plus(at.since(now.mono)).wall),
            behind: said.behind.map(|job| self.jobs[job.at()].id()),
        }
    }

    fn say_shut(&self, now: Now, job: &Job, domain: DomainIx, shut: Shut) -> Said {
        let entry = &self.domains[domain];
        let gates = entry.gates.as_deref();
        let running = entry.attempts.len();
        let (reason, until) = match shut {
            Shut::Hold => {
                let held = gates.and_then(|gates| gates.hold.as_ref());
                let text = held.map(|held| {
                    let done = if held.drain { "drained" } else { "held" };
                    Reason::new(format!("{done} by {}", held.order))
                });
                (text, held.and_then(|held| held.order.expires).map(|at| mono_at(now, at)))
            }
            Shut::Capacity => (gates.and_then(|gates| gates.short.clone()), None),
            Shut::Health => (gates.and_then(|gates| gates.down.clone()), None),
            Shut::Breaker => {
                let breaker = gates.and_then(|gates| gates.breaker.as_ref());
                let opens = breaker.and_then(|breaker| breaker.opens_at());
                let text = match opens {
                    Some(_) => "too many attempts failed one after another; it cools down",
                    None => "few at a time try it again after failures",
                };
                let (tries, allowed) =
                    breaker.map_or((0, 0), |breaker| (breaker.probes().len(), breaker.allows()));
                (Some(attempts(text.into(), tries, allowed)), opens)
            }
            Shut::Limit => {
                let limit = gates.and_then(|gates| gates.limit).unwrap_or_default();
                let text = format!("{running} of at most {limit} run");
                (Some(attempts(text, running, limit as usize)), None)
            }
            Shut::Blackout | Shut::Window => {
                let windows = gates.and_then(|gates| gates.windows.as_ref());
                let reason = windows.and_then(|windows| windows.reason().cloned());
                (reason, self.window_opens_at(now, job, domain, shut))
            }
            Shut::Load(tolerated) => {
                (self.load_reason(job, domain, tolerated), self.tolerates_at(now, job, domain))
            }
        };
        let reason = reason.unwrap_or_else(|| Reason::new("it was closed"));
        Said { scope: entry.scope.clone(), reason, until, behind: None }
    }

    fn load_reason(&self, job: &Job, domain: DomainIx, tolerated: LoadLevel) -> Option<Reason> {
        let load = self.domains[domain].load(self.feels(job))?;
        Some(load.reason.after(format!("{} load, {tolerated} tolerated", load.level)))
    }

    /// When the slack has shrunk so far that a job tolerates the present load of a domain.
    fn tolerates_at(&self, now: Now, job: &Job, domain: DomainIx) -> Option<MonoTime> {
        let (_, next) = job.tolerance(now.wall.as_millisecond());
        let peak = self.domains[domain].load_level(self.feels(job)) == LoadLevel::Peak;
        let at = if peak { Some(job.latest_start_ms()) } else { next };
        at.map(|ms| mono_at(now, wall(ms)))
    }

    fn say_lack(&self, place: DomainIx, resource: ResourceIx, amount: u64) -> Said {
        let capacity = self.domains[place].capacity(resource).copied().unwrap_or_default();
        let name = self.demands.name(resource);
        let text = format!("needs {amount} of {name}, {} of {} in use", capacity.used, capacity.total);
        let measured = Measured {
            signal: SignalName::from(name.as_str()),
            value: capacity.free() as f64,
            threshold: amount as f64,
            unit: "free".into(),
        };
        let reason = match self.domains[place].total_because(resource).map(|because| because.after(&text)) {
            Some(because) if because.measured.is_some() => because,
            Some(because) => Reason::measured(because.text, measured),
            None => Reason::measured(text, measured),
        };
        Said { scope: self.domains[place].scope.clone(), reason, until: None, behind: None }
    }

    fn say_promised(&self, job: &Job, place: DomainIx, owner: JobIx, resource: ResourceIx) -> Said {
        let entry = &self.domains[place];
        let first = &self.jobs[owner.at()];
        let amount_of = |job: &Job| self.demands.amount(self.needed(job), resource);
        let free = entry.capacity(resource).map_or(0, |capacity| capacity.free());
        let name = self.demands.name(resource);
        let text =
            format!("what is free of {name} is kept for {}, which is more urgent and needs more", first.id());
        let measured = Measured {
            signal: SignalName::from(name.as_str()),
            value: free as f64,
            threshold: amount_of(first).saturating_add(amount_of(job)) as f64,
            unit: "free".into(),
        };
        Said {
            scope: entry.scope.clone(),
            reason: Reason::measured(text, measured),
            until: entry.claim.map(|claim| claim.until),
            behind: Some(owner),
        }
    }

    fn say_overlap(&self, job: &Job, other: JobIx) -> Said {
        let its = &self.jobs[other.at()];
        let shared =
            self.instances_of(job).find(|own| self.instances_of(its).any(|instance| instance == *own));
        let scope = shared.map(|shared| self.domains[shared].scope.clone());
        let scope = scope.unwrap_or_else(|| self.instance_scope(job));
        let kind = |job: &Job| self.targets[job.target.at()].kind;
        let text = match kind(its) {
            same if same == kind(job) => format!("{} makes the same backup and has not ended", its.id()),
            other => format!("{} makes the instance's {other} backup, which is kept apart", its.id()),
        };
        Said { scope, reason: Reason::new(text), until: None, behind: Some(other) }
    }

    fn say_time(&self, now: Now, job: &Job) -> Said {
        let until = job.waits_until(now).unwrap_or(now.mono);
        let text = if until == job.back_off_until() {
            format!("back-off after: {}", job.error().unwrap_or("an attempt failed"))
        } else if job.attempt == 0 {
            "not before the requested start".into()
        } else {
            format!("not before it may continue: {}", job.error().unwrap_or("interrupted"))
        };
        Said { scope: self.instance_scope(job), reason: Reason::new(text), until: Some(until), behind: None }
    }

    fn say_plan(&self, now: Now, ix: JobIx) -> Said {
        let plan = self.plan_of(ix);
        let reason = plan.map(|plan| plan.why.after(format!("planned for {}", plan.start)));
        let reason = reason.unwrap_or_else(|| Reason::new("it was planned for later"));
        let scope = self.instance_scope(&self.jobs[ix.at()]);
        Said { scope, reason, until: self.planned_until(ix, now), behind: None }
    }

    fn say_standing(&self, now: Now, job: &Job) -> Said {
        let pauses = job.active.some().map_or(0, |active| self.actives[active.at()].load_pauses);
        let reason = Reason::new(format!("it stood {pauses} times lately: the load comes and goes"));
        Said { scope: self.instance_scope(job), reason, until: self.stands_until(job, now), behind: None }
    }

    fn instance_scope(&self, job: &Job) -> Scope {
        Scope::Instance(self.targets[job.target.at()].instance.clone())
    }
}

fn attempts(text: String, running: usize, allowed: usize) -> Reason {
    let measured = Measured {
        signal: "attempts".into(),
        value: running as f64,
        threshold: allowed as f64,
        unit: "running".into(),
    };
    Reason::measured(text, measured)
}
