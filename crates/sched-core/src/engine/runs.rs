//! The course of an attempt: what it takes, its pauses, and what it gives back.

use std::time::Duration;

use crate::event::EventKind;
use crate::gate::{LoadLevel, Reason};
use crate::state::JobState;
use crate::time::{MonoTime, Now};

use super::index::{ActiveIx, DemandIx, JobIx};
use super::job::{Active, Job, Pause, Stop, Stopwatch, Yields};
use super::{Alarm, AttemptId, Engine, Output};

/// How long the second of two pauses for load lasts at least that follow each other soon, and how long any must at most.
/// After running that long without a pause an attempt begins anew.
const LEAST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_LEAST_PAUSE: Duration = Duration::from_secs(10 * 60);

impl Engine {
    /// An attempt's worker runs. Returns `false`, and changes nothing, when that attempt is not being started.
    pub fn started(&mut self, now: Now, attempt: AttemptId) -> bool {
        let now = self.observe(now);
        let Some(ix) = self.current(attempt, JobState::Starting) else { return false };
        let job = &mut self.jobs[ix.at()];
        job.state = JobState::Running;
        let active = job.active;
        let entry = &mut self.actives[active.at()];
        entry.started = Some(now);
        // What was learned of run times is without the time that a start takes.
        entry.run = Stopwatch::started(now.mono);
        self.set_next_look(now, ix);
        self.emit(Some(ix), EventKind::Started);
        self.review(now, active);
        true
    }

    /// An attempt stands at a checkpoint. Returns `false`, and changes nothing, when it was not told to.
    pub fn paused(&mut self, now: Now, attempt: AttemptId) -> bool {
        let now = self.observe(now);
        let Some(ix) = self.current(attempt, JobState::Pausing) else { return false };
        let active = self.jobs[ix.at()].active;
        self.jobs[ix.at()].state = JobState::Paused;
        self.actives[active.at()].run.stop(now.mono);
        if let Some(pause) = &self.actives[active.at()].pause {
            self.alarms.remove(&(pause.since + self.config.pause_within, Alarm::Pause(active, attempt)));
        }
        self.lengthen_pause(active);
        self.emit(Some(ix), EventKind::Paused);
        self.give_flow_back(active);
        self.enter(now, ix);
        true
    }

    /// A paused attempt moves again. Returns `false`, and changes nothing, when it was not told to.
    pub fn resumed(&mut self, now: Now, attempt: AttemptId) -> bool {
        let now = self.observe(now);
        let Some(ix) = self.current(attempt, JobState::Resuming) else { return false };
        self.moves_again(now, ix);
        true
    }

    /// Takes what a job needs and counts it in all its domains.
    pub(super) fn begin_attempt(&mut self, now: Now, ix: JobIx) -> ActiveIx {
        let active = self.free_actives.pop().unwrap_or_else(|| {
            self.actives.push(Active::default());
            ActiveIx::new(self.actives.len() - 1)
        });
        let job = &self.jobs[ix.at()];
        let mut domains = Vec::new();
        self.domains_of(job, &mut domains);
        let amounts = self.demands.amounts(job.demand).clone();
        let strict = job.key.is_strict();
        let entry = Active {
            job: ix,
            domains: std::mem::take(&mut self.actives[active.at()].domains),
            demand: job.demand,
            flow: DemandIx::NONE,
            pausable: None,
            gave_back: false,
            strict,
            started: None,
            waited: now.mono.since(job.due_since),
            // It holds what it needs from here on: a start that is never reported must time out too.
            run: Stopwatch::started(now.mono),
            pause: None,
            stop: None,
            expected_end: now.mono + job.expected(),
            load_pauses: 0,
            went_on: now.mono,
            deaf: false,
            stop_overdue_at: MonoTime::ZERO,
            ceiling: None,
        };
        self.actives[active.at()] = entry;
        self.demands.retain(job.demand);
        self.counts.strict += usize::from(strict);
        self.counts.ceilings_stale |= self.counts.ceilings > 0;
        for domain in domains {
            let entry = &mut self.domains[domain];
            entry.take(&amounts);
            if let Some(breaker) = entry.breaker_mut() {
                breaker.started(active);
            }
            let position = entry.attempts.add(active);
            self.actives[active.at()].domains.push((domain, position));
            self.changed(domain);
        }
        active
    }

