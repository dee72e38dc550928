//! What one backup has shown, and what that says: [`Cost`].

use jiff::Timestamp;
use sched_core::{BackupKind, InstanceName, JobId};

use super::comparable::Unpaired;
use super::estimate::Ratio;
use super::pairs::Reservoir;
use super::report::{BackupImpact, Basis, Latencies};
use super::settings::Quantile;
use super::verdict::{Tally, Verdict};

/// What one backup has shown by some time, before anything is estimated.
#[derive(Clone, Debug)]
pub(super) struct Cost {
    pub(super) job: JobId,
    pub(super) instance: InstanceName,
    pub(super) kind: BackupKind,
    pub(super) began: Timestamp,
    pub(super) ended: Option<Timestamp>,
    pub(super) pairs: Reservoir,
    pub(super) unpaired: Unpaired,
    pub(super) with: Latencies,
    pub(super) without: Latencies,
    pub(super) tally: Tally,
    /// There was a moment to see something in.
    pub(super) watched: bool,
    /// Whose ratio says whether it did harm,
    pub(super) quantile: Quantile,
    /// and what that must not reach.
    pub(super) inflation: f64,
}

impl Cost {
    pub(super) fn impact(&self) -> BackupImpact {
        let (basis, comparisons, ratios) = match (self.pairs.pairs(), self.unpaired.visits()) {
            (0, 0) => (Basis::Nothing, 0, Default::default()),
            (0, visits) => (Basis::ComparableMoments, visits, self.unpaired.ratios()),
            (pairs, _) => (Basis::Pauses, pairs, self.pairs.ratios()),
        };
        BackupImpact {
            job: self.job,
            instance: self.instance.clone(),
            kind: self.kind,
            began: self.began,
            ended: self.ended,
            basis,
            comparisons,
            ratios,
            with: self.with,
            without: self.without,
            tally: self.tally,
            verdict: self.verdict(ratios.of(self.quantile)),
        }
    }

    /// A backup did harm if it caused an event, or an effect that is nearer to the inflation than to none.
    fn verdict(&self, ratio: Option<Ratio>) -> Verdict {
        let harmful = |r: Ratio| r.low > 1.0 && r.value >= self.inflation.sqrt();
        if !self.watched {
            Verdict::CannotTell
        } else if self.tally.caused > 0 || ratio.is_some_and(harmful) {
            Verdict::Caused
        } else if self.tally.cannot_tell > 0 {
            Verdict::CannotTell
        } else {
            Verdict::NotCaused
        }
    }
}
