//! How many jobs may run in each place: what the law says, in terms of the engine.
//!
//! Every job takes one of a resource named [`ROOM`], which a place has once something is measured there. So the
//! operator's own slots and limits stay as they are beside it and the least counts; links and hosts count for
//! themselves; a shrink keeps jobs from starting and has the least urgent pause that may; nothing is cancelled; and a
//! critical job can take the room of a paused one. That none may run is said as a closed capacity, because a resource
//! of 0 would refuse submissions for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sched_core::{CapacityState, Engine, EventKind, MonoTime, Now, Reason, ResourceName, Scope};
use sched_limits::{ConcurrencyLaw, Feed, Rate, Room, Sample, Watchdog};

use super::signals::Directive;

/// The resource of which every job takes one where room is measured.
pub(crate) const ROOM: &str = "room";

/// What jobs move is counted over at least this time.
const LOOK: Duration = Duration::from_secs(1);

/// Jobs that use at least this part of a rate may be slowed by it.
const SLOWED_FROM: f64 = 0.8;

/// What may be moved at a place, and the bytes that were moved there so far.
pub(crate) struct Fed {
    pub(crate) scope: Scope,
    pub(crate) rate: Rate,
    pub(crate) moved: u64,
}

/// Which places have room for how many jobs.
#[derive(Debug)]
pub(crate) struct Rooms {
    law: ConcurrencyLaw,
    /// What of each probe's samples can be believed.
    watchdogs: BTreeMap<usize, Watchdog>,
    /// Why a place is closed: by its probes' thresholds, and because no job fits.
    judged: BTreeMap<Scope, Reason>,
    full: BTreeMap<Scope, Reason>,
    /// What the jobs of a place had moved when its rate was last looked at, and how many they were.
    fed: BTreeMap<Scope, (MonoTime, u64, u32)>,
    /// Whether jobs are kept to it, or it is only told.
    enforce: bool,
}

impl Rooms {
    pub(crate) fn new(law: ConcurrencyLaw, enforce: bool) -> Self {
        Self {
            law,
            watchdogs: BTreeMap::new(),
            judged: BTreeMap::new(),
            full: BTreeMap::new(),
            fed: BTreeMap::new(),
            enforce,
        }
    }

    /// When [`tick`](Self::tick) may have something to say.
    pub(crate) fn next_look(&self) -> Option<MonoTime> {
        self.law.next_look()
    }

    /// Every place where room is measured.
    pub(crate) fn list(&self) -> Vec<Room> {
        self.law.rooms().collect()
    }

    /// A probe answered.
    pub(crate) fn sample(
        &mut self,
        now: Now,
        (probe, period): (usize, Duration),
        sample: &Sample,
        engine: &mut Engine,
    ) -> Vec<Directive> {
        let running = |scope: &Scope| running_in(engine, now, scope, self.enforce);
        let watchdog = self.watchdogs.entry(probe).or_insert_with(|| Watchdog::new(period));
        let (believed, _) = watchdog.examine(sample);
        let changed = self.law.observe(now.mono, period, believed, running);
        let mut directives = self.explain(sample);
        directives.extend(changed.into_iter().flat_map(|room| self.follow(room)));
        directives
    }

    /// Says by the newest values why there is no more room: to those who are kept back already, and to those who pause
    /// or are kept back from now on.
    fn explain(&mut self, sample: &Sample) -> Vec<Directive> {
        let scopes: BTreeSet<_> = sample.readings.iter().map(|reading| &reading.scope).collect();
        let rooms: Vec<_> = scopes.into_iter().filter_map(|scope| self.law.room(scope)).collect();
        rooms.into_iter().flat_map(|room| self.set(room)).collect()
    }

