//! How a request becomes a job: its target, its place, what it needs, and what few jobs have.

use std::sync::Arc;

use crate::estimate::Estimate;
use crate::event::EventKind;
use crate::gate::{Reason, Scope};
use crate::name::{HostName, InstanceName};
use crate::queue::OrderKey;
use crate::resource::DemandError;
use crate::spec::{JobId, JobSpec};
use crate::state::JobState;
use crate::terms::JobTerms;
use crate::time::{MonoTime, Now};

use super::domain::Domains;
use super::index::{ActiveIx, BracketIx, DemandIx, DomainIx, JobIx, TargetIx};
use super::job::{Extras, Job, MemberPlace, Target, millis, wall};
use super::marks::{Mark, Marks};
use super::needs::Needs;
use super::requests::hash_target;
use super::terms::Terms;
use super::{Engine, hash_id};

impl Engine {
    fn place_of(&self, spec: &JobSpec, host: &HostName) -> Scope {
        match &spec.volume {
            Some(volume) => Scope::Volume(host.clone(), volume.clone()),
            None => Scope::Host(host.clone()),
        }
    }

    /// The place that a request names, if it is known; `hint` is where to look first.
    fn known_place(&self, spec: &JobSpec, host: &HostName, hint: DomainIx) -> Option<DomainIx> {
        let is_hint = |hint: &DomainIx| match &self.domains[*hint].scope {
            Scope::Host(name) => spec.volume.is_none() && name == host,
            Scope::Volume(name, volume) => name == host && spec.volume.as_ref() == Some(volume),
            _ => false,
        };
        hint.some().filter(is_hint).or_else(|| self.domains.find(&self.place_of(spec, host)))
    }

    /// The place of a request, of its first member if it has members, made when it is new; `hint` is where to look first.
    pub(super) fn place_for(&mut self, spec: &JobSpec, hint: DomainIx) -> DomainIx {
        let host = spec.members.first().map_or(&spec.host, |member| &member.host);
        self.known_place(spec, host, hint).unwrap_or_else(|| {
            let scope = self.place_of(spec, host);
            self.domains.find_or_make(&scope)
        })
    }

    /// Whether the demand could be met on an idle fleet once what is needed is set, wherever the job may run.
    pub(super) fn check_demand(
        &self,
        spec: &JobSpec,
        terms: &Arc<JobTerms>,
        hint: DomainIx,
        needs: &Needs,
    ) -> Result<(), DemandError> {
        // Policies hand out the same few terms again and again: their resources need not be found by name each time.
        let recalled = self.demands.recall(terms).map(|(_, demand)| self.demands.amounts(demand));
        let resource = |at: usize, name| match recalled {
            Some(amounts) => Some(amounts[at].0),
            None => self.demands.known(name),
        };
        let hosts = spec.members.iter().map(|member| &member.host).chain(&spec.together);
        let hosts = hosts.chain(spec.members.is_empty().then_some(&spec.host));
        for host in hosts {
            // Whatever is not known yet will hang below its host or the fleet.
            let known = self.known_place(spec, host, hint);
            let known = known.or_else(|| self.domains.find(&Scope::Host(host.clone())));
            let lowest = known.unwrap_or(Domains::fleet());
            for (at, (name, asked)) in terms.demand.iter().enumerate() {
                let resource = resource(at, name);
                let above = |place: Scope, total| {
                    Err(DemandError::AboveTotal { name: name.clone(), place, asked, total })
                };
                let set = needs.total(host, name);
                if let Some(total) = set.filter(|total| asked > *total) {
                    return above(Scope::Host(host.clone()), total);
                }
                let mut found = set.is_some();
                for place in self.domains.path(lowest) {
                    let Some(capacity) = resource.and_then(|r| self.domains[place].capacity(r)) else {
                        continue;
                    };
                    let scope = &self.domains[place].scope;
                    let replaced = set.is_some() && matches!(scope, Scope::Host(name) if name == host);
                    found = true;
                    let whole = resource.and_then(|r| self.wholes.get(&(place, r)));
                    let total = whole.map_or(capacity.total, |whole| *whole.max(&capacity.total));
                    if asked > total && !replaced {
                        return above(scope.clone(), total);
                    }
                }
                if !found {
                    let known = self.domains.path(lowest).flat_map(|place| &self.domains[place].resources);
                    let known: Vec<_> = known.map(|(r, _)| self.demands.name(*r).as_str()).collect();
                    let (place, known) = (self.place_of(spec, host), known.join(", "));
                    return Err(DemandError::Unknown { name: name.clone(), place, known });
                }
            }
        }
        Ok(())
    }

