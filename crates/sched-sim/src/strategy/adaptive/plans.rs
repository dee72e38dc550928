//! When backups are to start: [`Plans`].

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use jiff::{SignedDuration, Timestamp};
use sched_core::{Calendar, CalendarName, JobId, Plan};
use sched_workload::plan::{FleetPlanner, LinkSet, OpenInterval, PlanSettings, PlanSource, PlannedJob};
use sched_workload::{Forecast, ForecastSlot};

use super::weeks::{Course, Weeks};
use super::{HOUR, secs_of, wall_of};
use crate::MONDAY;
use crate::fleet::Instance;
use crate::latency::Room;
use crate::world::World;

/// Slots of the planner.
const STEP: Duration = Duration::from_secs(1800);
/// Hours of forecast that a plan looks at.
const SEEN_HOURS: usize = 48;
/// Hosts with less room than this are no dearer, or nothing but peaks would count.
const LEAST_ROOM: f64 = 0.03;
/// No backup is planned before this part of its RPO has passed.
const EARLIEST: f64 = 0.5;
/// What a plan leaves between the expected end and the deadline: a part of the RPO.
const RESERVE: f64 = 0.08;
/// What each link carries at most of what is not pressed by a deadline, over what its instances' RPOs need in the long
/// run.
const LEVEL: f64 = 1.3;
/// Plans are made anew no more often, in seconds: those that came first see who came after them.
const SWEEP: f64 = 2.0 * HOUR;
/// And then when this part of the time to the start has passed. A backup that is far off will find others there anyway.
const SOONER: f64 = 0.3;

/// The planner with the fleet's links, and what it asks about.
#[derive(Debug)]
pub(super) struct Plans {
    planner: FleetPlanner,
    links: Vec<LinkSet>,
    /// What the instances that exist need of each link in the long run, in bytes a second.
    needed: Vec<f64>,
    outlook: Outlook,
    /// Hosts of which there is more to learn, and the days that have been.
    learning: Vec<Course>,
    days_over: u32,
    /// Jobs that are planned anew, by the sweep that does it: those that came first see who came after them.
    again: BTreeMap<u64, Vec<JobId>>,
    sweep: u64,
    swept: f64,
}

/// What the planner looks up for each job.
#[derive(Debug)]
struct Outlook {
    hosts: Vec<Rc<[ForecastSlot]>>,
    room: Room,
    calendars: BTreeMap<CalendarName, Arc<dyn Calendar>>,
    jobs: HashMap<JobId, Wanted, FixedState>,
}

/// A backup to be planned. Times are in seconds, as the wall clock says.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) host: u32,
    pub(super) link: u32,
    /// The recovery point that it renews, and for how long that is good.
    pub(super) point: f64,
    pub(super) rpo: f64,
    pub(super) duration: f64,
    pub(super) bytes: f64,
    pub(super) seed: u64,
    pub(super) window: Option<CalendarName>,
    /// Where it is planned to start; `None` before it is planned, and once it runs.
    pub(super) start: Option<f64>,
}

impl Plans {
    pub(super) fn new(world: &mut World<'_>, weeks: &Weeks) -> Self {
        let fleet = world.fleet();
        let mut needed = vec![0.0; fleet.links.len()];
        for (of, _) in fleet.instances.iter().zip(0..).filter(|(_, n)| world.exists(*n)) {
            needed[fleet.hosts[of.host as usize].link as usize] += level_of(world, of);
        }
        let settings = PlanSettings::default().step(STEP).horizon(Duration::from_secs(36 * 3600));
        let mut planner = FleetPlanner::new(settings, wall_of(world.clock())).expect("the settings are good");
        let mut links = Vec::with_capacity(needed.len());
        for (n, (link, level)) in fleet.links.iter().zip(&needed).enumerate() {
            let level = level.min(link.bytes_per_sec);
            world.limit_link(n as u32, level);
            links.push(LinkSet::new([planner.add_link(level as u64)]).expect("it is one link"));
        }
        let hosts = fleet.hosts.iter().map(|host| weeks.of(host, world.days())).collect();
        let learning = fleet.hosts.iter().zip(0..).filter_map(|(host, n)| Course::new(n, host)).collect();
        let calendars = world.calendars().map(|(name, of)| (name.clone(), of.clone())).collect();
        let outlook = Outlook { hosts, room: world.room(), calendars, jobs: HashMap::default() };
        let (again, swept) = (BTreeMap::new(), world.clock());
        Self { planner, links, needed, outlook, learning, days_over: 0, again, sweep: 0, swept }
    }

    /// An instance has been created, or dropped: its link is to carry more, or less.
    pub(super) fn came_or_went(&mut self, world: &mut World<'_>, instance: u32, came: bool) {
        let of = &world.fleet().instances[instance as usize];
        let link = world.fleet().hosts[of.host as usize].link;
        let needed = &mut self.needed[link as usize];
        *needed += if came { level_of(world, of) } else { -level_of(world, of) };
        let level = needed.clamp(0.0, world.fleet().links[link as usize].bytes_per_sec);
        world.limit_link(link, level);
        self.links[link as usize].iter().for_each(|id| self.planner.set_capacity(id, level as u64));
    }

    /// Learns of the days that are over what is new.
    pub(super) fn learn(&mut self, world: &World<'_>) {
        let over = (world.now() / 86_400.0) as u32;
        if over > std::mem::replace(&mut self.days_over, over) {
            for course in &mut self.learning {
                let host = course.host as usize;
                course.follow(&world.fleet().hosts[host], over, world.days(), &mut self.outlook.hosts[host]);
            }
        }
    }

