//! Where a job may start: [`OpenInterval`], [`Fit`].

use jiff::Timestamp;
use sched_core::{Calendar, CalendarState};
use serde::{Deserialize, Serialize};

use super::grid::{ceil_ms, floor_ms};

/// How many stretches of a calendar are looked at for one plan.
pub const MAX_STRETCHES: usize = 1000;

/// A stretch of time in which backups may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenInterval {
    /// Its first moment.
    pub from: Timestamp,
    /// The first moment after it. One that is not after `from` makes the interval empty.
    pub until: Timestamp,
}

impl OpenInterval {
    /// All of time: for jobs without a window.
    pub const ALWAYS: Self = Self { from: Timestamp::MIN, until: Timestamp::MAX };

    /// Adds the open stretches of a calendar from `from` to `until`, and if there is none, the next one. After
    /// [`MAX_STRETCHES`] it looks no further.
    pub fn of(calendar: &dyn Calendar, from: Timestamp, until: Timestamp, into: &mut Vec<Self>) {
        let (mut at, known) = (from, into.len());
        for _ in 0..MAX_STRETCHES {
            let stretch = calendar.at(at);
            let end = stretch.until.unwrap_or(Timestamp::MAX);
            if stretch.state == CalendarState::Open {
                into.push(Self { from: stretch.from.unwrap_or(Timestamp::MIN), until: end });
            }
            // A stretch that does not go on after `at` is a calendar's mistake, and would be asked for again and again.
            if end <= at || end == Timestamp::MAX || end >= until && into.len() > known {
                return;
            }
            at = end;
        }
    }
}

/// How a planned run stands to windows and deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fit {
    /// The expected run lies in one window, and starts in time.
    Whole,
    /// No window before the latest start holds the whole run. It starts in time, where a window stays open longest.
    Cut,
    /// No window opens before the latest start, which is kept all the same.
    Outside,
    /// The latest start has passed: it starts at once.
    Overdue,
    /// No window opens before the latest start, and windows have to be kept: it starts when the next one opens.
    Late,
}

/// First and last moment of a stretch in which a job may start, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range {
    pub(super) first: i64,
    pub(super) last: i64,
}

impl Range {
    pub(super) fn contains(self, ms: i64) -> bool {
        (self.first..=self.last).contains(&ms)
    }

    fn only(ms: i64) -> Self {
        Self { first: ms, last: ms }
    }
}

/// What bounds a start, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) now: i64,
    pub(super) latest: Option<i64>,
    pub(super) duration: i64,
    pub(super) may_override: bool,
    /// Where it is to start so far, not before `now`.
    pub(super) current: Option<i64>,
}

/// The stretches of open time, in order, none touching another.
pub(super) fn merge(windows: &[OpenInterval], into: &mut Vec<Range>) {
    into.clear();
    into.extend(windows.iter().map(|w| Range { first: ceil_ms(w.from), last: floor_ms(w.until) }));
    into.retain(|w| w.first < w.last);
    into.sort_unstable_by_key(|w| w.first);
    into.dedup_by(|next, before| {
        let touches = next.first <= before.last;
        if touches {
            before.last = before.last.max(next.last);
        }
        touches
    });
}

impl Bounds {
    /// Where the job may start, in order, given the merged stretches of open time. No range when it may never.
    pub(super) fn ranges(&self, open: &[Range], into: &mut Vec<Range>) -> Option<Fit> {
        into.clear();
        let end = self.latest.unwrap_or(i64::MAX);
        let starts = |w: &Range, last: i64| Range { first: w.first.max(self.now), last: last.min(end) };
        into.extend(open.iter().map(|w| starts(w, w.last - self.duration)).filter(|r| r.first <= r.last));
        if !into.is_empty() {
            return Some(Fit::Whole);
        }
        let (fit, start) = self.compromise(open)?;
        into.push(Range::only(start));
        Some(fit)
    }

    /// The start when no window holds the run before its latest start.
    fn compromise(&self, open: &[Range]) -> Option<(Fit, i64)> {
        let coming = || open.iter().filter(|w| w.last > self.now);
        let opens = |w: &Range| w.first.max(self.now);
        if let Some(latest) = self.latest.filter(|latest| *latest < self.now) {
            debug_assert!(latest < self.now);
            let next = coming().map(opens).next();
            return match next {
                _ if self.may_override => Some((Fit::Overdue, self.now)),
                Some(start) if start == self.now => Some((Fit::Overdue, start)),
                next => next.map(|start| (Fit::Late, start)),
            };
        }
        let end = self.latest.unwrap_or(i64::MAX);
        let room = |w: &Range| w.last - opens(w);
        // Of equal ones the earliest: `min_by_key` keeps the first.
        let longest = coming().filter(|w| opens(w) <= end).min_by_key(|w| std::cmp::Reverse(room(w)));
        if let Some(longest) = longest {
            let current = self.current.filter(|start| *start <= end);
            // A stretch that is running out is not left for one that is hardly longer.
            let kept = current.filter(|start| {
                let stretch = open.iter().find(|w| w.first <= *start && *start < w.last);
                stretch.is_some_and(|w| w.last - start >= room(longest) / 4 * 3)
            });
            return Some((Fit::Cut, kept.unwrap_or(opens(longest))));
        }
        match self.latest {
            Some(latest) if self.may_override => Some((Fit::Outside, latest)),
            _ => coming().map(opens).next().map(|start| (Fit::Late, start)),
        }
    }
}

