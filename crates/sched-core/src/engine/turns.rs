//! Whose turn it is: critical jobs within their share, then tenants by their due, passing over needs for which the
//! fleet has no room.

use crate::queue::OrderKey;
use crate::time::Now;

use super::Engine;
use super::domain::{LaneKey, Need};
use super::index::{DomainIx, JobIx, LaneIx};
use super::lanes::{Next, Turn, Turns};
use super::sensitivity::Feels;

impl Engine {
    /// Looks at those whose turn it is until none can start or the budget is spent.
    pub(super) fn admit(&mut self, now: Now, budget: &mut usize) {
        while *budget > 0 {
            self.forest.lanes.settle();
            let Some(lane) = self.next_turn(now) else { return };
            *budget -= 1;
            match self.forest.lanes.next(lane) {
                Some(Next::Class(root)) => self.consider(now, root),
                Some(Next::Parked(domain, first)) => self.let_in(now, lane, domain, first),
                None => debug_assert!(false, "a lane without anybody has a turn"),
            }
            self.reexamine(now, budget);
            if self.is_unsettled() {
                return;
            }
        }
    }

    /// The lane whose turn it is: critical jobs within their share, then the tenant that had least of its due.
    fn next_turn(&self, now: Now) -> Option<LaneIx> {
        let (mut strict, mut other): (Option<Turn>, Option<Turn>) = (None, None);
        for (need, turns) in self.forest.lanes.needs() {
            if let Some(turn) = self.turn_of(need, turns, now) {
                let least = if need.strict { &mut strict } else { &mut other };
                *least = Some(least.map_or(turn, |least| least.min(turn)));
            }
        }
        let chosen = match other {
            Some(other) if strict.is_some() && self.over_share(self.moving()) => Some(other),
            other => strict.or(other),
        };
        chosen.map(|turn| turn.lane)
    }

    pub(super) fn any_turn(&self) -> bool {
        let now = self.wall.now();
        self.forest.lanes.needs().any(|(need, turns)| self.turn_of(need, turns, now).is_some())
    }

    /// Who comes next among those of one need, if the fleet has room for them.
    fn turn_of(&self, need: &Need, turns: &Turns, now: Now) -> Option<Turn> {
        let first = turns.first()?;
        let fleet = self.fleet();
        if self.config.advise_only || self.may_fit(fleet, need, Feels::AS_ALL) {
            let kept = |turn: &&Turn| self.promised_to_another(fleet, need, turn.key, now);
            return turns.iter().find(|turn| self.config.advise_only || !kept(turn)).copied();
        }
        // A strict one is looked at once all the same: it may make others yield.
        let entry = &self.domains[fleet];
        let asks = need.strict
            && entry.closed(need.pass, Feels::AS_ALL).is_none()
            && !turns.has_asked(first.key, entry.openings);
        asks.then_some(*first)
    }

    /// Has jobs of a lane that are parked at `domain` let in one by one, the most urgent of them at `first`. The door
    /// may outlast all of them, so it uses what they need itself.
    pub(super) fn open_door(&mut self, lane: LaneKey, domain: DomainIx, first: OrderKey) {
        if self.forest.lanes.open_door(lane, domain, first) {
            self.demands.retain(lane.need.band);
        }
    }

    /// Lets the most urgent job in that is parked at a domain which has opened.
    fn let_in(&mut self, now: Now, lane: LaneIx, domain: DomainIx, first: OrderKey) {
        let key = *self.forest.lanes.key(lane);
        self.counts.moves += 1;
        let closed = self.forest.lanes.close_door(lane, domain, first);
        self.let_next_in(now, key, domain);
        if closed {
            self.demands.release(key.need.band);
        }
    }

    fn let_next_in(&mut self, now: Now, key: LaneKey, domain: DomainIx) {
        if !self.may_fit(domain, &key.need, Feels::AS_ALL) {
            return;
        }
        let parked = self.domains[domain].gates.iter().flat_map(|gates| gates.parked.of(&key));
        let mut open = parked.map(|(_, ix)| ix).filter(|ix| self.kept_out(now, *ix, domain).is_none());
        let Some(ix) = open.next() else { return };
        drop(open);
        let row = self.domains[domain].gates_mut().parked.row_of(ix).copied();
        self.reenter(now, ix);
        let parked = &mut self.domains[domain].gates_mut().parked;
        // As long as it is kept back where it stands now, the rest of its row would be too.
        let at = self.jobs[ix.at()].bracket;
        if let Some(row) = row
            && !at.is_none()
            && self.forest.kept_back(at).is_some()
            && parked.block(row)
        {
            self.let_in.insert(ix, (domain, row));
        }
        let next = parked.of(&key).next();
        if let Some((next, _)) = next {
            self.open_door(key, domain, next);
        }
    }

    /// Attempts that do not stand paused.
    pub(super) fn moving(&self) -> usize {
        self.active_count() - self.domains[self.fleet()].standing as usize
    }

    /// Whether critical jobs have their share of what runs, were one more to run beside `running`.
    pub(super) fn over_share(&self, running: usize) -> bool {
        let share = u64::from(self.config.critical_share_percent.min(100));
        self.counts.strict as u64 * 100 >= share * (running as u64 + 1)
    }

    /// Has a job's tenant pay for its start.
    pub(super) fn charge_tenant(&mut self, ix: JobIx) {
        if self.forest.lanes.tenants() >= 2 && !self.jobs[ix.at()].key.is_strict() {
            let tenant = self.jobs[ix.at()].extras.as_ref().map_or(0, |extras| extras.tenant);
            self.forest.lanes.charge(tenant);
        }
    }
}
