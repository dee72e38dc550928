//! Which gates are closed for a job, and how that is said.

use smallvec::SmallVec;

use crate::gate::{ClosedGate, Gate, LoadLevel, Reason, Scope};
use crate::state::JobState;
use crate::time::Now;

use super::Engine;
use super::domain::{ClassKey, Domains, LaneKey, Need, Shut};
use super::index::{DemandIx, DomainIx, JobIx, ResourceIx};
use super::job::Job;

/// A closed gate as the engine sees it: cheap to find, described only when somebody wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    Domain(DomainIx, Shut),
    /// More is needed than is free.
    Resource(DomainIx, ResourceIx, u64),
    /// What is free is promised to a more urgent job.
    Promised(DomainIx, JobIx),
    /// Another backup of this instance and kind has begun and not ended.
    Overlap(JobIx),
    /// Waits for its requested start or the end of its back-off.
    Time,
}

impl Closed {
    /// A number that tells kinds of gates apart, so that the same news is not told twice.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Domain(_, Shut::Hold) => 1,
            Self::Domain(_, Shut::Capacity) => 2,
            Self::Domain(_, Shut::Breaker) => 3,
            Self::Domain(_, Shut::Limit) => 4,
            Self::Domain(_, Shut::Health) => 5,
            Self::Domain(_, Shut::Load(_)) => 6,
            Self::Resource(..) | Self::Promised(..) => 7,
            Self::Overlap(_) => 8,
            Self::Time => 9,
        }
    }
}

impl Engine {
    /// Shared gates by which this job's class is told from others.
    pub(super) fn class_of(&self, job: JobIx, wall_ms: i64) -> ClassKey {
        let entry = &self.jobs[job.at()];
        let goes_on = entry.state == JobState::Paused;
        let (tolerated, _) = entry.tolerance(wall_ms);
        let extras = entry.extras.as_ref();
        let need = Need {
            strict: entry.key.is_strict(),
            tolerated,
            goes_on,
            band: self.demands.band(self.needed(entry)),
            span: Need::span(entry.expected_ms),
        };
        ClassKey {
            technology: self.targets[entry.target.at()].technology,
            destination: extras.map(|e| e.destination).unwrap_or_default(),
            lane: LaneKey { need, tenant: extras.map_or(0, |e| e.tenant) },
        }
    }

    /// What a waiting job needs to start, or a paused one to go on.
    pub(super) fn needed(&self, job: &Job) -> DemandIx {
        match job.state {
            JobState::Paused => self.actives[job.active.at()].flow,
            _ => job.demand,
        }
    }

    /// Every domain whose gates count for a job, from the fleet down.
    pub(super) fn domains_of(&self, job: &Job, into: &mut Vec<DomainIx>) {
        into.clear();
        into.extend(self.domains.path(job.place));
        into.reverse();
        into.extend(self.beside(job));
        if let Some(extras) = &job.extras {
            into.extend(extras.destination.some());
            into.extend(&extras.groups);
        }
        into.push(self.targets[job.target.at()].technology);
        into.extend(self.instances_of(job));
    }

    /// The instances that a job backs up: the one it is named after, and the member taken.
    pub(super) fn instances_of(&self, job: &Job) -> impl Iterator<Item = DomainIx> + use<> {
        let own = self.targets[job.target.at()].domain.some();
        let member = job.extras.as_ref().and_then(|extras| extras.members.get(extras.member));
        let member = member.map(|member| member.instance).filter(|member| own != Some(*member));
        own.into_iter().chain(member)
    }

    /// An attempt's job that makes the same backup of an instance, under whichever of its names that was asked for.
    pub(super) fn overlapping(&self, job: &Job, instance: DomainIx) -> Option<JobIx> {
        let entry = &self.domains[instance];
        if job.state == JobState::Paused || !matches!(entry.scope, Scope::Instance(_)) {
            return None;
        }
        let kind = |job: &Job| self.targets[job.target.at()].kind;
        let mut others = entry.attempts.iter().map(|active| self.actives[active.at()].job);
        others.find(|other| kind(&self.jobs[other.at()]) == kind(job))
    }

