//! What users have now: backups by the clock, [`Clockwork`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Strategy;
use crate::load::SLOT_SECS;
use crate::noise::unit;
use crate::world::{Finished, Pace, RunId, World};

/// When a failed backup is tried again, in seconds.
const RETRY_SECS: f64 = 900.0;
/// When a backup is given up, in seconds.
const TIMEOUT_SECS: f64 = 12.0 * 3600.0;

/// Backups by the clock, with the means that cron, shell scripts and common tools offer.
#[derive(Clone, Debug)]
pub struct Clockwork {
    start: StartAt,
    pace: Pace,
    most_a_link: Option<u32>,
    only_below: Option<f64>,
    /// What falls due: when (positive times are ordered as their bits), and which instance.
    due: BTreeSet<(u64, u32)>,
    planned: bool,
    /// By link, what waits for its turn, and how many run.
    links: Vec<(VecDeque<u32>, u32)>,
    /// When each is given up.
    given_up: BTreeSet<(u64, RunId)>,
    gives_up: BTreeMap<RunId, u64>,
}

/// The time of day at which a backup starts, and every interval of its instance after that. Seconds from midnight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StartAt {
    /// All at once.
    Fixed(f64),
    /// Each at a random moment within so many seconds from the first on.
    Within(f64, f64),
}

impl Clockwork {
    /// Starts at these times, at this pace.
    pub fn new(start: StartAt, pace: Pace) -> Self {
        Self {
            start,
            pace,
            most_a_link: None,
            only_below: None,
            due: BTreeSet::new(),
            planned: false,
            links: Vec::new(),
            given_up: BTreeSet::new(),
            gives_up: BTreeMap::new(),
        }
    }

    /// No more than so many at once on a link; the others wait in line.
    #[must_use]
    pub fn most_a_link(mut self, jobs: u32) -> Self {
        self.most_a_link = Some(jobs);
        self
    }

    /// Starts only while the host's load is below this; else looks again after a quarter of an hour.
    #[must_use]
    pub fn only_below(mut self, load: f64) -> Self {
        self.only_below = Some(load);
        self
    }

    fn plan(&mut self, world: &World<'_>) {
        for (n, instance) in world.fleet().instances.iter().enumerate() {
            let (every, created) = (instance.every.as_secs_f64(), instance.life.created);
            let first = self.start.first(instance.seed, every);
            let first = if first < created { self.start.next(instance.seed, every, created) } else { first };
            self.due.insert((first.to_bits(), n as u32));
        }
        self.links = vec![(VecDeque::new(), 0); world.fleet().links.len()];
    }

    /// An instance whose time has come.
    fn fall_due(&mut self, world: &mut World<'_>, instance: u32) {
        if !world.exists(instance) {
            return;
        }
        world.ask(instance);
        let of = &world.fleet().instances[instance as usize];
        if self.only_below.is_some_and(|most| world.load(of.host) >= most) {
            self.due_at(world.now() + f64::from(SLOT_SECS), instance);
            return;
        }
        let link = world.fleet().hosts[of.host as usize].link;
        self.links[link as usize].0.push_back(instance);
        self.start_on(world, link);
    }

    fn due_at(&mut self, at: f64, instance: u32) {
        self.due.insert((at.to_bits(), instance));
    }

    fn start_on(&mut self, world: &mut World<'_>, link: u32) {
        let most = self.most_a_link.unwrap_or(u32::MAX);
        while self.links[link as usize].1 < most {
            let Some(instance) = self.links[link as usize].0.pop_front() else { return };
            if !world.exists(instance) {
                continue;
            }
            self.links[link as usize].1 += 1;
            let run = world.start(instance, self.pace);
            let gives_up = (world.now() + TIMEOUT_SECS).to_bits();
            self.given_up.insert((gives_up, run));
            self.gives_up.insert(run, gives_up);
        }
    }
}

impl Strategy for Clockwork {
    fn name(&self) -> String {
        let hour = |secs: f64| format!("{:02.0}:00", (secs / 3600.0).rem_euclid(24.0));
        let when = match self.start {
            StartAt::Fixed(at) => format!("at {}", hour(at)),
            StartAt::Within(_, secs) if secs >= 86_400.0 => "at random over the day".to_owned(),
            StartAt::Within(from, secs) => format!("at random from {} to {}", hour(from), hour(from + secs)),
        };
        let pace = match self.pace {
            Pace::Unthrottled => String::new(),
            Pace::Fixed(rate) => format!(", {:.0} MB/s", rate / 1e6),
            Pace::Safe => ", paced".to_owned(),
        };
        let most = self.most_a_link.map_or(String::new(), |most| format!(", {most} at once on a link"));
        let below =
            self.only_below.map_or(String::new(), |load| format!(", load under {:.0} %", 100.0 * load));
        when + &pace + &most + &below
    }

    fn wake(&mut self, world: &mut World<'_>) -> f64 {
        if !std::mem::replace(&mut self.planned, true) {
            self.plan(world);
        }
        let now = world.now().to_bits();
        while let Some((at, run)) = self.given_up.first().copied().filter(|(at, _)| *at <= now) {
            self.given_up.remove(&(at, run));
            self.gives_up.remove(&run);
            if let Some(stopped) = world.stop(run) {
                self.finished(world, &stopped);
            }
        }
        while let Some((at, instance)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, instance));
            self.fall_due(world, instance);
        }
        let first = |bits: Option<u64>| bits.map_or(f64::INFINITY, f64::from_bits);
        first(self.due.first().map(|due| due.0)).min(first(self.given_up.first().map(|up| up.0)))
    }

    fn finished(&mut self, world: &mut World<'_>, finished: &Finished) {
        if let Some(at) = self.gives_up.remove(&finished.run) {
            self.given_up.remove(&(at, finished.run));
        }
        let of = &world.fleet().instances[finished.instance as usize];
        let link = world.fleet().hosts[of.host as usize].link;
        self.links[link as usize].1 -= 1;
        if finished.dropped {
            return self.start_on(world, link);
        }
        let every = of.every.as_secs_f64();
        let next =
            if finished.ok { self.start.next(of.seed, every, world.now()) } else { world.now() + RETRY_SECS };
        self.due_at(next, finished.instance);
        self.start_on(world, link);
    }
}

impl StartAt {
    /// The first turn of an instance.
    fn first(self, seed: u64, every: f64) -> f64 {
        let at = match self {
            Self::Fixed(at) => at,
            Self::Within(from, secs) => from + secs * unit(0x57a7, seed),
        };
        at.rem_euclid(every)
    }

    /// The first turn after this moment.
    fn next(self, seed: u64, every: f64, now: f64) -> f64 {
        let first = self.first(seed, every);
        first + (((now - first) / every).floor() + 1.0).max(0.0) * every
    }
}
