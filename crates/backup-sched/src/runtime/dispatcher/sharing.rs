//! One of several schedulers: which jobs are its own, and what it does for others and they for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sched_core::store::{
    Ask, Entry, FleetDesk, FleetNews, LimitUse, Request as Asking, SharedLimit, StoreError, TakenShare,
};
use sched_core::{
    AttemptEnd, AttemptId, Cancellation, EventKind, InstanceName, JobId, JobSpec, JobState, JobStatus, Lsn,
    Now, Reason, Record, RunError, Scope, TechnologyName, UnknownJob,
};
use sched_limits::Rate;
use sched_workload::LearnedWeek;

use super::Dispatcher;
use crate::error::{AcquireError, SubmitError};
use crate::handle::Outcome;
use crate::runtime::fleet::{FleetMessage, FleetThread};
use crate::runtime::left::Left;
use crate::runtime::{Accepted, Key, Request, Route};

/// How often the lease is looked at by a dispatcher with nothing else to do.
const LOOKS_EVERY: Duration = Duration::from_secs(1);
/// How long leaving may take at a shutdown.
const LEAVES_WITHIN: Duration = Duration::from_secs(5);

/// What a dispatcher that is one of several knows beside the engine.
pub(crate) struct Sharing {
    desk: Arc<dyn FleetDesk>,
    thread: FleetThread,
    owned: BTreeSet<u32>,
    /// Shares that are not its own any more, or soon, with the record up to which all must be written.
    leaving: BTreeMap<u32, Option<Lsn>>,
    /// The shares of the jobs that the engine knows.
    places: HashMap<JobId, u32>,
    jobs: BTreeMap<u32, BTreeSet<JobId>>,
    /// Instances that recur, with their shares.
    instances: HashMap<InstanceName, u32>,
    limits: Vec<(SharedLimit, u64)>,
    /// Jobs that others make and somebody here waits for.
    elsewhere: BTreeMap<JobId, Elsewhere>,
    /// Requests of others that came while nothing could be made durable, by number: they come again with their share.
    postponed: BTreeMap<i64, Asking>,
    committed: Lsn,
}

/// A job that another scheduler makes.
struct Elsewhere {
    share: u32,
    outcome: Arc<Outcome>,
    last: JobStatus,
}

impl Sharing {
    pub(crate) fn new(desk: Arc<dyn FleetDesk>, thread: FleetThread, limits: Vec<SharedLimit>) -> Self {
        Self {
            desk,
            thread,
            owned: BTreeSet::new(),
            leaving: BTreeMap::new(),
            places: HashMap::new(),
            jobs: BTreeMap::new(),
            instances: HashMap::new(),
            limits: limits.into_iter().map(|limit| (limit, 0)).collect(),
            elsewhere: BTreeMap::new(),
            postponed: BTreeMap::new(),
            committed: Lsn::default(),
        }
    }

    /// Whether this scheduler makes the jobs of a share, and will.
    fn makes(&self, share: u32) -> bool {
        self.owned.contains(&share) && !self.leaving.contains_key(&share)
    }

    pub(super) fn place(&mut self, job: JobId, spec: &JobSpec) {
        if !self.places.contains_key(&job) {
            let share = self.desk.share_of(spec);
            self.places.insert(job, share);
            self.jobs.entry(share).or_default().insert(job);
        }
    }

    pub(super) fn forget(&mut self, job: JobId) {
        if let Some(share) = self.places.remove(&job)
            && let Some(jobs) = self.jobs.get_mut(&share)
        {
            jobs.remove(&job);
            if jobs.is_empty() {
                self.jobs.remove(&share);
            }
        }
    }

    pub(super) fn next_look(&self) -> Option<Duration> {
        (!self.owned.is_empty()).then(|| self.desk.lease_left().min(LOOKS_EVERY))
    }
}

