//! How a world moves on: ends of backups, other loads, outages, and the rates that follow from them.

use std::collections::BTreeSet;

use super::run::Run;
use super::{Finished, Pace, Pacing, RunId, World};
use crate::fault::{Fate, Where};
use crate::fleet::Host;
use crate::latency::{latency, slowdown};
use crate::measure::Stretch;

/// A p99 over this ratio to the one without backup is harm.
const HARM_FROM: f64 = 1.2;
/// The part of a busy host that a backup gets that fights for it.
const FOUGHT_FOR: f64 = 0.3;
/// So long a law harms the foreground of a host whose load rises in a quarter of an hour: the mean of what it does in
/// [`Pacing::EverySecond`].
const REACTION_SECS: f64 = 12.0;
/// After so many seconds an attempt notices that nothing can be backed up.
const NOTICED_SECS: f64 = 30.0;

impl<'a> World<'a> {
    /// Moves on to `to`, or to the first end of a backup before that. A backup ends, too, when its instance is dropped.
    pub fn advance(&mut self, to: f64) -> Option<Finished> {
        let slot = self.pacing.period();
        loop {
            let boundary =
                if self.runs.is_empty() { f64::INFINITY } else { ((self.now / slot).floor() + 1.0) * slot };
            let change = self.next_change();
            let end = self.ends.first().map(|(bits, link)| (f64::from_bits(*bits), *link));
            let dropped = self.drops.last().map_or(f64::INFINITY, |(at, _)| *at);
            let next = boundary.min(change).min(dropped).min(to);
            if let Some((at, link)) = end.filter(|(at, _)| *at <= next) {
                self.now = self.now.max(at);
                if let Some(finished) = self.end_first(link) {
                    return Some(finished);
                }
                continue;
            }
            self.now = next;
            if next == change {
                self.follow_faults();
            }
            if next == boundary {
                self.look_again();
            }
            if next == dropped
                && let Some(finished) = self.drop_next()
            {
                return Some(finished);
            }
            if next >= to {
                return None;
            }
        }
    }

    /// The next instance is dropped. Ends its backup, if one runs.
    fn drop_next(&mut self) -> Option<Finished> {
        let (_, instance) = self.drops.pop()?;
        let on = &self.on[self.fleet.instances[instance as usize].host as usize];
        let run = on.iter().copied().find(|run| self.runs[run.0 as usize].instance == instance)?;
        Some(self.end(run, Fate::Dropped))
    }

    /// The first flow of a link has moved all its bytes.
    fn end_first(&mut self, link: u32) -> Option<Finished> {
        let (_, flow) = self.links[link as usize].next_end()?;
        let id = self.run_of[link as usize][flow.index()];
        let run = &mut self.runs[id.0 as usize];
        if let Fate::Hangs(_) = run.fate {
            // It stands still from now on.
            self.settle(id);
            self.links[link as usize].stall(self.now, flow);
            self.look_at(link);
            return None;
        }
        let fate = run.fate;
        Some(self.end(id, fate))
    }

    pub(super) fn end(&mut self, id: RunId, fate: Fate) -> Finished {
        self.settle(id);
        let run = self.runs.remove(id.0 as usize);
        let left = self.links[run.link as usize].leave(self.now, run.flow);
        self.on[run.host as usize].retain(|other| *other != id);
        if self.on[run.host as usize].is_empty() {
            self.laws.forget(run.host);
        }
        self.rate_host(run.host);
        self.look_at(run.link);
        let (ok, dropped) = (fate == Fate::Succeeds, fate == Fate::Dropped);
        if ok {
            self.ledger.succeeded(self.fleet, run.instance, run.started, self.now);
        } else if !dropped {
            self.ledger.failed(run.instance);
        }
        let unavailable = if let Fate::Unavailable(place) = fate { Some(place) } else { None };
        let bytes = run.bytes - left;
        Finished { run: id, instance: run.instance, started: run.started, bytes, ok, unavailable, dropped }
    }

    /// Loads change, or laws look again.
    fn look_again(&mut self) {
        let runs: Vec<RunId> = self.runs.iter().map(|(at, _)| RunId(at as u32)).collect();
        let mut links = BTreeSet::new();
        for id in runs {
            let moved = self.settle(id);
            let Run { host, link, pace, load: before, .. } = self.runs[id.0 as usize];
            let load = self.load(host);
            self.runs[id.0 as usize].load = load;
            if pace == Pace::Safe {
                let used = moved / self.host(host).bytes_per_sec;
                match self.pacing {
                    Pacing::Steady if slowdown(load, used) > HARM_FROM => self.ledger.harmed(REACTION_SECS),
                    Pacing::Steady => {}
                    Pacing::EverySecond => {
                        let share = self.laws.share(host, self.now, latency(before + used), used);
                        self.runs[id.0 as usize].share = share;
                    }
                }
            }
            self.rate(id);
            links.insert(link);
        }
        links.into_iter().for_each(|link| self.look_at(link));
    }

