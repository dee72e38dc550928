//! What the engine tells those who ask: status, explanations, pages of the backlog, decisions of the past.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::UnknownJob;
use crate::event::Event;
use crate::explain::Explanation;
use crate::gate::{CapacityState, Scope};
use crate::name::TenantName;
use crate::spec::{JobId, Priority};
use crate::state::JobState;
use crate::status::{EngineStatus, EngineSummary, JobStatus};
use crate::time::{MonoTime, Now};

use super::Engine;
use super::gates::Closed;
use super::index::JobIx;
use super::job::{Job, wall};
use super::sensitivity::{Feels, FeltBy};

/// The largest number of jobs ahead that an explanation counts.
const COUNTED_AHEAD: usize = 1_000;
/// Entries that one page looks at for each job that it may return.
const LOOKED_AT_A_JOB: usize = 16;

/// Which waiting jobs a page is about. Everything that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PendingFilter {
    /// Jobs of this scope.
    pub scope: Option<Scope>,
    /// Jobs of this tenant.
    pub tenant: Option<TenantName>,
    /// Jobs of this class.
    pub priority: Option<Priority>,
    /// Jobs in this state.
    pub state: Option<JobState>,
    /// Jobs whose latest start has passed.
    pub at_risk: bool,
}

impl PendingFilter {
    /// All waiting jobs.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only jobs of `scope`.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = Some(scope);
        self
    }

    /// Only jobs of `tenant`.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<TenantName>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Only jobs of class `priority`.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Only jobs in `state`.
    #[must_use]
    pub fn state(mut self, state: JobState) -> Self {
        self.state = Some(state);
        self
    }

    /// Only jobs whose latest start has passed.
    #[must_use]
    pub fn at_risk(mut self) -> Self {
        self.at_risk = true;
        self
    }
}

/// Where the next page begins. The default is the first page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PageCursor(usize);

/// Some of the waiting jobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Page {
    /// The jobs, in no particular order. A page may be empty and not be the last.
    pub jobs: Vec<JobStatus>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<PageCursor>,
}

impl Engine {
    /// Why a job is where it is, with every gate looked at.
    ///
    /// # Errors
    /// When no such job is known.
    pub fn explain(&self, id: JobId) -> Result<Explanation, UnknownJob> {
        let now = self.wall.now();
        let Some(ix) = self.find(id) else {
            let status = self.ended_status(id).ok_or(UnknownJob(id))?;
            return Ok(Explanation {
                at: now.wall,
                job: status.job.clone(),
                state: status.state,
                closed: vec![],
                waits_at: None,
                ahead: None,
                deadline: status.deadline,
                latest_start: status.latest_start,
                next_look: None,
                plan: None,
                because: status.error.clone(),
            });
        };
        let job = &self.jobs[ix.at()];
        let waits = job.state.is_waiting() || job.state == JobState::Paused;
        let closed = if waits { self.closed_gates(ix, now) } else { vec![] };
        let closed: Vec<_> = closed.into_iter().map(|closed| self.describe(ix, closed, now)).collect();
        let timer = (job.timer != MonoTime::ZERO).then(|| now.plus(job.timer.since(now.mono)).wall);
        let opens = closed.iter().filter_map(|closed| closed.until);
        let next_look = opens.chain(timer).min();
        let (ahead, waits_at) = self.waits_behind(ix);
        Ok(Explanation {
            at: now.wall,
            job: self.reference(job),
            state: job.state,
            closed,
            waits_at,
            ahead,
            deadline: wall(job.deadline_ms),
            latest_start: self.latest_start(ix),
            next_look,
            plan: self.plan_of(ix).cloned(),
            because: self.because(job),
        })
    }

    /// How many jobs that wait for the same go first, and whose gate that is.
    fn waits_behind(&self, ix: JobIx) -> (Option<usize>, Option<Scope>) {
        let job = &self.jobs[ix.at()];
        let count = |at, most| self.forest.before(at, &job.key, most);
        let by = job.parked.some();
        let by = by.or_else(|| self.forest.kept_back(job.bracket).map(|(_, by)| by));
        if let Some(by) = by {
            // Everything that the same domain keeps back waits for the same.
            let entry = &self.domains[by];
            let parked = entry.gates.as_ref().map(|gates| &gates.parked);
            let mut ahead = parked.map_or(0, |parked| parked.count_before(job.key, COUNTED_AHEAD));
            for bracket in &entry.shut {
                ahead += count(*bracket, COUNTED_AHEAD - ahead);
            }
            return (Some(ahead), Some(entry.scope.clone()));
        }
        if job.bracket.is_none() {
            return (None, None);
        }
        // At the top, where it is passed over as long as the fleet has no room.
        let ahead =
            self.forest.lanes.roots().fold(0, |ahead, root| ahead + count(root, COUNTED_AHEAD - ahead));
        let full = !self.may_fit(self.fleet(), self.forest.need(job.bracket), Feels::AS_ALL);
        (Some(ahead), full.then_some(Scope::Fleet))
    }

