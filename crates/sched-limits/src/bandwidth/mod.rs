//! The enforcer of rates: [`BandwidthTree`].
//!
//! ```
//! use std::sync::Arc;
//! use sched_core::{ManualClock, Pacer, Scope};
//! use sched_limits::{BandwidthTree, JobShare, Rate};
//!
//! let clock = Arc::new(ManualClock::default());
//! let tree = BandwidthTree::new(clock.clone(), Rate::BytesPerSec(10_000_000));
//! let (uplink, host) = (Scope::Link("uplink".into()), Scope::Host("db-1".into()));
//! tree.set_parent(&host, &uplink)?;
//! tree.set_rate(&uplink, Rate::BytesPerSec(1_000_000))?;
//! let job = tree.join(&host, JobShare::default())?;
//!
//! let charge = job.charge(20_000);
//! let wait = job.wait(charge).expect("the rate is not 0");
//! assert_eq!(wait.as_millis(), 20);
//! clock.advance(wait);
//! assert!(job.wait(charge).expect("the rate is not 0").is_zero());
//! # Ok::<(), sched_core::PlaceError>(())
//! ```

mod bucket;
mod gate;
mod line;
mod node;
mod open;
mod pacer;
mod take;
mod tree;
mod turn;

use std::fmt;
use std::sync::Arc;

use sched_core::{Clock, MonoTime, PlaceError, Scope};

pub use self::pacer::JobPacer;
use self::tree::Tree;
use crate::rate::Rate;
use crate::sync::Mutex;

/// What is taken in advance when nobody waits and every bucket on the way has it.
const LEASE: u64 = 1 << 20;

/// How a job shares what there is with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobShare {
    /// The most that it may move. Default unlimited.
    pub ceiling: Rate,
    /// What it gets at least while it asks for it, in bytes a second, before anybody else gets anything; as far as
    /// its ceiling and the places above allow. Default 0: none.
    pub floor_bytes_per_sec: u64,
    /// Its part against that of the others at its place, from 1 (0 counts as 1). Default 1.
    pub weight: u32,
}

impl Default for JobShare {
    fn default() -> Self {
        Self { ceiling: Rate::Unlimited, floor_bytes_per_sec: 0, weight: 1 }
    }
}

impl JobShare {
    /// Sets the ceiling.
    #[must_use]
    pub fn ceiling(mut self, ceiling: Rate) -> Self {
        self.ceiling = ceiling;
        self
    }

    /// Sets the guaranteed minimum, in bytes a second.
    #[must_use]
    pub fn floor(mut self, bytes_per_sec: u64) -> Self {
        self.floor_bytes_per_sec = bytes_per_sec;
        self
    }

    /// Sets the weight.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }
}

/// Rates of the fleet, links, hosts, volumes and the jobs on them: a tree in which bytes must pass every level.
///
/// - A level moves at most the integral of its rate and a *burst*: 50 ms at the present rate, or a chunk where that
///   is more. Idle time and clocks that jump give a burst and no more.
/// - Children of a place share its rate by weight while they ask; what one does not ask for goes to the others at
///   once, and comes back at once when it asks again. See [`JobShare`] for floors and ceilings.
/// - A new rate counts at once for everybody in line: the line is kept in bytes, not in time. A rate of 0 stops it.
/// - While nobody waits, jobs take what they need without a lock that others hold, and meet only in the counters of
///   the places above them. For that each level sets half a burst aside at a time.
/// - Whoever asks drives the tree; it has no thread, and reads only the clock that it was given.
///
/// Clones share the tree.
#[derive(Clone)]
pub struct BandwidthTree {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    tree: Mutex<Tree>,
    lease: u64,
}

impl Shared {
    fn look<T>(&self, f: impl FnOnce(&mut Tree, MonoTime) -> T) -> T {
        let mut now = self.clock.mono();
        let mut tree = self.tree.lock();
        if now < tree.at {
            // Somebody else was quicker to the lock, or the clock went backwards.
            now = self.clock.mono();
        }
        tree.at = now;
        f(&mut tree, now)
    }
}

impl BandwidthTree {
    /// A tree with nothing but the fleet, at `rate`.
    pub fn new(clock: Arc<dyn Clock>, rate: Rate) -> Self {
        Self::with_lease(clock, rate, LEASE)
    }

