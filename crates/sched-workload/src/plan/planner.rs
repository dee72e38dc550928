//! The start of one job: [`Planner`].

use std::time::Duration;

use jiff::Timestamp;

use super::curve::Curve;
use super::explanation::{Considered, LinkFill, MAX_CONSIDERED, PlanExplanation};
use super::grid::{Grid, ceil_ms, duration_ms, floor_ms, timestamp};
use super::ledger::{LinkLedger, LinkSet};
use super::settings::{PlanSettings, PlanSettingsError};
use super::window::{Bounds, Fit, OpenInterval, Range, merge};
use crate::Forecast;

/// What a job needs of its plan.
#[derive(Clone, Copy, Debug)]
pub struct PlanRequest<'a> {
    /// When it is planned. Nothing is planned before.
    pub now: Timestamp,
    /// Since when it waits: starts are considered up to a horizon after that, so that a job is not put off for ever.
    pub since: Timestamp,
    /// When backups may run, in any order. [`OpenInterval::ALWAYS`] for a job without windows.
    pub windows: &'a [OpenInterval],
    /// When the job has to start to meet its deadline; `None` without a deadline.
    pub latest_start: Option<Timestamp>,
    /// Whether its latest start counts more than its windows.
    pub may_override: bool,
    /// How long the run is expected to take. Zero is unknown and stands for one slot.
    pub duration: Duration,
    /// How much it is expected to move.
    pub bytes: u64,
    /// What its bytes go over.
    pub links: LinkSet,
    /// The load of its instance, where one is learned. Slots that are missing, negative or not finite count as the mean.
    pub forecast: Option<&'a Forecast>,
    /// Where it is to start so far.
    pub current: Option<Timestamp>,
    /// What differs between instances: spreads starts that cost the same.
    pub seed: u64,
}

impl PlanRequest<'_> {
    /// A job of one slot that may start at any time from `now` on, without load, links or deadline.
    pub fn new(now: Timestamp) -> Self {
        Self {
            now,
            since: now,
            windows: &[OpenInterval::ALWAYS],
            latest_start: None,
            may_override: true,
            duration: Duration::ZERO,
            bytes: 0,
            links: LinkSet::default(),
            forecast: None,
            current: None,
            seed: 0,
        }
    }
}

/// When a job is to start.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PlannedStart {
    /// The start, never before `now`.
    pub start: Timestamp,
    /// How it stands to windows and deadline.
    pub fit: Fit,
    /// Whether it is where it was before, because another start would not gain enough.
    pub kept: bool,
    /// Mean cost of the run, in multiples of the forecast's mean load.
    pub cost: f64,
    /// By how much it costs less than the earliest start that is allowed.
    pub gain: f64,
    /// What another start has to gain before this one is given up.
    pub threshold: f64,
}

/// Chooses starts, and keeps the room to work in. The same request and ledger give the same plan.
///
/// The cost of a start is the mean, over the expected run, of the forecast load in multiples of its mean, plus
/// [`PlanSettings::link_weight`] times the fill of each link. The least over all starts is found: costs are linear
/// between moments at which the run's start or end meets a slot's edge, so those moments are tried, each by one
/// subtraction of running sums. O(slots + windows).
#[derive(Debug)]
pub struct Planner {
    settings: PlanSettings,
    grid: Grid,
    open: Vec<Range>,
    ranges: Vec<Range>,
    curve: Curve,
    starts: Vec<Start>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Start {
    at: i64,
    cost: f64,
}

/// The part of what a plan is given up for that an earlier start may cost more than the least to be taken instead.
const REACHED: f64 = 0.5;

/// Costs closer than this are equal but for rounding.
const EQUAL: f64 = 1e-9;

impl Planner {
    /// A planner with these settings.
    ///
    /// # Errors
    /// [`PlanSettingsError`] when one of them is out of its range.
    pub fn new(settings: PlanSettings) -> Result<Self, PlanSettingsError> {
        settings.check()?;
        Ok(Self {
            settings,
            grid: settings.grid(),
            open: Vec::new(),
            ranges: Vec::new(),
            curve: Curve::default(),
            starts: Vec::new(),
        })
    }

    /// The settings.
    pub fn settings(&self) -> &PlanSettings {
        &self.settings
    }

