//! What operators order: hold, drain, release, run now, ceilings; each with author, reason and expiry.

use crate::error::UnknownJob;
use crate::event::EventKind;
use crate::gate::Scope;
use crate::spec::JobId;
use crate::time::{MonoTime, Now};

use super::domain::Held;
use super::index::{ActiveIx, DomainIx, JobIx};
use super::job::mono_at;
use super::marks::Mark;
use super::{Alarm, Engine, Order, Output};

impl Engine {
    /// Keeps every job of `scope` from starting until [`release`](Self::release) or the order's expiry. Running
    /// jobs go on. Like all orders ignored when the scope's name cannot be used: nothing accepted is of it.
    pub fn hold(&mut self, now: Now, scope: Scope, order: Order) {
        self.set_hold(now, scope, order, false);
    }

    /// Like [`hold`](Self::hold), and says with an event when the last running job of `scope` has ended.
    pub fn drain(&mut self, now: Now, scope: Scope, order: Order) {
        self.set_hold(now, scope, order, true);
    }

    fn set_hold(&mut self, now: Now, scope: Scope, order: Order, drain: bool) {
        let now = self.observe(now);
        let Some(domain) = self.subject(&scope, true) else { return };
        let before = self.domains[domain].gates.as_ref().and_then(|gates| gates.hold.as_ref());
        if before.is_some_and(|before| before.order == order && before.drain == drain) {
            return;
        }
        let held = Held { order: order.clone(), drain, told: false };
        let before = self.domains[domain].gates_mut().hold.replace(held);
        if before.is_none() {
            self.changed(domain);
        }
        self.set_order_alarm(now, domain);
        self.record_orders(domain);
        self.emit(None, EventKind::HoldChanged { scope, order: Some(order) });
        self.tell_drained(domain);
    }

    /// Takes back a [`hold`](Self::hold) or a [`drain`](Self::drain). Returns whether there was one.
    pub fn release(&mut self, now: Now, scope: &Scope) -> bool {
        let now = self.observe(now);
        let Some(domain) = self.known(scope) else { return false };
        self.lift_hold(now, domain)
    }

    fn lift_hold(&mut self, now: Now, domain: DomainIx) -> bool {
        let Some(gates) = &mut self.domains[domain].gates else { return false };
        let held = gates.hold.take().is_some();
        if held {
            self.set_order_alarm(now, domain);
            self.record_orders(domain);
            self.touch(domain);
            let scope = self.domains[domain].scope.clone();
            self.emit(None, EventKind::HoldChanged { scope, order: None });
        }
        held
    }

    /// Lets a waiting job start as soon as there is room: before all that is not critical, at any load, before its
    /// requested start and without waiting out the present back-off. Holds, capacity, limits and resources still
    /// count, and so do later back-offs. When the order expires before the job has started, all is as before, but
    /// for the back-off. Returns `false`, and changes nothing, when it does not wait.
    ///
    /// # Errors
    /// When no such job is known.
    pub fn run_now(&mut self, now: Now, id: JobId, order: Order) -> Result<bool, UnknownJob> {
        let now = self.observe(now);
        let Some(ix) = self.find(id) else {
            return self.ended_status(id).map(|_| false).ok_or(UnknownJob(id));
        };
        if !self.jobs[ix.at()].state.is_waiting() {
            return Ok(false);
        }
        self.extras_mut(ix).run_now = Some(order.clone());
        self.emit(Some(ix), EventKind::RunNow { scope: None, order: Some(order) });
        self.leave(ix);
        self.end_back_off(ix);
        self.set_express(now, ix);
        self.enter(now, ix);
        self.record(ix);
        Ok(true)
    }

