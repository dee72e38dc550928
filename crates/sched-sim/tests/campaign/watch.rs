//! The strategy that users simulate their fleets with, looked at after each step: [`Watched`].

use sched_core::{Gate, SLOTS, Scope};
use sched_sim::{Adaptive, Finished, Fleet, Strategy, World};

use crate::{Checked, HOUR, ensure};

/// An overdue backup whose gates are all open starts within this time: the longest back-off after a failure, and the
/// cool-down of a breaker before it.
const PATIENCE: f64 = HOUR;

/// The strategy, and what does not hold of it.
pub(crate) struct Watched {
    inner: Adaptive,
    most_a_link: u64,
    /// By instance, since when its backup is overdue although nothing keeps it.
    overdue: Vec<Option<f64>>,
    broken: Option<String>,
}

impl Watched {
    pub(crate) fn new(inner: Adaptive, most_a_link: u64, fleet: &Fleet) -> Self {
        Self { inner, most_a_link, overdue: vec![None; fleet.instances.len()], broken: None }
    }

    pub(crate) fn verdict(self) -> Checked {
        self.broken.map_or(Ok(()), Err)
    }

    fn check(&mut self, world: &World<'_>) -> Checked {
        let Some(engine) = self.inner.engine() else { return Ok(()) };
        let fleet = world.fleet();
        // Starts may wait for the store.
        ensure(engine.active_count() == world.running() || world.has_slow_store(), || {
            format!("{} attempts of the engine, {} of the world", engine.active_count(), world.running())
        })?;
        let jobs = engine.pending_count() + engine.active_count();
        ensure(jobs == fleet.instances.len(), || {
            format!("{jobs} jobs for {} instances", fleet.instances.len())
        })?;
        let mut used = vec![0; fleet.links.len()];
        for (n, host) in fleet.hosts.iter().enumerate() {
            let busy = world.running_on(n as u32);
            ensure(busy <= 1, || format!("{busy} backups run on host {n}"))?;
            used[host.link as usize] += busy as u64;
        }
        for (link, used) in used.iter().enumerate() {
            let place = Scope::Link(fleet.links[link].name.as_str().into());
            let slots = engine.resources(&place).into_iter().find(|(_, name, _)| name.as_str() == SLOTS);
            let counted = slots.map_or(0, |(_, _, slots)| slots.used);
            ensure(counted <= self.most_a_link, || format!("{counted} backups are let in on link {link}"))?;
            // Who stands for a peak has given its slot back.
            ensure(counted <= *used || world.has_slow_store(), || {
                format!("link {link}: {counted} are counted, {used} run")
            })?;
        }
        self.check_overdue(world, &used)
    }

    /// Nobody who is overdue waits while there is room.
    fn check_overdue(&mut self, world: &World<'_>, used: &[u64]) -> Checked {
        let (fleet, now) = (world.fleet(), world.now());
        for (n, instance) in fleet.instances.iter().enumerate() {
            let (host, rpo) = (instance.host, instance.rpo.as_secs_f64());
            let link = fleet.hosts[host as usize].link as usize;
            // The clock by which it goes may have been wrong when the recovery point was made.
            let due = world.recovery_point(n as u32) + rpo + (world.clock() - now).abs();
            let running = world.running_on(host) > 0 || used[link] >= self.most_a_link;
            if now < due || running || world.is_out(host) || world.is_lost(host) || world.durable_at() > now {
                self.overdue[n] = None;
                continue;
            }
            let since = *self.overdue[n].get_or_insert(now);
            if now - since <= PATIENCE {
                continue;
            }
            let waiting = self.inner.engine().map(|engine| engine.status().waiting_jobs).unwrap_or_default();
            let job = waiting.into_iter().find(|job| job.job.instance.as_str() == instance.name);
            if job.is_none() && world.has_slow_store() {
                // Its start waits for the store.
                continue;
            }
            let gate = job.and_then(|job| job.waits_for);
            // After an outage one tries, then two, then four.
            let may_keep = |gate: &Gate| matches!(gate, Gate::Breaker | Gate::Window | Gate::Blackout);
            ensure(gate.as_ref().is_some_and(|gate| may_keep(&gate.gate)), || {
                let (due, since) = (due / HOUR, since / HOUR);
                format!(
                    "instance {n} is overdue since hour {due:.1}, and waits since hour {since:.1} for {gate:?}"
                )
            })?;
        }
        Ok(())
    }
}

impl Strategy for Watched {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn wake(&mut self, world: &mut World<'_>) -> f64 {
        let next = self.inner.wake(world);
        if self.broken.is_none() {
            self.broken = self.check(world).err();
        }
        next
    }

    fn finished(&mut self, world: &mut World<'_>, finished: &Finished) {
        self.inner.finished(world, finished);
    }
}
