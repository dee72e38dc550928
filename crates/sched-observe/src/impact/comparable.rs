//! Backups that cannot pause, held against comparable moments without one: [`Comparable`].

use std::collections::BTreeMap;

use sched_core::Now;
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::estimate::{Ratio, rate_at_least, rate_at_most};
use super::moment::{Levels, Moment, Seen};
use super::report::Ratios;
use super::verdict::Verdict;

/// Strata that are kept: of a week's hours, one load band each and some more.
const STRATA: usize = 256;
/// Visits of a stratum before it says what is usual there.
const FEWEST_VISITS: f64 = 3.0;
/// A backup caused an event if at least this part of such events would not be without backups.
const CAUSED_FROM: f64 = 0.95;
/// It did not if at most this part would not be.
const NOT_CAUSED_TO: f64 = 0.5;
/// Confidence of either bound.
const CONFIDENCE: f64 = 0.95;

/// The hour of the week in UTC and the load band that moments are compared within.
pub(super) type Stratum = (u8, u8);

#[derive(Debug, Default)]
struct Known {
    /// Visits without a backup, and mean and sum of squares of their levels (Welford, 1962).
    visits: f64,
    mean: Levels,
    squares: Levels,
    last_visit: i64,
    without: Watched,
    with: Watched,
}

#[derive(Clone, Copy, Debug, Default)]
struct Watched {
    seconds: f64,
    events: f64,
}

/// One stay in a stratum: its moments resemble each other, so that they count as one.
#[derive(Debug)]
struct Visit {
    stratum: Stratum,
    hour: i64,
    moment: Moment,
    sum: Levels,
    moments: f64,
}

/// What is usual at an hour and load, and how often events come there, with backups and without.
#[derive(Debug, Default)]
pub(super) struct Comparable {
    strata: BTreeMap<Stratum, Known>,
    visit: Option<Visit>,
    band: u8,
}

/// What a backup's moments differ by from comparable ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Unpaired {
    visits: f64,
    sum: Levels,
    variance: Levels,
    least_visits: f64,
}

impl Comparable {
    /// The foreground's load from now on, in any unit: a band for every doubling, none for what is no load.
    pub(super) fn set_load(&mut self, load: f64) {
        let band = if load > 0.0 { load.log2().floor().clamp(-64.0, 64.0) + 65.0 } else { 0.0 };
        self.band = band as u8;
    }

    /// A moment. When a stay with backups is over by it, `unpaired` gets its difference from what is usual there.
    pub(super) fn see(&mut self, now: Now, seen: &Seen, unpaired: &mut Unpaired) {
        // A pause is no end of a stay.
        if seen.moment == Moment::Paused {
            return;
        }
        let hour = now.wall.as_second().div_euclid(3600);
        let stratum = (((hour + 72).rem_euclid(168)) as u8, self.band);
        let goes_on =
            |visit: &Visit| (visit.stratum, visit.hour, visit.moment) == (stratum, hour, seen.moment);
        if !self.visit.as_ref().is_some_and(goes_on) {
            self.close_visit(unpaired);
            self.visit = Some(Visit { stratum, hour, moment: seen.moment, sum: [0.0; 3], moments: 0.0 });
        }
        if let Some(visit) = &mut self.visit {
            visit.sum.iter_mut().zip(&seen.levels).for_each(|(sum, level)| *sum += level);
            visit.moments += 1.0;
        }
        let seconds = seen.to.since(seen.from).as_secs_f64();
        if let Some(watched) = self.watched(stratum, hour, seen.moment) {
            watched.seconds += seconds;
        }
    }

    /// An event began.
    pub(super) fn event(&mut self) {
        if let Some(Visit { stratum, hour, moment, .. }) = self.visit
            && let Some(watched) = self.watched(stratum, hour, moment)
        {
            watched.events += 1.0;
        }
    }