    /// [`run_now`](Self::run_now) for all jobs of a scope, those submitted later included, until the order's expiry
    /// or until it is taken back with `None`.
    pub fn run_all_now(&mut self, now: Now, scope: Scope, order: Option<Order>) {
        let now = self.observe(now);
        let Some(domain) = self.subject(&scope, order.is_some()) else { return };
        let before = std::mem::replace(&mut self.domains[domain].gates_mut().run_now, order.clone());
        self.counts.run_now += usize::from(order.is_some());
        self.counts.run_now -= usize::from(before.is_some());
        self.set_order_alarm(now, domain);
        if before != order {
            self.record_orders(domain);
            self.begin_sweep(true);
            self.emit(None, EventKind::RunNow { scope: Some(scope), order });
        }
    }

    /// Limits what all running jobs of a scope together may move, in bytes a second (at least 1); `None` lifts the
    /// ceiling. That of a place is handed out ([`Output::PlaceCeiling`]) to whoever shares rates there; of any other
    /// scope each job that does not stand paused gets an equal part.
    pub fn set_ceiling(&mut self, now: Now, scope: Scope, ceiling: Option<(u64, Order)>) {
        let now = self.observe(now);
        let Some(domain) = self.subject(&scope, ceiling.is_some()) else { return };
        let ceiling = ceiling.map(|(rate, order)| (rate.max(1), order));
        let before = std::mem::replace(&mut self.domains[domain].gates_mut().ceiling, ceiling.clone());
        self.counts.ceilings += usize::from(ceiling.is_some());
        self.counts.ceilings -= usize::from(before.is_some());
        self.set_order_alarm(now, domain);
        if before != ceiling {
            self.counts.ceilings_stale = true;
            self.record_orders(domain);
            if scope.is_place() {
                self.outputs.push_back(Output::PlaceCeiling(scope.clone(), ceiling.clone()));
            }
            let (bytes_per_sec, order) = ceiling.unzip();
            self.emit(None, EventKind::CeilingChanged { scope, bytes_per_sec, order });
        }
    }

    /// Takes note of whether an order of a job, or of one of its scopes, wants it now. The job must stand in no queue.
    pub(super) fn set_express(&mut self, now: Now, ix: JobIx) {
        self.expire_own_order(now, ix);
        let express = self.is_wanted_now(ix);
        let job = &mut self.jobs[ix.at()];
        if job.marks.set(Mark::Express, express) == express {
            return;
        }
        if express {
            self.end_back_off(ix);
        }
        self.withdraw_claim(ix);
        self.rekey(ix);
    }

    pub(super) fn is_wanted_now(&self, ix: JobIx) -> bool {
        let job = &self.jobs[ix.at()];
        if job.extras.as_ref().is_some_and(|extras| extras.run_now.is_some()) {
            return true;
        }
        if self.counts.run_now == 0 {
            return false;
        }
        let mut domains = Vec::new();
        self.domains_of(job, &mut domains);
        let wants =
            |domain: &DomainIx| self.domains[*domain].gates.as_ref().is_some_and(|g| g.run_now.is_some());
        domains.iter().any(wants)
    }

    fn expire_own_order(&mut self, now: Now, ix: JobIx) {
        let Some(extras) = &mut self.jobs[ix.at()].extras else { return };
        let expires = extras.run_now.as_ref().and_then(|order| order.expires);
        if expires.is_some_and(|expires| expires <= now.wall) {
            extras.run_now = None;
            self.emit(Some(ix), EventKind::RunNow { scope: None, order: None });
        }
    }

    /// Sets the alarm of a scope's orders to the first expiry among them, after any change.
    fn set_order_alarm(&mut self, now: Now, domain: DomainIx) {
        let gates = self.domains[domain].gates_mut();
        let hold = gates.hold.as_ref().map(|held| &held.order);
        let ceiling = gates.ceiling.as_ref().map(|(_, order)| order);
        let orders = [hold, gates.run_now.as_ref(), ceiling];
        let first = orders.into_iter().flatten().filter_map(|order| order.expires).min();
        let first = first.map(|expires| mono_at(now, expires));
        let before = std::mem::replace(&mut gates.orders_end, first);
        if let Some(before) = before {
            self.alarms.remove(&(before, Alarm::Orders(domain)));
        }
        self.alarms.extend(first.map(|at| (at, Alarm::Orders(domain))));
    }

