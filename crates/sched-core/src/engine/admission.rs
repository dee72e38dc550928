//! Which jobs start: what time and openings bring back, and the look at the most urgent of each class.

use crate::event::EventKind;
use crate::gate::LoadLevel;
use crate::queue::OrderKey;
use crate::spec::Priority;
use crate::state::JobState;
use crate::time::Now;

use super::domain::{Domains, Shut};
use super::gates::Closed;
use super::index::{BracketIx, DomainIx, JobIx};
use super::{Engine, StartOrder};

/// Virtual time that a start costs a tenant of weight 1; divisible by every weight up to ten.
const TENANT_TURN: u64 = 2_520_000;

impl Engine {
    /// Takes a waiting or paused job that is in no queue to where it belongs.
    pub(super) fn enter(&mut self, now: Now, ix: JobIx) {
        let job = &self.jobs[ix.at()];
        debug_assert!(job.bracket.is_none() && job.parked.is_none());
        let goes_on = job.state == JobState::Paused;
        let own = if goes_on { None } else { self.own_gate(job, now) };
        let state = match own {
            Some(Closed::Time) if job.back_off_until() > now.mono => JobState::Retryable,
            Some(Closed::Time) => JobState::Scheduled,
            _ => JobState::Queued,
        };
        let place = job.place;
        let due = job.waits_until(now).unwrap_or_else(|| job.due_since.min(now.mono));
        let job = &mut self.jobs[ix.at()];
        if !goes_on {
            (job.state, job.due_since) = (state, due);
        }
        job.waits_for_overlap = matches!(own, Some(Closed::Overlap(_)));
        match own {
            Some(closed) => self.defer(now, ix, closed),
            None => {
                let class = self.class_of(ix, now.wall.as_millisecond());
                let key = self.jobs[ix.at()].key;
                let bracket = self.forest.insert(&mut self.domains, &class, place, key);
                self.jobs[ix.at()].bracket = bracket;
            }
        }
        self.counts.moves += 1;
        self.set_next_look(now, ix);
    }

    /// Takes a job out of wherever it waits.
    pub(super) fn leave(&mut self, ix: JobIx) {
        let job = &mut self.jobs[ix.at()];
        let id = job.id();
        job.waits_for_overlap = false;
        let bracket = std::mem::take(&mut job.bracket);
        let parked = std::mem::take(&mut job.parked);
        if !bracket.is_none() {
            self.forest.remove(&mut self.domains, bracket, id);
        }
        if let Some(domain) = parked.some() {
            self.domains[domain].gates_mut().parked.remove(&ix);
        }
    }

    /// Looks anew at where a waiting job belongs.
    pub(super) fn reenter(&mut self, now: Now, ix: JobIx) {
        self.leave(ix);
        self.enter(now, ix);
    }

    /// Says what a job waits for, if that is news.
    pub(super) fn defer(&mut self, now: Now, ix: JobIx, closed: Closed) {
        let job = &mut self.jobs[ix.at()];
        if job.told_gate == closed.code() {
            return;
        }
        job.told_gate = closed.code();
        job.deferrals = job.deferrals.saturating_add(1);
        if self.config.events {
            let by = self.describe(ix, closed, now);
            self.emit(Some(ix), EventKind::Deferred { by, advice_only: false });
        }
    }

    /// Shows again what opened domains kept back.
    pub(super) fn reexamine(&mut self, now: Now, budget: &mut usize) {
        while *budget > 0
            && let Some(domain) = self.touched.front().copied()
        {
            if self.reexamine_one(now, domain, budget) {
                self.domains[domain].touched = false;
                self.touched.pop_front();
            }
        }
    }

    /// Returns whether nothing is left to do for `domain`.
    fn reexamine_one(&mut self, now: Now, domain: DomainIx, budget: &mut usize) -> bool {
        // Who enters leaves this list; collecting it would cost its length for every move.
        while let Some(ix) = self.first_let_in(now, domain) {
            if *budget == 0 {
                return false;
            }
            *budget -= 1;
            self.reenter(now, ix);
        }
        let mut at = 0;
        while let Some(bracket) = self.domains[domain].shut.get(at).copied() {
            if !self.may_fit(domain, self.forest.key(self.forest.get(bracket).class)) {
                at += 1;
                continue;
            }
            if *budget == 0 {
                return false;
            }
            *budget -= 1;
            self.counts.moves += 1;
            self.forest.reopen(&mut self.domains, bracket);
        }
        true
    }

