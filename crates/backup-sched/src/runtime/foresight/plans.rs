//! When waiting jobs are to start: who is planned, by which forecast, over which links. Pure.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use jiff::Timestamp;
use sched_core::{
    CalendarName, Engine, InstanceName, JobId, MonoTime, Now, PageCursor, PendingFilter, Plan, Reason,
    ResourceName, SLOTS, Scope, wall_plus, wall_until,
};
use sched_workload::Forecast;
use sched_workload::plan::{
    FleetPlanner, LinkId, LinkSet, MAX_LINKS, OpenInterval, PlanSettings, PlanSettingsError, PlanSource,
    PlannedJob,
};

use super::placement;
use super::weeks::Weeks;
use crate::forecast::{JobPlan, LinkUse};
use crate::runtime::Rates;

/// Jobs that are planned between two looks at messages: about a millisecond of work.
const PORTION: usize = 64;
/// A job that is accepted with thousands of others waits for so long at most until its start is planned.
const PLANNED_WITHIN: Duration = Duration::from_secs(60);
/// Resolution of the forecasts that starts are planned by: no coarser than the quarters in which zones differ.
const STEP: Duration = Duration::from_secs(900);
/// How far windows are looked for by the forecast: a learned week repeats itself.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// The longest forecast.
const LONGEST: Duration = Duration::from_secs(14 * 24 * 3600);

/// Where a job is and what its bytes go over.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    pub(crate) instance: InstanceName,
    /// Whose load concerns it, the nearest first.
    pub(crate) scopes: Vec<Scope>,
    /// The places that its bytes pass.
    pub(crate) path: Vec<Scope>,
}

pub(crate) type Change = (JobId, Option<Plan>);

/// Keeps the plans of waiting jobs.
pub(crate) struct Plans {
    fleet: FleetPlanner,
    horizon: Duration,
    waiting: BTreeMap<JobId, Waiting>,
    /// Of how many of these the engine has a plan.
    held: usize,
    links: BTreeMap<Scope, (LinkId, u64)>,
    slots: LinkId,
    /// Jobs that wait are looked at anew, from here on.
    entering: Option<Entering>,
    /// Scopes, policies, links or what these are parts of have changed since that began last.
    outdated: bool,
    learned: bool,
    /// Jobs that may be planned with their submission before messages are looked at again.
    at_once: usize,
}

/// A look at all jobs that wait, as they and their surroundings are by now.
struct Entering {
    from: PageCursor,
    /// How many there were, less those that were looked at.
    left: usize,
}

struct Waiting {
    scopes: Box<[Scope]>,
    calendar: Option<CalendarName>,
    job: PlannedJob,
    /// Whether the engine has a plan of it.
    held: bool,
    planned: bool,
}

impl Plans {
    pub(crate) fn new(settings: PlanSettings, now: Timestamp) -> Result<Self, PlanSettingsError> {
        let mut fleet = FleetPlanner::new(settings, now)?;
        let slots = fleet.add_slots(u64::MAX);
        Ok(Self {
            fleet,
            horizon: settings.horizon,
            waiting: BTreeMap::new(),
            held: 0,
            links: BTreeMap::new(),
            slots,
            entering: None,
            outdated: false,
            learned: false,
            at_once: PORTION,
        })
    }

    /// What all backups at a place may move together; 0 says nothing of how full it is.
    pub(crate) fn set_link(&mut self, place: &Scope, bytes_per_sec: Option<u64>) {
        match (self.links.get_mut(place), bytes_per_sec.filter(|rate| *rate > 0)) {
            (Some((link, capacity)), rate) => {
                *capacity = rate.unwrap_or(u64::MAX);
                self.fleet.set_capacity(*link, *capacity);
            }
            (None, Some(rate)) => {
                let link = self.fleet.add_link(rate);
                self.links.insert(place.clone(), (link, rate));
                self.outdated = true;
            }
            (None, None) => {}
        }
    }

    /// Where jobs are, or whose load concerns them, may be another now: those that wait are looked at anew.
    pub(crate) fn outdate(&mut self) {
        self.outdated = true;
    }

    /// A job was accepted, joined by another request, or is looked at anew.
    pub(crate) fn submitted(
        &mut self,
        now: Now,
        engine: &Engine,
        weeks: &Weeks,
        id: JobId,
        placement: &Placement,
    ) -> Option<Change> {
        let mut hasher = DefaultHasher::new();
        placement.instance.hash(&mut hasher);
        let before = self.waiting.get(&id);
        let (held, planned) = before.map_or((false, false), |waiting| (waiting.held, waiting.planned));
        let job = PlannedJob {
            since: now.wall,
            latest_start: None,
            may_override: true,
            duration: Duration::ZERO,
            bytes: 0,
            links: self.links_of(&placement.path),
            seed: hasher.finish(),
        };
        let scopes = weeks.known(&placement.scopes).cloned().collect();
        self.waiting.insert(id, Waiting { scopes, calendar: None, job, held, planned });
        self.refresh(now, engine, weeks, id)
    }

