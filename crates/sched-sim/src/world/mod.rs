//! Hosts with their load, links, and the backups that run: [`World`].

mod link;
mod motion;
mod pacing;
mod run;
mod told;

use std::collections::BTreeSet;
use std::sync::Arc;

use sched_core::{Calendar, CalendarName, JobTerms};
use slab::Slab;

pub use self::pacing::Pacing;
pub use self::run::{Finished, Pace, Pressed, RunId};
pub use self::told::Reading;

use self::link::{FlowId, SharedLink};
use self::pacing::Laws;
use self::run::Run;
use crate::fault::{Fate, Faults};
use crate::fleet::{Fleet, Terms};
use crate::latency::Room;
use crate::load::SLOT_SECS;
use crate::measure::{Ledger, Measures};

/// The simulated fleet at a moment. Times are seconds from a Monday midnight.
///
/// Fluid: between events a backup moves what its host allows in the present quarter of an hour, or its part of its link
/// where that is less. What one cannot use of a link goes to the others.
#[derive(Debug)]
pub struct World<'a> {
    fleet: &'a Fleet,
    terms: Option<&'a Terms>,
    room: Room,
    pacing: Pacing,
    laws: Laws,
    faults: &'a Faults,
    /// When places or clocks change because of them, ascending.
    changes: Vec<f64>,
    /// When which instance is dropped, the first last.
    drops: Vec<(f64, u32)>,
    now: f64,
    links: Vec<SharedLink>,
    /// By link, the run behind each flow.
    run_of: Vec<Vec<RunId>>,
    /// The first end on each link; positive times are ordered as their bits.
    ends: BTreeSet<(u64, u32)>,
    end_of: Vec<Option<u64>>,
    runs: Slab<Run>,
    /// By host, what runs there.
    on: Vec<Vec<RunId>>,
    /// By instance.
    attempts: Vec<u32>,
    ledger: Ledger,
}

impl<'a> World<'a> {
    /// A world without backups at midnight, that lasts for so many hours.
    pub fn new(fleet: &'a Fleet, room: Room, pacing: Pacing, faults: &'a Faults, hours: usize) -> Self {
        Self {
            fleet,
            terms: None,
            room,
            pacing,
            laws: Laws::default(),
            faults,
            changes: faults.changes(),
            drops: drops(fleet),
            now: 0.0,
            links: fleet.links.iter().map(|link| SharedLink::new(link.bytes_per_sec)).collect(),
            run_of: vec![Vec::new(); fleet.links.len()],
            ends: BTreeSet::new(),
            end_of: vec![None; fleet.links.len()],
            runs: Slab::new(),
            on: vec![Vec::new(); fleet.hosts.len()],
            attempts: vec![0; fleet.instances.len()],
            ledger: Ledger::new(fleet, hours),
        }
    }

    /// With what policies say of the instances.
    #[must_use]
    pub fn governed(self, terms: Option<&'a Terms>) -> Self {
        Self { terms, ..self }
    }