    /// Gives back all that an attempt holds.
    pub(super) fn end_attempt(&mut self, active: ActiveIx) {
        if !self.actives[active.at()].gave_back {
            self.give_back(active, self.actives[active.at()].demand);
        } else {
            let (demand, flow) = (self.actives[active.at()].demand, self.actives[active.at()].flow);
            self.give_back_held(active, demand, flow);
            self.set_standing(active, false);
        }
        let mut domains = std::mem::take(&mut self.actives[active.at()].domains);
        for (domain, position) in domains.drain(..) {
            self.domains[domain].attempts.remove(position);
            if let Some(breaker) = self.domains[domain].breaker_mut() {
                breaker.ended(active);
            }
            self.touch(domain);
            self.tell_drained(domain);
        }
        let entry = &mut self.actives[active.at()];
        self.alarms.remove(&(std::mem::take(&mut entry.stop_overdue_at), Alarm::Stop(active)));
        entry.domains = domains;
        entry.job = JobIx::NONE;
        entry.pause = None;
        let (demand, flow, strict) = (entry.demand, std::mem::take(&mut entry.flow), entry.strict);
        self.counts.strict -= usize::from(strict);
        self.counts.ceilings_stale |= self.counts.ceilings > 0;
        self.demands.release(demand);
        if let Some(flow) = flow.some() {
            self.demands.release(flow);
        }
        self.free_actives.push(active);
    }

    fn give_back(&mut self, active: ActiveIx, demand: DemandIx) {
        let amounts = self.demands.amounts(demand).clone();
        for at in 0..self.actives[active.at()].domains.len() {
            let (domain, _) = self.actives[active.at()].domains[at];
            self.domains[domain].give_back(&amounts);
        }
    }

    /// Gives back `demand` without the part of it that was given back already.
    fn give_back_held(&mut self, active: ActiveIx, demand: DemandIx, flow: DemandIx) {
        let flow = self.demands.amounts(flow).clone();
        let held = self.demands.amounts(demand).iter().copied();
        let held: Vec<_> = held.filter(|(r, _)| flow.iter().all(|(other, _)| other != r)).collect();
        for at in 0..self.actives[active.at()].domains.len() {
            let (domain, _) = self.actives[active.at()].domains[at];
            self.domains[domain].give_back(&held);
        }
    }

    fn give_flow_back(&mut self, active: ActiveIx) {
        if self.actives[active.at()].flow.is_none() {
            let flow = self.demands.flow_of(self.actives[active.at()].demand);
            self.actives[active.at()].flow = flow;
        }
        self.set_standing(active, true);
        self.give_back(active, self.actives[active.at()].flow);
        for at in 0..self.actives[active.at()].domains.len() {
            let (domain, _) = self.actives[active.at()].domains[at];
            self.touch(domain);
        }
    }

    /// Takes note of whether an attempt has given back what flows. Who has moves nothing, and has no part of a
    /// ceiling nor of the share of critical jobs.
    fn set_standing(&mut self, active: ActiveIx, stands: bool) {
        self.actives[active.at()].gave_back = stands;
        if self.actives[active.at()].strict {
            self.counts.strict = if stands { self.counts.strict - 1 } else { self.counts.strict + 1 };
        }
        self.counts.ceilings_stale |= self.counts.ceilings > 0;
        for (domain, _) in &self.actives[active.at()].domains {
            let standing = &mut self.domains[*domain].standing;
            *standing = if stands { *standing + 1 } else { *standing - 1 };
        }
    }

    /// Lets a paused attempt go on: it was admitted again.
    pub(super) fn go_on(&mut self, now: Now, ix: JobIx) {
        self.leave(ix);
        self.withdraw_claim(ix);
        self.counts.moves += 1;
        let active = self.jobs[ix.at()].active;
        let flow = self.demands.amounts(self.actives[active.at()].flow).clone();
        for at in 0..self.actives[active.at()].domains.len() {
            let (domain, _) = self.actives[active.at()].domains[at];
            self.domains[domain].take(&flow);
            self.changed(domain);
        }
        self.set_standing(active, false);
        // Its part of a ceiling is told before it moves.
        self.apply_ceilings();
        self.order_resume(now, ix);
    }