    /// Faults of places begin or end.
    fn follow_faults(&mut self) {
        let runs: Vec<RunId> = self.runs.iter().map(|(at, _)| RunId(at as u32)).collect();
        for id in runs {
            let Run { host, link, lost, .. } = self.runs[id.0 as usize];
            if lost || self.is_lost(host) || self.is_out(host) {
                self.settle(id);
                self.rate(id);
                self.look_at(link);
            }
        }
    }

    /// Puts what has happened since the last change into the ledger. Returns the mean rate, in bytes a second.
    pub(super) fn settle(&mut self, id: RunId) -> f64 {
        let run = &mut self.runs[id.0 as usize];
        let secs = self.now - run.since;
        if secs <= 0.0 {
            return 0.0;
        }
        let left = self.links[run.link as usize].left(self.now, run.flow);
        let bytes = (run.left - left).max(0.0);
        let (host, beside) =
            (&self.fleet.hosts[run.host as usize], self.on[run.host as usize].len().max(1) as f64);
        let stretch = Stretch {
            instance: run.instance,
            host: run.host,
            link: run.link,
            from: run.since,
            secs,
            bytes,
            load: run.load,
            allowed: run.allowed,
        };
        self.ledger.ran(self.fleet, stretch);
        // Of several on one host each answers for its part.
        if slowdown(run.load, beside * bytes / secs / host.bytes_per_sec) > HARM_FROM {
            self.ledger.harmed(secs / beside);
        }
        (run.since, run.left) = (self.now, left);
        bytes / secs
    }

    pub(super) fn rate_host(&mut self, host: u32) {
        for at in 0..self.on[host as usize].len() {
            let id = self.on[host as usize][at];
            self.settle(id);
            self.rate(id);
        }
    }

    /// Tells the link what a run can move.
    pub(super) fn rate(&mut self, id: RunId) {
        let is_lost = self.is_lost(self.runs[id.0 as usize].host);
        self.runs[id.0 as usize].lost |= is_lost;
        let run = self.runs[id.0 as usize];
        let link = &mut self.links[run.link as usize];
        let noticed = matches!(run.fate, Fate::Unavailable(_));
        if is_lost || (run.paused && !run.lost && !noticed) {
            let run = &mut self.runs[id.0 as usize];
            run.allowed = 0.0;
            if noticed {
                // It notices anew when its host is back.
                run.fate = Fate::Succeeds;
            }
            return link.stall(self.now, run.flow);
        }
        if noticed {
            return;
        }
        let out = if run.lost {
            Some(Where::Host(run.host))
        } else {
            self.faults.out(self.fleet, run.host, self.now)
        };
        if let Some(place) = out {
            // It fails when it notices.
            let left = link.end_within(self.now, run.flow, NOTICED_SECS);
            let run = &mut self.runs[id.0 as usize];
            run.fate = Fate::Unavailable(place);
            (run.bytes, run.left) = (run.bytes - run.left + left, left);
            return;
        }
        let host = &self.fleet.hosts[run.host as usize];
        let beside = self.on[run.host as usize].len().max(1) as f64;
        let free = (1.0 - run.load).max(FOUGHT_FOR) * host.bytes_per_sec;
        let cap = match run.pace {
            Pace::Unthrottled => free,
            Pace::Fixed(rate) => rate.min(free),
            Pace::Safe => {
                let share = match self.pacing {
                    Pacing::Steady => self.room.beside(run.load),
                    Pacing::EverySecond => run.share,
                };
                (share * host.bytes_per_sec).max(run.pressed.least.min(free))
            }
        };
        self.runs[id.0 as usize].allowed = cap / beside;
        let cap = run.pressed.first.map_or(cap, |most| cap.min(most));
        link.set_cap(self.now, run.flow, cap / beside, run.pressed.first.is_some());
    }

    fn host(&self, host: u32) -> &'a Host {
        &self.fleet.hosts[host as usize]
    }

    /// The first end on a link may be another now.
    pub(super) fn look_at(&mut self, link: u32) {
        let next = self.links[link as usize].next_end().map(|(at, _)| at.max(self.now).to_bits());
        let old = std::mem::replace(&mut self.end_of[link as usize], next);
        if old != next {
            old.map(|bits| self.ends.remove(&(bits, link)));
            next.map(|bits| self.ends.insert((bits, link)));
        }
    }
}