impl Dispatcher {
    pub(super) fn hear_fleet(&mut self, now: Now, message: FleetMessage) {
        let is_part = matches!(message, FleetMessage::News(FleetNews::Part(..)));
        let is_lost = matches!(message, FleetMessage::Lost(_));
        match message {
            FleetMessage::News(FleetNews::Taken(taken)) => self.take_share(now, *taken),
            FleetMessage::News(FleetNews::GiveUp(shares)) => {
                let Some(sharing) = &mut self.sharing else { return };
                sharing.leaving.extend(shares.into_iter().map(|share| (share, None)));
            }
            FleetMessage::News(FleetNews::Asked(asking)) => self.answer(now, *asking),
            FleetMessage::News(FleetNews::Orders(entry)) => self.obey(now, *entry),
            FleetMessage::News(FleetNews::Part(limit, amount)) => self.set_part(now, &limit, amount),
            FleetMessage::News(FleetNews::Ended(job, status)) => {
                self.ended_elsewhere(job, status.map(|s| *s))
            }
            FleetMessage::News(FleetNews::Refused(job, why)) => {
                let Some(elsewhere) = self.sharing.as_ref().and_then(|sharing| sharing.elsewhere.get(&job))
                else {
                    return;
                };
                let mut status = elsewhere.last.clone();
                (status.state, status.error) = (JobState::Failed, Some(why));
                self.ended_elsewhere(job, Some(status));
            }
            FleetMessage::News(FleetNews::Unreadable(error)) => {
                let told =
                    EventKind::StoreDown { store: "a row of the fleet's".into(), error: error.to_string() };
                self.parts.engine.note(now, told);
            }
            FleetMessage::Lost(error) => self.lose_all(now, &error),
            FleetMessage::Beat => {}
            FleetMessage::News(_) => {}
        }
        self.carry_out_all();
        self.leave_shares(now);
        self.report_to_fleet();
        let Some(sharing) = &self.sharing else { return };
        if is_part {
            sharing.thread.heard_part();
        }
        if is_lost {
            sharing.thread.heard_lost();
        }
    }

    /// Whether this scheduler makes the backups of a request.
    pub(super) fn makes(&self, spec: &JobSpec) -> bool {
        self.sharing.as_ref().is_none_or(|sharing| sharing.makes(sharing.desk.share_of(spec)))
    }

    /// Whether what recurs for an instance is this scheduler's business.
    pub(super) fn makes_recurring(&mut self, key: &Key, technology: &TechnologyName) -> bool {
        let share = self.share_of_recurring(key, technology);
        let sharing = self.sharing.as_ref();
        sharing.zip(share).is_none_or(|(sharing, share)| sharing.makes(share))
    }

    /// Whether this scheduler writes down what becomes of what recurs: also while it gives the share up.
    pub(super) fn keeps_recurring(&mut self, key: &Key, technology: &TechnologyName) -> bool {
        let share = self.share_of_recurring(key, technology);
        let sharing = self.sharing.as_ref();
        sharing.zip(share).is_none_or(|(sharing, share)| {
            let owned = sharing.owned.contains(&share);
            if owned {
                sharing.desk.place(&key.0, share);
            }
            owned
        })
    }

    /// The share of what recurs; `None` when the policies in force do not say where it is.
    fn share_of_recurring(&mut self, key: &Key, technology: &TechnologyName) -> Option<u32> {
        let sharing = self.sharing.as_mut()?;
        if let Some(share) = sharing.instances.get(&key.0) {
            return Some(*share);
        }
        let spec = JobSpec::new(&key.0, technology).kind(key.1);
        let spec = self.parts.current.read().resolve_one(spec, false).ok()?.spec;
        let share = sharing.desk.share_of(&spec);
        sharing.instances.insert(key.0.clone(), share);
        Some(share)
    }

    /// Other policies may put instances elsewhere.
    pub(super) fn forget_shares_of_instances(&mut self) {
        self.sharing.iter_mut().for_each(|sharing| sharing.instances.clear());
    }

