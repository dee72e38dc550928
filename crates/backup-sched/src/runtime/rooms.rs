//! How many jobs may run in each place: what the law says, in terms of the engine.
//!
//! Every job takes one of a resource named [`ROOM`], which a place has once something is measured there. So the
//! operator's own slots and limits stay as they are beside it and the least counts; links and hosts count for
//! themselves; a shrink keeps jobs from starting and has the least urgent pause that may; nothing is cancelled; and a
//! critical job can take the room of a paused one. That none may run is said as a closed capacity, because a resource
//! of 0 would refuse submissions for ever.

use std::collections::BTreeMap;
use std::time::Duration;

use sched_core::{
    CapacityState, ClosedGate, Engine, Event, EventKind, Explanation, Gate, MonoTime, Now, Reason,
    ResourceName, Scope,
};
use sched_limits::{ConcurrencyLaw, Feed, Rate, Room, Sample, Watchdog};

use super::signals::Directive;

/// The resource of which every job takes one where room is measured.
pub(crate) const ROOM: &str = "room";

/// What jobs move is counted over at least this time.
const LOOK: Duration = Duration::from_secs(1);

/// Which places have room for how many jobs.
#[derive(Debug)]
pub(crate) struct Rooms {
    law: ConcurrencyLaw,
    /// What of each probe's samples can be believed.
    watchdogs: BTreeMap<usize, Watchdog>,
    /// Why a place is closed: by its probes' thresholds, and because no job fits.
    judged: BTreeMap<Scope, Reason>,
    full: BTreeMap<Scope, Reason>,
    /// What all jobs had moved when the rate was last looked at, and how many they were.
    fed: Option<(MonoTime, u64, u32)>,
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
            fed: None,
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
        let rooms = self.law.observe(now.mono, period, believed, running);
        rooms.into_iter().flat_map(|room| self.follow(room)).collect()
    }

    /// The rate of all jobs and the bytes that they have moved so far.
    pub(crate) fn feed(&mut self, now: Now, rate: Rate, paced: u64, engine: &mut Engine) -> Vec<Directive> {
        let running = running_in(engine, now, &Scope::Fleet, self.enforce);
        let used = self.used(now.mono, paced, running);
        let feed = Feed { rate, used_bytes_per_sec: used, running };
        let room = self.law.feed(now.mono, &Scope::Fleet, feed);
        room.into_iter().flat_map(|room| self.follow(room)).collect()
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

    /// Says in every closed gate of a job why there is no more room.
    pub(crate) fn say_why(&self, explanation: &mut Explanation) {
        for closed in &mut explanation.closed {
            if let Some(reason) = self.why(closed) {
                closed.reason = reason;
            }
        }
    }

    /// The event of a job that lacks room, with the reason for that.
    pub(crate) fn say_why_deferred(&self, event: &Event) -> Option<Event> {
        let EventKind::Deferred { by, advice_only } = &event.kind else { return None };
        let by = ClosedGate { reason: self.why(by)?, ..by.clone() };
        let kind = EventKind::Deferred { by, advice_only: *advice_only };
        Some(Event { at: event.at, job: event.job.clone(), kind })
    }

    /// Why a closed gate leaves no more room, by the newest values; `None` when it is closed for something else.
    fn why(&self, closed: &ClosedGate) -> Option<Reason> {
        let scope = &closed.scope;
        let for_room = match &closed.gate {
            Gate::Resource(name) => name.as_str() == ROOM,
            Gate::Capacity => self.full.contains_key(scope) && !self.judged.contains_key(scope),
            _ => false,
        };
        for_room.then(|| self.law.room(scope)).flatten().map(|room| room.reason)
    }

    /// What all jobs moved in a second since the last look, if it is long enough ago and as many ran all the time.
    fn used(&mut self, now: MonoTime, paced: u64, running: u32) -> Option<f64> {
        let before = self.fed.filter(|(_, _, jobs)| *jobs == running);
        let passed = before.map(|(at, ..)| now.since(at));
        if passed.is_some_and(|passed| passed < LOOK) {
            return None;
        }
        self.fed = Some((now, paced, running));
        Some(paced.saturating_sub(before?.1) as f64 / passed?.as_secs_f64())
    }

    fn follow(&mut self, room: Room) -> Vec<Directive> {
        let Room { scope, jobs, reason } = room;
        let mut directives = vec![Directive::Note(EventKind::RoomChanged {
            scope: scope.clone(),
            jobs,
            reason: reason.clone(),
        })];
        if !self.enforce {
            return directives;
        }
        directives.push(Directive::Room(scope.clone(), jobs.max(1)));
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
