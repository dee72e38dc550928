//! Phases of an attempt: what it tolerates may change while it runs, and what it holds may shrink.

use crate::event::EventKind;
use crate::run::{Progress, RunPhase};
use crate::state::JobState;
use crate::terms::Demand;
use crate::time::Now;

use super::index::{ActiveIx, DemandIx};
use super::{AttemptId, Engine};

impl Engine {
    /// Another part of an attempt has begun. It may pause from now on if the phase says so: one that was told to and
    /// may not any more goes on. What it gives back is free for others at once, and no part of its next pause.
    /// Returns `false`, and changes nothing, when that attempt does not move.
    pub fn phase(&mut self, now: Now, attempt: AttemptId, phase: RunPhase) -> bool {
        let now = self.observe(now);
        let moves = |state| matches!(state, JobState::Running | JobState::Pausing | JobState::Resuming);
        let Some(ix) = self.under_way(attempt).filter(|ix| moves(self.jobs[ix.at()].state)) else {
            return false;
        };
        let active = self.jobs[ix.at()].active;
        self.actives[active.at()].pausable = Some(phase.pausable);
        self.shrink(active, &phase.gives_back);
        let pausable = phase.pausable;
        self.emit(Some(ix), EventKind::PhaseBegan { phase });
        if self.jobs[ix.at()].state == JobState::Pausing && !pausable {
            self.order_resume(now, ix);
        }
        self.reviews.push_back(active);
        true
    }

    /// An attempt told how far it is. Returns whether it is under way.
    pub fn progress(&mut self, now: Now, attempt: AttemptId, progress: Progress) -> bool {
        self.observe(now);
        let Some(ix) = self.under_way(attempt) else { return false };
        self.emit(Some(ix), EventKind::Progress { progress });
        true
    }

    /// Whether an attempt may stand still in its present phase.
    pub(super) fn may_pause(&self, active: ActiveIx) -> bool {
        let entry = &self.actives[active.at()];
        entry.pausable.unwrap_or(self.jobs[entry.job.at()].terms.pausable)
    }

    /// Gives back part of what a moving attempt holds, as far as it holds that.
    fn shrink(&mut self, active: ActiveIx, gives_back: &Demand) {
        let before = self.actives[active.at()].demand;
        let held = self.demands.amounts(before).clone();
        let part = |(resource, amount): &_| {
            let asked = gives_back.iter().find(|(name, _)| self.demands.known(name) == Some(*resource));
            (*resource, asked.map_or(0, |(_, asked)| asked.min(*amount)))
        };
        let mut gone: Vec<_> = held.iter().map(part).collect();
        gone.retain(|(_, amount)| *amount > 0);
        if gone.is_empty() {
            return;
        }
        let less = |(resource, amount): &_| {
            let gone = gone.iter().find(|(other, _)| other == resource).map_or(0, |(_, gone)| *gone);
            (*resource, amount - gone)
        };
        let left = held.iter().map(less).filter(|(_, amount)| *amount > 0).collect();
        let left = self.demands.intern(left);
        let entry = &mut self.actives[active.at()];
        entry.demand = left;
        let flow = std::mem::replace(&mut entry.flow, DemandIx::NONE);
        self.demands.release(before);
        if let Some(flow) = flow.some() {
            self.demands.release(flow);
        }
        for at in 0..self.actives[active.at()].domains.len() {
            let (domain, _) = self.actives[active.at()].domains[at];
            self.domains[domain].give_back(&gone);
            self.touch(domain);
        }
    }
}