    fn first_let_in(&self, now: Now, domain: DomainIx) -> Option<JobIx> {
        let mut parked = self.domains[domain].gates.as_ref()?.parked.iter().copied();
        parked.find(|ix| self.kept_out(now, *ix, domain).is_none())
    }

    /// Shows the most urgent classes again that the fleet kept back and that may fit by now, one a lane: the others
    /// would only be shut again once that one has taken what is free.
    fn reopen_at_fleet(&mut self) {
        let fleet = self.fleet();
        if !self.domains[fleet].touched {
            return;
        }
        let mut best: Vec<((u16, bool), OrderKey, BracketIx)> = Vec::new();
        for bracket in &self.domains[fleet].shut {
            let stale = self.forest.is_stale(&self.domains, *bracket);
            if !stale || !self.may_fit(fleet, self.forest.key(self.forest.get(*bracket).class)) {
                continue;
            }
            let (lane, Some(key)) = (self.forest.lane(*bracket), self.forest.head(*bracket)) else {
                continue;
            };
            let lane = (lane.tenant, lane.strict);
            match best.iter_mut().find(|(other, ..)| *other == lane) {
                Some(entry) if entry.1 <= key => {}
                Some(entry) => (entry.1, entry.2) = (key, *bracket),
                None => best.push((lane, key, *bracket)),
            }
        }
        self.domains[fleet].touched = !best.is_empty();
        for (lane, key, bracket) in best {
            let shown = self.forest.candidates().find(|(l, ..)| (l.tenant, l.strict) == lane);
            if shown.is_none_or(|(_, shown, _)| key < shown) {
                self.counts.moves += 1;
                self.forest.reopen(&mut self.domains, bracket);
            }
        }
    }

    /// Looks at the most urgent candidates until none can start or the budget is spent.
    pub(super) fn admit(&mut self, now: Now, budget: &mut usize) {
        while *budget > 0 {
            self.reopen_at_fleet();
            let Some(root) = self.next_candidate() else { return };
            *budget -= 1;
            self.consider(now, root);
            self.reexamine(now, budget);
            if !self.touched.is_empty() {
                return;
            }
        }
    }

    /// The class whose turn it is: critical jobs within their share, then the tenant that had least of its due.
    fn next_candidate(&self) -> Option<BracketIx> {
        let strict = self.forest.candidates().filter(|(lane, ..)| lane.strict);
        let strict = strict.min_by_key(|(_, key, _)| *key);
        let start_tag = |tenant: u16| self.tenants[usize::from(tenant)].next.max(self.served);
        let others = self.forest.candidates().filter(|(lane, ..)| !lane.strict);
        let others = others.min_by_key(|(lane, key, _)| (start_tag(lane.tenant), *key));
        let over_share = self.over_share(self.active_count());
        let chosen = match (strict, others) {
            (Some(_), Some(other)) if over_share => Some(other),
            (strict, other) => strict.or(other),
        };
        chosen.map(|(_, _, root)| root)
    }

    /// Whether critical jobs have their share of what runs, were one more to run beside `running`.
    pub(super) fn over_share(&self, running: usize) -> bool {
        let share = u64::from(self.config.critical_share_percent.min(100));
        self.counts.strict as u64 * 100 >= share * (running as u64 + 1)
    }

