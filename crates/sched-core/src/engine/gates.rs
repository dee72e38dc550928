//! Which gates are closed for a job.

use smallvec::SmallVec;

use crate::gate::Scope;
use crate::state::JobState;
use crate::time::Now;

use super::Engine;
use super::domain::{ClassKey, Domains, LaneKey, Need, Shut};
use super::index::{DemandIx, DomainIx, JobIx, ResourceIx};
use super::job::Job;
use super::sensitivity::Feels;

/// A closed gate as the engine sees it: cheap to find, described only when somebody wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    Domain(DomainIx, Shut),
    /// More is needed than is free.
    Resource(DomainIx, ResourceIx, u64),
    /// What is free is promised to a more urgent job.
    Promised(DomainIx, JobIx, ResourceIx),
    /// Another backup of this instance and kind has begun and not ended, or one of a kind that it is kept apart from.
    Overlap(JobIx),
    /// Waits for its requested start or the end of its back-off.
    Time,
    /// Waits for its planned start.
    Plan,
    /// Was paused for load again, and stands for a while.
    Standing,
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
            Self::Domain(_, Shut::Blackout) => 10,
            Self::Domain(_, Shut::Window) => 11,
            Self::Plan => 12,
            Self::Standing => 13,
        }
    }
}

impl Engine {
    /// Shared gates by which this job's class is told from others.
    pub(super) fn class_of(&self, job: JobIx, wall_ms: i64) -> ClassKey {
        let entry = &self.jobs[job.at()];
        let extras = entry.extras.as_ref();
        let need = Need {
            strict: entry.key.is_strict(),
            pass: entry.pass(wall_ms),
            band: self.demands.band(self.needed(entry)),
            span: Need::span(entry.expected()),
        };
        ClassKey {
            technology: self.targets[entry.target.at()].technology,
            destination: extras.map(|e| e.destination).unwrap_or_default(),
            calendar: entry.terms.calendar,
            sensitivity: entry.terms.sensitivity,
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
        into.extend(job.terms.calendar.some());
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

    /// What keeps a job out of every queue, if time, its twin or its plan does.
    pub(super) fn own_gate(&self, ix: JobIx, now: Now) -> Option<Closed> {
        let job = &self.jobs[ix.at()];
        if job.waits_until(now).is_some() {
            return Some(Closed::Time);
        }
        let begun = self.targets[job.target.at()].begun.some().filter(|begun| *begun != ix);
        let begun = begun.or_else(|| self.kept_apart(job));
        // A plan is no more than advice where nothing else is.
        let planned = || self.planned_until(ix, now).filter(|_| !self.config.advise_only);
        begun.map(Closed::Overlap).or_else(|| planned().map(|_| Closed::Plan))
    }

    /// The first resource of a place that is kept for somebody more urgent, as a closed gate.
    pub(super) fn first_promised(&self, place: DomainIx, ix: JobIx, now: Now) -> Option<Closed> {
        let owner = self.promised(place, ix, now)?;
        let needs = self.demands.amounts(self.needed(&self.jobs[ix.at()]));
        let resource = self.kept_for(place, needs, owner).next()?;
        Some(Closed::Promised(place, owner, resource))
    }

    /// Every gate that is closed for a waiting job, strongest first.
    pub(super) fn closed_gates(&self, ix: JobIx, now: Now) -> Vec<Closed> {
        let job = &self.jobs[ix.at()];
        let pass = job.pass(now.wall.as_millisecond());
        let feels = self.feels(job);
        let mut domains = Vec::new();
        self.domains_of(job, &mut domains);
        let mut closed: Vec<_> = self.own_gate(ix, now).into_iter().collect();
        closed.extend(self.planned_until(ix, now).map(|_| Closed::Plan));
        closed.retain(|_| !pass.goes_on);
        closed.extend(self.stands_until(job, now).map(|_| Closed::Standing));
        let amounts = self.demands.amounts(self.needed(job));
        for domain in domains {
            let entry = &self.domains[domain];
            closed.extend(self.overlapping(job, domain).map(Closed::Overlap));
            let shut = entry.all_closed(pass, feels);
            closed.extend(shut.into_iter().map(|shut| Closed::Domain(domain, shut)));
            closed.extend(entry.lacking(amounts).map(|(r, amount)| Closed::Resource(domain, r, amount)));
            if let Some(owner) = self.promised(domain, ix, now) {
                let kept = self.kept_for(domain, amounts, owner);
                let open = kept.filter(|r| entry.lacking(amounts).all(|(lacking, _)| lacking != *r));
                closed.extend(open.map(|r| Closed::Promised(domain, owner, r)));
            }
        }
        closed.sort_by_key(|closed| self.gate(*closed));
        closed.dedup();
        closed
    }

    /// As whom a job feels load.
    pub(super) fn feels(&self, job: &Job) -> Feels {
        Feels { technology: self.targets[job.target.at()].technology, sensitivity: job.terms.sensitivity }
    }

    /// Whether a domain may be open for jobs of a need; the job itself may need a little more than its band.
    pub(super) fn may_fit(&self, domain: DomainIx, need: &Need, feels: Feels) -> bool {
        let entry = &self.domains[domain];
        entry.closed(need.pass, feels).is_none() && entry.lacks(self.demands.amounts(need.band)).is_none()
    }

    /// The fleet's own index, for readability where the root of the places is meant.
    pub(super) fn fleet(&self) -> DomainIx {
        Domains::fleet()
    }
}