    /// The rates of places, and the bytes that their jobs have moved so far.
    pub(crate) fn feed(&mut self, now: Now, fed: Vec<Fed>, engine: &mut Engine) -> Vec<Directive> {
        let mut slowed = false;
        let mut looks = Vec::with_capacity(fed.len());
        for place in fed {
            let running = running_in(engine, now, &place.scope, self.enforce);
            let used = self.used(now.mono, &place, running);
            slowed |= matches!((place.rate, used), (Rate::BytesPerSec(rate), Some(used)) if used >= SLOWED_FROM * rate as f64);
            looks.push((place.scope, Feed { rate: place.rate, used_bytes_per_sec: used, running }));
        }
        let rooms = looks.into_iter().filter_map(|(scope, mut feed)| {
            // Jobs that some rate slows do not show elsewhere what they would move.
            feed.used_bytes_per_sec = feed.used_bytes_per_sec.filter(|_| !slowed);
            self.law.feed(now.mono, &scope, feed)
        });
        let rooms: Vec<_> = rooms.collect();
        rooms.into_iter().flat_map(|room| self.follow(room)).collect()
    }

    /// Rates stand for something else than what jobs may move: what is moved meanwhile tells nothing.
    pub(crate) fn starve(&mut self) {
        self.fed.clear();
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Now) -> Vec<Directive> {
        self.law.tick(now.mono).into_iter().flat_map(|room| self.follow(room)).collect()
    }

    /// The thresholds opened or closed a scope, which stays closed while no job fits there.
    pub(crate) fn judged(&mut self, scope: Scope, state: CapacityState) -> Directive {
        match state {
            CapacityState::Closed { reason } => self.judged.insert(scope.clone(), reason),
            CapacityState::Open => self.judged.remove(&scope),
        };
        self.capacity(scope)
    }

    /// What the jobs of a place moved in a second since the last look, if it is long enough ago and as many ran all the
    /// time.
    fn used(&mut self, now: MonoTime, place: &Fed, running: u32) -> Option<f64> {
        let before = self.fed.get(&place.scope).filter(|(_, _, jobs)| *jobs == running).copied();
        let passed = before.map(|(at, ..)| now.since(at));
        if passed.is_some_and(|passed| passed < LOOK) {
            return None;
        }
        self.fed.insert(place.scope.clone(), (now, place.moved, running));
        Some(place.moved.saturating_sub(before?.1) as f64 / passed?.as_secs_f64())
    }

    fn follow(&mut self, room: Room) -> Vec<Directive> {
        let Room { scope, jobs, reason, .. } = room.clone();
        let told = Directive::Note(EventKind::RoomChanged { scope, jobs, reason });
        std::iter::once(told).chain(self.set(room)).collect()
    }

    fn set(&mut self, room: Room) -> Vec<Directive> {
        if !self.enforce {
            return vec![];
        }
        let Room { scope, jobs, reason, .. } = room;
        let mut directives = vec![Directive::Room(scope.clone(), jobs.max(1), reason.clone())];
        let was_full = match jobs {
            0 => self.full.insert(scope.clone(), reason),
            _ => self.full.remove(&scope),
        };
        if was_full.is_some() || jobs == 0 {
            directives.push(self.capacity(scope));
        }
        directives
    }

    fn capacity(&self, scope: Scope) -> Directive {
        let state = match self.judged.get(&scope).or_else(|| self.full.get(&scope)) {
            Some(reason) => CapacityState::Closed { reason: reason.clone() },
            None => CapacityState::Open,
        };
        Directive::Capacity(scope, state)
    }
}

/// How many jobs run in a place and do not stand paused. Jobs that are not kept to it are not told apart.
fn running_in(engine: &mut Engine, now: Now, scope: &Scope, enforce: bool) -> u32 {
    if !enforce {
        return u32::try_from(engine.active_count()).unwrap_or(u32::MAX);
    }
    let used = |engine: &Engine| {
        let resources = engine.resources(scope);
        let room = resources.into_iter().find(|(place, name, _)| place == scope && name.as_str() == ROOM);
        room.map(|(_, _, capacity)| capacity.used)
    };
    let used = used(engine).or_else(|| {
        // The engine counts from the moment at which there is something to count.
        engine.set_resource(now, scope, ResourceName::from(ROOM), u64::MAX).ok()?;
        used(engine)
    });
    used.map_or(0, |used| u32::try_from(used).unwrap_or(u32::MAX))
}
