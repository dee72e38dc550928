//! Foresight: what is learned of the load, where it is a peak, and when waiting jobs are to start. Pure: readings and what
//! happens to jobs go in, with the time; loads and plans come out.

mod movement;
mod plans;
mod scope;
mod weeks;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use sched_core::{Engine, InstanceName, JobId, JobSpec, LoadState, MonoTime, Now, Scope};
use sched_workload::{DetectError, LearnedWeek, LoadReading};

use self::plans::Plans;
pub(crate) use self::plans::{Change, Placement};
pub(crate) use self::weeks::Weeks;
use super::rates::Rates;
use crate::forecast::{ForecastConfig, ForecastStatus, JobPlan};

/// Scopes that a status lists at most.
const LISTED: usize = 100;

/// What is known of the load to come, and what follows for those that wait.
pub(crate) struct Foresight {
    weeks: Weeks,
    plans: Option<Plans>,
    /// Whom each detector's readings concern.
    detectors: Vec<Scope>,
    runs: BTreeMap<JobId, Run>,
}

/// An attempt under way.
struct Run {
    scopes: Vec<Scope>,
    began: Timestamp,
    moves: bool,
}

impl Foresight {
    /// `detectors`: whom each concerns, and how often it answers. The text of an error says which setting is wrong.
    pub(crate) fn new(
        now: Now,
        config: &ForecastConfig,
        detectors: Vec<(Scope, Duration)>,
        learned: Vec<(Scope, LearnedWeek)>,
    ) -> Result<Self, String> {
        config.check()?;
        let mut weeks = Weeks::new(config).map_err(|error| error.to_string())?;
        detectors.iter().for_each(|(scope, period)| weeks.watch(scope, *period));
        learned.iter().for_each(|(scope, week)| weeks.put(now, scope, *week));
        let plans = config.plans.map(|settings| Plans::new(settings, now.wall)).transpose();
        Ok(Self {
            weeks,
            plans: plans.map_err(|error| error.to_string())?,
            detectors: detectors.into_iter().map(|(scope, _)| scope).collect(),
            runs: BTreeMap::new(),
        })
    }

    pub(crate) fn weeks(&self) -> &Weeks {
        &self.weeks
    }

    /// Somebody keeps from now on what is learned of weeks.
    pub(crate) fn keep_weeks(&mut self) {
        self.weeks.keep();
    }

    pub(crate) fn has_weeks_to_keep(&self) -> bool {
        self.weeks.has_unkept()
    }

    pub(crate) fn weeks_to_keep(&mut self, most: usize) -> Vec<(Scope, Option<LearnedWeek>)> {
        self.weeks.take_unkept(most)
    }

    /// A detector answered.
    pub(crate) fn heard(&mut self, now: Now, detector: usize, said: &Result<LoadReading, DetectError>) {
        if let Some(scope) = self.detectors.get(detector) {
            self.weeks.heard(now, scope, detector, said);
        }
    }

    /// The host hands in samples; returns how many were taken.
    pub(crate) fn learn(&mut self, now: Now, scope: &Scope, samples: &[(Timestamp, f64)]) -> usize {
        self.know(now, scope);
        self.weeks.learn(now, scope, samples)
    }

    /// The host hands in what was learned before or elsewhere.
    pub(crate) fn put(&mut self, now: Now, scope: &Scope, week: LearnedWeek) {
        self.know(now, scope);
        self.weeks.put(now, scope, week);
    }

    /// Has a scope among those that are known, with the runs that move there.
    fn know(&mut self, now: Now, scope: &Scope) {
        if self.weeks.week(scope).is_none() {
            self.weeks.make_room(now);
            self.outdate();
            self.weeks.put(now, scope, LearnedWeek::new());
            let here = self.runs.values().filter(|run| run.moves && run.scopes.contains(scope));
            let mut began: Vec<Timestamp> = here.map(|run| run.began).collect();
            began.sort_unstable();
            for wall in began {
                self.weeks.run(Now { wall, ..now }, std::slice::from_ref(scope), true);
            }
        }
    }

    /// Time has passed: scopes whose peak began or ended, or is not known any more.
    pub(crate) fn tick(&mut self, now: Now) -> Vec<(Scope, Option<LoadState>)> {
        self.weeks.tick(now)
    }

    /// The next portion of plans, for the engine.
    pub(crate) fn replan(&mut self, now: Now, engine: &Engine, rates: &Rates) -> Vec<Change> {
        self.plans.as_mut().map(|plans| plans.replan(now, engine, &self.weeks, rates)).unwrap_or_default()
    }

    /// Other policies are in force, or a place is part of another: jobs that wait are looked at anew.
    pub(crate) fn outdate(&mut self) {
        self.plans.iter_mut().for_each(Plans::outdate);
    }