    pub(super) fn because(&self, job: &Job) -> Option<String> {
        let active = job.active.some().map(|active| &self.actives[active.at()]);
        let stop = active.and_then(|active| active.stop.as_deref());
        let pause = active.and_then(|active| active.pause.as_deref());
        match (stop, pause) {
            (Some(stop), _) => Some(stop.reason().to_string()),
            (None, Some(pause)) => Some(pause.reason.to_string()),
            (None, None) => {
                let blind = self.blind.as_ref().filter(|_| job.state.is_waiting());
                blind.map(ToString::to_string).or_else(|| job.error().map(str::to_string))
            }
        }
    }

    /// The status of one job.
    ///
    /// # Errors
    /// When no such job is known.
    pub fn job_status(&self, id: JobId) -> Result<JobStatus, UnknownJob> {
        match self.find(id) {
            Some(ix) => {
                let mut status = self.status_of(ix, self.wall.now());
                status.waits_for = self.waits_for(ix);
                Ok(status)
            }
            None => self.ended_status(id).cloned().ok_or(UnknownJob(id)),
        }
    }

    fn waits_for(&self, ix: JobIx) -> Option<crate::gate::ClosedGate> {
        let now = self.wall.now();
        let waits = self.jobs[ix.at()].state.is_waiting();
        let closed: Option<Closed> = waits.then(|| self.closed_gates(ix, now).first().copied()).flatten();
        closed.map(|closed| self.describe(ix, closed, now))
    }

    /// A job's status without what it waits for.
    pub(super) fn status_of(&self, ix: JobIx, now: Now) -> JobStatus {
        let job = &self.jobs[ix.at()];
        let waits = job.state.is_waiting();
        let active = job.active.some().map(|active| &self.actives[active.at()]);
        let waited = active.map_or(now.mono.since(job.due_since), |active| active.waited);
        JobStatus {
            job: self.reference(job),
            state: job.state,
            submitted: wall(job.submitted_ms),
            deadline: wall(job.deadline_ms),
            latest_start: self.latest_start(ix),
            started: active.and_then(|active| active.started).map(|at| at.wall),
            waited,
            ran: active.map(|active| active.run.read(now.mono)).unwrap_or_default(),
            bytes: 0,
            size_bytes: job.size_bytes(),
            expected_duration: job.expected(),
            deferrals: job.deferrals.into(),
            requesters: job.requesters.into(),
            waits_for: None,
            error: if waits { job.error().map(str::to_string) } else { self.because(job) },
        }
    }

    /// The numbers of the whole, in time that does not grow with the jobs that wait.
    pub fn summary(&self) -> EngineSummary {
        let fleet = &self.domains[self.fleet()];
        let mut active = BTreeMap::new();
        for attempt in fleet.attempts.iter() {
            *active.entry(self.jobs[self.actives[attempt.at()].job.at()].state).or_default() += 1;
        }
        let resources = fleet.resources.iter().map(|(r, c)| (self.demands.name(*r).clone(), *c));
        EngineSummary {
            at: self.wall.now().wall,
            waiting: self.counts.pending,
            backlog: self.backlog(),
            active,
            ended: self.ended_counts.clone(),
            resources: resources.collect(),
            closed: self.closed.is_some(),
        }
    }

