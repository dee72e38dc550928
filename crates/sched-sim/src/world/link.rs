//! A link that many share: [`SharedLink`].
//!
//! Fluid: rates are constant between events. Who could move faster than the link's fair level gets the level, the
//! others what they can (max-min fairness). Flows that go first share so before the others, and a limit on the others
//! does not bind them. Flows that can move about equally fast share a *bin*; a bin's bytes for each of
//! its flows grow alike, so a flow ends when its bin has moved what it had to move, and an event costs the bins, not the
//! flows (virtual time, as in fair queuing).

use std::collections::BTreeSet;

use slab::Slab;

/// Bins for a doubling of the rate: a flow's rate is off by at most 4.5 %, as often up as down.
const BINS_A_DOUBLING: f64 = 8.0;
/// Slower than this is not at all, in bytes a second.
const SLOWEST: f64 = 1e3;
/// Bins up to some 60 GB/s.
const BINS: usize = 208;

/// Which of a link's flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FlowId(u32);

impl FlowId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Clone, Debug)]
pub(crate) struct SharedLink {
    capacity: f64,
    /// What those get together who do not go first.
    limit: f64,
    /// Those of flows that go first come after the others.
    bins: Box<[Bin]>,
    /// A bit for each bin that has flows.
    used: [u64; (2 * BINS).div_ceil(64)],
    flows: Slab<Flow>,
    /// The time up to which bytes have been moved, in seconds.
    at: f64,
    /// The rate that those get who could move faster: of the others, and of those that go first.
    levels: [f64; 2],
    stale: bool,
}

#[derive(Clone, Debug, Default)]
struct Bin {
    /// What its flows can move, in bytes a second.
    cap: f64,
    /// Bytes that each of its flows would have moved had it been there all the time.
    each: f64,
    /// Flows by the value of `each` at which they end. Positive numbers are ordered as their bits.
    ends: BTreeSet<(u64, FlowId)>,
}

#[derive(Clone, Copy, Debug)]
struct Flow {
    /// `None` while it cannot move.
    bin: Option<usize>,
    /// Of the bin, at which it ends; without a bin, the bytes left.
    end: f64,
}

impl SharedLink {
    pub(crate) fn new(capacity: f64) -> Self {
        let bin = |n: usize| Bin { cap: SLOWEST * (n as f64 / BINS_A_DOUBLING).exp2(), ..Bin::default() };
        let bins = (0..2 * BINS).map(|n| bin(n % BINS)).collect();
        Self {
            capacity,
            limit: capacity,
            bins,
            used: Default::default(),
            flows: Slab::new(),
            at: 0.0,
            levels: [f64::INFINITY; 2],
            stale: false,
        }
    }

    /// From now on those that do not go first get no more than so many bytes a second together.
    pub(crate) fn set_limit(&mut self, at: f64, bytes_per_sec: f64) {
        self.advance(at);
        self.limit = bytes_per_sec.clamp(0.0, self.capacity);
        self.stale = true;
    }

    /// What one more flow would get that could move faster, in bytes a second.
    pub(crate) fn share(&mut self) -> f64 {
        self.refresh();
        self.levels[0]
    }

    /// A flow that is to move so many bytes, at no more than `cap` bytes a second.
    pub(crate) fn join(&mut self, at: f64, bytes: f64, cap: f64) -> FlowId {
        self.advance(at);
        let id = FlowId(self.flows.insert(Flow { bin: None, end: bytes }) as u32);
        self.put(id, bytes, cap, false);
        id
    }

    /// From now on no more than `cap` bytes a second; before the others, if it goes first.
    pub(crate) fn set_cap(&mut self, at: f64, id: FlowId, cap: f64, first: bool) {
        self.advance(at);
        let bytes = self.take(id);
        self.put(id, bytes, cap, first);
    }

    /// The flow is over. Returns the bytes left.
    pub(crate) fn leave(&mut self, at: f64, id: FlowId) -> f64 {
        self.advance(at);
        let bytes = self.take(id);
        self.flows.remove(id.0 as usize);
        bytes
    }

    /// The flow moves nothing from now on, and does not end.
    pub(crate) fn stall(&mut self, at: f64, id: FlowId) {
        self.set_cap(at, id, 0.0, false);
    }

    /// The flow moves next to nothing from now on, and ends after so many seconds. Returns the bytes left.
    pub(crate) fn end_within(&mut self, at: f64, id: FlowId, secs: f64) -> f64 {
        self.advance(at);
        self.take(id);
        self.put(id, secs * SLOWEST, SLOWEST, false);
        secs * SLOWEST
    }