    /// The places whose resources a job uses: those on its way to the fleet, then those [`beside`](Self::beside).
    pub(super) fn places_of(&self, ix: JobIx) -> SmallVec<[DomainIx; 6]> {
        let job = &self.jobs[ix.at()];
        self.domains.path(job.place).chain(self.beside(job)).collect()
    }

    /// Places that a job uses off its own way: hosts that take part at the same time, and the links above them.
    pub(super) fn beside(&self, job: &Job) -> SmallVec<[DomainIx; 4]> {
        let mut places = SmallVec::new();
        let hosts = job.extras.iter().flat_map(|extras| &extras.together);
        for place in hosts.flat_map(|host| self.domains.path(*host)) {
            if !places.contains(&place) && !self.is_above(place, job.place) {
                places.push(place);
            }
        }
        places
    }

    /// Whether `place` lies on the way from `below` to the fleet.
    pub(super) fn is_above(&self, place: DomainIx, below: DomainIx) -> bool {
        self.domains.path(below).any(|at| at == place)
    }

    /// What keeps a job out of every queue, if time or its twin does.
    pub(super) fn own_gate(&self, job: &Job, now: Now) -> Option<Closed> {
        if job.waits_until(now).is_some() {
            return Some(Closed::Time);
        }
        let begun = self.targets[job.target.at()].begun.some()?;
        (self.jobs[begun.at()].id() != job.id()).then_some(Closed::Overlap(begun))
    }

    /// Every gate that is closed for a waiting job, strongest first.
    pub(super) fn closed_gates(&self, ix: JobIx, now: Now) -> Vec<Closed> {
        let job = &self.jobs[ix.at()];
        let goes_on = job.state == JobState::Paused;
        let (tolerated, _) = job.tolerance(now.wall.as_millisecond());
        let mut domains = Vec::new();
        self.domains_of(job, &mut domains);
        let mut closed: Vec<_> = self.own_gate(job, now).filter(|_| !goes_on).into_iter().collect();
        let amounts = self.demands.amounts(self.needed(job));
        for domain in domains {
            let entry = &self.domains[domain];
            closed.extend(self.overlapping(job, domain).map(Closed::Overlap));
            closed
                .extend(entry.all_closed(tolerated, goes_on).into_iter().map(|s| Closed::Domain(domain, s)));
            closed.extend(entry.lacks(amounts).map(|(r, amount)| Closed::Resource(domain, r, amount)));
            if entry.lacks(amounts).is_none() {
                closed.extend(self.promised(domain, ix, now).map(|owner| Closed::Promised(domain, owner)));
            }
        }
        closed.sort_by_key(|closed| self.gate(*closed));
        closed.dedup();
        closed
    }

    fn gate(&self, closed: Closed) -> Gate {
        let resource = |r: ResourceIx| Gate::Resource(self.demands.name(r).clone());
        match closed {
            Closed::Domain(_, shut) => match shut {
                Shut::Hold => Gate::Hold,
                Shut::Capacity => Gate::Capacity,
                Shut::Breaker => Gate::Breaker,
                Shut::Limit => Gate::Limit,
                Shut::Health => Gate::Health,
                Shut::Load(_) => Gate::Load,
            },
            Closed::Resource(_, r, _) => resource(r),
            Closed::Promised(_, owner) => {
                let amounts = self.demands.amounts(self.jobs[owner.at()].demand);
                resource(amounts.first().map(|(r, _)| *r).unwrap_or_default())
            }
            Closed::Overlap(_) => Gate::Overlap,
            Closed::Time => Gate::Time,
        }
    }