    fn take_share(&mut self, now: Now, taken: TakenShare) {
        let Some(sharing) = &mut self.sharing else { return };
        let share = taken.share;
        sharing.desk.own(&taken);
        sharing.owned.insert(share);
        sharing.leaving.remove(&share);
        let current = self.parts.current.read().clone();
        let mut left = Left::of(taken, &current);
        for job in left.jobs.keys() {
            // Where it was begun, whatever its policies say by now.
            sharing.places.insert(*job, share);
            sharing.jobs.entry(share).or_default().insert(*job);
        }
        self.keeping.iter_mut().for_each(|keeping| {
            keeping.unclean.extend(left.jobs.iter().filter(|(_, job)| job.unclean).map(|(job, _)| *job));
            keeping.taking_over = true;
        });
        self.take_recurring(now, share, &mut left);
        self.take_weeks(now, std::mem::take(&mut left.weeks));
        let (jobs, interrupted, stay) = (left.jobs.len(), left.interrupted(), left.left);
        if let Err(error) = left.take_over(&mut self.parts.engine, now, &current) {
            // Not told wrongly: it stays the store's, and nobody makes these backups before somebody looks.
            let reason = StoreError::Corrupt {
                place: format!("share {share}"),
                at: "its jobs".into(),
                problem: error.to_string(),
            };
            self.parts.engine.note(
                now,
                EventKind::StoreDown { store: format!("share {share}"), error: reason.to_string() },
            );
        }
        self.keeping.iter_mut().for_each(|keeping| {
            left.ended.drain(..).for_each(|entry| keeping.add(entry));
        });
        self.go_on(std::mem::take(&mut left.jobs));
        if jobs + stay > 0 {
            let told =
                EventKind::StoreRead { store: format!("share {share}"), jobs, interrupted, left: stay };
            self.parts.engine.note(now, told);
        }
        self.carry_out_all();
        self.keeping.iter_mut().for_each(|keeping| keeping.taking_over = false);
    }

    /// What recurs in a share goes on as it was left. Of what was never written down it is written now how it stands.
    fn take_recurring(&mut self, now: Now, share: u32, left: &mut Left) {
        let wall = self.parts.engine.trusted(now).wall;
        let all: Vec<(Key, TechnologyName)> =
            self.parts.schedules.all().map(|(key, technology)| (key.clone(), technology.clone())).collect();
        let mut kept = std::mem::take(&mut left.schedules);
        for (key, technology) in all {
            let entry = kept.remove(&key);
            if entry.is_some() || self.share_of_recurring(&key, &technology) == Some(share) {
                let goes_on = entry
                    .as_ref()
                    .and_then(|entry| entry.job)
                    .is_some_and(|job| left.jobs.contains_key(&job));
                self.parts.schedules.take_over(wall, &key, entry.as_ref(), goes_on);
            }
        }
        // What recurs no more has recovery points all the same.
        kept.iter().for_each(|(key, entry)| self.parts.schedules.take_over(wall, key, Some(entry), false));
    }

    /// What others have learned of the load there counts, unless more was seen from here.
    fn take_weeks(&mut self, now: Now, weeks: Vec<(Scope, LearnedWeek)>) {
        let (foresight, _, trusted) = self.parts.foresight(now);
        for (scope, week) in weeks {
            if foresight.weeks().week(&scope).is_none_or(|own| own.days() <= week.days()) {
                foresight.put(trusted, &scope, week);
            }
        }
    }

    /// Goes on with leaving shares: what waits there is let go, and when nothing runs and all is written, others have them.
    pub(super) fn leave_shares(&mut self, now: Now) {
        let Some(sharing) = &self.sharing else { return };
        let shares: Vec<u32> = sharing.leaving.keys().copied().collect();
        for share in shares {
            self.leave_share(now, share);
        }
    }

    fn leave_share(&mut self, now: Now, share: u32) {
        let Some(sharing) = &mut self.sharing else { return };
        let jobs: Vec<JobId> = sharing.jobs.get(&share).into_iter().flatten().copied().collect();
        let runs =
            |job: &JobId| self.parts.engine.job_status(*job).is_ok_and(|status| status.state.is_active());
        let waiting: Vec<JobId> = jobs.into_iter().filter(|job| !runs(job)).collect();
        for job in waiting {
            let reason = Reason::new("another scheduler has its share");
            if self.parts.engine.let_go(now, job, reason).is_err() {
                self.sharing.iter_mut().for_each(|sharing| sharing.forget(job));
            }
        }
        self.carry_out_all();
        let journaled = self.parts.engine.journaled();
        let Some(sharing) = &mut self.sharing else { return };
        if sharing.jobs.contains_key(&share) {
            return;
        }
        let committed = sharing.committed;
        let Some(upto) = sharing.leaving.get_mut(&share) else { return };
        let upto = *upto.get_or_insert(journaled);
        if upto <= committed {
            sharing.leaving.remove(&share);
            sharing.owned.remove(&share);
            sharing.postponed.retain(|_, asking| asking.share != share);
            sharing.desk.disown(share);
            sharing.thread.report(|report| _ = report.clear.insert(share));
        }
    }

