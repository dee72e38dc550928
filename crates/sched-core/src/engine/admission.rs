//! Which jobs start: what time and openings bring back, and the look at the most urgent of each class.

use crate::event::EventKind;
use crate::gate::LoadLevel;
use crate::spec::Priority;
use crate::state::JobState;
use crate::time::Now;

use super::domain::{Domains, Heeds, Need, Pass, Shut};
use super::forest::For;
use super::gates::Closed;
use super::index::{BracketIx, DomainIx, JobIx};
use super::marks::Mark;
use super::parked::Row;
use super::reservations::LOOKED_PAST;
use super::sensitivity::Feels;
use super::{Engine, StartOrder};

impl Engine {
    /// Takes a waiting or paused job that is in no queue to where it belongs.
    pub(super) fn enter(&mut self, now: Now, ix: JobIx) {
        let job = &self.jobs[ix.at()];
        debug_assert!(job.bracket.is_none() && job.parked.is_none());
        let goes_on = job.state == JobState::Paused;
        let own_gate = |engine: &Self| engine.own_gate(ix, now).filter(|_| !goes_on);
        if !goes_on {
            let due = own_gate(self).is_none();
            self.choose_member(now, ix, due);
        }
        let own = own_gate(self);
        let job = &self.jobs[ix.at()];
        let state = match own {
            Some(Closed::Time) if job.back_off_until() > now.mono => JobState::Retryable,
            Some(Closed::Time | Closed::Plan) => JobState::Scheduled,
            _ => JobState::Queued,
        };
        let standing = self.stands_until(job, now).map(|_| Closed::Standing);
        let place = job.place;
        let due = job.waits_until(now).unwrap_or_else(|| job.due_since.min(now.mono));
        let job = &mut self.jobs[ix.at()];
        if !goes_on {
            (job.state, job.due_since) = (state, due);
        }
        job.marks.set(Mark::WaitsForOverlap, matches!(own, Some(Closed::Overlap(_))));
        if let Some(Closed::Overlap(other)) = own {
            self.wait_apart(ix, other);
        }
        match own.or(standing) {
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
        job.marks.set(Mark::WaitsForOverlap, false);
        let bracket = std::mem::take(&mut job.bracket);
        let parked = std::mem::take(&mut job.parked);
        if !bracket.is_none() {
            self.forest.remove(&mut self.domains, bracket, id);
        }
        // Whoever was parked behind it has its turn now.
        if let Some((domain, row)) = self.let_in.remove(&ix)
            && let Some((lane, next)) = self.domains[domain].gates_mut().parked.unblock(row)
        {
            self.open_door(lane, domain, next);
        }
        if let Some(domain) = parked.some() {
            let key = self.jobs[ix.at()].key;
            let parked = &mut self.domains[domain].gates_mut().parked;
            let crowded = parked.len() >= LOOKED_PAST;
            parked.remove(key, ix);
            if crowded && !self.domains[domain].shut.is_empty() {
                // There is a seat for one more that may have to be looked past.
                self.touch(domain);
            }
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
        // Whoever is parked is let in one by one, each when its lane has a turn.
        let firsts = self.domains[domain].gates.iter().flat_map(|gates| gates.parked.firsts());
        let open: Vec<_> =
            firsts.filter(|(lane, _)| self.may_fit(domain, &lane.need, Feels::AS_ALL)).collect();
        for (lane, first) in open {
            self.open_door(lane, domain, first);
        }
        let mut at = 0;
        while let Some(bracket) = self.domains[domain].shut.get(at).copied() {
            if !self.is_open_for(now, domain, bracket) {
                if self.may_fit(domain, self.forest.need(bracket), self.forest.class(bracket).feels()) {
                    // It was closed for all of the class, and now is kept for somebody who may come to stand in it.
                    self.forest.admit_more_urgent(bracket);
                }
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

    /// Follows a class's most urgent job down to its queue and starts it, or shuts what is closed for it.
    pub(super) fn consider(&mut self, now: Now, root: BracketIx) {
        let class = *self.forest.class(root);
        let need = class.lane.need;
        let advise = self.config.advise_only;
        // Technology, destination and calendar first: they keep the whole class back.
        for domain in [class.technology, class.destination, class.calendar] {
            if let Some(domain) = domain.some()
                && let Some(shut) = self.domains[domain].closed(need.pass, class.feels())
                && !advise
            {
                return self.shut(now, root, domain, Closed::Domain(domain, shut), self.shut_for(&need));
            }
        }
        let mut at = root;
        loop {
            let place = self.forest.get(at).place;
            if let Some(shut) = self.domains[place].closed(need.pass, class.feels())
                && !advise
            {
                return self.shut(now, at, place, Closed::Domain(place, shut), self.shut_for(&need));
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
        let waits = self.jobs[ix.at()].state.is_waiting();
        if waits && self.kept_apart(&self.jobs[ix.at()]).is_some() {
            return self.reenter(now, ix);
        }
        if let Some((domain, closed)) = self.first_outside(now, ix) {
            return self.park(now, ix, domain, closed);
        }
        self.reserve_before(now, ix);
        if let Some((bracket, place, closed)) = self.first_lack(now, ix, root) {
            self.make_room(now, ix);
            return self.keep_back(now, ix, bracket, place, closed);
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
        let groups = job.extras.iter().flat_map(|extras| &extras.groups);
        let mut outside = groups.copied().chain(self.beside(job)).chain(self.instances_of(job));
        outside.find_map(|domain| Some((domain, self.kept_out(now, ix, domain)?)))
    }

    /// The gate other than resources by which `domain` keeps a job out, or the resource it lacks there if the
    /// domain is not on its class's way.
    pub(super) fn kept_out(&self, now: Now, ix: JobIx, domain: DomainIx) -> Option<Closed> {
        let job = &self.jobs[ix.at()];
        let pass = job.pass(now.wall.as_millisecond());
        let entry = &self.domains[domain];
        if let Some(shut) = entry.closed(pass, self.feels(job)) {
            return Some(Closed::Domain(domain, shut));
        }
        if let Some(other) = self.overlapping(job, domain) {
            return Some(Closed::Overlap(other));
        }
        if job.parked != domain || entry.resources.is_empty() {
            return None;
        }
        let lack = entry.lacks(self.demands.amounts(self.needed(job)));
        let lack = lack.map(|(resource, amount)| Closed::Resource(domain, resource, amount));
        lack.or_else(|| self.first_promised(domain, ix, now))
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
            self.first_promised(place, ix, now)
        };
        let way = std::iter::successors(Some(root), |at| self.forest.below(*at));
        let mut on_the_way = way.map(|at| (Some(at), self.forest.get(at).place));
        let mut beside = self.beside(job).into_iter().map(|place| (None, place));
        let first = on_the_way.find_map(|(at, place)| Some((at, place, lack(place)?)));
        first.or_else(|| beside.find_map(|(at, place)| Some((at, place, lack(place)?))))
    }

    /// Keeps a job back that lacks something at `place`, and with it all of its class for which that holds as well.
    fn keep_back(
        &mut self,
        now: Now,
        ix: JobIx,
        bracket: Option<BracketIx>,
        place: DomainIx,
        closed: Closed,
    ) {
        let Some(bracket) = bracket else { return self.park(now, ix, place, closed) };
        let need = *self.forest.need(bracket);
        let key = self.jobs[ix.at()].key;
        let fits = self.may_fit(place, &need, self.forest.class(bracket).feels());
        if fits && !self.promised_to_another(place, &need, key, now) {
            // What this job lacks, being a little larger or longer, the next of its class may not. The number of
            // jobs that are looked past is bounded for each place: else a whole backlog might move there one by one.
            let parked = self.domains[place].gates.as_ref().map_or(0, |gates| gates.parked.len());
            return match parked < LOOKED_PAST {
                true => self.park(now, ix, place, closed),
                false => self.shut(now, bracket, place, closed, For::Top),
            };
        }
        if place != self.fleet() {
            let closed_for = if fits { For::LessUrgent } else { self.shut_for(&need) };
            return self.shut(now, bracket, place, closed, closed_for);
        }
        // The fleet passes over the whole need.
        self.defer(now, ix, closed);
        self.counts.moves += 1;
        self.forest.lanes.note_asked(&need, key, self.domains[place].openings);
    }

    /// A more urgent critical job is looked at even where it finds a gate closed: it may make others yield.
    fn shut_for(&self, need: &Need) -> For {
        if need.strict { For::LessUrgent } else { For::All }
    }

    /// Whether a domain may be open for what it keeps back of a class.
    fn is_open_for(&self, now: Now, domain: DomainIx, bracket: BracketIx) -> bool {
        let need = self.forest.need(bracket);
        let kept = |key| self.promised_to_another(domain, need, key, now);
        let feels = self.forest.class(bracket).feels();
        self.may_fit(domain, need, feels) && !self.forest.head(bracket).is_some_and(kept)
    }

    fn shut(&mut self, now: Now, bracket: BracketIx, by: DomainIx, closed: Closed, closed_for: For) {
        if let Some(ix) = self.forest.head(bracket).and_then(|key| self.find(key.id)) {
            self.defer(now, ix, closed);
            self.make_room_at_limit(now, ix, closed);
        }
        self.counts.moves += 1;
        self.forest.shut(&mut self.domains, bracket, by, closed_for);
    }

    fn park(&mut self, now: Now, ix: JobIx, at: DomainIx, closed: Closed) {
        self.leave(ix);
        self.counts.moves += 1;
        let class = self.class_of(ix, now.wall.as_millisecond());
        let alone = if self.domains[at].resources.is_empty() { JobIx::NONE } else { ix };
        let job = &mut self.jobs[ix.at()];
        job.parked = at;
        self.domains[at].gates_mut().parked.insert(Row { class, place: job.place, alone }, job.key, ix);
        self.defer(now, ix, closed);
        self.make_room_at_limit(now, ix, closed);
    }

    fn start(&mut self, now: Now, ix: JobIx) {
        let overridden = self.overridden(ix, now).map(|closed| self.describe(ix, closed, now));
        self.forget_plan(ix);
        self.withdraw_claim(ix);
        self.want_no_room(now, ix, true);
        self.charge_tenant(ix);
        let attempt = self.begin_attempt(now, ix);
        self.shut_what_no_longer_fits(ix);
        self.leave(ix);
        self.counts.moves += 1;
        self.count_waiting_no_more(ix);
        let job = &mut self.jobs[ix.at()];
        job.state = JobState::Starting;
        job.attempt += 1;
        job.active = attempt;
        job.told_gate = 0;
        if let Some(extras) = &mut job.extras {
            extras.kept_since = None;
        }
        let target = &mut self.targets[job.target.at()];
        if target.waiting == ix {
            target.waiting = JobIx::NONE;
        }
        target.begun = ix;
        self.set_next_look(now, ix);
        let waited = self.actives[attempt.at()].waited;
        if let Some(gate) = overridden {
            self.emit(Some(ix), EventKind::Overridden { gate });
        }
        self.emit(Some(ix), EventKind::Admitted { waited });
        let job = &self.jobs[ix.at()];
        let (spec, member) = self.request_of(job);
        let order = StartOrder {
            attempt: job.attempt_id(),
            spec: spec.into(),
            terms: job.terms.given.clone(),
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
            let need = self.forest.key(class).lane.need;
            let full = self.domains[place].lacks(self.demands.amounts(need.band)).is_some();
            if full && !need.strict && !self.forest.is_shut(bracket) && !self.config.advise_only {
                self.counts.moves += 1;
                self.forest.shut(&mut self.domains, bracket, place, For::All);
            }
        }
    }

    /// The window, plan or load gate that only the end of the slack opened.
    fn overridden(&self, ix: JobIx, now: Now) -> Option<Closed> {
        let job = &self.jobs[ix.at()];
        if !self.config.events || now.wall.as_millisecond() < job.latest_start_ms() {
            return None;
        }
        let tolerated = if job.priority >= Priority::High { LoadLevel::Peak } else { LoadLevel::Calm };
        let heeds = if job.is_express() { Heeds::Blackouts } else { Heeds::Windows };
        let as_others = Pass { goes_on: true, heeds, tolerated };
        let planned = job.priority < Priority::High && !job.is_express();
        if planned && self.plan_of(ix).is_some_and(|plan| plan.start > now.wall) {
            return Some(Closed::Plan);
        }
        let feels = self.feels(job);
        let mut domains = Vec::new();
        self.domains_of(job, &mut domains);
        let mut shut =
            domains.into_iter().map(|domain| (domain, self.domains[domain].closed(as_others, feels)));
        shut.find_map(|(domain, shut)| match shut? {
            shut @ (Shut::Window | Shut::Load(_)) => Some(Closed::Domain(domain, shut)),
            _ => None,
        })
    }

    /// Number of jobs with an attempt under way.
    pub fn active_count(&self) -> usize {
        self.domains[Domains::fleet()].attempts.len()
    }
}
