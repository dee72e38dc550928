//! What nobody expects: requests, orders, late reports and crashes at random moments.

use std::time::Duration;

use sched_core::{AttemptEnd, AttemptId, Cancellation, JobId, Order, Plan, Priority, Reason, SLOTS, Scope};
use sched_sim::World;

use crate::desk::{Desk, moment};
use crate::policy::GROUP;
use crate::{Checked, HOUR, ensure};

impl Desk<'_> {
    /// One of them, and when the next comes.
    pub(crate) fn disturb(&mut self, world: &mut World<'_>) -> Checked {
        let now = moment(world);
        let mean = self.case.disturbed.unwrap_or(f64::INFINITY);
        self.disturbed_at = world.now() + 2.0 * mean * self.rng.f64() + 1.0;
        if self.is_quiet(world.now()) {
            self.disturbed_at = f64::INFINITY;
            return self.calm_down(world);
        }
        let order = Order::new("ana", "to see what happens");
        let waiting: Vec<JobId> =
            self.book.jobs.iter().filter(|(_, entry)| entry.waits()).map(|(id, _)| *id).collect();
        let any: Vec<JobId> = self.book.jobs.keys().copied().collect();
        let one = |rng: &mut fastrand::Rng, of: &[JobId]| (!of.is_empty()).then(|| of[rng.usize(..of.len())]);
        match self.rng.u8(..14) {
            0..=1 => {
                let instance = self.rng.u32(..world.fleet().instances.len() as u32);
                let kinds = self.policies.of[instance as usize].kinds.clone();
                let kind = kinds[self.rng.usize(..kinds.len())];
                (0..2).try_for_each(|_| self.ask(world, instance, kind))?;
            }
            2 => {
                if let Some(id) = one(&mut self.rng, &any) {
                    return self.cancel(world, id);
                }
            }
            3 => {
                if let Some(id) = one(&mut self.rng, &any) {
                    let to = [Priority::Low, Priority::Normal, Priority::High, Priority::Critical]
                        [self.rng.usize(..4)];
                    self.engine.reprioritize(now, id, to).map_err(|unknown| unknown.to_string())?;
                    self.book.jobs.get_mut(&id).into_iter().for_each(|entry| entry.priority = to);
                }
            }
            4 => {
                if let Some(id) = one(&mut self.rng, &waiting) {
                    self.engine.run_now(now, id, order).map_err(|unknown| unknown.to_string())?;
                    self.book.jobs.get_mut(&id).into_iter().for_each(|entry| entry.hurry());
                }
            }
            5..=6 => {
                let scope = self.scope(world);
                self.engine.hold(now, scope.clone(), order);
                self.book.holds.insert(scope);
            }
            7..=8 => self.release(world),
            9..=10 => {
                if let Some(id) = one(&mut self.rng, &waiting) {
                    let start = now.plus(Duration::from_secs_f64(6.0 * HOUR * self.rng.f64())).wall;
                    let plan = Plan::new(start, Reason::new("it is calm then"));
                    self.engine.plan(now, id, Some(plan)).map_err(|unknown| unknown.to_string())?;
                    self.book.jobs.get_mut(&id).into_iter().for_each(|entry| entry.plan = Some(start));
                }
            }
            11 => return self.report_late(world),
            12 => {
                // Never below what somebody needs.
                let most = self.book.config.resources[&SLOTS.into()];
                let total = if self.book.totals[&(Scope::Fleet, SLOTS)] == most { 2 } else { most };
                self.set_slots(world, total.min(most));
            }
            _ => return self.crash(world),
        }
        Ok(())
    }

    fn scope(&mut self, world: &World<'_>) -> Scope {
        let fleet = world.fleet();
        let host = &fleet.hosts[self.rng.usize(..fleet.hosts.len())];
        match self.rng.u8(..5) {
            0 => Scope::Group(GROUP.into()),
            1 => Scope::Link(fleet.links[host.link as usize].name.as_str().into()),
            2 => Scope::Technology("mysql".into()),
            3 => {
                Scope::Instance(fleet.instances[self.rng.usize(..fleet.instances.len())].name.as_str().into())
            }
            _ => Scope::Host(host.name.as_str().into()),
        }
    }

    fn release(&mut self, world: &World<'_>) {
        for scope in std::mem::take(&mut self.book.holds) {
            self.engine.release(moment(world), &scope);
        }
    }

    fn set_slots(&mut self, world: &World<'_>, total: u64) {
        let place = Scope::Fleet;
        self.engine.set_resource(moment(world), &place, SLOTS.into(), total).expect("the fleet is a place");
        self.book.totals.insert((place, SLOTS), total);
    }

    /// Operators take back what they ordered.
    fn calm_down(&mut self, world: &World<'_>) -> Checked {
        self.release(world);
        self.set_slots(world, self.book.config.resources[&SLOTS.into()]);
        Ok(())
    }

    fn cancel(&mut self, world: &World<'_>, id: JobId) -> Checked {
        let waits = self.book.jobs[&id].waits();
        let told = self.engine.cancel(moment(world), id, Reason::new("not needed"));
        let told = told.map_err(|unknown| unknown.to_string())?;
        let called_off = self.book.jobs[&id].active.as_ref().is_some_and(|run| run.run.is_none());
        ensure(
            told == if waits || called_off { Cancellation::Done } else { Cancellation::Requested },
            || format!("{id} was cancelled: {told:?}"),
        )?;
        Ok(())
    }

    /// A report of an attempt that is over changes nothing.
    fn report_late(&mut self, world: &World<'_>) -> Checked {
        let over = self.over.iter().rev().take(20).copied();
        let next = self.book.jobs.iter().map(|(id, entry)| AttemptId { job: *id, number: entry.attempt + 1 });
        let stale: Vec<_> = over.chain(next).collect();
        let now = moment(world);
        for attempt in stale {
            let end = AttemptEnd::new(9, Ok(()));
            let heard = self.engine.started(now, attempt)
                || self.engine.paused(now, attempt)
                || self.engine.resumed(now, attempt)
                || self.engine.ended(now, attempt, end);
            ensure(!heard, || format!("a late report of {attempt:?} was heard"))?;
        }
        Ok(())
    }

    /// The process dies, with all that works in it; another goes on from what is durable.
    fn crash(&mut self, world: &mut World<'_>) -> Checked {
        // Moments on a wall that is wrong are wrong for the next process.
        let steady = self.case.faults.jumps.is_empty();
        if !self.case.crashes || !steady || self.book.durable != self.engine.journaled() {
            return Ok(());
        }
        for (run, attempt) in std::mem::take(&mut self.runs) {
            // On lost hosts work goes on that nobody waits for any more.
            world.stop(run);
            self.over.push(attempt);
        }
        self.start_over(world);
        let count = self.engine.restore(moment(world), self.records.iter().cloned());
        let count = count.map_err(|refused| refused.to_string())?;
        self.book.read_moments(&self.engine);
        ensure(count == self.book.jobs.len(), || {
            format!("{count} of {} jobs are there after a crash", self.book.jobs.len())
        })
    }
}