    /// Everything that came before is durable.
    pub(super) fn fleet_committed(&mut self, now: Now, upto: Lsn) {
        if let Some(sharing) = &mut self.sharing {
            sharing.committed = upto;
            self.leave_shares(now);
        }
    }

    /// Stops all when the lease has run out.
    pub(super) fn watch_lease(&mut self, now: Now) {
        let Some(sharing) = &self.sharing else { return };
        if !sharing.owned.is_empty() && sharing.desk.lease_left().is_zero() {
            let error = StoreError::Lost {
                place: "its part of the fleet".into(),
                reason: "the store could not be reached for so long that the lease has run out".into(),
            };
            self.lose_all(now, &error);
        }
    }

    /// Whether an attempt may start. One that may not is ended, as one of a share that is lost.
    pub(super) fn may_start(&mut self, now: Now, attempt: AttemptId) -> bool {
        let left = self.sharing.as_ref().is_none_or(|sharing| !sharing.desk.lease_left().is_zero());
        if !left {
            self.watch_lease(now);
            let end = AttemptEnd { bytes: 0, result: Err(RunError::Cancelled) };
            self.parts.engine.ended(now, attempt, end);
        }
        left
    }

    /// Others may have taken over: what waits is let go, what runs is stopped, and nothing is written any more.
    pub(super) fn lose_all(&mut self, now: Now, error: &StoreError) {
        let journaled = self.parts.engine.journaled();
        let Some(sharing) = &mut self.sharing else { return };
        let limits: Vec<String> = sharing.limits.iter().map(|(limit, _)| limit.name()).collect();
        let owned = std::mem::take(&mut sharing.owned);
        sharing.postponed.clear();
        if owned.is_empty() {
            // What it was granted was its former self's all the same.
            return limits.iter().for_each(|limit| self.set_part(now, limit, 0));
        }
        for share in owned {
            sharing.desk.disown(share);
            sharing.leaving.insert(share, Some(journaled));
        }
        let jobs: Vec<JobId> = sharing.places.keys().copied().collect();
        let told = EventKind::StoreDown { store: "the fleet".into(), error: error.to_string() };
        self.parts.engine.note(now, told);
        for job in jobs {
            let reason = Reason::new("another scheduler may have taken over");
            if self.parts.engine.let_go(now, job, reason).is_err() {
                self.sharing.iter_mut().for_each(|sharing| sharing.forget(job));
            }
        }
        limits.iter().for_each(|limit| self.set_part(now, limit, 0));
        self.refuse_waiting(now, error);
        self.carry_out_all();
        self.leave_shares(now);
        self.report_to_fleet();
    }

    /// A job was let go: who waits for it here hears of its end from elsewhere.
    pub(super) fn gone(&mut self, job: JobId) {
        let ran = self.running.remove(&job);
        self.growth_stale |= ran.is_some();
        let now = self.parts.clock.now();
        if let Some(running) = ran {
            self.watch_no_longer(now, running.attempt.job);
        }
        let (foresight, _, trusted) = self.parts.foresight(now);
        foresight.ended(trusted, job);
        self.keeping.iter_mut().for_each(|keeping| _ = keeping.unclean.remove(&job));
        let entry = self.jobs.0.remove(&job);
        self.parts.schedules.let_go(job);
        let Some(sharing) = &mut self.sharing else { return };
        let share = sharing.places.get(&job).copied();
        sharing.forget(job);
        // Nobody asks for what nobody waits for.
        if let (Some(entry), Some(share)) = (entry, share)
            && Arc::strong_count(&entry.outcome) > 1
        {
            let here = Elsewhere { share, outcome: entry.outcome, last: entry.last };
            sharing.elsewhere.insert(job, here);
        }
    }

    fn ended_elsewhere(&mut self, job: JobId, status: Option<JobStatus>) {
        let Some(elsewhere) = self.sharing.as_mut().and_then(|sharing| sharing.elsewhere.remove(&job)) else {
            return;
        };
        let unknown = || {
            let mut status = elsewhere.last.clone();
            status.state = JobState::Failed;
            status.error = Some("another scheduler made it, and how it ended is not known".into());
            status
        };
        elsewhere.outcome.tell(status.unwrap_or_else(unknown));
    }

