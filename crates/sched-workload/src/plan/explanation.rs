//! Why a job is to start when it does: [`PlanExplanation`].

use jiff::Timestamp;
use sched_core::Reason;
use serde::{Deserialize, Serialize};

use super::ledger::LinkId;
use super::planner::{PlanRequest, PlannedStart};
use super::window::Fit;

/// How many starts an explanation shows at most, beside the chosen one.
pub const MAX_CONSIDERED: usize = 12;

/// Why a job is to start when it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlanExplanation {
    /// The chosen start.
    pub start: Timestamp,
    /// The earliest that was allowed.
    pub earliest: Timestamp,
    /// The latest that is allowed by the deadline.
    pub latest_start: Option<Timestamp>,
    /// How the start stands to windows and deadline.
    pub fit: Fit,
    /// Whether it was kept because another start would not gain enough.
    pub kept: bool,
    /// Mean cost of the run, in multiples of the forecast's mean load.
    pub cost: f64,
    /// By how much it costs less than the earliest start.
    pub gain: f64,
    /// What another start has to gain before this one is given up.
    pub threshold: f64,
    /// How many starts were compared.
    pub compared: usize,
    /// The chosen start, and the cheapest of each of up to [`MAX_CONSIDERED`] equal parts of the time considered; in
    /// order.
    pub considered: Vec<Considered>,
    /// All of it in a sentence.
    pub why: Reason,
}

/// A start that was considered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Considered {
    /// The start.
    pub start: Timestamp,
    /// Mean cost of the run, in multiples of the forecast's mean load.
    pub cost: f64,
    /// The load forecast at the start, in the forecast's unit; `None` where nothing is.
    pub load: Option<f32>,
    /// Standard deviation of that load.
    pub spread: Option<f32>,
    /// How full each link of the job is in the fullest slot of the run, without the job.
    pub fills: Vec<LinkFill>,
}

/// How full a link is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LinkFill {
    /// Which link.
    pub link: LinkId,
    /// Its fill: 1 is full.
    pub fill: f64,
}

impl PlanExplanation {
    pub(super) fn new(
        plan: PlannedStart,
        request: &PlanRequest<'_>,
        earliest: Timestamp,
        compared: usize,
        considered: Vec<Considered>,
    ) -> Self {
        let PlannedStart { start, fit, kept, cost, gain, threshold } = plan;
        let (latest_start, why) = (request.latest_start, plan.reason());
        Self { start, earliest, latest_start, fit, kept, cost, gain, threshold, compared, considered, why }
    }
}

impl PlannedStart {
    /// The choice in a sentence.
    pub fn reason(&self) -> Reason {
        let percent = (self.gain / (self.cost + self.gain) * 100.0).max(0.0);
        match self.fit {
            Fit::Whole if self.kept => Reason::new("planned before, and no other start costs clearly less"),
            Fit::Whole if percent >= 0.5 => Reason::new(format!(
                "the run costs {percent:.0} % less of load and links then than at the earliest start"
            )),
            Fit::Whole => Reason::new("no later start costs less of load and links"),
            Fit::Cut => Reason::new(
                "no window holds the whole run before the latest start; this one stays open longest",
            ),
            Fit::Outside => Reason::new("no window opens before the latest start, which counts more"),
            Fit::Overdue => Reason::new("the latest start has passed"),
            Fit::Late => Reason::new(
                "no window opens before the latest start, and windows count more; this is the next",
            ),
        }
    }
}