    pub(super) fn order_stop(&mut self, now: Now, ix: JobIx, stop: Stop) {
        if matches!(self.jobs[ix.at()].state, JobState::Paused) {
            self.withdraw_claim(ix);
            self.leave(ix);
        }
        let job = &mut self.jobs[ix.at()];
        let active = job.active;
        if job.state == JobState::Cancelling {
            // A request to cancel outweighs what would try again.
            let outweighs = match &stop {
                Stop::Requested(_) => !self.is_let_go(active),
                stop => matches!(stop, Stop::LetGo(_)),
            };
            if outweighs {
                self.actives[active.at()].stop = Some(Box::new(stop));
                self.record(ix);
            }
            return;
        }
        let reason = stop.reason();
        job.state = JobState::Cancelling;
        let attempt = job.attempt_id();
        self.actives[active.at()].run.stop(now.mono);
        self.actives[active.at()].stop = Some(Box::new(stop));
        self.set_next_look(now, ix);
        if self.call_off(now, attempt) {
            return;
        }
        self.ends_sooner(active);
        let overdue = now.mono + self.config.stop_within;
        self.actives[active.at()].stop_overdue_at = overdue;
        self.alarms.insert((overdue, Alarm::Stop(active)));
        self.record(ix);
        self.outputs.push_back(Output::Cancel(attempt, reason));
    }

    /// An attempt was told to stop a while ago and still holds all that it holds.
    pub(super) fn stop_overdue(&mut self, active: ActiveIx) {
        let entry = &self.actives[active.at()];
        let (Some(ix), Some(stop)) = (entry.job.some(), entry.stop.as_deref()) else { return };
        if !matches!(stop, Stop::LetGo(_)) {
            let (waited, reason) = (self.config.stop_within, stop.reason());
            self.emit(Some(ix), EventKind::DoesNotStop { waited, reason });
        }
    }

    pub(super) fn order_pause(&mut self, now: Now, ix: JobIx, reason: Reason, yields: Option<Yields>) {
        let job = &mut self.jobs[ix.at()];
        job.state = JobState::Pausing;
        let (attempt, active) = (job.attempt_id(), job.active);
        let pause = Pause { since: now.mono, reason: reason.clone(), yields, at_least: Duration::ZERO };
        self.actives[active.at()].pause = Some(Box::new(pause));
        if yields.is_some() {
            self.alarms.insert((now.mono + self.config.pause_within, Alarm::Pause(active, attempt)));
            self.ends_sooner(active);
        }
        self.outputs.push_back(Output::Pause(attempt));
        self.emit(Some(ix), EventKind::Pausing { reason });
    }

    /// An attempt that was told to pause for another has not reached a checkpoint in time: it goes on, and is not
    /// asked again.
    pub(super) fn pause_overdue(&mut self, now: Now, active: ActiveIx, attempt: AttemptId) {
        let Some(ix) = self.current(attempt, JobState::Pausing) else { return };
        let due =
            |pause: &Pause| pause.yields.is_some() && pause.since + self.config.pause_within <= now.mono;
        // It may have been told again since, and has its time for that.
        if !self.actives[active.at()].pause.as_deref().is_some_and(due) {
            return;
        }
        self.actives[active.at()].deaf = true;
        self.order_resume(now, ix);
    }

    pub(super) fn order_resume(&mut self, now: Now, ix: JobIx) {
        let job = &mut self.jobs[ix.at()];
        let attempt = job.attempt_id();
        let standing = job.state == JobState::Paused;
        job.state = JobState::Resuming;
        // It holds what it needs again, moving or not.
        let active = job.active;
        self.actives[active.at()].run.start(now.mono);
        self.set_next_look(now, ix);
        self.outputs.push_back(Output::Resume(attempt));
        if !standing {
            // It never reached a checkpoint, so nothing will report that it moves again.
            self.moves_again(now, ix);
        }
    }

    fn moves_again(&mut self, now: Now, ix: JobIx) {
        let job = &mut self.jobs[ix.at()];
        job.state = JobState::Running;
        let active = job.active;
        let entry = &mut self.actives[active.at()];
        let paused_for = entry.pause.take().map_or(Duration::ZERO, |pause| now.mono.since(pause.since));
        entry.expected_end = entry.expected_end + paused_for;
        entry.went_on = now.mono;
        self.emit(Some(ix), EventKind::Resumed { paused_for });
        self.reviews.push_back(active);
    }

