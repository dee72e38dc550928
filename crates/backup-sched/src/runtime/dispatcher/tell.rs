//! What the dispatcher tells those who ask how things stand.

use sched_core::Scope;

use super::{Dispatcher, Keeping};
use crate::metrics::Measured;
use crate::runtime::Impact;
use crate::status::{RunningJob, STATUS_VERSION, Status, Summary};

impl Dispatcher {
    pub(super) fn status(&self) -> Status {
        let engine = self.parts.engine.status();
        let running = engine.active_jobs.iter().map(|job| {
            let control = self.running.get(&job.job.id).map(|r| &r.control);
            RunningJob { status: job.clone(), progress: control.map(|c| c.progress()).unwrap_or_default() }
        });
        Status {
            version: STATUS_VERSION,
            running: running.collect(),
            engine,
            rate: self.parts.rates.rate(&Scope::Fleet),
            rates: self.parts.rates.list(|place| self.parts.signals.why(place)),
            probes: self.parts.signals.probes(self.parts.clock.now()),
            rooms: self.parts.signals.rooms.list(),
            forecast: self.parts.foresight.status(self.parts.engine.trusted(self.parts.clock.now())),
            recurring: self.parts.schedules.status(),
            hooks: self.parts.hooks.stats(),
            missed_by_subscribers: self.missed_by_subscribers,
            wakeups: self.wakeups,
            store: self.keeping.as_ref().map(Keeping::status),
        }
    }

    pub(super) fn summary(&self) -> Summary {
        Summary {
            version: STATUS_VERSION,
            engine: self.parts.engine.summary(),
            rate: self.parts.rates.rate(&Scope::Fleet),
            next_event: self.records.feed.next(),
            hooks: self.parts.hooks.stats(),
            missed_by_subscribers: self.missed_by_subscribers,
            wakeups: self.wakeups,
            store: self.keeping.as_ref().map(Keeping::status),
        }
    }

    pub(super) fn measured(&self) -> Measured {
        Measured {
            summary: self.summary(),
            counts: self.records.counts.clone(),
            rounds: self.records.rounds.clone(),
            rates: self.parts.rates.list(|place| self.parts.signals.why(place)),
            probes: self.parts.signals.probes(self.parts.clock.now()),
            rooms: self.parts.signals.rooms.list(),
            impact: self.parts.impact.as_ref().map(Impact::weeks),
        }
    }
}
