//! What the engine is told of its surroundings: load, hosts that are down, destinations that are full.

use sched_core::{CapacityState, LoadState, Reason, Scope};

use super::loads::level;
use super::{AtWork, moment};
use crate::world::World;

impl AtWork {
    /// Tells what has changed with hosts and destinations since the last look.
    pub(super) fn follow_changes(&mut self, world: &World<'_>) {
        if world.now() < self.next_change {
            return;
        }
        self.next_change = world.next_change();
        let now = moment(world);
        for host in 0..world.fleet().hosts.len() as u32 {
            let (lost, full) = (world.is_lost(host), world.is_full(host));
            let before = std::mem::replace(&mut self.troubled[host as usize], (lost, full));
            let place = || Scope::Host(world.fleet().hosts[host as usize].name.as_str().into());
            if before.0 != lost {
                self.engine.set_down(now, place(), lost.then(|| Reason::new("it does not answer")));
            }
            if before.1 != full {
                let reason = Reason::new("the destination is full");
                let state = if full { CapacityState::Closed { reason } } else { CapacityState::Open };
                self.engine.set_capacity(now, place(), state);
            }
        }
    }

    /// Tells the load of hosts whose backups are about to start, wait, or may be paused.
    pub(super) fn look_at_loads(&mut self, world: &World<'_>) {
        while let Some(instance) = self.loads.next_due(world.now()) {
            let course = &self.instances[instance as usize];
            let may_pause = world.terms(instance).is_some_and(|terms| terms.pausable);
            let concerned = match course.run {
                Some(_) => may_pause,
                // If it is planned anew, that moment has a look of its own.
                None => course.planned <= world.clock() + 2.0,
            };
            let Some(plans) = self.plans.as_ref().filter(|_| concerned) else { continue };
            let host = world.fleet().instances[instance as usize].host;
            let level = level(world.now(), world.probe(host), plans.usual(host, world.clock()));
            if self.loads.tell(host, level) {
                let scope = Scope::Host(self.names[instance as usize].2.clone());
                let reason = Reason::new("held against what is usual");
                self.engine.set_load(moment(world), scope, LoadState::new(level, reason));
            }
            self.loads.again(world.now(), instance);
        }
    }
}