    /// When [`tick`](Self::tick) or [`replan`](Self::replan) has something to do.
    pub(crate) fn next_look(&self, now: Now) -> Option<MonoTime> {
        let plans = self.plans.as_ref().and_then(|plans| plans.next_look(now));
        self.weeks.next_look().into_iter().chain(plans).min()
    }

    /// A job was accepted or joined. Before the engine decides again, it is to be told what comes back.
    pub(crate) fn submitted(
        &mut self,
        now: Now,
        engine: &Engine,
        id: JobId,
        placement: &Placement,
    ) -> Option<Change> {
        self.plans.as_mut()?.submitted(now, engine, &self.weeks, id, placement)
    }

    /// A waiting job changed its class.
    pub(crate) fn reprioritized(&mut self, now: Now, engine: &Engine, id: JobId) -> Option<Change> {
        self.plans.as_mut()?.refresh(now, engine, &self.weeks, id)
    }

    /// An attempt began.
    pub(crate) fn started(&mut self, now: Now, engine: &Engine, id: JobId, placement: Placement) {
        if let Some(plans) = &mut self.plans {
            plans.started(now, engine, id, &placement);
        }
        self.weeks.run(now, &placement.scopes, true);
        self.runs.insert(id, Run { scopes: placement.scopes, began: now.wall, moves: true });
    }

    /// An attempt stands at a checkpoint, or moves again.
    pub(crate) fn moves(&mut self, now: Now, id: JobId, moves: bool) {
        if let Some(run) = self.runs.get_mut(&id).filter(|run| run.moves != moves) {
            run.moves = moves;
            self.weeks.run(now, &run.scopes, moves);
        }
    }

    /// An attempt has ended, or a job.
    pub(crate) fn ended(&mut self, now: Now, id: JobId) {
        self.moves(now, id, false);
        self.runs.remove(&id);
        if let Some(plans) = &mut self.plans {
            plans.ended(id);
        }
    }

    /// The most that all backups at a place may move, as far as that is known.
    pub(crate) fn set_link(&mut self, place: &Scope, bytes_per_sec: Option<u64>) {
        if let Some(plans) = &mut self.plans {
            plans.set_link(place, bytes_per_sec);
        }
    }

    pub(crate) fn explain(&mut self, now: Now, engine: &Engine, id: JobId) -> Option<JobPlan> {
        self.plans.as_mut()?.explain(now, engine, &self.weeks, id)
    }

    pub(crate) fn status(&self, now: Now) -> ForecastStatus {
        let (known, scopes) = self.weeks.status(now, LISTED);
        let plans = self.plans.as_ref().map(|plans| plans.status(now));
        let (planned, to_plan, links) = plans.unwrap_or_default();
        ForecastStatus { known, scopes, planned, to_plan, links }
    }

    /// Where a request's job is; `None` while no load is known, so that nothing is kept of jobs for nothing.
    pub(crate) fn place(&self, spec: &JobSpec, rates: &Rates) -> Option<Placement> {
        (!self.weeks.is_empty()).then(|| placement(spec, None, rates))
    }
}

/// Whose load concerns a job, the nearest first, and the places that its bytes pass. Before a member is taken the best
/// one counts.
pub(crate) fn placement(spec: &JobSpec, member: Option<&InstanceName>, rates: &Rates) -> Placement {
    let best = spec.members.first();
    let host = match (member, best) {
        (None, Some(best)) => &best.host,
        _ => &spec.host,
    };
    let place = match &spec.volume {
        Some(volume) => Scope::Volume(host.clone(), volume.clone()),
        None => Scope::Host(host.clone()),
    };
    let path: Vec<Scope> = rates.path(&place).collect();
    let member = member.or(best.map(|best| &best.instance));
    let mut scopes = vec![Scope::Instance(spec.instance.clone())];
    scopes.extend(member.map(|member| Scope::Instance(member.clone())));
    let (own, shared): (Vec<Scope>, Vec<Scope>) =
        path.iter().cloned().partition(|place| matches!(place, Scope::Volume(..) | Scope::Host(_)));
    scopes.extend(own);
    scopes.extend(spec.together.iter().map(|host| Scope::Host(host.clone())));
    scopes.extend(spec.groups.iter().map(|group| Scope::Group(group.clone())));
    scopes.extend(spec.destination.iter().map(|name| Scope::Destination(name.clone())));
    scopes.push(Scope::Technology(spec.technology.clone()));
    scopes.extend(shared);
    // A member may have its cluster's name, a host take part twice.
    let mut seen = std::collections::BTreeSet::new();
    scopes.retain(|scope| seen.insert(scope.clone()));
    Placement { instance: spec.instance.clone(), scopes, path }
}