    /// The best start; `None` when no window opens and no deadline asks for one. What the job has in the ledger has to
    /// be taken out before.
    ///
    /// It is never before `now`, and never after the latest start unless that has passed, or windows must be kept and
    /// none opens before. While a window can hold the run before the latest start, the run lies inside one.
    /// Otherwise see [`Fit`].
    pub fn plan(&mut self, request: &PlanRequest<'_>, ledger: &LinkLedger) -> Option<PlannedStart> {
        let run = Run::of(request, self.grid, self.settings.horizon_ms());
        merge(request.windows, &mut self.open);
        let fit = run.bounds.ranges(&self.open, &mut self.ranges)?;
        self.shorten(floor_ms(request.since));
        self.price(request, &run, ledger);
        self.try_starts(&run);
        let threshold = (self.settings.hysteresis * self.curve.noise).max(self.settings.min_gain);
        let (least, earliest) = (self.least(), self.starts[0]);
        let prompt = self.settings.prompt;
        // Once it has a plan, an earlier start has to cost clearly less than what that is given up for: of one that is just
        // as dear as that, noise would have it come and go.
        let share = if request.current.is_some() { REACHED } else { 1.0 };
        let most = least + share * threshold;
        let best = if prompt { self.earliest(most) } else { self.best(least, request.seed) };
        let current = run.bounds.current.filter(|at| self.ranges.iter().any(|range| range.contains(*at)));
        let kept = current
            .map(|at| Start { at, cost: self.curve.mean(at, run.costed) })
            .filter(|current| current.cost - least <= threshold)
            .filter(|current| {
                !prompt
                    || current.at == earliest.at
                    || best != earliest && best.at + self.grid.step > current.at
                    || best.at > current.at
            });
        let chosen = kept.unwrap_or_else(|| match prompt {
            true if best == earliest => best,
            true => self.spread(best, most, request.seed, &run),
            false => self.spread(best, f64::INFINITY, request.seed, &run),
        });
        Some(PlannedStart {
            start: if fit == Fit::Overdue { request.now } else { timestamp(chosen.at) },
            fit,
            kept: kept.is_some(),
            cost: chosen.cost,
            gain: earliest.cost - chosen.cost,
            threshold,
        })
    }

    /// The plan and what spoke for it: the starts considered, their forecast and how full the links were.
    pub fn explain(&mut self, request: &PlanRequest<'_>, ledger: &LinkLedger) -> Option<PlanExplanation> {
        let plan = self.plan(request, ledger)?;
        let run = Run::of(request, self.grid, self.settings.horizon_ms());
        let mut starts = self.sample();
        starts.push(Start { at: ceil_ms(plan.start), cost: plan.cost });
        starts.sort_unstable_by_key(|start| start.at);
        starts.dedup_by_key(|start| start.at);
        let considered = starts.iter().map(|start| self.describe(*start, &run, request, ledger)).collect();
        let earliest = if plan.fit == Fit::Overdue { plan.start } else { timestamp(self.starts[0].at) };
        Some(PlanExplanation::new(plan, request, earliest, self.starts.len(), considered))
    }

    /// Leaves out starts beyond the horizon: a fixed time, which does not move on while the job waits. When all are
    /// beyond it, the first stretch counts.
    fn shorten(&mut self, since: i64) {
        let (horizon, first) = (self.settings.horizon_ms(), self.ranges[0]);
        let mut end = since.saturating_add(horizon);
        if end < first.first {
            let opened = self.open.iter().rev().find(|open| open.first <= first.first);
            let opened = opened.map_or(first.first, |open| open.first);
            end = opened.saturating_add(horizon).clamp(first.first, first.last);
        }
        self.ranges.retain(|range| range.first <= end);
        for range in &mut self.ranges {
            range.last = range.last.min(end);
        }
    }

    /// What each slot costs that a run may touch.
    fn price(&mut self, request: &PlanRequest<'_>, run: &Run, ledger: &LinkLedger) {
        let first = self.grid.slot(self.ranges[0].first);
        let last = self.ranges[self.ranges.len() - 1].last;
        let slots = first..self.grid.slot_from(last.saturating_add(run.costed)).max(first + 1);
        self.curve.load(self.grid, slots, request.forecast);
        let weight = self.settings.link_weight;
        ledger.add_costs(request.links, run.bytes_per_sec, first, weight, self.curve.costs());
        self.curve.finish();
    }

    /// Every start at which the least cost can be, the earliest one first.
    fn try_starts(&mut self, run: &Run) {
        let Self { grid, ranges, curve, starts, .. } = self;
        starts.clear();
        let length = curve.length(run.costed);
        // How far before a slot's edge a run starts that ends at one.
        let before = run.costed.rem_euclid(grid.step);
        let first = grid.slot(ranges[0].first);
        for range in ranges.iter() {
            starts.push(Start { at: range.first, cost: curve.mean(range.first, run.costed) });
            let slot = grid.slot(range.first) + 1;
            let (mut edge, mut at) = (grid.begin(slot), (slot - first) as usize);
            while edge - before <= range.last {
                let ends_at_edge = edge - before;
                if before > 0 && ends_at_edge > range.first {
                    starts.push(Start { at: ends_at_edge, cost: curve.mean_to(at, length) });
                }
                if edge <= range.last {
                    starts.push(Start { at: edge, cost: curve.mean_from(at, length) });
                }
                (edge, at) = (edge + grid.step, at + 1);
            }
            if range.last > range.first {
                starts.push(Start { at: range.last, cost: curve.mean(range.last, run.costed) });
            }
        }
    }

