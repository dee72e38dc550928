//! What one probe has said, and which of it still counts.

use std::collections::BTreeMap;
use std::time::Duration;

use sched_core::{MonoTime, Reason, Scope, SignalName};

use crate::judge::Verdict;
use crate::reading::{Reading, ReadingError};
use crate::sample::{Cost, Sample};
use crate::status::{Freshness, LOST_AFTER_PERIODS, ProbeStatus, SignalStatus};
use crate::watchdog::{MAX_SIGNALS, Watchdog};

/// Signals that are lost for so many periods are forgotten.
const FORGOTTEN_AFTER_PERIODS: u32 = 100;

/// One probe: its signals, whether it is lost, what it costs.
#[derive(Debug)]
pub(crate) struct ProbeTrack {
    period: Duration,
    watchdog: Watchdog,
    /// When it last gave anything usable, at first when it was started.
    last: MonoTime,
    lost: Option<Reason>,
    signals: BTreeMap<(Scope, SignalName), Signal>,
    answers: u64,
    failures: u64,
    rejected: u64,
    cost: Cost,
    total_cost: Cost,
    /// When the next of its signals, or itself, may be lost.
    next_look: Option<MonoTime>,
}

/// The last believed value of a signal. One that was only ever rejected has none.
#[derive(Debug)]
struct Signal {
    reading: Option<Reading>,
    taken: MonoTime,
    /// Said to be lost.
    lost: bool,
    /// Its value is too old to count.
    expired: bool,
}

impl ProbeTrack {
    pub(crate) fn new(now: MonoTime, period: Duration) -> Self {
        let mut this = Self {
            period,
            watchdog: Watchdog::new(period),
            last: now,
            lost: None,
            signals: BTreeMap::new(),
            answers: 0,
            failures: 0,
            rejected: 0,
            cost: Cost::default(),
            total_cost: Cost::default(),
            next_look: None,
        };
        this.plan();
        this
    }