    /// Follows a class's most urgent job down to its queue and starts it, or shuts what is closed for it.
    fn consider(&mut self, now: Now, root: BracketIx) {
        let class = *self.forest.key(self.forest.get(root).class);
        let advise = self.config.advise_only;
        // Technology and destination first: they keep the whole class back.
        for domain in [class.technology, class.destination] {
            if let Some(domain) = domain.some()
                && let Some(shut) = self.domains[domain].closed(class.tolerated, class.goes_on)
                && !advise
            {
                return self.shut(now, root, domain, Closed::Domain(domain, shut));
            }
        }
        let mut at = root;
        loop {
            let place = self.forest.get(at).place;
            if let Some(shut) = self.domains[place].closed(class.tolerated, class.goes_on)
                && !advise
            {
                return self.shut(now, at, place, Closed::Domain(place, shut));
            }
            match self.forest.below(at) {
                Some(below) => at = below,
                None => break,
            }
        }
        let Some(ix) = self.forest.head(root).and_then(|key| self.find(key.id)) else { return };
        if advise {
            if let Some(closed) = self.closed_gates(ix, now).first() {
                let by = self.describe(ix, *closed, now);
                self.emit(Some(ix), EventKind::Deferred { by, advice_only: true });
            }
            return self.start(now, ix);
        }
        if let Some((domain, closed)) = self.first_outside(now, ix) {
            return self.park(now, ix, domain, closed);
        }
        self.reserve_before(now, ix);
        if let Some((bracket, place, closed)) = self.first_lack(now, ix, root) {
            self.make_room(now, ix);
            return match bracket {
                Some(bracket) => self.shut(now, bracket, place, closed),
                None => self.park(now, ix, place, closed),
            };
        }
        match self.jobs[ix.at()].state {
            JobState::Paused => self.go_on(now, ix),
            _ => self.start(now, ix),
        }
    }

    /// The first closed gate that concerns this job beside others of its class: of its groups, its instance and
    /// other places that take part.
    fn first_outside(&self, now: Now, ix: JobIx) -> Option<(DomainIx, Closed)> {
        let job = &self.jobs[ix.at()];
        let target = &self.targets[job.target.at()];
        let extras = job.extras.as_deref();
        let groups = extras.into_iter().flat_map(|extras| &extras.groups);
        let mut outside = groups.copied().chain(self.beside(job)).chain(target.domain.some());
        outside.find_map(|domain| Some((domain, self.kept_out(now, ix, domain)?)))
    }

    /// The gate other than resources by which `domain` keeps a job out, or the resource it lacks there if the
    /// domain is not on its class's way.
    fn kept_out(&self, now: Now, ix: JobIx, domain: DomainIx) -> Option<Closed> {
        let job = &self.jobs[ix.at()];
        let (tolerated, _) = job.tolerance(now.wall.as_millisecond());
        let goes_on = job.state == JobState::Paused;
        let entry = &self.domains[domain];
        if let Some(shut) = entry.closed(tolerated, goes_on) {
            return Some(Closed::Domain(domain, shut));
        }
        let parked_for_room = job.parked == domain && !entry.resources.is_empty();
        let lack = entry.lacks(self.demands.amounts(self.needed(job)))?;
        parked_for_room.then_some(Closed::Resource(domain, lack.0, lack.1))
    }

    /// The topmost place where the job lacks something, with its class's bracket there; no bracket for places that
    /// only take part.
    fn first_lack(
        &self,
        now: Now,
        ix: JobIx,
        root: BracketIx,
    ) -> Option<(Option<BracketIx>, DomainIx, Closed)> {
        let job = &self.jobs[ix.at()];
        let amounts = self.demands.amounts(self.needed(job));
        let lack = |place: DomainIx| -> Option<Closed> {
            if let Some((resource, amount)) = self.domains[place].lacks(amounts) {
                return Some(Closed::Resource(place, resource, amount));
            }
            self.promised(place, ix, now).map(|owner| Closed::Promised(place, owner))
        };
        let way = std::iter::successors(Some(root), |at| self.forest.below(*at));
        let mut on_the_way = way.map(|at| (Some(at), self.forest.get(at).place));
        let mut beside = self.beside(job).into_iter().map(|place| (None, place));
        let first = on_the_way.find_map(|(at, place)| Some((at, place, lack(place)?)));
        first.or_else(|| beside.find_map(|(at, place)| Some((at, place, lack(place)?))))
    }

