//! One of several schedulers: which jobs are its own, and what it does for others and they for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sched_core::store::{
    Entry, FleetDesk, FleetNews, Request as Asking, SharedLimit, StoreError, TakenShare,
};
use sched_core::{
    AttemptEnd, AttemptId, EventKind, JobId, JobSpec, JobState, Now, Reason, Record, RunError, RunLease,
};

use super::Dispatcher;
use crate::handle::Outcome;
use crate::runtime::fleet::{FleetMessage, FleetThread};
use crate::runtime::left::Left;

mod limits;
mod recurring;
mod requests;

/// How often the lease is looked at by a dispatcher with nothing else to do.
const LOOKS_EVERY: Duration = Duration::from_secs(1);
/// How long leaving may take at a shutdown.
const LEAVES_WITHIN: Duration = Duration::from_secs(5);

/// What a dispatcher that is one of several knows beside the engine.
pub(crate) struct Sharing {
    desk: Arc<dyn FleetDesk>,
    thread: FleetThread,
    owned: BTreeSet<u32>,
    /// Shares that are not its own any more, or soon, with the group up to which all must be written.
    leaving: BTreeMap<u32, Option<u64>>,
    /// The shares of the jobs that the engine knows.
    places: HashMap<JobId, u32>,
    jobs: BTreeMap<u32, BTreeSet<JobId>>,
    recurring: recurring::Places,
    limits: Vec<(SharedLimit, u64)>,
    /// Jobs that others make and somebody here waits for.
    elsewhere: BTreeMap<JobId, Elsewhere>,
    /// Requests of others that came while nothing could be made durable, by number: they come again with their share.
    postponed: BTreeMap<i64, Asking>,
    /// Groups that are written.
    committed: u64,
}

/// A job that another scheduler makes.
struct Elsewhere {
    share: u32,
    outcome: Arc<Outcome>,
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
            recurring: recurring::Places::default(),
            limits: limits.into_iter().map(|limit| (limit, 0)).collect(),
            elsewhere: BTreeMap::new(),
            postponed: BTreeMap::new(),
            committed: 0,
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
        (!self.owned.is_empty()).then(|| self.desk.lease().left().min(LOOKS_EVERY))
    }

    /// The lease under which what starts now runs.
    pub(super) fn lease(&self) -> Arc<dyn RunLease> {
        self.desk.lease()
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
            FleetMessage::News(FleetNews::Audit(entry)) => {
                self.keeping.iter_mut().for_each(|keeping| keeping.hear_audit(&entry));
            }
            FleetMessage::News(FleetNews::Part(limit, amount)) => self.set_part(now, &limit, amount),
            FleetMessage::News(FleetNews::Ended(job, status)) => {
                self.ended_elsewhere(job, status.map(|s| *s))
            }
            FleetMessage::News(FleetNews::Refused(job, why)) => {
                let Some(elsewhere) = self.sharing.as_ref().and_then(|sharing| sharing.elsewhere.get(&job))
                else {
                    return;
                };
                let mut status = elsewhere.outcome.accepted.clone();
                (status.state, status.error) = (JobState::Failed, Some(why));
                self.ended_elsewhere(job, Some(status));
            }
            FleetMessage::News(FleetNews::Unreadable(error)) => {
                let told =
                    EventKind::StoreDown { store: "a row of the fleet's".into(), error: error.to_string() };
                self.parts.engine.note(now, told);
            }
            FleetMessage::Lost(error) => self.lose_all(now, &error),
            FleetMessage::Failed(error) => {
                let told = EventKind::StoreDown { store: "the fleet".into(), error: error.to_string() };
                self.parts.engine.note(now, told);
            }
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
        let Some(sharing) = &self.sharing else { return };
        if sharing.jobs.contains_key(&share) {
            return;
        }
        let is_new = sharing.leaving.get(&share).is_some_and(Option::is_none);
        if is_new && sharing.owned.contains(&share) {
            // The next owner goes on with what was learned here.
            self.keep_weeks(now, true);
            self.hand_on();
        }
        // Not all that is written of a share is a record of the engine: how its recurring backups stand, for example.
        let handed_on = self.keeping.as_ref().map_or(0, |keeping| keeping.handed_on);
        let Some(sharing) = &mut self.sharing else { return };
        let committed = sharing.committed;
        let Some(upto) = sharing.leaving.get_mut(&share) else { return };
        let upto = *upto.get_or_insert(handed_on);
        if upto <= committed {
            sharing.leaving.remove(&share);
            sharing.owned.remove(&share);
            sharing.postponed.retain(|_, asking| asking.share != share);
            sharing.desk.disown(share);
            sharing.thread.report(|report| _ = report.clear.insert(share));
        }
    }

    /// Everything that came before is durable.
    pub(super) fn fleet_committed(&mut self, now: Now, upto: u64) {
        if let Some(sharing) = &mut self.sharing {
            sharing.committed = upto;
            self.leave_shares(now);
        }
    }

    /// Stops all when the lease has run out.
    pub(super) fn watch_lease(&mut self, now: Now) {
        let Some(sharing) = &self.sharing else { return };
        if !sharing.owned.is_empty() && sharing.lease().left().is_zero() {
            let error = StoreError::Lost {
                place: "its part of the fleet".into(),
                reason: "the store could not be reached for so long that the lease has run out".into(),
            };
            self.lose_all(now, &error);
        }
    }

    /// Whether an attempt may start. One that may not is ended, as one of a share that is lost.
    pub(super) fn may_start(&mut self, now: Now, attempt: AttemptId) -> bool {
        let left = self.sharing.as_ref().is_none_or(|sharing| !sharing.lease().left().is_zero());
        if !left {
            self.watch_lease(now);
            let end = AttemptEnd::new(0, Err(RunError::Cancelled));
            self.parts.engine.ended(now, attempt, end);
        }
        left
    }

    /// Others may have taken over: what waits is let go, what runs is stopped, and nothing is written any more.
    pub(super) fn lose_all(&mut self, now: Now, error: &StoreError) {
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
            sharing.leaving.insert(share, None);
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

    /// Leaves the fleet at the end. Others take over at once if nothing of this scheduler runs on and all is written.
    pub(super) fn stop_sharing(&mut self, at_once: bool) {
        let Some(sharing) = self.sharing.take() else { return };
        sharing.thread.close(at_once, LEAVES_WITHIN);
        let why = "the scheduler ended before it heard of the end; another one makes it";
        sharing.elsewhere.values().for_each(|job| job.outcome.tell_unknown(JobState::Cancelled, why));
    }
}