    fn least(&self) -> f64 {
        self.starts.iter().map(|start| start.cost).fold(f64::INFINITY, f64::min)
    }

    /// The first start that costs no more.
    fn earliest(&self, cost: f64) -> Start {
        self.starts.iter().find(|start| start.cost <= cost).copied().unwrap_or(self.starts[0])
    }

    /// The start that costs least; of equal ones the one that the seed picks.
    fn best(&self, least: f64, seed: u64) -> Start {
        let within = least + EQUAL * least.abs().max(1.0);
        let equal = || self.starts.iter().filter(move |start| start.cost <= within);
        let pick = mix(seed) % (equal().count() as u64).max(1);
        equal().nth(pick as usize).copied().unwrap_or(self.starts[0])
    }

    /// A moment soon after the best start that costs hardly more, and no more than `most`, so that not everybody starts at a
    /// slot's edge. A fifth of a slot: more would blur what the slots level.
    fn spread(&self, best: Start, most: f64, seed: u64, run: &Run) -> Start {
        let Some(range) = self.ranges.iter().find(|range| range.contains(best.at)) else { return best };
        let offset = (mix(!seed) % (self.grid.step.unsigned_abs() / 5)) as i64;
        // Only later ones: who moves away from the end of a window leaves its last slot half empty, and others crowd it.
        let tried = (0..4).map(|halvings| best.at + (offset >> halvings));
        let mut allowed = tried
            .filter(|at| range.contains(*at))
            .map(|at| Start { at, cost: self.curve.mean(at, run.costed) });
        let most = most.min(best.cost + self.settings.min_gain);
        allowed.find(|start| start.cost <= most).unwrap_or(best)
    }

    /// Of each of equally long parts of the time considered the start that costs least.
    fn sample(&self) -> Vec<Start> {
        let (first, last) = (self.starts[0].at, self.starts[self.starts.len() - 1].at);
        let part = (last - first) / (MAX_CONSIDERED as i64 - 1) + 1;
        let mut cheapest: Vec<Start> = Vec::with_capacity(MAX_CONSIDERED);
        for start in &self.starts {
            match cheapest.last_mut() {
                Some(before) if (before.at - first) / part == (start.at - first) / part => {
                    if start.cost < before.cost {
                        *before = *start;
                    }
                }
                _ => cheapest.push(*start),
            }
        }
        cheapest
    }

    fn describe(
        &self,
        start: Start,
        run: &Run,
        request: &PlanRequest<'_>,
        ledger: &LinkLedger,
    ) -> Considered {
        let at = timestamp(start.at);
        let slot = request.forecast.and_then(|forecast| forecast.at(at));
        let edges = self.grid.slot(start.at)..self.grid.slot_from(start.at + run.costed);
        let fullest = |link| {
            let fills = edges.clone().map(|slot| ledger.fill(link, timestamp(self.grid.begin(slot))));
            fills.fold(0.0, f64::max)
        };
        let fills = request.links.iter().map(|link| LinkFill { link, fill: fullest(link) }).collect();
        Considered {
            start: at,
            cost: start.cost,
            load: slot.map(|slot| slot.mean),
            spread: slot.map(|slot| slot.spread),
            fills,
        }
    }
}

/// A request in milliseconds.
struct Run {
    bounds: Bounds,
    /// The part of the run that is priced: at most a horizon.
    costed: i64,
    bytes_per_sec: f64,
}

impl Run {
    fn of(request: &PlanRequest<'_>, grid: Grid, horizon: i64) -> Self {
        let now = ceil_ms(request.now);
        let duration = match duration_ms(request.duration) {
            0 => grid.step,
            duration => duration,
        };
        let bounds = Bounds {
            now,
            latest: request.latest_start.map(floor_ms),
            duration,
            may_override: request.may_override,
            current: request.current.map(|start| ceil_ms(start).max(now)),
        };
        Self {
            bounds,
            costed: duration.min(horizon),
            bytes_per_sec: request.bytes as f64 / duration as f64 * 1e3,
        }
    }
}

/// Bits that depend on all bits of the seed: SplitMix64 (Steele, Lea and Flood, 2014).
fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