    /// The fleet.
    pub fn fleet(&self) -> &'a Fleet {
        self.fleet
    }

    /// What policies say of an instance; `None` where nobody said anything.
    pub fn terms(&self, instance: u32) -> Option<&'a Arc<JobTerms>> {
        self.terms.and_then(|terms| terms.of(instance))
    }

    /// When the calendars are open that policies name.
    pub fn calendars(&self) -> impl Iterator<Item = (&'a CalendarName, &'a Arc<dyn Calendar>)> {
        self.terms.into_iter().flat_map(|terms| &terms.calendars)
    }

    /// The time, in seconds.
    pub fn now(&self) -> f64 {
        self.now
    }

    /// Backups that run.
    pub fn running(&self) -> usize {
        self.runs.len()
    }

    /// Of which instances backups run, and since when, in seconds.
    pub fn runs(&self) -> impl Iterator<Item = (u32, f64)> {
        self.runs.iter().map(|(_, run)| (run.instance, run.started))
    }

    /// Backups that run on a host.
    pub fn running_on(&self, host: u32) -> usize {
        self.on[host as usize].len()
    }

    /// What backups may use of a host.
    pub fn room(&self) -> Room {
        self.room
    }

    /// Days that it lasts.
    pub fn days(&self) -> u32 {
        self.ledger.hours().div_ceil(24) as u32
    }

    /// When a backup started, in seconds.
    ///
    /// # Panics
    /// When no such backup runs.
    pub fn started(&self, run: RunId) -> f64 {
        self.runs[run.0 as usize].started
    }

    /// Bytes that a backup has left to move.
    ///
    /// # Panics
    /// When no such backup runs.
    pub fn left(&mut self, run: RunId) -> f64 {
        let of = self.runs[run.0 as usize];
        self.links[of.link as usize].left(self.now, of.flow)
    }

    /// Has a [`Pace::Safe`] backup move as fast as its deadline asks, or no longer.
    ///
    /// # Panics
    /// When no such backup runs.
    pub fn press(&mut self, run: RunId, pressed: Pressed) {
        let before = std::mem::replace(&mut self.runs[run.0 as usize].pressed, pressed);
        if before != pressed {
            self.settle(run);
            self.rate(run);
            self.look_at(self.runs[run.0 as usize].link);
        }
    }

    /// Has those backups of a link that do not go first use no more of it than so many bytes a second together.
    pub fn limit_link(&mut self, link: u32, bytes_per_sec: f64) {
        self.links[link as usize].set_limit(self.now, bytes_per_sec);
        self.look_at(link);
    }

    /// What one more backup on a link would get that its host lets move faster, in bytes a second.
    pub fn share_of_link(&mut self, link: u32) -> f64 {
        self.links[link as usize].share()
    }

    /// Whether an instance exists now. One that does not has no backups.
    pub fn exists(&self, instance: u32) -> bool {
        self.fleet.instances[instance as usize].life.is_at(self.now)
    }

    /// The newest recovery point of an instance, in seconds.
    pub fn recovery_point(&self, instance: u32) -> f64 {
        self.ledger.point(instance)
    }

    /// The foreground load of a host now, from 0 to 1.
    pub fn load(&self, host: u32) -> f64 {
        self.load_at(host, self.now)
    }

    fn load_at(&self, host: u32, at: f64) -> f64 {
        let slot = (at / f64::from(SLOT_SECS)) as u32;
        let crowd = self.faults.crowd(self.fleet, host, at);
        (self.fleet.hosts[host as usize].load_at(slot) + crowd).min(1.0)
    }

    /// Whether whatever runs on a host now fails.
    pub fn is_out(&self, host: u32) -> bool {
        self.faults.out(self.fleet, host, self.now).is_some()
    }

    /// Says that the next backup of an instance is wanted from now on, if it has not been said since the last one: from
    /// then on it waits. Without that it waits for nothing, and is wanted when it starts.
    pub fn ask(&mut self, instance: u32) {
        self.ledger.asked(instance, self.now);
    }

    /// Says that a backup starts although a window, a plan or the load would have it wait, since its time is up.
    pub fn overridden(&mut self) {
        self.ledger.overridden();
    }

    /// Starts a backup. That of an instance that does not exist fails.
    pub fn start(&mut self, instance: u32, pace: Pace) -> RunId {
        let of = &self.fleet.instances[instance as usize];
        let link = self.fleet.hosts[of.host as usize].link;
        let attempt = &mut self.attempts[instance as usize];
        *attempt += 1;
        let fate = match self.faults.fate(of.seed, *attempt) {
            _ if !of.life.is_at(self.now) => Fate::Fails(0.0),
            fate => fate,
        };
        let bytes = of.bytes_after(self.now / 86_400.0);
        let part = match fate {
            Fate::Succeeds | Fate::Unavailable(_) | Fate::Dropped => 1.0,
            Fate::Fails(part) | Fate::Hangs(part) => part,
        };
        let (bytes, now) = (bytes * part, self.now);
        let flow = self.links[link as usize].join(now, bytes, 0.0);
        let (load, host) = (self.load(of.host), of.host);
        let run = Run {
            instance,
            host,
            link,
            flow,
            pace,
            started: now,
            bytes,
            fate,
            share: 0.0,
            allowed: 0.0,
            pressed: Pressed::default(),
            paused: false,
            lost: false,
            since: now,
            load,
            left: bytes,
        };
        let id = RunId(self.runs.insert(run) as u32);
        self.ledger.started(instance, now);
        self.name(link, flow, id);
        self.on[host as usize].push(id);
        self.rate_host(host);
        self.look_at(link);
        id
    }

    /// Has a backup stand still, or go on.
    ///
    /// # Panics
    /// When no such backup runs.
    pub fn pause(&mut self, run: RunId, paused: bool) {
        self.settle(run);
        self.runs[run.0 as usize].paused = paused;
        self.rate(run);
        self.look_at(self.runs[run.0 as usize].link);
    }

    /// Stops a backup whose time-out has passed: it has failed. `None` where nobody answers: it ends when its host is back.
    ///
    /// # Panics
    /// When no such backup runs.
    pub fn stop(&mut self, run: RunId) -> Option<Finished> {
        if self.is_lost(self.runs[run.0 as usize].host) {
            return None;
        }
        self.ledger.timed_out();
        Some(self.end(run, Fate::Fails(0.0)))
    }

    /// The measures so far; what is overdue counts as missed.
    pub fn close(mut self) -> Measures {
        let runs: Vec<RunId> = self.runs.iter().map(|(at, _)| RunId(at as u32)).collect();
        for run in runs {
            self.settle(run);
        }
        self.ledger.close(self.fleet, self.now)
    }

    fn name(&mut self, link: u32, flow: FlowId, id: RunId) {
        let names = &mut self.run_of[link as usize];
        if names.len() <= flow.index() {
            names.resize(flow.index() + 1, id);
        }
        names[flow.index()] = id;
    }
}

/// When which instance is dropped, the first last.
fn drops(fleet: &Fleet) -> Vec<(f64, u32)> {
    let dropped = fleet.instances.iter().zip(0..).map(|(of, n)| (of.life.dropped, n));
    let mut drops: Vec<(f64, u32)> = dropped.filter(|(at, _)| at.is_finite()).collect();
    drops.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
    drops
}
