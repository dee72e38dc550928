//! When latency is over what is allowed or usual: [`Watch`].

use std::time::Duration;

use sched_core::MonoTime;

use super::compare::Placebos;
use super::estimate::median;
use super::moment::{Moment, Seen};
use super::settings::{EventRule, Over};

/// What is usual is the median of this time.
const USUAL_OVER: Duration = Duration::from_secs(120);
/// Unless it was less just before: a rise from a dip is one.
const JUST_OVER: Duration = Duration::from_secs(30);
/// Moments are a little off their seconds.
const SLIP: Duration = Duration::from_millis(200);
/// Fewer moments say nothing.
const FEWEST_LAST: usize = 3;
/// With fewer moments of an event it cannot be said to have risen further.
const FEWEST_WITHIN: usize = 6;
/// A quantile is steady enough if a second of it is within this of those around it, as a standard deviation of ln.
const STEADY: f64 = 0.2;
/// With fewer moments nothing is usual yet.
const FEWEST: usize = 15;

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Change {
    /// An event began, back at this moment; one that was under way is over.
    Began(MonoTime),
    /// It is over.
    Ended,
}

/// Looks for latency events, in moments in which no backup stands: what a pause changes is no end of an event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    rule: EventRule,
    /// The level that the event under way rose from, and when.
    on: Option<(f64, MonoTime)>,
}

impl Watch {
    pub(super) fn new(rule: EventRule) -> Self {
        Self { rule, on: None }
    }

    /// A moment was added; `newest_first` begins with it. A further rise of an event that is `explained` is another event:
    /// it may be another's doing.
    pub(super) fn see<'a>(
        &mut self,
        newest_first: impl Iterator<Item = &'a Seen>,
        placebos: &Placebos,
        explained: bool,
    ) -> Option<Change> {
        let seen: Vec<&Seen> = newest_first.filter(|seen| seen.moment != Moment::Paused).collect();
        let newest = *seen.first()?;
        let past = Past { place: self.place(newest, placebos), seen };
        let last = past.last(self.rule.lasting + SLIP);
        if last.len() < FEWEST_LAST {
            return None;
        }
        let present = median(&mut last.iter().map(|(_, level)| *level).collect::<Vec<_>>());
        let Limits { from, higher, until } = self.limits(&past, last.len())?;
        let rose =
            |over: f64| last.iter().rev().find(|(_, level)| *level > over).map_or(newest.from, |(at, _)| *at);
        match self.on {
            None if present > from => {
                let since = rose(from);
                self.on = Some((from - self.rise(), since));
                Some(Change::Began(since))
            }
            Some((base, _)) if explained && present > higher => {
                let since = rose(higher);
                self.on = Some((base, since));
                Some(Change::Began(since))
            }
            Some(_) if present <= until => {
                self.on = None;
                Some(Change::Ended)
            }
            _ => None,
        }
    }

    /// What the present level is held against; `None` while nothing is usual. `last`: moments that make it up.
    fn limits(&self, past: &Past<'_>, last: usize) -> Option<Limits> {
        if let Over::Slo(latency) = self.rule.over {
            let limit = (latency.as_micros().max(1) as f64).ln();
            return Some(Limits { from: limit, higher: f64::INFINITY, until: limit });
        }
        if past.seen.len() < FEWEST + last {
            return None;
        }
        let (lasting, rise) = (self.rule.lasting, self.rise());
        let usual = past.median(|ago, _| ago < USUAL_OVER, 1)?;
        let just = past.median(|ago, _| (lasting..lasting + JUST_OVER).contains(&ago), 1).unwrap_or(usual);
        let base = usual.min(just);
        let Some((rose_from, since)) = self.on else {
            return Some(Limits { from: base + rise, higher: f64::INFINITY, until: base + rise });
        };
        let within =
            past.median(|ago, seen| ago >= lasting && seen.from >= since + lasting / 2, FEWEST_WITHIN);
        // What lasts becomes usual.
        let lasts = past.newest().since(since) >= USUAL_OVER / 2;
        let back = if lasts { rose_from.max(usual) } else { rose_from };
        // It ends halfway back, so that it does not end and begin again and again.
        let higher = within.map_or(f64::INFINITY, |within| within + rise);
        Some(Limits { from: base + rise, higher, until: back + 0.5 * rise })
    }

    /// ln of the rise that is an event.
    fn rise(&self) -> f64 {
        match self.rule.over {
            Over::Slo(_) => 0.0,
            Over::Usual(times) => times.ln(),
        }
    }

    /// The quantile to watch. What users were promised is held against that itself; for a rise over the usual it must be
    /// steady enough that one would stand out.
    fn place(&self, newest: &Seen, placebos: &Placebos) -> usize {
        let shown = newest.shown(self.rule.quantile);
        match self.rule.over {
            Over::Slo(_) => self.rule.quantile as usize,
            Over::Usual(_) => {
                (0..=shown).rev().find(|place| placebos.noise(*place) <= STEADY).unwrap_or(shown)
            }
        }
    }
}

/// Levels at which something changes.
struct Limits {
    /// Over this an event begins,
    from: f64,
    /// and over this one that is under way has risen further.
    higher: f64,
    /// At or below this it is over.
    until: f64,
}

/// The remembered moments in which no backup stood, newest first, and the quantile that is looked at.
struct Past<'a> {
    seen: Vec<&'a Seen>,
    place: usize,
}

impl Past<'_> {
    fn newest(&self) -> MonoTime {
        self.seen.first().map_or(MonoTime::ZERO, |seen| seen.to)
    }

    /// When each of the newest moments began, and its level.
    fn last(&self, over: Duration) -> Vec<(MonoTime, f64)> {
        let last = self.seen.iter().take_while(|seen| self.newest().since(seen.from) <= over);
        last.map(|seen| (seen.from, seen.levels[self.place])).collect()
    }

    /// The median level of those moments that count, by how long ago they ended; `None` with fewer than so many.
    fn median(&self, counts: impl Fn(Duration, &Seen) -> bool, fewest: usize) -> Option<f64> {
        let count = self.seen.iter().filter(|seen| counts(self.newest().since(seen.to), seen));
        let mut levels: Vec<f64> = count.map(|seen| seen.levels[self.place]).collect();
        (levels.len() >= fewest).then(|| median(&mut levels))
    }
}
