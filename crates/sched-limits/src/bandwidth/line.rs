//! What a job and the tree share without the tree's lock: [`Line`].

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::gate::Gate;
use crate::sync::AtomicU64;

/// More than any real chunk, and small enough that places in line never wrap around each other.
pub(super) const LARGEST_CHARGE: u64 = 1 << 32;

/// Counts the changes of all that chunks follow from: rates, weights, and which jobs are where.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape(Arc<AtomicU64>);

impl Shape {
    pub(super) fn change(&self) {
        self.0.fetch_add(1, Release);
    }

    /// Never 0 once there was a change.
    pub(super) fn count(&self) -> u64 {
        self.0.load(Acquire)
    }
}

/// What a job may move at once, and how far its line has come.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) gate: Gate,
    shape: Shape,
    /// The shape for which the chunk was worked out; 0 before it was.
    measured: AtomicU64,
    /// Bytes that stood in line and were let through since the job began, modulo 2⁶⁴. Only the tree writes it.
    passed: AtomicU64,
    chunk: AtomicU64,
}

impl Line {
    pub(super) fn new(shape: Shape) -> Self {
        Self {
            gate: Gate::default(),
            shape,
            measured: AtomicU64::new(0),
            passed: AtomicU64::new(0),
            chunk: AtomicU64::new(1),
        }
    }

    /// Whether the bytes up to `place` were let through.
    pub(super) fn has_passed(&self, place: u64) -> bool {
        self.missing(place) == 0
    }

    /// Bytes up to `place` that were not let through.
    pub(super) fn missing(&self, place: u64) -> u64 {
        // Places are ahead of what has passed by far less than half the circle.
        u64::try_from(place.wrapping_sub(self.passed.load(Acquire)).cast_signed()).unwrap_or(0)
    }

    pub(super) fn pass(&self, bytes: u64) {
        self.passed.store(self.passed.load(Relaxed).wrapping_add(bytes), Release);
    }

    pub(super) fn set_chunk(&self, bytes: u64, shape: u64) {
        self.chunk.store(bytes, Relaxed);
        self.measured.store(shape, Release);
    }

    /// The chunk, unless something has changed since it was worked out.
    pub(super) fn chunk(&self) -> Option<u64> {
        let is_current = self.measured.load(Acquire) == self.shape.count();
        is_current.then(|| self.chunk.load(Relaxed))
    }
}