    /// Takes an answer, and returns the readings in it that count now; an error when there is none that could be
    /// believed.
    pub(crate) fn hear<'a>(
        &mut self,
        now: MonoTime,
        probe: &SignalName,
        sample: &'a Sample,
        verdicts: &mut Vec<Verdict>,
    ) -> Result<Vec<&'a Reading>, ReadingError> {
        self.answers += 1;
        self.cost = sample.cost;
        self.total_cost += sample.cost;
        let (good, mut bad) = self.watchdog.examine(sample);
        self.rejected += bad.len() as u64;
        if good.is_empty() {
            // An answer without any reading is no error, and in the long run no answer either.
            return if bad.is_empty() { Ok(vec![]) } else { Err(bad.swap_remove(0).1) };
        }
        self.last = now;
        if self.lost.take().is_some() {
            verdicts.push(Verdict::Back { signal: probe.clone() });
            self.signals.values_mut().for_each(|signal| signal.lost = false);
        }
        for (reading, error) in &bad {
            verdicts.extend(self.reject(now, probe, reading, error));
        }
        let mut usable = Vec::with_capacity(good.len());
        for (reading, taken) in good {
            let fresh = Freshness::of(now, taken, self.period) != Freshness::Lost;
            if self.keep(reading, taken, fresh) {
                verdicts.push(Verdict::Back { signal: reading.signal.clone() });
            }
            usable.extend(fresh.then_some(reading));
        }
        self.plan();
        Ok(usable)
    }

    /// The probe gives nothing usable, which is said once.
    pub(crate) fn lose(&mut self, probe: &SignalName, why: String) -> Option<Verdict> {
        let reason = Reason::new(why);
        let told_before = self.lost.replace(reason.clone()).is_some();
        self.plan();
        (!told_before).then(|| Verdict::Lost { signal: probe.clone(), reason })
    }

    pub(crate) fn count_failure(&mut self) {
        self.failures += 1;
    }

    /// When [`expire`](Self::expire) may have something to say.
    pub(crate) fn next_look(&self) -> Option<MonoTime> {
        self.next_look
    }

    fn limit(&self) -> Duration {
        self.period.saturating_mul(LOST_AFTER_PERIODS)
    }

    /// Keeps a believed reading; `true` when its signal was said to be lost and is back, which a value that is too old
    /// does not bring about.
    fn keep(&mut self, reading: &Reading, taken: MonoTime, fresh: bool) -> bool {
        let key = (reading.scope.clone(), reading.signal.clone());
        let signal = self.signals.entry(key).or_insert_with(|| Signal::never(taken));
        signal.reading = Some(reading.clone());
        signal.taken = taken;
        fresh && {
            signal.expired = false;
            std::mem::take(&mut signal.lost)
        }
    }

    /// A reading could not be believed: its signal is lost, which is said once.
    fn reject(
        &mut self,
        now: MonoTime,
        probe: &SignalName,
        bad: &Reading,
        error: &ReadingError,
    ) -> Option<Verdict> {
        let key = (bad.scope.clone(), bad.signal.clone());
        if self.signals.len() >= MAX_SIGNALS && !self.signals.contains_key(&key) {
            return None;
        }
        let signal = self.signals.entry(key).or_insert_with(|| Signal::never(now));
        if std::mem::replace(&mut signal.lost, true) {
            return None;
        }
        let reason = Reason::new(format!("probe {probe}: {error}"));
        Some(Verdict::Lost { signal: bad.signal.clone(), reason })
    }

    /// Lets go of values that are too old, and says which signals are lost; when the probe is lost, that says it all.
    pub(crate) fn expire(
        &mut self,
        now: MonoTime,
        probe: &SignalName,
        mut let_go: impl FnMut(&Scope, &SignalName),
        verdicts: &mut Vec<Verdict>,
    ) {
        if self.next_look.is_none_or(|look| look > now) {
            return;
        }
        let limit = self.limit();
        if self.lost.is_none() && now >= self.last + limit {
            let why = format!("no usable answer for {LOST_AFTER_PERIODS} periods of {:?}", self.period);
            let reason = self.lost.insert(Reason::new(why)).clone();
            verdicts.push(Verdict::Lost { signal: probe.clone(), reason });
        }
        for ((scope, name), signal) in &mut self.signals {
            if now < signal.taken + limit || (signal.lost && signal.expired) {
                continue;
            }
            signal.expired = true;
            let_go(scope, name);
            if !std::mem::replace(&mut signal.lost, true) && self.lost.is_none() {
                let why = format!("probe {probe} has told no value of {scope} for {limit:?}");
                verdicts.push(Verdict::Lost { signal: name.clone(), reason: Reason::new(why) });
            }
        }
        let forgotten = self.period.saturating_mul(FORGOTTEN_AFTER_PERIODS);
        self.signals.retain(|_, signal| !signal.expired || now.since(signal.taken) <= forgotten);
        self.plan();
    }

    /// Sets when to look again.
    fn plan(&mut self) {
        let limit = self.limit();
        let waited_for = self.signals.values().filter(|signal| !(signal.lost && signal.expired));
        let probe = self.lost.is_none().then_some(self.last);
        self.next_look =
            waited_for.map(|signal| signal.taken).chain(probe).min().map(|oldest| oldest + limit);
    }
    /// The newest readings that can be believed, and from when on each counts no more.
    pub(crate) fn believed(&self) -> impl Iterator<Item = (&Reading, MonoTime)> {
        let limit = self.limit();
        let good = self.signals.values().filter(|signal| !signal.lost && !signal.expired);
        good.filter_map(move |signal| Some((signal.reading.as_ref()?, signal.taken + limit)))
    }

    pub(crate) fn status(&self, now: MonoTime, name: &SignalName) -> ProbeStatus {
        let signals = self.signals.values().filter_map(|signal| {
            let freshness = Freshness::of(now, signal.taken, self.period);
            let reading = signal.reading.clone()?;
            Some(SignalStatus { reading, age: now.since(signal.taken), freshness })
        });
        let answers = u32::try_from(self.answers).unwrap_or(u32::MAX).max(1);
        let mean = Cost { wall: self.total_cost.wall / answers, cpu: self.total_cost.cpu / answers };
        ProbeStatus {
            probe: name.clone(),
            period: self.period,
            lost: self.lost.clone(),
            answers: self.answers,
            failures: self.failures,
            rejected: self.rejected,
            cost: self.cost,
            cpu_per_sec: mean.cpu_per_sec(self.period),
            signals: signals.collect(),
        }
    }
}

impl Signal {
    /// A signal of which nothing was believed yet.
    fn never(at: MonoTime) -> Self {
        Self { reading: None, taken: at, lost: false, expired: false }
    }
}