    /// A consistent picture: counts, resources of the fleet, gates, and the first jobs of each list.
    pub fn status(&self) -> EngineStatus {
        let now = self.wall.now();
        let most = self.config.listed;
        let fleet = &self.domains[self.fleet()];
        let mut active: Vec<_> = fleet.attempts.iter().map(|active| self.actives[active.at()].job).collect();
        active.sort_by_key(|ix| self.jobs[ix.at()].id());
        active.truncate(most);
        let mut waiting_jobs = Vec::new();
        let mut page = Some(PageCursor::default());
        while let Some(from) = page
            && waiting_jobs.len() < most.min(self.counts.pending)
        {
            let next = self.pending_page(&PendingFilter::all(), from, most - waiting_jobs.len());
            waiting_jobs.extend(next.jobs);
            page = next.next;
        }
        waiting_jobs.sort_by_key(|status| status.job.id);
        let resources = fleet.resources.iter().map(|(r, c)| (self.demands.name(*r).clone(), *c));
        let mut status = EngineStatus {
            at: now.wall,
            waiting: self.counts.pending,
            active: self.active_count(),
            ended: self.ended_counts.clone(),
            active_jobs: active.into_iter().map(|ix| self.status_of(ix, now)).collect(),
            waiting_jobs,
            resources: resources.collect(),
            holds: vec![],
            loads: vec![],
            loads_for: vec![],
            loads_of: vec![],
            shortages: vec![],
            closed: self.closed.is_some(),
        };
        for (_, domain) in self.domains.iter() {
            let Some(gates) = &domain.gates else { continue };
            let scope = || domain.scope.clone();
            status.holds.extend(gates.hold.iter().map(|held| (scope(), held.order.clone())));
            status.loads.extend(gates.load.iter().map(|load| (scope(), load.clone())));
            for (by, load) in &gates.load_of {
                match *by {
                    FeltBy::Technology(of) => {
                        status.loads_for.push((scope(), self.technology(of), load.clone()));
                    }
                    FeltBy::Sensitivity(of) => {
                        let name = self.sensitivities.name(of).clone();
                        status.loads_of.push((scope(), name, load.clone()));
                    }
                }
            }
            let closed = |reason: &crate::gate::Reason| CapacityState::Closed { reason: reason.clone() };
            status.shortages.extend(gates.short.iter().map(|reason| (scope(), closed(reason))));
        }
        status
    }

    /// Some of the waiting jobs that `filter` lets through, at most `most` (at least 1). A job that waits from the
    /// first page to the last is on exactly one page, whatever else comes and goes between them. The work of a page
    /// is bounded too, so a page may hold fewer jobs, even none, and not be the last.
    pub fn pending_page(&self, filter: &PendingFilter, from: PageCursor, most: usize) -> Page {
        let most = most.max(1);
        let scope = filter.scope.as_ref().map(|scope| self.known(scope));
        if scope == Some(None) {
            return Page { jobs: vec![], next: None };
        }
        let scope = scope.flatten();
        let tenant = filter.tenant.as_ref().map(|tenant| self.tenant_index.get(tenant).copied());
        let now = self.wall.now();
        let mut domains = Vec::new();
        let mut jobs = Vec::new();
        let end = self.jobs.capacity();
        let stop = from.0.saturating_add(most.saturating_mul(LOOKED_AT_A_JOB)).min(end);
        let mut at = from.0;
        while at < stop && jobs.len() < most {
            let entry = self.jobs.get(at).filter(|job| job.state.is_waiting());
            if let Some(job) = entry {
                let own_tenant = job.extras.as_ref().map_or(0, |extras| extras.tenant);
                let late = || now.wall.as_millisecond() >= job.latest_start_ms();
                let passes = filter.priority.is_none_or(|priority| priority == job.priority)
                    && filter.state.is_none_or(|state| state == job.state)
                    && tenant.is_none_or(|tenant| tenant == Some(own_tenant))
                    && (!filter.at_risk || late())
                    && scope.is_none_or(|scope| {
                        self.domains_of(job, &mut domains);
                        domains.contains(&scope)
                    });
                if passes {
                    let mut status = self.status_of(JobIx::new(at), now);
                    status.waits_for = self.waits_for(JobIx::new(at));
                    jobs.push(status);
                }
            }
            at += 1;
        }
        Page { jobs, next: (at < end).then_some(PageCursor(at)) }
    }

    /// Jobs that wait.
    pub fn pending_count(&self) -> usize {
        self.counts.pending
    }

    /// The remembered decisions about a job, oldest first: what it waited for and when, when it started and why.
    pub fn decisions(&self, id: JobId) -> impl Iterator<Item = &Arc<Event>> {
        self.decisions.iter().filter(move |event| event.job.as_ref().is_some_and(|job| job.id == id))
    }

    /// All remembered decisions, oldest first; at most [`EngineConfig::decisions`](super::EngineConfig::decisions).
    pub fn all_decisions(&self) -> impl Iterator<Item = &Arc<Event>> {
        self.decisions.iter()
    }

    /// How many times a job was started, moved between places where it waits, or a class kept back or shown again:
    /// what the engine's work is proportional to.
    pub fn moves(&self) -> u64 {
        self.counts.moves
    }
}