    /// Whether events come with backups because of them, by how often they come without at such hours and loads. The part
    /// of events that would not be without is 1 less the ratio of the rates (attributable fraction among the exposed;
    /// Greenland and Robins, 1988).
    pub(super) fn verdict(&self) -> Verdict {
        let exposed: Vec<(Watched, Watched)> = self
            .strata
            .values()
            .filter(|known| known.with.seconds > 0.0 && known.without.seconds > 0.0)
            .map(|known| (known.with, known.without))
            .collect();
        let caused: f64 = exposed.iter().map(|(with, _)| with.events).sum();
        // What would have come without backups in the time with them, a weighted sum of Poisson counts, with the bounds of
        // Fay and Feuer (1997): as if one count of the same mean and variance.
        let weight = |(with, without): &(Watched, Watched)| with.seconds / without.seconds;
        let expected: f64 = exposed.iter().map(|of| weight(of) * of.1.events).sum();
        let variance: f64 = exposed.iter().map(|of| weight(of).powi(2) * of.1.events).sum();
        let heaviest = exposed.iter().map(weight).fold(0.0, f64::max);
        if caused == 0.0 || heaviest == 0.0 {
            return Verdict::CannotTell;
        }
        let unit = |mean: f64, variance: f64| if mean > 0.0 { variance / mean } else { heaviest };
        let (upper, lower) =
            (unit(expected + heaviest, variance + heaviest.powi(2)), unit(expected, variance));
        let expected_at_most = upper * rate_at_most((expected + heaviest) / upper - 1.0, 1.0, CONFIDENCE);
        let expected_at_least = lower * rate_at_least(expected / lower, 1.0, CONFIDENCE);
        if expected_at_most <= (1.0 - CAUSED_FROM) * rate_at_least(caused, 1.0, CONFIDENCE) {
            Verdict::Caused
        } else if expected_at_least >= (1.0 - NOT_CAUSED_TO) * rate_at_most(caused, 1.0, CONFIDENCE) {
            Verdict::NotCaused
        } else {
            Verdict::CannotTell
        }
    }

    /// Ends the stay under way: one without backups teaches what is usual, one with them is held against that.
    pub(super) fn close_visit(&mut self, unpaired: &mut Unpaired) {
        let Some(Visit { stratum, hour, moment, sum, moments }) = self.visit.take() else { return };
        let levels = sum.map(|sum| sum / moments);
        match (moment, self.strata.get_mut(&stratum)) {
            (Moment::Without, Some(known)) => known.learn(hour, &levels),
            (Moment::With, Some(known)) => unpaired.add(known, &levels),
            _ => {}
        }
    }

    fn watched(&mut self, stratum: Stratum, hour: i64, moment: Moment) -> Option<&mut Watched> {
        if !self.strata.contains_key(&stratum)
            && self.strata.len() >= STRATA
            && let Some(oldest) = self.strata.iter().min_by_key(|(_, known)| known.last_visit)
        {
            let oldest = *oldest.0;
            self.strata.remove(&oldest);
        }
        let known = self.strata.entry(stratum).or_default();
        known.last_visit = hour;
        match moment {
            Moment::With => Some(&mut known.with),
            Moment::Without => Some(&mut known.without),
            Moment::Paused => None,
        }
    }
}

impl Known {
    fn learn(&mut self, hour: i64, levels: &Levels) {
        self.last_visit = hour;
        self.visits += 1.0;
        for ((mean, squares), level) in self.mean.iter_mut().zip(&mut self.squares).zip(levels) {
            let off = level - *mean;
            *mean += off / self.visits;
            *squares += off * (level - *mean);
        }
    }
}

impl Unpaired {
    fn add(&mut self, known: &Known, levels: &Levels) {
        if known.visits < FEWEST_VISITS {
            return;
        }
        self.least_visits =
            if self.visits == 0.0 { known.visits } else { self.least_visits.min(known.visits) };
        self.visits += 1.0;
        let usual = known.mean.iter().zip(&known.squares);
        for (((sum, variance), level), (mean, squares)) in
            self.sum.iter_mut().zip(&mut self.variance).zip(levels).zip(usual)
        {
            *sum += level - mean;
            // A single new visit varies as those before do, and their mean is not exact either.
            *variance += squares / (known.visits - 1.0) * (1.0 + 1.0 / known.visits);
        }
    }

    pub(super) fn visits(&self) -> usize {
        self.visits as usize
    }

    /// With a prediction interval of what comparable hours differ by anyway.
    pub(super) fn ratios(&self) -> Ratios {
        let ratio = |place: usize| {
            let t = StudentsT::new(0.0, 1.0, self.least_visits - 1.0).ok()?;
            // Stays of one backup share its day, so that their errors add up instead of cancelling out.
            let error = (self.variance[place] / self.visits).sqrt();
            Some(Ratio::from_ln(self.sum[place] / self.visits, t.inverse_cdf(0.975) * error))
        };
        match self.visits > 0.0 {
            true => Ratios { p50: ratio(0), p95: ratio(1), p99: ratio(2) },
            false => Ratios::default(),
        }
    }
}
