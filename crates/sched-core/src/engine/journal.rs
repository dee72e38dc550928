//! The journal: a record of every change that must survive, and the way back from records to waiting jobs.
//!
//! With [`EngineConfig::journal`](super::EngineConfig::journal) a start is held back until its record is durable. So
//! whatever runs anywhere is known after a crash, and the next attempt has a higher number.

use std::collections::BTreeMap;

use crate::estimate::Estimate;
use crate::event::EventKind;
use crate::gate::Reason;
use crate::journal::{EstimateRecord, JobRecord, Lsn, Record, RestoreError, StandingOrders};
use crate::run::RunError;
use crate::spec::{JobId, JobSpec};
use crate::time::{Now, wall_until};

use super::domain::Shut;
use super::index::{DomainIx, JobIx, TargetIx};
use super::job::{Stop, wall};
use super::requests::hash_target;
use super::{AttemptEnd, AttemptId, Engine, Output, StartOrder, hash_id};

/// The largest numbers that are taken over: nobody has counted that far, and as many are left.
pub(super) const MOST_JOBS: u64 = u64::MAX / 2;
pub(super) const MOST_ATTEMPTS: u32 = u32::MAX / 2;

impl Engine {
    /// The newest record. Whoever wants to know that a submission is durable asks for this right after it, and waits
    /// until that much is [`committed`](Self::committed).
    pub fn journaled(&self) -> Lsn {
        self.journaled
    }

    /// Everything up to `lsn` is durable: starts that waited for it go out. A store may have taken its time: where an
    /// operator, a blackout or the end of a window keeps jobs back by now, they wait again, and no retry is spent.
    pub fn committed(&mut self, now: Now, lsn: Lsn) {
        let now = self.observe(now);
        while let Some((_, order)) = self.withheld.pop_front_if(|(at, _)| *at <= lsn) {
            let kept_back = self.under_way(order.attempt).filter(|ix| self.is_kept_back(*ix, now));
            match kept_back {
                Some(_) => self.take_back(
                    now,
                    order.attempt,
                    Reason::new("nothing may start here any more since it was decided"),
                ),
                None => self.outputs.push_back(Output::Start(order)),
            }
        }
    }

    /// Starts that have not gone out will not: their jobs wait again.
    pub(super) fn take_all_back(&mut self, now: Now, why: &Reason) {
        for (_, order) in std::mem::take(&mut self.withheld) {
            self.take_back(now, order.attempt, why.clone());
        }
    }

    fn take_back(&mut self, now: Now, attempt: AttemptId, why: Reason) {
        let Some(ix) = self.under_way(attempt) else { return };
        let active = self.jobs[ix.at()].active;
        self.actives[active.at()].stop = Some(Box::new(Stop::Interrupted(why, None)));
        self.ended(now, attempt, AttemptEnd { bytes: 0, result: Err(RunError::Cancelled) });
    }

    /// Whether a job may not start, whatever room there is.
    fn is_kept_back(&self, ix: JobIx, now: Now) -> bool {
        if self.config.advise_only {
            return false;
        }
        let job = &self.jobs[ix.at()];
        let (pass, feels) = (job.pass(now.wall.as_millisecond()), self.feels(job));
        let mut domains = Vec::new();
        self.domains_of(job, &mut domains);
        let shut = |domain: &DomainIx| self.domains[*domain].all_closed(pass, feels);
        let final_word = |shut: Shut| matches!(shut, Shut::Hold | Shut::Blackout | Shut::Window);
        domains.iter().flat_map(shut).any(final_word)
    }

