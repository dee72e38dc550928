//! What is known of the load of one scope.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use sched_core::{LoadLevel, LoadState, MonoTime, Now};
use sched_workload::{LearnedWeek, OwnLoad, PeakDetector, WeekSlot};

use super::movement::Movement;

/// A reading may be of the whole time since the one before. Its load is the own backups' when some move, or did in more than
/// one part in so many of that time.
const OWN_PART: u32 = 10;

/// The load of one scope: what was learned, what is being gathered, and whether it is a peak.
pub(super) struct Learned {
    pub(super) week: LearnedWeek,
    pub(super) peaks: Option<PeakDetector>,
    /// Without a sample for so long nothing is known.
    pub(super) stale_after: Duration,
    sample: Option<Sample>,
    /// The runs here.
    pub(super) movement: Movement,
    /// When each detector was heard last, and for how long runs had moved by then.
    heard: BTreeMap<usize, (MonoTime, Duration)>,
    /// When the newest reading or sample was taken.
    pub(super) newest: Option<Timestamp>,
    /// The newest sample.
    pub(super) load: Option<f64>,
    /// When that is too old.
    stale_at: Option<MonoTime>,
    pub(super) state: Option<LoadState>,
    /// The level that was told last; none: unknown.
    told: Option<LoadLevel>,
    pub(super) alarm: Option<MonoTime>,
    /// Whether a detector is of it.
    pub(super) watched: bool,
    /// When something was told of it last, or a run here began, stood or ended.
    pub(super) touched: MonoTime,
}

/// Readings that are to be one sample.
struct Sample {
    interval: i64,
    closes_at: MonoTime,
    last: Timestamp,
    /// Of the foreground alone.
    alone: Readings,
    /// While backups moved.
    beside: Readings,
}

/// Of each detector the sum, the number, and whether all were measured.
type Readings = BTreeMap<usize, (f64, u32, bool)>;

/// A sample that is complete.
pub(super) struct Gathered {
    /// When its last reading was taken.
    pub(super) last: Timestamp,
    /// The busiest detector's mean.
    pub(super) load: f64,
    /// The same of those that measure.
    pub(super) measured: Option<f64>,
    /// Whether there was no reading but while a backup moved.
    pub(super) own: bool,
}

impl Learned {
    pub(super) fn new(peaks: Option<PeakDetector>, stale_after: Duration) -> Self {
        Self {
            week: LearnedWeek::new(),
            peaks,
            stale_after,
            sample: None,
            movement: Movement::default(),
            heard: BTreeMap::new(),
            newest: None,
            load: None,
            stale_at: None,
            state: None,
            told: None,
            alarm: None,
            watched: false,
            touched: MonoTime::ZERO,
        }
    }

    /// The interval that is being gathered.
    pub(super) fn interval(&self) -> Option<i64> {
        self.sample.as_ref().map(|sample| sample.interval)
    }

    pub(super) fn closes_by(&self, now: MonoTime) -> bool {
        self.sample.as_ref().is_some_and(|sample| sample.closes_at <= now)
    }

    /// Takes in a detector's reading: which detector, the load, and whether it was measured.
    pub(super) fn gather(
        &mut self,
        now: Now,
        interval: i64,
        closes_at: MonoTime,
        (detector, load, measured): (usize, f64, bool),
    ) {
        let moved = self.movement.moved(now.mono);
        let (then, before) = self.heard.insert(detector, (now.mono, moved)).unwrap_or((now.mono, moved));
        let own = self.movement.runs() > 0 || OWN_PART * (moved - before) > now.mono.since(then);
        let sample = self.sample.get_or_insert_with(|| Sample {
            interval,
            closes_at,
            last: now.wall,
            alone: Readings::new(),
            beside: Readings::new(),
        });
        let readings = if own { &mut sample.beside } else { &mut sample.alone };
        let part = readings.entry(detector).or_insert((0.0, 0, true));
        *part = (part.0 + load, part.1 + 1, part.2 && measured);
        sample.last = now.wall;
        self.newest = Some(now.wall);
    }

    /// Ends the sample: what the readings say that are of the foreground alone or, without any, those beside backups.
    pub(super) fn end_sample(&mut self) -> Option<Gathered> {
        let Sample { last, alone, beside, .. } = self.sample.take()?;
        let own = alone.is_empty();
        let parts = if own { beside } else { alone };
        let mean = |(sum, count, _): &(f64, u32, bool)| sum / f64::from(*count);
        let load = parts.values().map(mean).reduce(f64::max)?;
        let measured = parts.values().filter(|(_, _, measured)| *measured).map(mean).reduce(f64::max);
        Some(Gathered { last, load, measured, own })
    }

    /// Takes in a sample; `measured` is what peaks are looked for in.
    pub(super) fn take(
        &mut self,
        now: Now,
        (at, slot): (Timestamp, WeekSlot),
        load: f64,
        measured: Option<f64>,
        own: OwnLoad,
    ) {
        let age = Duration::try_from(now.wall.duration_since(at)).unwrap_or_default();
        if let (Some(peaks), Some(measured)) = (&mut self.peaks, measured) {
            peaks.update(&self.week, at, slot, measured, own);
            if age < self.stale_after {
                self.state = peaks.state(at);
                self.stale_at = Some(now.mono + (self.stale_after - age));
            }
        }
        self.touched = now.mono;
        self.week.update(slot, load, own);
        self.newest = self.newest.max(Some(at));
        self.load = Some(load);
    }

    /// What nobody has told for long is unknown.
    pub(super) fn grow_old(&mut self, now: MonoTime) {
        if self.stale_at.is_some_and(|at| at <= now) {
            (self.stale_at, self.state) = (None, None);
        }
    }

    /// The peak's state where its level is not the one that was told last, or its numbers count.
    pub(super) fn news(&mut self) -> Option<Option<LoadState>> {
        let level = self.state.as_ref().map(|state| state.level);
        let news = std::mem::replace(&mut self.told, level) != level || level > Some(LoadLevel::Calm);
        news.then(|| self.state.clone())
    }

    /// Whether no detector is of it, nothing is being gathered, and nobody runs here.
    pub(super) fn is_out_of_use(&self) -> bool {
        !self.watched && self.alarm.is_none() && self.told.is_none() && self.movement.runs() == 0
    }

    pub(super) fn next_look(&self) -> Option<MonoTime> {
        let closes = self.sample.as_ref().map(|sample| sample.closes_at);
        // Before anything is known there is nothing to forget.
        let stale = self.stale_at.filter(|_| self.state.is_some());
        closes.into_iter().chain(stale).min()
    }
}