    /// The share of a host that backups may use, mean over the hours from one moment to another, as far as it is forecast.
    pub(super) fn room(&self, room: Room, host: u32, from: f64, to: f64) -> f64 {
        let week = &self.outlook.hosts[host as usize];
        let first = ((from.max(0.0) / HOUR) as usize).min(week.len() - 1);
        let last = ((to.max(0.0) / HOUR).ceil() as usize).clamp(first + 1, week.len());
        let hours = &week[first..last];
        hours.iter().map(|slot| room.beside(slot.mean.into())).sum::<f64>() / hours.len() as f64
    }

    /// The load that is usual on a host at a moment.
    pub(super) fn usual(&self, host: u32, at: f64) -> ForecastSlot {
        let week = &self.outlook.hosts[host as usize];
        week[((at.max(0.0) / HOUR) as usize).min(week.len() - 1)]
    }

    pub(super) fn insert(&mut self, now: f64, job: JobId, of: Wanted) {
        let planned = PlannedJob {
            since: wall_of(now.max(of.earliest())),
            latest_start: Some(wall_of(of.latest())),
            may_override: true,
            duration: Duration::from_secs_f64(of.duration),
            bytes: of.bytes as u64,
            links: self.links[of.link as usize],
            seed: of.seed,
        };
        self.outlook.jobs.insert(job, of);
        self.planner.insert(job, planned);
    }

    pub(super) fn started(&mut self, now: f64, job: JobId) {
        self.planner.started(job, wall_of(now));
        if let Some(of) = self.outlook.jobs.get_mut(&job) {
            of.start = None;
        }
    }

    pub(super) fn remove(&mut self, job: JobId) {
        self.outlook.jobs.remove(&job);
        self.planner.remove(job);
    }

    /// Whether something has changed that is not planned yet.
    pub(super) fn is_behind(&self) -> bool {
        self.planner.backlog() > 0
    }

    /// The plans of what has changed since the last call, and now and then of those that still wait.
    pub(super) fn changes(&mut self, now: f64) -> Vec<(JobId, Option<Plan>)> {
        let passed = now - self.swept;
        if passed.abs() >= SWEEP {
            (self.swept, self.sweep) = (now, self.sweep + 1);
            let due = if (0.0..2.0 * SWEEP).contains(&passed) {
                self.again.remove(&self.sweep).unwrap_or_default()
            } else {
                // The wall has jumped: no plan is what it was.
                std::mem::take(&mut self.again).into_values().flatten().collect()
            };
            for job in due {
                if let Some(start) = self.outlook.jobs.get(&job).and_then(|of| of.start) {
                    self.planner.changed(job);
                    self.look_again(now, job, start);
                }
            }
        }
        let mut changes = Vec::new();
        let behind = self.planner.backlog();
        if behind > 0 {
            self.planner.replan(wall_of(now), &self.outlook, behind, &mut changes);
        }
        for (job, plan) in &changes {
            let start = plan.as_ref().map_or(now, |plan| secs_of(plan.start));
            let before = self.outlook.jobs.get_mut(job).and_then(|of| of.start.replace(start));
            if before.is_none() {
                self.look_again(now, *job, start);
            }
        }
        changes
    }

    /// A job that starts at a moment has a place in a later sweep.
    fn look_again(&mut self, now: f64, job: JobId, start: f64) {
        let sweeps = (SOONER * (start - now) / SWEEP).max(1.0) as u64;
        self.again.entry(self.sweep + sweeps).or_default().push(job);
    }
}

/// What an instance adds to the level of its link, in bytes a second.
fn level_of(world: &World<'_>, of: &Instance) -> f64 {
    LEVEL * of.bytes_after(f64::from(world.days()) / 2.0) / of.rpo.as_secs_f64()
}

impl Wanted {
    fn earliest(&self) -> f64 {
        self.point + EARLIEST * self.rpo
    }

    fn latest(&self) -> f64 {
        self.point + (1.0 - RESERVE) * self.rpo - 1.25 * self.duration
    }
}

impl PlanSource for Outlook {
    fn windows(&self, job: JobId, from: Timestamp, until: Timestamp, into: &mut Vec<OpenInterval>) {
        let Some(of) = self.jobs.get(&job) else { return };
        let earliest = wall_of(of.earliest());
        match of.window.as_ref().and_then(|name| self.calendars.get(name)) {
            Some(calendar) => {
                OpenInterval::of(&**calendar, from.max(earliest), until, into);
                into.iter_mut().for_each(|open| open.from = open.from.max(earliest));
            }
            None => into.push(OpenInterval { from: earliest, until: Timestamp::MAX }),
        }
    }

    /// What a backup costs in each hour, as a load: the time that its bytes take in the room that is left, over the time
    /// for which it is good. Both keep a fleet from what the foreground would feel, and the second one from backups that
    /// are not needed yet.
    fn forecast(&self, job: JobId, from: Timestamp, into: &mut Forecast) -> bool {
        let Some(of) = self.jobs.get(&job) else { return false };
        let week = &self.hosts[of.host as usize];
        let first = ((secs_of(from).max(of.earliest()).max(0.0) / HOUR) as usize).min(week.len() - 1);
        let end = (of.latest() + of.duration) / HOUR;
        let last = (end.max(0.0) as usize + 1).clamp(first + 1, first + SEEN_HOURS).min(week.len());
        into.start = MONDAY + SignedDuration::from_hours(first as i64);
        into.step = Duration::from_secs(3600);
        let cost = |(slot, hour): (&ForecastSlot, usize)| {
            let renewed = ((hour as f64 + 0.5) * HOUR - of.point).max(0.3 * of.rpo);
            let room = self.room.beside(slot.mean.into()).max(LEAST_ROOM);
            ForecastSlot { mean: (of.rpo / (renewed * room)) as f32, spread: 0.0 }
        };
        into.slots.extend(week[first..last].iter().zip(first..).map(cost));
        true
    }
}