    pub(super) fn target(&mut self, found: Option<TargetIx>, spec: &JobSpec) -> TargetIx {
        let is_same = |engine: &Self, ix: TargetIx| {
            let technology = engine.targets[ix.at()].technology;
            matches!(&engine.domains[technology].scope, Scope::Technology(name) if *name == spec.technology)
        };
        if let Some(ix) = found.filter(|ix| is_same(self, *ix)) {
            return ix;
        }
        let technology = self.domains.find_or_make(&Scope::Technology(spec.technology.clone()));
        let order = &self.config.technology_order;
        let rank = order.iter().position(|name| *name == spec.technology).unwrap_or(order.len());
        let rank = u16::try_from(rank).unwrap_or(u16::MAX);
        if let Some(ix) = found {
            (self.targets[ix.at()].technology, self.targets[ix.at()].rank) = (technology, rank);
            return ix;
        }
        let target = Target {
            instance: spec.instance.clone(),
            kind: spec.kind,
            technology,
            place: DomainIx::NONE,
            rank,
            waiting: JobIx::NONE,
            begun: JobIx::NONE,
            domain: self.domains.find(&Scope::Instance(spec.instance.clone())).unwrap_or_default(),
            estimate: Estimate::default(),
        };
        let ix = match self.free_targets.pop() {
            Some(ix) => {
                self.targets[ix.at()] = target;
                ix
            }
            None => {
                self.targets.push(target);
                TargetIx::new(self.targets.len() - 1)
            }
        };
        let targets = &self.targets;
        let rehash = |ix: &TargetIx| hash_target(&targets[ix.at()].instance, targets[ix.at()].kind);
        self.target_index.insert_unique(hash_target(&spec.instance, spec.kind), ix, rehash);
        ix
    }

    pub(super) fn accept(
        &mut self,
        now: Now,
        found: Option<TargetIx>,
        spec: JobSpec,
        terms: Arc<JobTerms>,
    ) -> JobId {
        let id = JobId(self.next_id);
        self.next_id += 1;
        let ix = self.insert_job(now, id, found, &spec, terms);
        self.heed_windows(ix);
        self.rekey(ix);
        self.tell_submitted(now, ix);
        self.enter(now, ix);
        self.record(ix);
        if self.config.events
            && !self.config.advise_only
            && let Some(closed) = self.closed_gates(ix, now).first()
        {
            self.defer(now, ix, *closed);
        }
        id
    }

    /// Terms as the engine keeps them, and what they demand; give that back when the job has ended.
    pub(super) fn intern_terms(&mut self, given: &Arc<JobTerms>) -> (Arc<Terms>, DemandIx) {
        if let Some((terms, demand)) =
            self.demands.recall(given).map(|(terms, demand)| (terms.clone(), demand))
        {
            self.demands.retain(demand);
            return (terms, demand);
        }
        let calendar = given.window.as_ref().map(|name| Scope::Calendar(name.clone()));
        let calendar = calendar.map(|scope| self.domains.find_or_make(&scope)).unwrap_or_default();
        let sensitivity = given.sensitivity.as_ref();
        let sensitivity = sensitivity.map(|name| self.sensitivities.find_or_make(name)).unwrap_or_default();
        let terms = Arc::new(Terms { given: given.clone(), calendar, sensitivity, own_class: false });
        let demand = self.demands.of_terms(&terms);
        (terms, demand)
    }

    /// Makes the job's entry and counts it; it does not wait anywhere yet.
    pub(super) fn insert_job(
        &mut self,
        now: Now,
        id: JobId,
        found: Option<TargetIx>,
        spec: &JobSpec,
        terms: Arc<JobTerms>,
    ) -> JobIx {
        let target = self.target(found, spec);
        let estimate = self.targets[target.at()].estimate;
        let expected = match spec.expected_duration {
            Some(expected) => expected,
            None => estimate.expected_duration(terms.expected_duration),
        };
        let size = spec.size_bytes.or_else(|| estimate.expected_size(None)).unwrap_or(u64::MAX);
        let deadline_ms = match spec.deadline {
            Some(deadline) => deadline.as_millisecond(),
            None => now.wall.as_millisecond().saturating_add(millis(terms.rpo)),
        };
        let extras = self.extras(spec, &terms);
        let (terms, demand) = self.intern_terms(&terms);
        let marks = Marks::asked_by(spec);
        let place = self.place_for(spec, self.targets[target.at()].place);
        self.targets[target.at()].place = place;
        let ix = JobIx::new(self.jobs.insert(Job {
            key: OrderKey::new(2, 0, 0, size, id),
            priority: terms.priority,
            terms,
            extras,
            deadline_ms,
            submitted_ms: now.wall.as_millisecond(),
            due_since: now.mono,
            timer: MonoTime::ZERO,
            target,
            place,
            demand,
            bracket: BracketIx::NONE,
            active: ActiveIx::NONE,
            parked: DomainIx::NONE,
            expected: expected.into(),
            attempt: 0,
            deferrals: 0,
            requesters: 1,
            failures: 0,
            state: JobState::Queued,
            told_gate: 0,
            spared: 0,
            slips: 0,
            marks,
            early_by_secs: 0,
        }));
        let jobs = &self.jobs;
        self.ids.insert_unique(hash_id(id), ix, |ix| hash_id(jobs[ix.at()].id()));
        self.targets[target.at()].waiting = ix;
        self.count_waiting(ix);
        self.count_in_places(ix);
        self.watch_members(ix, true);
        if self.counts.run_now > 0 {
            self.set_express(now, ix);
        }
        ix
    }

