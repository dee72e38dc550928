//! How full the shared links will be: [`LinkLedger`].

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::grid::{Grid, duration_ms, floor_ms};
use super::settings::PlanSettings;

/// How many links one job uses at most.
pub const MAX_LINKS: usize = 4;

/// A link of a [`LinkLedger`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LinkId(pub u32);

/// The links that a job's bytes go over: up to [`MAX_LINKS`], each once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkSet {
    ids: [u32; MAX_LINKS],
    len: u8,
}

/// A job names more links than [`MAX_LINKS`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a job goes over at most {MAX_LINKS} shared links; leave out those that are never short")]
pub struct TooManyLinks;

impl LinkSet {
    /// These links; one that is named twice counts once.
    ///
    /// # Errors
    /// [`TooManyLinks`].
    pub fn new(links: impl IntoIterator<Item = LinkId>) -> Result<Self, TooManyLinks> {
        let mut set = Self::default();
        for link in links {
            if !set.iter().any(|known| known == link) {
                *set.ids.get_mut(usize::from(set.len)).ok_or(TooManyLinks)? = link.0;
                set.len += 1;
            }
        }
        Ok(set)
    }

    /// The links, in the order in which they were named.
    pub fn iter(&self) -> impl Iterator<Item = LinkId> {
        let ids = self.ids;
        (0..usize::from(self.len)).map(move |at| LinkId(ids[at]))
    }
}

/// Bytes that are entered in a [`LinkLedger`]: the receipt that takes them out again, once.
#[derive(Debug, PartialEq)]
#[must_use = "what is never taken out stays committed until its time has passed"]
pub struct Commitment {
    links: LinkSet,
    run: Run,
    /// Of the ledger when it was entered.
    epoch: u32,
    /// The slots that it is entered in.
    first: i64,
    end: i64,
}

impl Commitment {
    pub(super) fn start_ms(&self) -> i64 {
        self.run.start
    }
}

/// An even flow of bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Run {
    start: i64,
    duration: i64,
    bytes: u64,
}

impl Run {
    /// Bytes that have flowed by `ms`. Rounded down, so that what slots get adds up to the whole.
    fn until(self, ms: i64) -> u64 {
        let since = ms.saturating_sub(self.start).clamp(0, self.duration);
        (u128::from(self.bytes) * since as u128 / self.duration as u128) as u64
    }

    /// What it takes of a link in a slot: bytes, or milliseconds of slots.
    fn in_slot(self, grid: Grid, slot: i64, link: &Link) -> u64 {
        let run = if link.slots { Self { bytes: self.duration.unsigned_abs(), ..self } } else { self };
        run.until(grid.begin(slot + 1)) - run.until(grid.begin(slot))
    }
}

/// The bytes that planned and running jobs will send over each link in each slot, from now on for twice the planner's
/// horizon. Later parts of a run are not entered; planning the run anew enters them once they are near.
///
/// Entering a run and taking it out costs its slots. Sums are exact after any history. A slot takes what 64 bits count,
/// a run that would exceed them is entered up to there.
#[derive(Clone, Debug)]
pub struct LinkLedger {
    grid: Grid,
    /// The first slot that counts; those before it have passed.
    base: i64,
    slots: usize,
    /// How often it was begun anew.
    epoch: u32,
    links: Vec<Link>,
}

#[derive(Clone, Debug)]
struct Link {
    /// Bytes a second, or slots.
    capacity: u64,
    /// Whether each run takes one of it, however many bytes it sends.
    slots: bool,
    /// Share of the capacity that one byte in a slot is, or a millisecond.
    share: f64,
    /// By slot modulo their number.
    committed: Vec<u64>,
}

/// A link can be overfull by this factor; beyond it costs do not grow.
const MAX_FILL: f64 = 1e6;

impl LinkLedger {
    /// Without links, from `now` on.
    pub fn new(settings: &PlanSettings, now: Timestamp) -> Self {
        let grid = Grid { step: duration_ms(settings.step).max(1) };
        let slots = (2 * (duration_ms(settings.horizon) / grid.step).clamp(1, 1 << 16) + 2) as usize;
        Self { grid, base: grid.slot(floor_ms(now)), slots, epoch: 0, links: Vec::new() }
    }

    /// Another link. One of 0 bytes a second is always overfull.
    pub fn add_link(&mut self, bytes_per_sec: u64) -> LinkId {
        self.add(bytes_per_sec, false)
    }

    /// Something of which each run takes one while it lasts, whatever it sends. None is always overfull.
    pub fn add_slots(&mut self, slots: u64) -> LinkId {
        self.add(slots, true)
    }

    fn add(&mut self, capacity: u64, slots: bool) -> LinkId {
        let id = LinkId(u32::try_from(self.links.len()).unwrap_or(u32::MAX));
        self.links.push(Link { capacity: 0, slots, share: 0.0, committed: vec![0; self.slots] });
        self.set_capacity(id, capacity);
        id
    }

    /// A link carries so much from now on, or there are so many slots; nothing happens when it is unknown.
    pub fn set_capacity(&mut self, link: LinkId, capacity: u64) {
        let step = self.grid.step as f64;
        if let Some(link) = self.links.get_mut(link.0 as usize) {
            link.capacity = capacity;
            let units = if link.slots { step } else { step / 1e3 };
            link.share = 1.0 / (capacity.max(1) as f64 * units);
        }
    }