    /// Passes requests on to the scheduler that makes such backups. None of them is for a permit.
    pub(super) fn pass_on(&mut self, requests: Vec<Request>) -> Result<Vec<Accepted>, AcquireError> {
        if let Some(request) = requests.iter().find(|request| matches!(request.route, Route::Pull(_))) {
            return Err(SubmitError::Elsewhere { instance: request.spec.instance.clone() }.into());
        }
        let now = self.parts.clock.now();
        let mut accepted = Vec::with_capacity(requests.len());
        for Request { spec, asked, .. } in requests {
            let (Some(sharing), Some(keeping)) = (&mut self.sharing, &mut self.keeping) else { break };
            let share = sharing.desk.share_of(&spec);
            let job = self.parts.engine.reserve();
            let plain = || JobSpec::new(&spec.instance, &spec.technology).kind(spec.kind);
            let asked = asked.map_or_else(plain, |asked| *asked);
            let ask = Ask::Submit(job, Box::new(asked));
            keeping.add(Entry::Asked(Box::new(Asking { number: 0, share, ask })));
            let outcome = Arc::<Outcome>::default();
            let last = self.parts.engine.unsent(now, job, &spec);
            sharing.elsewhere.insert(job, Elsewhere { share, outcome: outcome.clone(), last });
            accepted.push(Accepted { job, outcome, is_new: false, confirmation: None });
        }
        self.report_to_fleet();
        Ok(accepted)
    }

    /// Cancels a job, wherever it is made.
    pub(super) fn cancel(
        &mut self,
        now: Now,
        job: JobId,
        reason: &Reason,
    ) -> Result<Cancellation, UnknownJob> {
        match self.cancel_elsewhere(job, reason) {
            true => Ok(Cancellation::Requested),
            false => self.parts.engine.cancel(now, job, reason.clone()),
        }
    }

    /// Asks the scheduler that makes a job for its end; `false` when nobody else makes it.
    fn cancel_elsewhere(&mut self, job: JobId, reason: &Reason) -> bool {
        let (Some(sharing), Some(keeping)) = (&self.sharing, &mut self.keeping) else { return false };
        let Some(share) = sharing.elsewhere.get(&job).map(|elsewhere| elsewhere.share) else { return false };
        let ask = Ask::Cancel(job, reason.clone());
        keeping.add(Entry::Asked(Box::new(Asking { number: 0, share, ask })));
        self.hand_on();
        true
    }

    /// Does what another process asks for. The answer is written with what comes of it.
    fn answer(&mut self, now: Now, asking: Asking) {
        let Some(sharing) = &mut self.sharing else { return };
        // One that is closing accepts nothing any more.
        if !sharing.makes(asking.share) || self.closing.is_some() {
            // Its next owner hears of it.
            return;
        }
        if self.keeping.as_ref().is_some_and(|keeping| keeping.down().is_some()) {
            sharing.postponed.insert(asking.number, asking);
            return;
        }
        let answer = match &asking.ask {
            Ask::Submit(_, spec) => self.submit_for_others(spec),
            Ask::Cancel(job, reason) => {
                let cancelled = self.parts.engine.cancel(now, *job, reason.clone());
                cancelled.map(|_| *job).map_err(|error| error.to_string())
            }
            _ => return,
        };
        self.keeping.iter_mut().for_each(|keeping| {
            keeping.add(Entry::Answered(Box::new(asking.clone()), answer.clone()));
        });
    }

    fn submit_for_others(&mut self, spec: &JobSpec) -> Result<JobId, String> {
        let current = self.parts.current.read().clone();
        let resolved = current.resolve_one(spec.clone(), false).map_err(|error| error.to_string())?;
        let executor = current.executor(&resolved.spec.technology).map_err(|error| error.to_string())?;
        if !self.makes(&resolved.spec) {
            return Err("by the policies of its owner it is of another share: ask for it where it is".into());
        }
        let request = Request::new(resolved, Route::Push(executor));
        let accepted = self.submit_here(vec![request]).map_err(|error| error.to_string())?;
        accepted.first().map(|accepted| accepted.job).ok_or_else(|| "nothing came of it".into())
    }

    /// Takes on what came while nothing could be made durable.
    pub(super) fn answer_postponed(&mut self, now: Now) {
        let postponed = self.sharing.as_mut().map(|sharing| std::mem::take(&mut sharing.postponed));
        postponed.into_iter().flatten().for_each(|(_, asking)| self.answer(now, asking));
    }

