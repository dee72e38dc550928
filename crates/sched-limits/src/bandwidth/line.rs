//! What a job and the tree share without a lock: [`Line`].

use std::sync::atomic::{
    AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};

/// More than any real chunk, and small enough that places in line never wrap around each other.
pub(super) const LARGEST_CHARGE: u64 = 1 << 32;

/// What a job may move at once, and how far its line has come.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Bytes let through in advance. Only the tree adds to them, only the job spends them.
    prepaid: AtomicU64,
    /// Bytes that stood in line and were let through since the job began, modulo 2⁶⁴. Only the tree writes it.
    passed: AtomicU64,
    chunk: AtomicU64,
}

impl Line {
    /// Takes bytes from what was let through in advance, all or none.
    pub(super) fn spend(&self, bytes: u64) -> bool {
        // Without a lease there is nothing to be written.
        let mut prepaid = self.prepaid.load(Relaxed);
        while prepaid >= bytes && prepaid > 0 {
            match self.prepaid.compare_exchange_weak(prepaid, prepaid - bytes, AcqRel, Relaxed) {
                Ok(_) => return true,
                Err(now) => prepaid = now,
            }
        }
        false
    }

    pub(super) fn prepay(&self, bytes: u64) {
        self.prepaid.store(bytes, Release);
    }

    /// Takes back what was let through in advance and not spent.
    pub(super) fn recall(&self) -> u64 {
        self.prepaid.swap(0, AcqRel)
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

    pub(super) fn set_chunk(&self, bytes: u64) {
        self.chunk.store(bytes, Relaxed);
    }

    pub(super) fn chunk(&self) -> u64 {
        self.chunk.load(Relaxed)
    }
}