    /// The bytes that a flow has left.
    pub(crate) fn left(&mut self, at: f64, id: FlowId) -> f64 {
        self.advance(at);
        let flow = self.flows[id.0 as usize];
        flow.end - flow.bin.map_or(0.0, |bin| self.bins[bin].each)
    }

    /// When the first flow ends, and which, if nothing changes until then.
    pub(crate) fn next_end(&mut self) -> Option<(f64, FlowId)> {
        self.refresh();
        let first = |at: usize| {
            let (end, id) = self.bins[at].ends.first()?;
            let secs = (f64::from_bits(*end) - self.bins[at].each).max(0.0) / self.rate_in(at);
            Some((self.at + secs, *id))
        };
        self.used().filter_map(first).min_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// The rate of all flows together, in bytes a second.
    #[cfg(test)]
    pub(crate) fn rate(&mut self) -> f64 {
        self.refresh();
        self.used().map(|at| self.bins[at].ends.len() as f64 * self.rate_in(at)).sum()
    }

    /// Bins that have flows, the slowest first.
    fn used(&self) -> impl Iterator<Item = usize> + use<> {
        self.used.into_iter().enumerate().flat_map(|(word, mut bits)| {
            std::iter::from_fn(move || {
                let bit = (bits != 0).then(|| bits.trailing_zeros())?;
                bits &= bits - 1;
                Some(64 * word + bit as usize)
            })
        })
    }

    fn put(&mut self, id: FlowId, bytes: f64, cap: f64, first: bool) {
        let bytes = bytes.max(0.0);
        self.stale = true;
        let flow = &mut self.flows[id.0 as usize];
        if cap < SLOWEST || cap.is_nan() {
            *flow = Flow { bin: None, end: bytes };
            return;
        }
        let bin = ((cap / SLOWEST).log2() * BINS_A_DOUBLING).round() as usize;
        let bin = bin.min(BINS - 1) + if first { BINS } else { 0 };
        let end = self.bins[bin].each + bytes;
        *flow = Flow { bin: Some(bin), end };
        self.bins[bin].ends.insert((end.to_bits(), id));
        self.used[bin / 64] |= 1 << (bin % 64);
    }

    fn take(&mut self, id: FlowId) -> f64 {
        self.stale = true;
        let flow = self.flows[id.0 as usize];
        let Some(at) = flow.bin else { return flow.end };
        let bin = &mut self.bins[at];
        bin.ends.remove(&(flow.end.to_bits(), id));
        let left = flow.end - bin.each;
        if bin.ends.is_empty() {
            // Small numbers stay exact.
            bin.each = 0.0;
            self.used[at / 64] &= !(1 << (at % 64));
        }
        left.max(0.0)
    }

    fn advance(&mut self, to: f64) {
        let dt = to - self.at;
        if dt <= 0.0 {
            return;
        }
        self.refresh();
        for bin in self.used() {
            let rate = self.rate_in(bin);
            self.bins[bin].each += rate * dt;
        }
        self.at = to;
    }

    /// The rate of each flow of a bin.
    fn rate_in(&self, bin: usize) -> f64 {
        self.bins[bin].cap.min(self.levels[bin / BINS])
    }

    fn refresh(&mut self) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        let (first, used) = self.level(BINS..2 * BINS, self.capacity);
        let (level, _) = self.level(0..BINS, (self.capacity - used).min(self.limit - used).max(SLOWEST));
        self.levels = [level, first];
    }