    fn shut(&mut self, now: Now, bracket: BracketIx, by: DomainIx, closed: Closed) {
        if let Some(ix) = self.forest.head(bracket).and_then(|key| self.find(key.id)) {
            self.defer(now, ix, closed);
            self.make_room_at_limit(now, ix, closed);
        }
        self.counts.moves += 1;
        self.forest.shut(&mut self.domains, bracket, by);
    }

    fn park(&mut self, now: Now, ix: JobIx, at: DomainIx, closed: Closed) {
        self.leave(ix);
        self.counts.moves += 1;
        self.jobs[ix.at()].parked = at;
        self.domains[at].gates_mut().parked.insert(ix);
        self.defer(now, ix, closed);
        self.make_room_at_limit(now, ix, closed);
    }

    fn start(&mut self, now: Now, ix: JobIx) {
        let overridden = self.overridden(ix, now);
        self.withdraw_claim(ix);
        self.want_no_room(now, ix, true);
        self.charge_tenant(ix);
        let attempt = self.begin_attempt(now, ix);
        self.shut_what_no_longer_fits(ix);
        self.leave(ix);
        self.counts.moves += 1;
        self.counts.pending -= 1;
        let job = &mut self.jobs[ix.at()];
        job.state = JobState::Starting;
        job.attempt += 1;
        job.active = attempt;
        job.told_gate = 0;
        let target = &mut self.targets[job.target.at()];
        if target.waiting == ix {
            target.waiting = JobIx::NONE;
        }
        target.begun = ix;
        self.set_next_look(now, ix);
        let waited = self.actives[attempt.at()].waited;
        if let Some(closed) = overridden {
            let gate = self.describe(ix, closed, now);
            self.emit(Some(ix), EventKind::Overridden { gate });
        }
        self.emit(Some(ix), EventKind::Admitted { waited });
        let job = &self.jobs[ix.at()];
        let (spec, member) = self.spec_of(job);
        let order = StartOrder {
            attempt: job.attempt_id(),
            spec: spec.into(),
            terms: job.terms.clone(),
            member,
            ceiling_bytes_per_sec: self.ceiling_of(attempt),
        };
        self.actives[attempt.at()].ceiling = order.ceiling_bytes_per_sec;
        self.send_start(ix, order);
    }

    /// Keeps classes back at a job's place that found room before it took its own. They would come to the top one
    /// after the other only to be shut there. A critical one must come to the top, where it can make others yield.
    fn shut_what_no_longer_fits(&mut self, ix: JobIx) {
        let place = self.jobs[ix.at()].place;
        for at in 0..self.domains[place].brackets.len() {
            let (class, bracket) = self.domains[place].brackets[at];
            let key = self.forest.key(class);
            let full = self.domains[place].lacks(self.demands.amounts(key.band)).is_some();
            if full && !key.strict && !self.forest.is_shut(bracket) && !self.config.advise_only {
                self.counts.moves += 1;
                self.forest.shut(&mut self.domains, bracket, place);
            }
        }
    }

    fn charge_tenant(&mut self, ix: JobIx) {
        if self.tenants.len() < 2 || self.jobs[ix.at()].key.is_strict() {
            return;
        }
        let tenant = self.jobs[ix.at()].extras.as_ref().map_or(0, |extras| extras.tenant);
        let entry = &mut self.tenants[usize::from(tenant)];
        let tag = entry.next.max(self.served);
        self.served = tag;
        entry.next = tag + TENANT_TURN / u64::from(entry.weight);
    }

    /// The load gate that only the end of the slack opened.
    fn overridden(&self, ix: JobIx, now: Now) -> Option<Closed> {
        let job = &self.jobs[ix.at()];
        if !self.config.events
            || job.priority >= Priority::High
            || now.wall.as_millisecond() < job.latest_start_ms()
        {
            return None;
        }
        let mut domains = Vec::new();
        self.domains_of(job, &mut domains);
        let busy = domains.into_iter().find(|domain| self.domains[*domain].load_level() > LoadLevel::Calm);
        busy.map(|domain| Closed::Domain(domain, Shut::Load(LoadLevel::Calm)))
    }

    /// Number of jobs with an attempt under way.
    pub fn active_count(&self) -> usize {
        self.domains[Domains::fleet()].attempts.len()
    }
}
