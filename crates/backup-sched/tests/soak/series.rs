//! What was held in the course of a soak, and whether it grows: [`Series`].

use std::fmt;
use std::time::Duration;

use crate::holdings::{Done, Holdings, Measure};

/// Part of the pace of the first third that must be left in the last. It is jobs for each second of a processor, so that it does
/// not matter what else the machine does; some of these seconds go to callers and probes, whether jobs end or not, so a
/// scheduler that stands still is slow as well. The fewer processors there are for it, the larger is that part.
const LEFT_OF_PACE: f64 = 0.5;
/// In less, a machine that becomes slow, or an allocator that is not full yet, would be taken for the scheduler.
const LONG: Duration = Duration::from_secs(180);
/// In less, a busy machine may see no life begin and end in a third.
const SHORT: Duration = Duration::from_secs(60);

/// Where in the life of a scheduler it was looked. Only what was seen at the same point is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// Half-way, with everything going on.
    HalfWay,
    /// Between two lives.
    Between,
}

impl Point {
    const ALL: [Self; 2] = [Self::HalfWay, Self::Between];
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    point: Point,
    holdings: Holdings,
    done: Done,
}

/// What was held in the course of a soak.
pub(crate) struct Series {
    length: Duration,
    samples: Vec<Sample>,
}

impl Series {
    /// Of a soak of some length, of which the first fifth is not looked at.
    pub(crate) fn new(length: Duration) -> Self {
        // Its own memory is there from the beginning.
        let holdings = Holdings([0.0; Measure::ALL.len()]);
        let none = Sample {
            at: Duration::ZERO,
            point: Point::Between,
            holdings,
            done: Done { jobs: 0, seconds: 0.0 },
        };
        let mut samples = vec![none; 2 * length.as_secs() as usize + 64];
        samples.clear();
        Self { length, samples }
    }

    pub(crate) fn add(&mut self, at: Duration, point: Point, holdings: Holdings, done: Done) {
        self.samples.push(Sample { at, point, holdings, done });
    }

    fn warm(&self) -> impl Iterator<Item = &Sample> + Clone {
        self.samples.iter().filter(|sample| sample.at >= self.length / 5)
    }

    /// The first and the last third of what was seen once it was warm.
    fn thirds(&self) -> [Vec<&Sample>; 2] {
        let end = self.samples.last().map_or(Duration::ZERO, |sample| sample.at);
        let third = end.saturating_sub(self.length / 5) / 3;
        let first = self.warm().filter(|sample| sample.at <= self.length / 5 + third).collect();
        let last = self.warm().filter(|sample| sample.at >= end - third).collect();
        [first, last]
    }

    /// Jobs for each second of a processor in the first and the last third.
    fn pace(&self) -> [f64; 2] {
        self.thirds().map(|third| match third[..] {
            [first, .., last] => {
                (last.done.jobs - first.done.jobs) as f64 / (last.done.seconds - first.done.seconds)
            }
            _ => 0.0,
        })
    }

    /// What is wrong.
    pub(crate) fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (point, measure) in Point::ALL.into_iter().flat_map(|p| Measure::ALL.map(|m| (p, m))) {
            let [first, last] = self.thirds().map(|third| {
                let of_point = third.iter().filter(|sample| sample.point == point);
                of_point.map(|sample| sample.holdings.of(measure)).collect::<Vec<_>>()
            });
            let seen = first.len().min(last.len());
            match (median(first), median(last)) {
                _ if measure == Measure::Resident && self.length < LONG => {}
                (None, _) | (_, None) if self.length < SHORT => {}
                (Some(first), Some(last)) if last <= first + measure.tolerance(first, seen) => {}
                (Some(first), Some(last)) => {
                    wrong.push(format!("{measure} grow, {point:?}: from {first:.1} to {last:.1}"));
                }
                _ => wrong.push(format!("{measure}, {point:?}: too few were seen in so short a time")),
            }
        }
        let [first, last] = self.pace();
        if self.length >= LONG && (last <= 0.0 || last < LEFT_OF_PACE * first) {
            wrong.push(format!(
                "it slows down: from {first:.1} jobs for each second of a processor to {last:.1}"
            ));
        }
        wrong
    }

    /// By how much something grows in an hour: the least squares' slope of what was seen between lives.
    fn slope(&self, measure: Measure) -> f64 {
        let seen = self.warm().filter(|sample| sample.point == Point::Between);
        let points = seen.map(|s| (s.at.as_secs_f64() / 3600.0, s.holdings.of(measure)));
        let (mut n, mut x, mut y) = (0.0, 0.0, 0.0);
        points.clone().for_each(|(at, value)| (n, x, y) = (n + 1.0, x + at, y + value));
        let (x, y) = (x / n, y / n);
        let (mut up, mut across) = (0.0, 0.0);
        points.for_each(|(at, value)| {
            up += (at - x) * (value - y);
            across += (at - x) * (at - x);
        });
        up / across
    }
}

/// The end of it in a line.
impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, last] = self.pace();
        write!(
            f,
            "{first:.1} for each second of a processor in the first third and {last:.1} in the last; "
        )?;
        write!(f, "an hour brings")?;
        Measure::ALL.iter().try_for_each(|measure| write!(f, " {:+.2} {}", self.slope(*measure), measure))
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A soak of a hundred lives, with what is held and done as functions of the second.
    fn soak(holds: impl Fn(f64) -> Holdings, ended: impl Fn(f64) -> f64) -> Vec<String> {
        let mut series = Series::new(Duration::from_secs(200));
        for second in 1..=200_u32 {
            let (at, point) = (f64::from(second), Point::ALL[second as usize % 2]);
            let done = Done { jobs: ended(at) as u64, seconds: at / 2.0 };
            series.add(Duration::from_secs(second.into()), point, holds(at), done);
        }
        series.wrong()
    }

    const FLAT: [f64; Measure::ALL.len()] = [40.0, 20.0, 4.0, 50.0];

    /// What is flat, but for one measure.
    fn but(measure: Measure, more: f64) -> Holdings {
        let mut holds = FLAT;
        holds[measure as usize] += more;
        Holdings(holds)
    }

    #[test]
    fn what_is_flat_is_right_and_what_grows_is_wrong() {
        let steadily = |at: f64| 100.0 * at;
        let flat = |at: f64| Holdings([40.0 + at % 3.0, 20.0, 4.0 + at % 5.0 / 10.0, 50.0 + at % 7.0]);
        assert_eq!(soak(flat, steadily), Vec::<String>::new());
        // A step up after each twenty seconds.
        for (measure, leak) in Measure::ALL.into_iter().zip([10.0, 10.0, 10.0, 30.0]) {
            let grows = soak(|at| but(measure, (at / 20.0).floor() * leak / 10.0), steadily);
            assert_eq!(grows.len(), 2, "{grows:?}");
            assert!(grows[0].starts_with(&format!("{measure} grow, HalfWay: from ")), "{grows:?}");
            // What is taken at the beginning is no leak.
            assert_eq!(soak(|at| but(measure, at.min(39.0)), steadily), Vec::<String>::new());
        }
    }

    #[test]
    fn who_slows_down_or_stops_is_found() {
        let slow = soak(|_| Holdings(FLAT), |at| 2000.0 - 100_000.0 / at);
        assert!(slow[0].starts_with("it slows down"), "{slow:?}");
        let stops = soak(|_| Holdings(FLAT), |at| 10.0 * at.min(120.0));
        assert!(stops[0].ends_with("to 0.0"), "{stops:?}");
        assert_eq!(soak(|_| Holdings(FLAT), |at| 10.0 * at), Vec::<String>::new());
    }
}