    /// An order that another scheduler was given.
    fn obey(&mut self, now: Now, entry: Entry) {
        let Entry::Orders(standing) = entry else { return };
        // What was ordered here before is written down.
        self.carry_out_all();
        self.keeping.iter_mut().for_each(|keeping| keeping.taking_over = true);
        let engine = &mut self.parts.engine;
        let scope = standing.scope.clone();
        if standing.hold.is_none() {
            engine.release(now, &scope);
        }
        if standing.run_now.is_none() {
            engine.run_all_now(now, scope.clone(), None);
        }
        if standing.ceiling.is_none() {
            engine.set_ceiling(now, scope, None);
        }
        // Orders alone cannot be known already.
        _ = engine.take_over(now, [Record::Orders(standing)]);
        self.carry_out_all();
        self.keeping.iter_mut().for_each(|keeping| keeping.taking_over = false);
    }

    fn set_part(&mut self, now: Now, name: &str, amount: u64) {
        let Some(sharing) = &mut self.sharing else { return };
        let Some((limit, applied)) = sharing.limits.iter_mut().find(|(limit, _)| limit.name() == name) else {
            return;
        };
        *applied = amount;
        let limit = limit.clone();
        match &limit.resource {
            Some(resource) => {
                let set =
                    self.parts.engine.set_part(now, &limit.place, resource.clone(), amount, limit.total);
                debug_assert!(set.is_ok(), "places of limits are checked at the start: {set:?}");
            }
            None => {
                // A rate of zero would be none: who has no part yet trickles.
                if self.parts.rates.set(&limit.place, Some(Rate::BytesPerSec(amount.max(1)))).is_ok() {
                    self.wake_all();
                }
            }
        }
    }

    /// Nothing is used of limits before there is a part. Tells which of them cannot be.
    pub(super) fn begin_sharing(&mut self, now: Now) {
        let limits: Vec<String> = self
            .sharing
            .iter()
            .flat_map(|sharing| sharing.limits.iter().map(|(limit, _)| limit.name()))
            .collect();
        limits.iter().for_each(|limit| self.set_part(now, limit, 0));
        self.report_to_fleet();
    }

    /// Writes down what the next beat tells.
    fn report_to_fleet(&mut self) {
        let Some(sharing) = &mut self.sharing else { return };
        let engine = &self.parts.engine;
        let mut busy: BTreeSet<u32> = sharing.leaving.keys().copied().collect();
        busy.extend(self.running.keys().filter_map(|job| sharing.places.get(job)));
        let uses = sharing.limits.iter().map(|(limit, applied)| {
            let applied = *applied;
            let told = match &limit.resource {
                Some(resource) => {
                    let wants = engine.wants(&limit.place, resource);
                    let (key, next) = wants.first.unwrap_or((i64::MAX, 0));
                    let demand = wants.used.saturating_add(wants.waiting.saturating_mul(next.max(1)));
                    let demand = demand.min(limit.total);
                    let least = wants.used.saturating_add(next).min(limit.total);
                    LimitUse { applied, used: wants.used, demand, least, key }
                }
                None => {
                    // Bytes move as fast as they may while anything runs.
                    let runs = !self.running.is_empty();
                    let demand = if runs { limit.total } else { 0 };
                    LimitUse { applied, used: 0, demand, least: 0, key: i64::MAX }
                }
            };
            (limit.name(), told)
        });
        let uses = uses.collect();
        let asked = sharing.elsewhere.keys().copied().collect();
        sharing.thread.report(|report| {
            (report.busy, report.uses, report.asked) = (busy, uses, asked);
        });
    }

    /// Leaves the fleet at the end. Others take over at once if nothing of this scheduler runs on and all is written.
    pub(super) fn stop_sharing(&mut self, at_once: bool) {
        let Some(sharing) = self.sharing.take() else { return };
        sharing.thread.close(at_once, LEAVES_WITHIN);
        for (_, Elsewhere { outcome, mut last, .. }) in sharing.elsewhere {
            last.state = JobState::Cancelled;
            last.error = Some("the scheduler ended before it heard of the end; another one makes it".into());
            outcome.tell(last);
        }
    }
}
