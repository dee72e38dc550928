//! Levelling what was missed over the links it shares: [`CatchUp`].

use std::time::Duration;

use jiff::Timestamp;
use sched_core::wall_plus;

/// Less would never end.
const LEAST_SHARE: f64 = 0.01;

/// Spreads the starts of overdue backups, so that what an outage has left behind does not come all at once.
///
/// Every link is a queue of bytes that is worked off at its share of the capacity; a backup starts when those that were
/// asked about before have been worked off on each of its links. So up to any moment no more is started on a link than it
/// can carry by then, and one backup. Ask in the order in which they should start: [`Timetable::poll`](super::Timetable::poll)
/// hands out the most overdue first.
///
/// ```
/// use sched_policy::CatchUp;
/// let mut catch_up = CatchUp::new(0.5);
/// let uplink = catch_up.link(200_000_000);
/// let now = "2026-11-25T12:00:00Z".parse()?;
/// assert_eq!(catch_up.start(now, 60_000_000_000, &[uplink]), now);
/// // The first 60 GB take ten minutes at 100 MB/s, half of what the link carries.
/// assert_eq!(catch_up.start(now, 60_000_000_000, &[uplink]), "2026-11-25T12:10:00Z".parse()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct CatchUp {
    share: f64,
    links: Vec<Link>,
}

/// A link of a [`CatchUp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(usize);

#[derive(Clone, Debug)]
struct Link {
    bytes_per_sec: u64,
    /// When all that has been asked for is worked off.
    free_at: Timestamp,
}

impl CatchUp {
    /// With a share of each link for what is overdue, from 0.01 to 1; the rest is for what becomes due meanwhile. A half
    /// works off an outage in as long as it lasted, if ordinary nights need no more than the other half.
    pub fn new(share: f64) -> Self {
        let share = if share.is_nan() { LEAST_SHARE } else { share.clamp(LEAST_SHARE, 1.0) };
        Self { share, links: Vec::new() }
    }

    /// Adds a link with what it carries, at least 1 byte a second.
    pub fn link(&mut self, bytes_per_sec: u64) -> LinkId {
        self.links.push(Link { bytes_per_sec: bytes_per_sec.max(1), free_at: Timestamp::MIN });
        LinkId(self.links.len() - 1)
    }

    /// A link carries so much from now on, at least 1 byte a second. What was asked about before stays where it is.
    pub fn set_link(&mut self, LinkId(link): LinkId, bytes_per_sec: u64) {
        if let Some(link) = self.links.get_mut(link) {
            link.bytes_per_sec = bytes_per_sec.max(1);
        }
    }

    /// When a backup of so many bytes should start that passes these links; not before `now`. Links of another
    /// `CatchUp` count for nothing.
    pub fn start(&mut self, now: Timestamp, bytes: u64, links: &[LinkId]) -> Timestamp {
        let mut start = now;
        for LinkId(link) in links {
            if let Some(link) = self.links.get_mut(*link) {
                start = start.max(link.free_at);
                let rate = link.bytes_per_sec as f64 * self.share;
                // Not aligned to the start: a backup that waits for one link must not hold up others on another.
                let takes = Duration::try_from_secs_f64(bytes as f64 / rate).unwrap_or(Duration::MAX);
                link.free_at = wall_plus(link.free_at.max(now), takes);
            }
        }
        start
    }
}
