//! What is remembered of each hour: [`Tables`].

use super::code::UNSEEN;

/// Hours that are remembered one by one: as many as the longest lag.
pub(super) const RECENT: usize = 28;
/// All codes together.
pub(super) const CODES: usize = RECENT + 24 + 2 * 24 + 168 + 24;

/// Codes on the instance's scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tables {
    /// The last hours, by their number modulo 28.
    pub(super) recent: [u8; RECENT],
    /// Means of the hours of the day.
    pub(super) daily: [u8; 24],
    /// The same of working days and of weekends.
    pub(super) kinds: [[u8; 24]; 2],
    /// Means of the hours of the week.
    pub(super) weekly: [u8; 168],
    /// Mean deviation from what was expected, by hour of the day.
    pub(super) deviation: [u8; 24],
}

impl Tables {
    pub(super) const EMPTY: Self = Self {
        recent: [UNSEEN; RECENT],
        daily: [UNSEEN; 24],
        kinds: [[UNSEEN; 24]; 2],
        weekly: [UNSEEN; 168],
        deviation: [UNSEEN; 24],
    };

    pub(super) fn codes(&self) -> impl Iterator<Item = u8> {
        let kinds = self.kinds.iter().flatten();
        let rest = kinds.chain(&self.weekly).chain(&self.deviation);
        self.recent.iter().chain(&self.daily).chain(rest).copied()
    }

    pub(super) fn codes_mut(&mut self) -> impl Iterator<Item = &mut u8> {
        let kinds = self.kinds.iter_mut().flatten();
        let rest = kinds.chain(&mut self.weekly).chain(&mut self.deviation);
        self.recent.iter_mut().chain(&mut self.daily).chain(rest)
    }

    /// The highest code of a load; 0 when there is none.
    pub(super) fn highest(&self) -> u8 {
        // One more than the code, so that the unseen ones wrap to nothing: bytes of whole tables are compared at once.
        let highest = |codes: &[u8]| codes.iter().fold(0, |most: u8, code| most.max(code.wrapping_add(1)));
        let Self { recent, daily, kinds: [working, weekend], weekly, deviation } = self;
        let tables: [&[u8]; 6] = [recent, daily, working, weekend, weekly, deviation];
        tables.into_iter().map(highest).fold(0, u8::max).saturating_sub(1)
    }
}