    fn tell_submitted(&mut self, now: Now, ix: JobIx) {
        let job = &mut self.jobs[ix.at()];
        let (deadline, latest_start) = (wall(job.deadline_ms), wall(job.latest_start_ms()));
        let brought_forward = job.early_by_secs > 0;
        let wall_ms = now.wall.as_millisecond();
        let late = job.latest_start_ms() < wall_ms + i64::from(brought_forward);
        job.marks.set(Mark::RiskTold, late);
        self.emit(Some(ix), EventKind::Submitted { deadline, latest_start });
        if late {
            let text = if deadline <= now.wall {
                "the deadline had passed when the job was submitted"
            } else if brought_forward {
                "its windows leave too little time before the deadline"
            } else {
                "the time until the deadline is shorter than the expected duration"
            };
            self.emit(Some(ix), EventKind::RpoAtRisk { deadline, reason: Reason::new(text) });
        }
    }

    /// What the request says beyond the fields of [`Job`]; most say nothing.
    pub(super) fn extras(&mut self, spec: &JobSpec, terms: &JobTerms) -> Option<Box<Extras>> {
        let plain = spec.demand.is_empty()
            && spec.volume.is_none()
            && spec.destination.is_none()
            && spec.groups.is_empty()
            && spec.members.is_empty()
            && spec.together.is_empty()
            && spec.not_before.is_none()
            && spec.max_bytes_per_sec.is_none()
            && spec.rpo.is_none_or(|rpo| rpo == terms.rpo)
            && spec.tenant == crate::name::TenantName::default();
        (!plain).then(|| self.make_extras(spec.clone()))
    }

    pub(super) fn make_extras(&mut self, spec: JobSpec) -> Box<Extras> {
        let destination = spec.destination.as_ref().map(|name| Scope::Destination(name.clone()));
        let destination = destination.map(|scope| self.domains.find_or_make(&scope)).unwrap_or_default();
        let groups = spec.groups.iter().map(|name| Scope::Group(name.clone()));
        let groups = groups.map(|scope| self.domains.find_or_make(&scope)).collect();
        let together = spec.together.iter().map(|host| Scope::Host(host.clone()));
        let together = together.map(|scope| self.domains.find_or_make(&scope)).collect();
        let mut members = Vec::with_capacity(spec.members.len());
        for member in &spec.members {
            let instance = self.domain(&Scope::Instance(member.instance.clone()));
            let place = self.domains.find_or_make(&self.place_of(&spec, &member.host));
            members.push(MemberPlace { instance, place });
        }
        Box::new(Extras {
            destination,
            tenant: self.tenant(&spec.tenant),
            groups,
            together,
            members,
            member: 0,
            kept_since: None,
            interrupted_until: None,
            back_off_until: MonoTime::ZERO,
            cause: DomainIx::NONE,
            error: None,
            failed_ms: None,
            run_now: None,
            spec,
        })
    }

    /// A job's extras, made when it has none.
    pub(super) fn extras_mut(&mut self, ix: JobIx) -> &mut Extras {
        if self.jobs[ix.at()].extras.is_none() {
            let (spec, _) = self.spec_of(&self.jobs[ix.at()]);
            let extras = self.make_extras(spec);
            self.jobs[ix.at()].extras = Some(extras);
        }
        self.jobs[ix.at()].extras.as_deref_mut().expect("they were made just now")
    }

    /// The request, with the class and the deadline that hold by now, and the member taken.
    pub(super) fn request_of(&self, job: &Job) -> (JobSpec, Option<InstanceName>) {
        let (mut spec, member) = self.spec_of(job);
        spec.size_bytes = spec.size_bytes.filter(|_| job.marks.has(Mark::AskedSize));
        spec.expected_duration = spec.expected_duration.filter(|_| job.marks.has(Mark::AskedDuration));
        (spec, member)
    }

    /// The request as the job keeps it, completed by what was learned, and the member taken.
    pub(super) fn spec_of(&self, job: &Job) -> (JobSpec, Option<InstanceName>) {
        let target = &self.targets[job.target.at()];
        let (mut spec, member) = match &job.extras {
            Some(extras) => (extras.spec.clone(), extras.spec.members.get(extras.member)),
            None => {
                let mut spec = JobSpec::new(&target.instance, self.technology(target.technology));
                spec.rpo = Some(job.terms.rpo).filter(|_| job.marks.has(Mark::AskedRpo));
                (spec, None)
            }
        };
        let name = member.map(|member| member.instance.clone());
        match (member, &self.domains[job.place].scope) {
            (Some(member), _) => spec.host = member.host.clone(),
            (None, Scope::Host(host) | Scope::Volume(host, _)) => spec.host = host.clone(),
            _ => {}
        }
        spec.kind = target.kind;
        spec.priority = Some(job.priority);
        spec.size_bytes = job.size_bytes();
        spec.deadline = Some(wall(job.deadline_ms));
        spec.expected_duration = Some(job.expected());
        (spec, name)
    }
}