#[cfg(test)]
mod tests {
    use sched_core::{Reason, Stretch};

    use super::*;

    const FREE: Bounds = Bounds { now: 0, latest: None, duration: 10, may_override: true, current: None };

    fn ranges(bounds: Bounds, open: &[(i64, i64)]) -> (Option<Fit>, Vec<(i64, i64)>) {
        let open: Vec<Range> = open.iter().map(|&(first, last)| Range { first, last }).collect();
        let mut into = vec![Range::only(99)];
        let fit = bounds.ranges(&open, &mut into);
        (fit, into.iter().map(|r| (r.first, r.last)).collect())
    }

    #[test]
    fn a_run_that_fits_stays_inside() {
        let bounds = Bounds { now: 5, latest: Some(95), ..FREE };
        let open = [(0, 30), (40, 49), (80, 200), (300, 400)];
        assert_eq!(ranges(bounds, &open), (Some(Fit::Whole), vec![(5, 20), (80, 95)]));
    }

    #[test]
    fn a_run_that_fits_nowhere_starts_where_it_is_open_longest() {
        let bounds = Bounds { latest: Some(50), duration: 20, ..FREE };
        let open = [(0, 5), (10, 18), (30, 38), (40, 45), (60, 90)];
        assert_eq!(ranges(bounds, &open), (Some(Fit::Cut), vec![(10, 10)]));
        let running_out = Bounds { now: 12, current: Some(12), ..bounds };
        assert_eq!(ranges(running_out, &open), (Some(Fit::Cut), vec![(12, 12)]));
        let run_out = Bounds { now: 14, current: Some(14), ..bounds };
        assert_eq!(ranges(run_out, &open), (Some(Fit::Cut), vec![(30, 30)]));
    }

    #[test]
    fn without_a_window_in_time_the_deadline_or_the_window_counts() {
        let bounds = Bounds { now: 10, latest: Some(50), ..FREE };
        let strict = Bounds { may_override: false, ..bounds };
        assert_eq!(ranges(bounds, &[(60, 90)]), (Some(Fit::Outside), vec![(50, 50)]));
        assert_eq!(ranges(strict, &[(60, 90)]), (Some(Fit::Late), vec![(60, 60)]));
        assert_eq!(ranges(strict, &[]), (None, vec![]));
        assert_eq!(ranges(Bounds { latest: None, ..bounds }, &[]), (None, vec![]));
        let overdue = |b: Bounds| Bounds { latest: Some(9), ..b };
        assert_eq!(ranges(overdue(bounds), &[(60, 90)]), (Some(Fit::Overdue), vec![(10, 10)]));
        assert_eq!(ranges(overdue(strict), &[(60, 90)]), (Some(Fit::Late), vec![(60, 60)]));
        assert_eq!(ranges(overdue(strict), &[(0, 90)]), (Some(Fit::Overdue), vec![(10, 10)]));
    }

    #[test]
    fn a_calendar_is_read_until_it_opens() {
        /// Open on one day in ten, or stuck.
        #[derive(Debug)]
        struct TenthDay(i64);
        impl Calendar for TenthDay {
            fn at(&self, at: Timestamp) -> Stretch {
                let day = at.as_second().div_euclid(86_400);
                let begin = |day: i64| Timestamp::from_second(day * 86_400).ok();
                let closed = CalendarState::Closed { reason: Reason::new("not the tenth day") };
                let state = if day % 10 == 0 { CalendarState::Open } else { closed };
                Stretch { from: begin(day), until: begin(day + self.0), state }
            }
        }
        let days = |calendar: TenthDay, from: i64, until: i64| -> Vec<i64> {
            let at = |day: i64| Timestamp::from_second(day * 86_400 + 7).unwrap();
            let mut into = vec![OpenInterval::ALWAYS];
            OpenInterval::of(&calendar, at(from), at(until), &mut into);
            into[1..].iter().map(|open| open.from.as_second() / 86_400).collect()
        };
        assert_eq!(days(TenthDay(1), 10, 32), [10, 20, 30]);
        assert_eq!(days(TenthDay(1), 11, 13), [20]);
        assert_eq!(days(TenthDay(0), 10, 32), [10], "a calendar that stands still is left");
    }

    #[test]
    fn stretches_are_sorted_and_joined() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let window = |from, until| OpenInterval { from: at(from), until: at(until) };
        let mut merged = Vec::new();
        let windows = [window(5, 9), window(9, 8), window(1, 3), window(3, 4), window(6, 7), window(2, 2)];
        merge(&windows, &mut merged);
        let seconds: Vec<_> = merged.iter().map(|w| (w.first / 1000, w.last / 1000)).collect();
        assert_eq!(seconds, [(1, 4), (5, 9)]);
    }
}