    /// Holds attempts against what has changed around them.
    pub(super) fn review_attempts(&mut self, now: Now, budget: &mut usize) {
        while *budget > 0
            && let Some(active) = self.reviews.pop_front()
        {
            *budget -= 1;
            self.review(now, active);
        }
    }

    /// Stops or pauses a running attempt whose window has ended or that a peak concerns, and lets one that was told to
    /// pause go on when that is over. One that goes on running may have to make room: for what a place is short of, or
    /// for a critical job.
    pub(super) fn review(&mut self, now: Now, active: ActiveIx) {
        let Some(ix) = self.actives[active.at()].job.some() else { return };
        if self.stop_outside_window(now, active) {
            return;
        }
        let job = &self.jobs[ix.at()];
        let (tolerated, _) = job.tolerance(now.wall.as_millisecond());
        let state = job.state;
        if !matches!(state, JobState::Running | JobState::Pausing) {
            return;
        }
        let peak = match tolerated {
            LoadLevel::Peak => None,
            _ => self.peak(active),
        };
        let aside = self.outside_window(active, now).or(peak);
        let yields = self.actives[active.at()].pause.as_ref().is_some_and(|pause| pause.yields.is_some());
        match aside {
            Some(reason) if state == JobState::Running && self.may_pause(active) => {
                self.order_pause(now, ix, reason, None);
            }
            None if state == JobState::Pausing && !yields => self.order_resume(now, ix),
            _ if state == JobState::Running => self.make_room_again(now, active),
            _ => {}
        }
    }

    fn peak(&self, active: ActiveIx) -> Option<Reason> {
        let feels = self.feels(&self.jobs[self.actives[active.at()].job.at()]);
        let domains = self.actives[active.at()].domains.iter();
        let mut loads = domains.filter_map(|(domain, _)| self.domains[*domain].load(feels));
        loads.find(|load| load.level == LoadLevel::Peak).map(|load| load.reason.clone())
    }

    /// A load that comes and goes does not have an attempt stop and go as often: each time that it stands soon after the
    /// one before lasts twice as long at least.
    fn lengthen_pause(&mut self, active: ActiveIx) {
        let entry = &mut self.actives[active.at()];
        let Some(pause) = entry.pause.as_mut().filter(|pause| pause.yields.is_none()) else { return };
        let calm = pause.since.since(entry.went_on) >= LONGEST_LEAST_PAUSE;
        let before = if calm { 0 } else { entry.load_pauses };
        entry.load_pauses = before.saturating_add(1);
        if before > 0 {
            let doubled = LEAST_PAUSE.saturating_mul(1 << u32::from(before - 1).min(16));
            pause.at_least = doubled.min(LONGEST_LEAST_PAUSE);
        }
    }

    /// Until when a paused attempt stands whatever the load; `None` when it may go on.
    pub(super) fn stands_until(&self, job: &Job, now: Now) -> Option<MonoTime> {
        let active = job.active.some().filter(|_| job.state == JobState::Paused)?;
        let pause = self.actives[active.at()].pause.as_ref()?;
        let (tolerated, _) = job.tolerance(now.wall.as_millisecond());
        let until = pause.since + pause.at_least;
        (tolerated < LoadLevel::Peak && until > now.mono).then_some(until)
    }

    /// The job of an attempt that is under way, if it is in `state`.
    pub(super) fn current(&self, attempt: AttemptId, state: JobState) -> Option<JobIx> {
        self.under_way(attempt).filter(|ix| self.jobs[ix.at()].state == state)
    }

    /// The job of an attempt that is under way.
    pub(super) fn under_way(&self, attempt: AttemptId) -> Option<JobIx> {
        let ix = self.find(attempt.job)?;
        let job = &self.jobs[ix.at()];
        (job.state.is_active() && job.attempt == attempt.number).then_some(ix)
    }

    /// The attempts under way.
    pub fn active_attempts(&self) -> impl Iterator<Item = AttemptId> + '_ {
        let fleet: &super::domain::Domain = &self.domains[self.fleet()];
        fleet.attempts.iter().map(|active| self.jobs[self.actives[active.at()].job.at()].attempt_id())
    }
}