    /// A closed gate with its reason, for people and machines.
    pub(super) fn describe(&self, ix: JobIx, closed: Closed, now: Now) -> ClosedGate {
        let gate = self.gate(closed);
        let plain =
            |domain: DomainIx, text: String| (self.domains[domain].scope.clone(), Reason::new(text), None);
        let job = &self.jobs[ix.at()];
        let (scope, reason, until) = match closed {
            Closed::Domain(domain, shut) => self.describe_domain(domain, shut),
            Closed::Resource(place, resource, amount) => {
                let name = self.demands.name(resource);
                let capacity = self.domains[place].capacity(resource).copied().unwrap_or_default();
                let (used, total) = (capacity.used, capacity.total);
                plain(place, format!("needs {amount} of {name}, {used} of {total} in use"))
            }
            Closed::Promised(place, owner) => {
                let owner = self.jobs[owner.at()].id();
                plain(place, format!("what is free is kept for {owner}, which is more urgent and needs more"))
            }
            Closed::Overlap(other) => {
                let other = &self.jobs[other.at()];
                let shared =
                    self.instances_of(job).find(|own| self.instances_of(other).any(|its| its == *own));
                let scope = shared.map(|shared| self.domains[shared].scope.clone());
                let text = format!("{} makes the same backup and has not ended", other.id());
                (scope.unwrap_or_else(|| self.instance_scope(job)), Reason::new(text), None)
            }
            Closed::Time => {
                let until = job.waits_until(now).unwrap_or(now.mono);
                let text = if until == job.back_off_until() {
                    format!("back-off after: {}", job.error().unwrap_or("an attempt failed"))
                } else if job.attempt == 0 {
                    "not before the requested start".into()
                } else {
                    format!("not before it may continue: {}", job.error().unwrap_or("interrupted"))
                };
                let until = now.plus(until.since(now.mono)).wall;
                (self.instance_scope(job), Reason::new(text), Some(until))
            }
        };
        ClosedGate { gate, scope, reason, until }
    }

    fn describe_domain(&self, domain: DomainIx, shut: Shut) -> (Scope, Reason, Option<jiff::Timestamp>) {
        let entry = &self.domains[domain];
        let gates = entry.gates.as_deref();
        let running = entry.attempts.len();
        let or_gone = |reason: Option<Reason>| reason.unwrap_or_else(|| Reason::new("it was closed"));
        let (reason, until) = match shut {
            Shut::Hold => {
                let held = gates.and_then(|g| g.hold.as_ref());
                let text = held.map(|held| {
                    let done = if held.drain { "drained" } else { "held" };
                    format!("{done} by {}", held.order)
                });
                (text.map(Reason::new), held.and_then(|held| held.order.expires))
            }
            Shut::Capacity => (gates.and_then(|g| g.short.clone()), None),
            Shut::Health => (gates.and_then(|g| g.down.clone()), None),
            Shut::Breaker => {
                let breaker = gates.and_then(|g| g.breaker.as_ref());
                let opens = breaker.and_then(|b| b.opens_at());
                let text = match opens {
                    Some(_) => "too many attempts failed one after another; it cools down".to_string(),
                    None => format!("it is being tried again by few: {running} under way"),
                };
                let now = self.wall.now();
                (Some(Reason::new(text)), opens.map(|at| now.plus(at.since(now.mono)).wall))
            }
            Shut::Limit => {
                let limit = gates.and_then(|g| g.limit).unwrap_or_default();
                (Some(Reason::new(format!("{running} of at most {limit} run"))), None)
            }
            Shut::Load(tolerated) => (self.load_reason(domain, tolerated), None),
        };
        (entry.scope.clone(), or_gone(reason), until)
    }

    fn load_reason(&self, domain: DomainIx, tolerated: LoadLevel) -> Option<Reason> {
        let load = self.domains[domain].gates.as_ref()?.load.as_ref()?;
        let mut reason = load.reason.clone();
        reason.text = format!("{} load, {tolerated} tolerated: {}", load.level, reason.text).into();
        Some(reason)
    }

    fn instance_scope(&self, job: &Job) -> Scope {
        Scope::Instance(self.targets[job.target.at()].instance.clone())
    }

    /// Whether a domain may be open for jobs of a need; the job itself may need a little more than its band.
    pub(super) fn may_fit(&self, domain: DomainIx, need: &Need) -> bool {
        let entry = &self.domains[domain];
        entry.closed(need.tolerated, need.goes_on).is_none()
            && entry.lacks(self.demands.amounts(need.band)).is_none()
    }

    /// The fleet's own index, for readability where the root of the places is meant.
    pub(super) fn fleet(&self) -> DomainIx {
        Domains::fleet()
    }
}