    /// What is known of a waiting job may have changed.
    pub(crate) fn refresh(&mut self, now: Now, engine: &Engine, weeks: &Weeks, id: JobId) -> Option<Change> {
        let waiting = self.waiting.get_mut(&id)?;
        let Some(plannable) = engine.plannable(id) else {
            // It would not wait for a plan.
            waiting.planned = false;
            self.fleet.remove(id);
            return None;
        };
        waiting.calendar = plannable.calendar;
        waiting.job.since = plannable.since;
        waiting.job.latest_start = Some(plannable.latest_start);
        waiting.job.may_override = plannable.may_override;
        waiting.job.duration = plannable.expected_duration.max(Duration::from_secs(1));
        waiting.job.bytes = plannable.size_bytes.unwrap_or(0);
        if !weeks.any_trusted() {
            return None;
        }
        let planned = std::mem::replace(&mut waiting.planned, true);
        let job = waiting.job;
        self.fleet.insert(id, job);
        if self.at_once == 0 {
            if planned {
                // Its plan holds until its turn comes, when only another one is told.
                return None;
            }
            let why = Reason::new("its start is being planned, after those of many that came with it");
            return self.hold(now, id, Some(Plan::new(wall_plus(now.wall, PLANNED_WITHIN), why)));
        }
        self.at_once -= 1;
        self.follow_slots(engine);
        let source = Source { waiting: &self.waiting, horizon: self.horizon, weeks, engine };
        let (_, plan) = self.fleet.replan_job(id, now.wall, &source)?;
        self.hold(now, id, plan)
    }

    /// An attempt began: its bytes flow from now on.
    pub(crate) fn started(&mut self, now: Now, engine: &Engine, id: JobId, placement: &Placement) {
        let planned = self.forget(id).is_some_and(|waiting| waiting.planned);
        if !planned && self.learned {
            let Ok(status) = engine.job_status(id) else { return };
            let job = PlannedJob {
                since: now.wall,
                latest_start: None,
                may_override: true,
                duration: status.expected_duration.max(Duration::from_secs(1)),
                bytes: status.size_bytes.unwrap_or(0),
                links: self.links_of(&placement.path),
                seed: id.0,
            };
            self.fleet.insert(id, job);
        }
        self.fleet.started(id, now.wall);
    }

    /// The attempt or the job has ended. What follows on an attempt that failed has its back-off, and no plan.
    pub(crate) fn ended(&mut self, id: JobId) {
        self.forget(id);
        self.fleet.remove(id);
    }

