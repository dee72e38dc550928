//! What a job and the tree share without the tree's lock: [`Line`].

use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use super::gate::Gate;

/// More than any real chunk, and small enough that places in line never wrap around each other.
pub(super) const LARGEST_CHARGE: u64 = 1 << 32;

/// What a job may move at once, and how far its line has come.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) gate: Gate,
    /// Bytes that stood in line and were let through since the job began, modulo 2⁶⁴. Only the tree writes it.
    passed: AtomicU64,
    chunk: AtomicU64,
}

impl Line {
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

    pub(super) fn set_chunk(&self, bytes: u64) {
        self.chunk.store(bytes, Relaxed);
    }

    pub(super) fn chunk(&self) -> u64 {
        self.chunk.load(Relaxed)
    }
}