    /// Takes over what a former engine had not finished, the orders that stood, and what it had learned. Records may be
    /// a journal as it was written, or the last record of each job, scope and instance; places and limits should be
    /// configured before. Attempts that were under way count as interrupted. Returns how many jobs there are.
    ///
    /// # Errors
    /// When this engine has accepted jobs already, or a number in the records is too large to go on counting from.
    /// Nothing has changed then.
    pub fn restore(
        &mut self,
        now: Now,
        records: impl IntoIterator<Item = Record>,
    ) -> Result<usize, RestoreError> {
        let first = self.config.first_job.max(1);
        if self.next_id > first {
            return Err(RestoreError::InUse(self.next_id - first));
        }
        let mut jobs: Vec<(JobId, Option<Box<JobRecord>>)> = Vec::new();
        let mut orders = BTreeMap::new();
        let mut estimates = Vec::new();
        for record in records {
            match record {
                Record::Job(record) => jobs.push((record.id, Some(record))),
                Record::Ended(id) => jobs.push((id, None)),
                Record::Orders(standing) => _ = orders.insert(standing.scope.clone(), standing),
                Record::Estimate(record) => estimates.push(record),
            }
        }
        // The last record of each counts. Those of a store are in order already.
        jobs.sort_by_key(|(id, _)| *id);
        jobs.dedup_by(|later, earlier| {
            let is_same = later.0 == earlier.0;
            if is_same {
                std::mem::swap(later, earlier);
            }
            is_same
        });
        let attempt = |record: &Option<Box<JobRecord>>| record.as_ref().map_or(0, |record| record.attempt);
        if let Some((job, record)) =
            jobs.iter().find(|(job, record)| job.0 > MOST_JOBS || attempt(record) > MOST_ATTEMPTS)
        {
            return Err(RestoreError::TooLarge { job: *job, attempt: attempt(record) });
        }
        let now = self.observe(now);
        self.next_id = jobs.last().map_or(first, |(id, _)| first.max(id.0 + 1));
        self.reserve_for(jobs.len());
        orders.into_values().for_each(|standing| self.restore_orders(now, *standing));
        estimates.into_iter().for_each(|record| self.restore_estimate(*record));
        let mut count = 0;
        for record in jobs.into_iter().filter_map(|(_, record)| record) {
            self.restore_job(now, record);
            count += 1;
        }
        Ok(count)
    }

    /// Room for so many jobs of as many instances: nothing is moved while they come.
    fn reserve_for(&mut self, jobs: usize) {
        let (known, targets) = (&self.jobs, &self.targets);
        self.ids.reserve(jobs, |ix| hash_id(known[ix.at()].id()));
        let rehash = |ix: &TargetIx| hash_target(&targets[ix.at()].instance, targets[ix.at()].kind);
        self.target_index.reserve(jobs, rehash);
        self.jobs.reserve(jobs);
        self.targets.reserve(jobs);
    }

    /// Orders that have expired meanwhile end with the next [`advance`](Self::advance), as they would have.
    pub(super) fn restore_orders(&mut self, now: Now, standing: StandingOrders) {
        let StandingOrders { scope, hold, drain, run_now, ceiling } = standing;
        match hold {
            Some(order) if drain => self.drain(now, scope.clone(), order),
            Some(order) => self.hold(now, scope.clone(), order),
            None => {}
        }
        if run_now.is_some() {
            self.run_all_now(now, scope.clone(), run_now);
        }
        if ceiling.is_some() {
            self.set_ceiling(now, scope, ceiling);
        }
    }

    pub(super) fn restore_estimate(&mut self, record: EstimateRecord) {
        let EstimateRecord { instance, kind, technology, estimate } = record;
        let found = self.find_target(&instance, kind);
        match (found, estimate) {
            (None, None) => {}
            (Some(target), None) => self.targets[target.at()].estimate = Estimate::default(),
            (found, Some(estimate)) => {
                let target = self.target(found, &JobSpec::new(instance, technology).kind(kind));
                self.targets[target.at()].estimate = estimate;
            }
        }
    }

    pub(super) fn restore_job(&mut self, now: Now, record: Box<JobRecord>) {
        let under_way = record.under_way;
        let target = self.find_target(&record.spec.instance, record.spec.kind);
        // An earlier job of the same backup had begun: this is its successor.
        let begun = target.map(|target| self.targets[target.at()].waiting).and_then(JobIx::some);
        let ix = self.insert_job(now, record.id, target, &record.spec, record.terms);
        let job = &mut self.jobs[ix.at()];
        (job.attempt, job.failures, job.requesters) = (record.attempt, record.failures, record.requesters);
        job.submitted_ms = record.submitted.as_millisecond();
        job.expected = record.expected_duration.into();
        job.set_size(record.size_bytes);
        self.heed_windows(ix);
        let job = &mut self.jobs[ix.at()];
        if let Some(begun) = begun {
            let target = job.target;
            self.targets[target.at()].begun = begun;
        }
        let moments = [record.failed, record.back_off_until, record.interrupted_until];
        let given = record.error.is_some() || record.run_now.is_some();
        if given || moments.iter().any(Option::is_some) {
            let extras = self.extras_mut(ix);
            extras.error = record.error;
            extras.interrupted_until = record.interrupted_until;
            extras.run_now = record.run_now;
            extras.failed_ms = record.failed.map(jiff::Timestamp::as_millisecond);
        }
        self.set_express(now, ix);
        // An order to run now ends only the back-off that there was when it was given. The wall may have been ahead then: it
        // is no longer than it was meant.
        if let Some(until) = record.back_off_until {
            let whole = record.failed.map_or(self.config.pause_within, |failed| wall_until(failed, until));
            self.extras_mut(ix).back_off_until = now.mono + wall_until(now.wall, until).min(whole);
        }
        self.rekey(ix);
        self.enter(now, ix);
        if let Some(reason) = record.cancelled {
            self.end(now, ix, EventKind::Cancelled { reason });
        } else if under_way {
            let reason = Reason::new("the scheduler was restarted");
            let not_before = record.interrupted_until.unwrap_or(now.wall);
            self.emit(Some(ix), EventKind::Interrupted { reason, not_before });
        }
    }