    /// Forgets what has passed. A time before an earlier one changes nothing, but for one that lies back by more than a
    /// slot: the clock was wrong before, and what had passed by it may come again. Then all is begun anew: what was entered
    /// is void, and its receipts take nothing out. Returns whether it was, so that runs are entered again.
    pub fn advance(&mut self, now: Timestamp) -> bool {
        let now = self.grid.slot(floor_ms(now));
        if now.saturating_add(1) < self.base {
            self.links.iter_mut().for_each(|link| link.committed.fill(0));
            (self.base, self.epoch) = (now, self.epoch.wrapping_add(1));
            return true;
        }
        let passed = now.saturating_sub(self.base).clamp(0, self.slots as i64);
        for slot in self.base..self.base + passed {
            let at = self.at(slot);
            for link in &mut self.links {
                link.committed[at] = 0;
            }
        }
        self.base = self.base.max(now);
        false
    }

    /// Enters a run: its bytes, evenly over its time, on each of its links that is known.
    ///
    /// A run without duration takes one slot.
    pub fn put(
        &mut self,
        links: LinkSet,
        start: Timestamp,
        duration: std::time::Duration,
        bytes: u64,
    ) -> Commitment {
        self.put_ms(links, floor_ms(start), duration_ms(duration), bytes)
    }

    pub(super) fn put_ms(&mut self, links: LinkSet, start: i64, duration: i64, bytes: u64) -> Commitment {
        let duration = if duration == 0 { self.grid.step } else { duration };
        let run = Run { start, duration, bytes };
        let first = self.grid.slot(start).max(self.base);
        let end = self.grid.slot_from(start.saturating_add(duration)).min(self.base + self.slots as i64);
        let mut commitment = Commitment { links, run, epoch: self.epoch, first, end: first };
        for slot in first..end {
            let (at, grid) = (self.at(slot), self.grid);
            let overflows =
                |link: &Link| link.committed[at].checked_add(run.in_slot(grid, slot, link)).is_none();
            if links.iter().filter_map(|link| self.links.get(link.0 as usize)).any(overflows) {
                break;
            }
            self.change(links, at, |link| link.committed[at] + run.in_slot(grid, slot, link));
            commitment.end = slot + 1;
        }
        commitment
    }

    /// Takes a run out again, from the slots that have not passed.
    pub fn take(&mut self, commitment: Commitment) {
        let Commitment { links, run, epoch, first, end } = commitment;
        if epoch != self.epoch {
            return;
        }
        for slot in first.max(self.base)..end {
            let (at, grid) = (self.at(slot), self.grid);
            // Saturating, for the receipt of another ledger.
            self.change(links, at, |link| link.committed[at].saturating_sub(run.in_slot(grid, slot, link)));
        }
    }

    /// Bytes committed on a link, or milliseconds of slots, in the slot in which a moment lies; 0 where nothing is known.
    pub fn committed(&self, link: LinkId, when: Timestamp) -> u64 {
        let slot = self.grid.slot(floor_ms(when));
        let link = self.links.get(link.0 as usize).filter(|_| self.covers(slot));
        link.map_or(0, |link| link.committed[self.at(slot)])
    }

    /// How full a link is in the slot in which a moment lies: 1 is full; 0 where nothing is known.
    pub fn fill(&self, link: LinkId, when: Timestamp) -> f64 {
        let share = self.links.get(link.0 as usize).map_or(0.0, |link| link.share);
        (self.committed(link, when) as f64 * share).min(MAX_FILL)
    }

    /// Adds, `weight` times, what it costs to send at so many bytes a second over these links in each slot from
    /// `first` on: the fill, which is the derivative of half the sum of squared fills, so that the least cost levels;
    /// and four times what exceeds the capacity. Of slots only the latter counts: a free one costs nothing.
    pub(super) fn add_costs(
        &self,
        links: LinkSet,
        bytes_per_sec: f64,
        first: i64,
        weight: f64,
        costs: &mut [f64],
    ) {
        let skipped = self.base.saturating_sub(first).clamp(0, costs.len() as i64) as usize;
        let known =
            (self.base + self.slots as i64).saturating_sub(first).clamp(0, costs.len() as i64) as usize;
        for link in links.iter().filter_map(|link| self.links.get(link.0 as usize)) {
            let takes = if link.slots { 1.0 } else { bytes_per_sec };
            let own = (takes / link.capacity.max(1) as f64).min(MAX_FILL);
            let mut at = self.at(first + skipped as i64);
            for cost in costs.iter_mut().take(known).skip(skipped) {
                let fill = (link.committed[at] as f64 * link.share).min(MAX_FILL);
                let level = if link.slots { 0.0 } else { fill };
                *cost += weight * (level + 4.0 * (fill + own - 1.0).max(0.0));
                at = if at + 1 == self.slots { 0 } else { at + 1 };
            }
        }
    }

    fn change(&mut self, links: LinkSet, at: usize, change: impl Fn(&Link) -> u64) {
        for link in links.iter() {
            if let Some(link) = self.links.get_mut(link.0 as usize) {
                link.committed[at] = change(link);
            }
        }
    }

    fn covers(&self, slot: i64) -> bool {
        (self.base..self.base + self.slots as i64).contains(&slot)
    }

    fn at(&self, slot: i64) -> usize {
        slot.rem_euclid(self.slots as i64) as usize
    }
}
