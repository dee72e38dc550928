//! Outages: who is to blame for a failure, what that costs a job, and when it may be over.

use jiff::Timestamp;

use crate::event::EventKind;
use crate::gate::{LoadLevel, Scope};
use crate::time::{MonoTime, Now};

use super::breaker::Change;
use super::ends::jitter;
use super::index::{DomainIx, JobIx};
use super::requests::hash_target;
use super::{Alarm, Engine};

/// Failures of one job that an outage may be blamed for although others got through: beyond that, it is the job.
const MOST_SPARED: u8 = 16;
/// Retries that successes can save up, in percent of one.
const MOST_RETRY_TOKENS: u64 = 10_000;

impl Engine {
    /// Counts a failure against the breakers of what may be the reason, or of what the executor blamed.
    /// If an outage is to blame, so that the job spends no retry, returns when its breaker lets one try, and how often
    /// that was tried.
    pub(super) fn report_failure(
        &mut self,
        now: Now,
        ix: JobIx,
        blamed: Option<DomainIx>,
    ) -> Option<(MonoTime, u32)> {
        let job = &self.jobs[ix.at()];
        let (active, target) = (job.active, &self.targets[job.target.at()]);
        let target = hash_target(&target.instance, target.kind);
        let jitter = jitter(self.config.seed ^ 1, job.attempt_id());
        let mut own = Vec::new();
        self.domains_of(job, &mut own);
        let (mut outage, mut known) = (None, false);
        for domain in blamed.map_or_else(|| self.suspects(ix), |blamed| vec![blamed]) {
            let config = self.config.breaker;
            let breaker = self.domains[domain].gates_mut().breaker.get_or_insert_default();
            let was_out = breaker.is_out();
            let change = breaker.failed(&config, now.mono, active, target, blamed.is_some(), jitter);
            // A breaker that does not keep the job itself waiting would let it fail again at once.
            if breaker.is_tripped() && own.contains(&domain) {
                known |= was_out;
                outage = outage.max(Some((breaker.opens_at().unwrap_or(now.mono), breaker.trips())));
            }
            if let Change::Tripped(until) = change {
                self.alarms.insert((until, Alarm::Breaker(domain)));
                self.changed(domain);
                self.tell_breaker(domain, now.plus(until.since(now.mono)).wall);
            }
        }
        let job = &mut self.jobs[ix.at()];
        let outage = outage.filter(|_| known || job.spared < MOST_SPARED);
        job.spared += u8::from(outage.is_some() && !known);
        outage
    }

    pub(super) fn report_success(&mut self, ix: JobIx) {
        let tokens = self.counts.retry_tokens + u64::from(self.config.retry_budget_percent);
        self.counts.retry_tokens = tokens.min(MOST_RETRY_TOKENS.max(self.counts.retry_tokens));
        let config = self.config.breaker;
        let active = self.jobs[ix.at()].active;
        for at in 0..self.actives[active.at()].domains.len() {
            let (domain, _) = self.actives[active.at()].domains[at];
            let Some(breaker) = self.domains[domain].breaker_mut() else { continue };
            if breaker.succeeded(&config, active) != Change::Nothing {
                self.touch(domain);
            }
        }
    }

    /// The domains whose breakers count a failure that nothing was blamed for: the job's host, its destination, and
    /// whatever it tried.
    fn suspects(&self, ix: JobIx) -> Vec<DomainIx> {
        let job = &self.jobs[ix.at()];
        let is_host = |place: &DomainIx| matches!(self.domains[*place].scope, Scope::Host(_));
        let host = self.domains.path(job.place).find(is_host);
        let destination = job.extras.as_ref().and_then(|extras| extras.destination.some());
        let mut suspects: Vec<_> = host.into_iter().chain(destination).collect();
        for (domain, _) in &self.actives[job.active.at()].domains {
            let breaker = self.domains[*domain].gates.as_ref().and_then(|gates| gates.breaker.as_ref());
            let tried = breaker.is_some_and(|breaker| breaker.probes().contains(&job.active));
            if tried && !suspects.contains(domain) {
                suspects.push(*domain);
            }
        }
        suspects
    }

    /// The domain of a scope that an executor blamed. One that nobody else has named is none, or executors could make
    /// any number of them.
    pub(super) fn blamed(&mut self, ix: JobIx, what: &Scope) -> Option<DomainIx> {
        let own = &self.targets[self.jobs[ix.at()].target.at()].instance;
        match what {
            Scope::Instance(name) if name == own => Some(self.domain(what)),
            what => self.domains.find(what),
        }
    }

    fn tell_breaker(&mut self, domain: DomainIx, until: Timestamp) {
        let scope = self.domains[domain].scope.clone();
        self.emit(None, EventKind::BreakerTripped { scope, until });
    }

    /// A tripped breaker's cool-down is over.
    pub(super) fn breaker_due(&mut self, now: Now, domain: DomainIx) {
        let gates = self.domains[domain].gates_mut();
        if gates.breaker.as_mut().is_some_and(|breaker| breaker.try_again(now.mono)) {
            self.touch(domain);
        }
    }

    /// Lets the back-off of a job end early when what probably made it fail is over: the first of its domains that
    /// is short of something or at its peak.
    pub(super) fn watch_cause(&mut self, ix: JobIx) {
        let mut domains = Vec::new();
        self.domains_of(&self.jobs[ix.at()], &mut domains);
        self.unwatch(ix);
        if let Some(cause) = domains.into_iter().find(|domain| self.may_be_cause(ix, *domain)) {
            self.extras_mut(ix).cause = cause;
            self.domains[cause].gates_mut().backing_off.insert(ix);
        }
    }

    fn may_be_cause(&self, ix: JobIx, domain: DomainIx) -> bool {
        let feels = self.feels(&self.jobs[ix.at()]);
        let gates = self.domains[domain].gates.as_ref();
        gates.is_some_and(|gates| gates.short.is_some() || gates.down.is_some())
            || self.domains[domain].load_level(feels) == LoadLevel::Peak
    }

    /// The job's back-off ends with its time alone.
    pub(super) fn unwatch(&mut self, ix: JobIx) {
        let cause = self.jobs[ix.at()].extras.as_mut().map(|extras| std::mem::take(&mut extras.cause));
        if let Some(cause) = cause.and_then(DomainIx::some) {
            self.domains[cause].gates_mut().backing_off.remove(&ix);
        }
    }

    pub(super) fn end_back_off(&mut self, ix: JobIx) {
        self.unwatch(ix);
        if let Some(extras) = &mut self.jobs[ix.at()].extras {
            extras.back_off_until = MonoTime::ZERO;
        }
    }

    /// Ends the back-offs that opened domains caused.
    pub(super) fn end_back_offs(&mut self, now: Now, budget: &mut usize) {
        while *budget > 0
            && let Some(domain) = self.recovered.first().copied()
        {
            let gates = self.domains[domain].gates.as_ref();
            let next = gates.and_then(|gates| gates.backing_off.first().copied());
            let Some(ix) = next.filter(|ix| !self.may_be_cause(*ix, domain)) else {
                self.recovered.remove(&domain);
                continue;
            };
            *budget -= 1;
            let job = &self.jobs[ix.at()];
            let backs_off = job.state.is_waiting() && job.back_off_until() > now.mono;
            self.end_back_off(ix);
            if backs_off {
                self.reenter(now, ix);
            }
        }
    }
}