    /// Writes down a job as it stands.
    pub(super) fn record(&mut self, ix: JobIx) {
        if !self.config.journal {
            return;
        }
        let now = self.wall.now();
        let job = &self.jobs[ix.at()];
        let extras = job.extras.as_deref();
        let back_off = Some(job.back_off_until()).filter(|until| *until > now.mono);
        let stop = job.active.some().and_then(|active| self.actives[active.at()].stop.as_deref());
        if matches!(stop, Some(Stop::LetGo(_))) {
            return;
        }
        let record = JobRecord {
            id: job.id(),
            spec: self.request_of(job).0,
            expected_duration: job.expected(),
            size_bytes: job.size_bytes(),
            terms: job.terms.given.clone(),
            submitted: wall(job.submitted_ms),
            attempt: job.attempt,
            under_way: !job.active.is_none(),
            failures: job.failures,
            interrupted_until: match stop {
                Some(Stop::Interrupted(_, until)) => *until,
                _ => extras.and_then(|extras| extras.interrupted_until),
            },
            run_now: extras.and_then(|extras| extras.run_now.clone()),
            back_off_until: back_off.map(|until| now.plus(until.since(now.mono)).wall),
            failed: extras.and_then(|extras| extras.failed_ms).map(wall),
            error: extras.and_then(|extras| extras.error.clone()),
            requesters: job.requesters,
            cancelled: match stop {
                Some(Stop::Requested(reason)) => Some(reason.clone()),
                _ => None,
            },
        };
        self.write(Record::Job(Box::new(record)));
    }

    pub(super) fn record_end(&mut self, id: JobId) {
        if self.config.journal {
            self.write(Record::Ended(id));
        }
    }

    /// Writes down which orders of a scope stand.
    pub(super) fn record_orders(&mut self, domain: DomainIx) {
        if !self.config.journal {
            return;
        }
        let entry = &self.domains[domain];
        let mut standing = StandingOrders::none(entry.scope.clone());
        if let Some(gates) = &entry.gates {
            standing.drain = gates.hold.as_ref().is_some_and(|held| held.drain);
            standing.hold = gates.hold.as_ref().map(|held| held.order.clone());
            standing.run_now = gates.run_now.clone();
            standing.ceiling = gates.ceiling.clone();
        }
        self.write(Record::Orders(Box::new(standing)));
    }

    /// Writes down what was learned of a target's backups; with `forgotten` that it is known no longer.
    pub(super) fn record_estimate(&mut self, target: TargetIx, forgotten: bool) {
        if !self.config.journal {
            return;
        }
        let target = &self.targets[target.at()];
        let record = EstimateRecord {
            instance: target.instance.clone(),
            kind: target.kind,
            technology: self.technology(target.technology),
            estimate: (!forgotten).then_some(target.estimate),
        };
        self.write(Record::Estimate(Box::new(record)));
    }

    fn write(&mut self, record: Record) {
        self.journaled.0 += 1;
        self.outputs.push_back(Output::Record(self.journaled, record));
    }

    /// Lets a start out, with a journal once its record is durable.
    pub(super) fn send_start(&mut self, ix: JobIx, order: StartOrder) {
        self.record(ix);
        if self.config.journal {
            self.withheld.push_back((self.journaled, order));
        } else {
            self.outputs.push_back(Output::Start(order));
        }
    }

    /// Ends an attempt whose start has not gone out, if it is one. Nobody else will.
    pub(super) fn call_off(&mut self, now: Now, attempt: AttemptId) -> bool {
        let Some(at) = self.withheld.iter().position(|(_, order)| order.attempt == attempt) else {
            return false;
        };
        self.withheld.remove(at);
        self.ended(now, attempt, AttemptEnd { bytes: 0, result: Err(RunError::Cancelled) })
    }
}