    fn forget(&mut self, id: JobId) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id);
        self.held -= usize::from(waiting.as_ref().is_some_and(|waiting| waiting.held));
        waiting
    }

    /// Plans a portion of what is to be planned; to be called again at once while [`next_look`](Self::next_look) is due.
    pub(crate) fn replan(&mut self, now: Now, engine: &Engine, weeks: &Weeks, rates: &Rates) -> Vec<Change> {
        self.at_once = PORTION;
        if !weeks.any_trusted() {
            return vec![];
        }
        self.outdated |= !std::mem::replace(&mut self.learned, true);
        // While other policies come into force nobody starts, and not every job has its new terms.
        if self.outdated && self.entering.is_none() && !engine.starts_are_suspended() {
            self.outdated = false;
            self.entering = Some(Entering { from: PageCursor::default(), left: engine.pending_count() });
        }
        let mut changes = self.enter(now, engine, weeks, rates);
        if self.waiting.is_empty() || !self.is_due(now) {
            return changes;
        }
        self.follow_slots(engine);
        let source = Source { waiting: &self.waiting, horizon: self.horizon, weeks, engine };
        let mut planned = Vec::new();
        self.fleet.replan(now.wall, &source, PORTION, &mut planned);
        changes.extend(planned.into_iter().filter_map(|(id, plan)| self.hold(now, id, plan)));
        self.at_once = PORTION;
        changes
    }

    /// Looks anew at the next portion of the jobs that wait.
    fn enter(&mut self, now: Now, engine: &Engine, weeks: &Weeks, rates: &Rates) -> Vec<Change> {
        let Some(Entering { from, left }) = self.entering.take() else { return vec![] };
        let page = engine.pending_page(&PendingFilter::default(), from, PORTION);
        let left = left.saturating_sub(page.jobs.len());
        self.entering = page.next.map(|from| Entering { from, left });
        let ids = page.jobs.into_iter().map(|status| status.job.id);
        let entered = ids.filter_map(|id| {
            let placement = placement(&engine.request(id)?, None, rates);
            self.submitted(now, engine, weeks, id, &placement)
        });
        entered.collect()
    }

    /// When there is something to plan.
    pub(crate) fn next_look(&self, now: Now) -> Option<MonoTime> {
        if self.entering.is_some() {
            return Some(now.mono);
        }
        if self.waiting.is_empty() || !self.learned {
            return None;
        }
        if self.is_due(now) {
            return Some(now.mono);
        }
        Some(now.mono + wall_until(now.wall, self.fleet.next_replan(now.wall)))
    }

    /// The plan of a waiting job and what speaks for it.
    pub(crate) fn explain(&mut self, now: Now, engine: &Engine, weeks: &Weeks, id: JobId) -> Option<JobPlan> {
        let forecast_of = weeks.trusted(&self.waiting.get(&id)?.scopes)?.clone();
        let source = Source { waiting: &self.waiting, horizon: self.horizon, weeks, engine };
        let plan = self.fleet.explain(id, now.wall, &source)?;
        let link = |(place, (link, _)): (&Scope, &(LinkId, u64))| (*link, place.to_string());
        let mut links: BTreeMap<LinkId, String> = self.links.iter().map(link).collect();
        links.insert(self.slots, SLOTS.to_owned());
        links.retain(|link, _| plan.considered.iter().any(|c| c.fills.iter().any(|fill| fill.link == *link)));
        Some(JobPlan { job: id, forecast_of, links, plan })
    }

    /// Jobs whose start is planned for later, jobs that are still to be planned, and how full the links are now.
    pub(crate) fn status(&self, now: Now) -> (usize, usize, Vec<LinkUse>) {
        let fill = |link: LinkId| self.fleet.ledger().fill(link, now.wall);
        let uses = self.links.iter().map(|(place, (link, capacity))| LinkUse {
            place: place.clone(),
            bytes_per_sec: *capacity,
            fill: fill(*link),
        });
        let entering = self.entering.as_ref().map_or(0, |entering| entering.left);
        (self.held, self.fleet.backlog() + entering, uses.collect())
    }

    fn is_due(&self, now: Now) -> bool {
        self.fleet.next_replan(now.wall) <= now.wall
    }

    /// What the engine is to be told: it holds who starts later than he might, and knows nothing of plans to start at once.
    fn hold(&mut self, now: Now, id: JobId, plan: Option<Plan>) -> Option<Change> {
        let waiting = self.waiting.get_mut(&id)?;
        let may_start = now.wall.max(waiting.job.since);
        let later = plan.filter(|plan| plan.start > wall_plus(may_start, Duration::from_millis(1)));
        let held = std::mem::replace(&mut waiting.held, later.is_some());
        self.held += usize::from(later.is_some());
        self.held -= usize::from(held);
        (held || later.is_some()).then_some((id, later))
    }

    /// The slots, and the narrowest of the links on the way.
    fn links_of(&self, path: &[Scope]) -> LinkSet {
        let mut links: Vec<_> = path.iter().filter_map(|place| self.links.get(place)).collect();
        links.sort_by_key(|(_, capacity)| *capacity);
        let links = links.into_iter().map(|(link, _)| *link).take(MAX_LINKS - 1);
        LinkSet::new([self.slots].into_iter().chain(links)).unwrap_or_default()
    }

    fn follow_slots(&mut self, engine: &Engine) {
        let name = ResourceName::from(SLOTS);
        let slots = engine.resources(&Scope::Fleet).into_iter().find(|(_, resource, _)| *resource == name);
        self.fleet.set_capacity(self.slots, slots.map_or(u64::MAX, |(_, _, capacity)| capacity.total));
    }
}

/// What the planner looks up of a job.
struct Source<'a> {
    waiting: &'a BTreeMap<JobId, Waiting>,
    horizon: Duration,
    weeks: &'a Weeks,
    engine: &'a Engine,
}

impl PlanSource for Source<'_> {
    fn windows(&self, job: JobId, from: Timestamp, until: Timestamp, into: &mut Vec<OpenInterval>) {
        let Some(waiting) = self.waiting.get(&job) else { return };
        let from = from.max(waiting.job.since);
        if self.weeks.trusted(&waiting.scopes).is_none() {
            // Nothing is known that could speak for another moment than the first.
            let until = wall_plus(from, waiting.job.duration + Duration::from_millis(2));
            into.push(OpenInterval { from, until });
            return;
        }
        match waiting.calendar.as_ref().and_then(|name| self.engine.calendar(name)) {
            Some(calendar) => OpenInterval::of(&**calendar, from, until.max(from), into),
            None => into.push(OpenInterval::ALWAYS),
        }
        into.iter_mut().for_each(|open| open.from = open.from.max(from));
    }

    fn forecast(&self, job: JobId, from: Timestamp, into: &mut Forecast) -> bool {
        let Some(waiting) = self.waiting.get(&job) else { return false };
        let Some(scope) = self.weeks.trusted(&waiting.scopes) else { return false };
        // As far as a run may go that starts at the end of its horizon, or in the next window.
        let horizon = wall_until(from, wall_plus(waiting.job.since, self.horizon));
        let starts = if waiting.calendar.is_some() { horizon.max(WEEK) } else { horizon };
        let ahead = starts.saturating_add(waiting.job.duration).min(LONGEST);
        let steps = ahead.as_secs().div_ceil(STEP.as_secs()) + 1;
        let seconds = STEP.as_secs() as i64;
        let begin = Timestamp::from_second(from.as_second().div_euclid(seconds) * seconds).unwrap_or(from);
        let forecast = self.weeks.forecast(scope, begin, STEP, steps as usize);
        forecast.map(|forecast| *into = forecast).is_some()
    }
}