    /// The level at which flows of these bins use up what is left for them, infinite when they do not; and what they use.
    fn level(&self, bins: std::ops::Range<usize>, of: f64) -> (f64, f64) {
        let bins = || self.used().filter(|at| bins.contains(at)).map(|at| &self.bins[at]);
        let mut faster: usize = bins().map(|bin| bin.ends.len()).sum();
        let mut left = of;
        for bin in bins() {
            if bin.cap * faster as f64 >= left {
                return (left / faster as f64, of);
            }
            left -= bin.cap * bin.ends.len() as f64;
            faster -= bin.ends.len();
        }
        (f64::INFINITY, of - left)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_one_cannot_use_goes_to_the_others() {
        let mut link = SharedLink::new(100e6);
        let slow = link.join(0.0, 1e9, 10e6);
        let (_a, _b) = (link.join(0.0, 1e9, 1e9), link.join(0.0, 1e9, 1e9));
        assert!((link.rate() - 100e6).abs() < 1.0);
        let left = link.left(10.0, slow);
        assert!((left - 0.9e9).abs() < 0.05e9, "{left}");
        // 45 MB/s for each of the two.
        assert!((link.next_end().unwrap().0 - 22.2).abs() < 0.3);
    }

    #[test]
    fn who_cannot_move_waits_and_goes_on() {
        let mut link = SharedLink::new(100e6);
        let flow = link.join(0.0, 1e6, 0.0);
        assert_eq!(link.next_end(), None);
        assert_eq!(link.left(50.0, flow), 1e6);
        link.set_cap(50.0, flow, 1e6, false);
        assert!((link.next_end().unwrap().0 - 51.0).abs() < 0.05);
        assert!((link.leave(50.5, flow) - 0.5e6).abs() < 3e4);
    }

    #[test]
    fn who_goes_first_is_not_held_by_the_limit() {
        let mut link = SharedLink::new(100e6);
        let pressed = link.join(0.0, 1e9, 30e6);
        let (_a, _b) = (link.join(0.0, 1e9, 1e9), link.join(0.0, 1e9, 1e9));
        link.set_limit(0.0, 24e6);
        assert!((link.rate() - 24e6).abs() < 1.0 && (link.share() - 8e6).abs() < 1.0);
        link.set_cap(0.0, pressed, 10e6, true);
        assert!((link.rate() - 24e6).abs() < 1.0);
        let left = link.left(10.0, pressed);
        assert!((left - 0.9e9).abs() < 5e6, "{left}");
        // More than the limit, and than the others leave.
        link.set_cap(10.0, pressed, 60e6, true);
        assert!(link.rate() > 55e6 && link.share() < 1e3, "{} {}", link.rate(), link.share());
    }

    /// Bytes, and what it can move.
    #[derive(Clone, Copy, Debug)]
    struct Plain {
        at: f64,
        bytes: f64,
        cap: f64,
        first: bool,
    }

    proptest! {
        /// Against a walk in small steps in which each flow is served by itself.
        #[test]
        fn as_a_walk_in_small_steps(
            flows in prop::collection::vec(
                (0.0..20.0_f64, 1e6..5e8_f64, 1e5..3e8_f64, prop::bool::weighted(0.2)),
                1..12,
            ),
            capacity in 1e7..4e8_f64,
            limit in 0.5..1.2_f64,
        ) {
            // Caps of the bins, so that rounding does not count; those that go first leave something to the others.
            let in_bin = |cap: f64| SLOWEST * (((cap / SLOWEST).log2() * 8.0).round() / 8.0).exp2();
            let flows: Vec<_> = flows
                .into_iter()
                .map(|(at, bytes, cap, first)| {
                    let cap = in_bin(if first { cap.min(capacity / 40.0) } else { cap });
                    Plain { at, bytes, cap, first }
                })
                .collect();
            let limit = limit * capacity;
            let mut starts: Vec<_> = flows.iter().copied().enumerate().collect();
            starts.sort_by(|a, b| a.1.at.total_cmp(&b.1.at));
            let (mut link, mut ends, mut names) = (SharedLink::new(capacity), vec![0.0; flows.len()], Vec::new());
            link.set_limit(0.0, limit);
            let mut next = starts.into_iter().peekable();
            loop {
                let end = link.next_end();
                match next.peek().copied() {
                    Some((n, flow)) if end.is_none_or(|end| flow.at <= end.0) => {
                        let id = link.join(flow.at, flow.bytes, flow.cap);
                        link.set_cap(flow.at, id, flow.cap, flow.first);
                        names.push((id, n));
                        next.next();
                    }
                    _ => {
                        let Some((at, id)) = end else { break };
                        link.leave(at, id);
                        let named = names.iter().position(|name| name.0 == id).unwrap();
                        ends[names.swap_remove(named).1] = at;
                    }
                }
            }
            let walked = walk(&flows, capacity.min(limit));
            for (end, walked) in ends.iter().zip(&walked) {
                prop_assert!((end - walked).abs() < 0.02 * walked + 0.1, "{end} {walked}");
            }
        }
    }

    fn walk(flows: &[Plain], room: f64) -> Vec<f64> {
        let step = 0.01;
        let mut left: Vec<f64> = flows.iter().map(|flow| flow.bytes).collect();
        let mut ends = vec![f64::NAN; flows.len()];
        let mut t: f64 = 0.0;
        while ends.iter().any(|end| end.is_nan()) {
            let mut active: Vec<usize> =
                (0..flows.len()).filter(|n| flows[*n].at <= t && ends[*n].is_nan()).collect();
            let order = |n: usize| (!flows[n].first, flows[n].cap);
            active.sort_by(|a, b| order(*a).partial_cmp(&order(*b)).unwrap());
            let mut room = room;
            for (at, n) in active.iter().enumerate() {
                let fair = if flows[*n].first { room } else { room / (active.len() - at) as f64 };
                let rate = flows[*n].cap.min(fair);
                room -= rate;
                left[*n] -= rate * step;
                if left[*n] <= 0.0 {
                    ends[*n] = t + step;
                }
            }
            t += step;
        }
        ends
    }
}
