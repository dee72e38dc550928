//! Pairs of moments around pauses: [`Pause`], and a fair choice of many: [`Reservoir`].

use sched_core::{JobId, MonoTime};

use super::estimate::Ratio;
use super::moment::{Levels, Seen};
use super::report::Ratios;

/// Moments on each side of a pause that it is held against.
const SIDE: u32 = 2;
/// Pairs that a reservoir holds.
const KEPT: usize = 128;

/// The mean of moments.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: Levels,
    count: u32,
}

impl Mean {
    fn add(&mut self, levels: &Levels) {
        self.sum.iter_mut().zip(levels).for_each(|(sum, level)| *sum += level);
        self.count += 1;
    }

    fn at(&self, place: usize) -> f64 {
        self.sum[place] / f64::from(self.count)
    }
}

/// A pause under way or just over, with what was seen before, in and after it.
#[derive(Debug)]
pub(super) struct Pause {
    /// Who stands.
    pub(super) stood: Vec<JobId>,
    pub(super) began: MonoTime,
    pub(super) resumed: bool,
    /// Not because of what the foreground felt: only such pauses compare.
    pub(super) random: bool,
    before: Mean,
    amid: Mean,
    after: Mean,
}

/// ln of the latencies around a pause less ln of those in it.
pub(super) struct Pair {
    pub(super) stood: Vec<JobId>,
    pub(super) began: MonoTime,
    pub(super) levels: Levels,
}

impl Pause {
    /// `newest_first`: moments of the stretch that has just ended.
    pub(super) fn new<'a>(
        now: MonoTime,
        (first, random): (JobId, bool),
        newest_first: impl Iterator<Item = &'a Seen>,
    ) -> Self {
        let mut before = Mean::default();
        for seen in newest_first.take(SIDE as usize) {
            before.add(&seen.levels);
        }
        let (amid, after) = (Mean::default(), Mean::default());
        Self { stood: vec![first], began: now, resumed: false, random, before, amid, after }
    }

    /// A moment in which somebody stood.
    pub(super) fn amid(&mut self, seen: &Seen) {
        self.amid.add(&seen.levels);
    }

    /// A moment in which all moved again; whether that is enough.
    pub(super) fn after(&mut self, seen: &Seen) -> bool {
        self.after.add(&seen.levels);
        self.after.count >= SIDE
    }

    /// What it shows, if there were moments of all three.
    pub(super) fn pair(self) -> Option<Pair> {
        let Self { stood, began, random, before, amid, after, .. } = self;
        let whole = random && before.count > 0 && amid.count > 0 && after.count > 0;
        let difference = |place| 0.5 * (before.at(place) + after.at(place)) - amid.at(place);
        whole.then(|| Pair { stood, began, levels: [0, 1, 2].map(difference) })
    }
}

/// As many of all pairs as it holds, each with the same chance to be among them (Vitter's algorithm R, 1985).
#[derive(Clone, Debug, Default)]
pub(super) struct Reservoir {
    seen: usize,
    kept: Vec<[f32; 3]>,
}

impl Reservoir {
    pub(super) fn add(&mut self, levels: &Levels, rng: &mut fastrand::Rng) {
        self.seen += 1;
        let levels = levels.map(|level| level as f32);
        if self.kept.len() < KEPT {
            self.kept.push(levels);
        } else if let Some(kept) = self.kept.get_mut(rng.usize(..self.seen)) {
            *kept = levels;
        }
    }

    pub(super) fn pairs(&self) -> usize {
        self.seen
    }

    pub(super) fn ratios(&self) -> Ratios {
        Self::pooled(std::iter::once(self))
    }

    /// The ratios by the pairs of several together.
    pub(super) fn pooled<'a>(all: impl Iterator<Item = &'a Self>) -> Ratios {
        /// The pairs of pairs grow with the square.
        const MOST: usize = 1024;
        let pairs: Vec<[f32; 3]> = all.flat_map(|one| one.kept.iter().copied()).collect();
        let step = pairs.len().div_ceil(MOST).max(1);
        let ratio = |place: usize| {
            let of: Vec<f64> = pairs.iter().step_by(step).map(|pair| f64::from(pair[place])).collect();
            Ratio::of_differences(&of)
        };
        Ratios { p50: ratio(0), p95: ratio(1), p99: ratio(2) }
    }
}