    /// Expiries are on the wall, which moved.
    pub(super) fn reset_order_alarms(&mut self) {
        let now = self.wall.now();
        let of_orders = |(_, alarm): &(MonoTime, Alarm)| match alarm {
            Alarm::Orders(domain) => Some(*domain),
            _ => None,
        };
        let domains: Vec<_> = self.alarms.iter().filter_map(of_orders).collect();
        for domain in domains {
            self.set_order_alarm(now, domain);
        }
    }

    /// Ends the orders of a scope that have expired.
    fn expire_orders(&mut self, now: Now, domain: DomainIx) {
        let Some(gates) = &self.domains[domain].gates else { return };
        let scope = self.domains[domain].scope.clone();
        let over = |order: Option<&Order>| {
            order.and_then(|order| order.expires).is_some_and(|expires| expires <= now.wall)
        };
        let hold = over(gates.hold.as_ref().map(|held| &held.order));
        let run_now = over(gates.run_now.as_ref());
        let ceiling = over(gates.ceiling.as_ref().map(|(_, order)| order));
        if hold {
            self.lift_hold(now, domain);
        }
        if run_now {
            self.run_all_now(now, scope.clone(), None);
        }
        if ceiling {
            self.set_ceiling(now, scope, None);
        }
        self.set_order_alarm(now, domain);
    }

    /// Says that a drained scope is empty, once.
    pub(super) fn tell_drained(&mut self, domain: DomainIx) {
        let empty = self.domains[domain].attempts.is_empty();
        let Some(held) = self.domains[domain].gates.as_mut().and_then(|gates| gates.hold.as_mut()) else {
            return;
        };
        if empty && held.drain && !held.told {
            held.told = true;
            let scope = self.domains[domain].scope.clone();
            self.emit(None, EventKind::Drained { scope });
        }
    }

    pub(super) fn fire_alarms(&mut self, now: Now, budget: &mut usize) {
        while *budget > 0
            && let Some((at, alarm)) = self.alarms.first().copied()
            && at <= now.mono
        {
            self.alarms.pop_first();
            *budget -= 1;
            match alarm {
                Alarm::Claim(place) => self.lapse(now, place),
                Alarm::Breaker(domain) => self.breaker_due(now, domain),
                Alarm::Orders(domain) => self.expire_orders(now, domain),
                Alarm::Windows(domain) => self.read_calendar(now, domain),
                Alarm::Pause(active, attempt) => self.pause_overdue(now, active, attempt),
                Alarm::Stop(active) => self.stop_overdue(active),
            }
        }
    }

    /// The least of an attempt's equal parts of the ceilings over it; those of places are shared elsewhere.
    pub(super) fn ceiling_of(&self, active: ActiveIx) -> Option<u64> {
        if self.counts.ceilings == 0 {
            return None;
        }
        let parts = self.actives[active.at()].domains.iter().filter_map(|(domain, _)| {
            let entry = &self.domains[*domain];
            let (rate, _) = entry.gates.as_ref()?.ceiling.as_ref().filter(|_| !entry.scope.is_place())?;
            let moving = entry.attempts.len() - entry.standing as usize;
            Some((rate / moving.max(1) as u64).max(1))
        });
        parts.min()
    }

    /// Tells attempts whose part of a ceiling has changed.
    pub(super) fn apply_ceilings(&mut self) {
        if !std::mem::take(&mut self.counts.ceilings_stale) {
            return;
        }
        let fleet = self.fleet();
        let attempts: Vec<_> = self.domains[fleet].attempts.iter().collect();
        for active in attempts {
            if self.actives[active.at()].gave_back {
                continue;
            }
            let ceiling = self.ceiling_of(active);
            if self.actives[active.at()].ceiling != ceiling {
                self.actives[active.at()].ceiling = ceiling;
                let attempt = self.jobs[self.actives[active.at()].job.at()].attempt_id();
                self.outputs.push_back(Output::Ceiling(attempt, ceiling));
            }
        }
    }
}
