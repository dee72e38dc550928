//! Instances that are created and dropped while the scheduler is at work: [`Lives`].

use sched_core::Reason;

use super::{AtWork, moment};
use crate::fleet::Fleet;
use crate::world::World;

/// When instances come and go.
#[derive(Debug)]
pub(super) struct Lives {
    turns: Vec<Turn>,
}

/// An instance comes or goes. The first is the last of all.
#[derive(Clone, Copy, Debug)]
struct Turn {
    /// When, in seconds.
    at: f64,
    instance: u32,
    comes: bool,
}

impl Lives {
    pub(super) fn new(fleet: &Fleet) -> Self {
        let turns = fleet.instances.iter().zip(0..).flat_map(|(of, instance)| {
            let turn = |at, comes| Turn { at, instance, comes };
            [turn(of.life.created, true), turn(of.life.dropped, false)]
        });
        let mut turns: Vec<Turn> = turns.filter(|turn| turn.at > 0.0 && turn.at.is_finite()).collect();
        turns.sort_by(|a, b| b.at.total_cmp(&a.at).then(b.instance.cmp(&a.instance)));
        Self { turns }
    }

    /// When the next one comes or goes, in seconds; infinite for never.
    pub(super) fn next(&self) -> f64 {
        self.turns.last().map_or(f64::INFINITY, |turn| turn.at)
    }
}

impl AtWork {
    /// Asks for a first backup of who has been created, and gives up that of who has been dropped.
    pub(super) fn follow_lives(&mut self, world: &mut World<'_>) {
        while let Some(Turn { instance, comes, .. }) = self.lives.turns.pop_if(|turn| turn.at <= world.now())
        {
            self.plans.iter_mut().for_each(|plans| plans.came_or_went(world, instance, comes));
            if world.exists(instance) {
                self.submit(world, instance);
            } else if self.instances[instance as usize].run.is_none() {
                self.give_up(world, instance);
            }
        }
    }

    /// Nobody wants the backup of an instance any more.
    pub(super) fn give_up(&mut self, world: &World<'_>, instance: u32) {
        if let Some(job) = self.instances[instance as usize].job {
            // It may have ended just now; then it is told, and nothing is asked for anew.
            let _ = self.engine.cancel(moment(world), job, Reason::new("the instance was dropped"));
        }
    }
}