    /// As [`new`](Self::new), with so many bytes (usually 1 MiB) taken in advance for a job when nobody waits and every
    /// level has them: they are then spent without a lock. They count as part of the burst, and are called back when
    /// somebody waits or a rate changes. 0: none.
    pub fn with_lease(clock: Arc<dyn Clock>, rate: Rate, lease_bytes: u64) -> Self {
        let tree = Mutex::new(Tree::new(rate, lease_bytes, clock.mono()));
        Self { shared: Arc::new(Shared { clock, tree, lease: lease_bytes }) }
    }

    /// Changes the rate of a place, which is made when it is new. Whoever waits notices at its next look.
    ///
    /// # Errors
    /// When the scope is not a place or its name cannot be used.
    pub fn set_rate(&self, place: &Scope, rate: Rate) -> Result<(), PlaceError> {
        self.shared.look(|tree, now| {
            tree.set_rate(place, rate, now)?;
            tree.serve(now);
            Ok(())
        })
    }

    /// Changes the ceilings of several jobs of this tree at once; a job of another tree is left as it is.
    pub fn set_ceilings<'a>(&self, ceilings: impl IntoIterator<Item = (&'a JobPacer, Rate)>) {
        self.shared.look(|tree, now| {
            for (job, ceiling) in ceilings {
                if Arc::ptr_eq(&job.shared, &self.shared) {
                    tree.set_node_rate(job.ix, ceiling, now);
                }
            }
            tree.serve(now);
        });
    }

    /// Changes the weight of a place against those beside it, from 1 (0 counts as 1). Default 1.
    ///
    /// # Errors
    /// As [`set_rate`](Self::set_rate).
    pub fn set_weight(&self, place: &Scope, weight: u32) -> Result<(), PlaceError> {
        self.shared.look(|tree, _| tree.set_weight(place, weight))
    }

    /// Puts a link or a host under a link or the fleet, with all that is below it. New ones hang under the fleet.
    ///
    /// # Errors
    /// When the kinds do not go together, a name cannot be used or there would be a cycle. Nothing has changed then.
    pub fn set_parent(&self, child: &Scope, parent: &Scope) -> Result<(), PlaceError> {
        self.shared.look(|tree, now| {
            tree.set_parent(child, parent, now)?;
            tree.serve(now);
            Ok(())
        })
    }

    /// Whether [`set_parent`](Self::set_parent) would be accepted.
    ///
    /// # Errors
    /// Those of [`set_parent`](Self::set_parent).
    pub fn check_parent(&self, child: &Scope, parent: &Scope) -> Result<(), PlaceError> {
        self.shared.look(|tree, _| tree.check_parent(child, parent))
    }

    /// A new job at a place. Its bytes pass its own ceiling and every level from the place to the fleet.
    ///
    /// # Errors
    /// As [`set_rate`](Self::set_rate).
    pub fn join(&self, place: &Scope, share: JobShare) -> Result<JobPacer, PlaceError> {
        let terms = (share.ceiling, share.floor_bytes_per_sec, share.weight);
        let (ix, line) = self.shared.look(|tree, now| tree.join(place, terms, now))?;
        Ok(JobPacer { shared: self.shared.clone(), line, ix, lease: self.shared.lease })
    }

    /// The rate of a place; `None` when it is not known.
    pub fn rate(&self, place: &Scope) -> Option<Rate> {
        self.shared.look(|tree, _| tree.find(place).map(|node| node.bucket.rate()))
    }

    /// Bytes taken at a place so far, without what was given back; `None` when it is not known.
    pub fn granted(&self, place: &Scope) -> Option<u64> {
        self.shared.look(|tree, _| tree.granted_at(place))
    }

    /// Bytes that wait at or below a place; `None` when it is not known.
    pub fn waiting(&self, place: &Scope) -> Option<u64> {
        self.shared.look(|tree, _| tree.find(place).map(|node| node.waiting))
    }
}

impl fmt::Debug for BandwidthTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BandwidthTree").field("rate", &self.rate(&Scope::Fleet)).finish_non_exhaustive()
    }
}
