//! The line of one job: [`Line`].

use std::sync::atomic::{
    AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};

/// More than any real chunk, and small enough that places in line never wrap around each other.
pub(super) const LARGEST_CHARGE: u64 = 1 << 32;

/// A job's place in its own line: bytes asked for and bytes let through since it began, both modulo 2⁶⁴.
///
/// Asking needs no lock, nor does passing on what is let through already. Only the tree lets through.
#[derive(Debug, Default)]
pub(super) struct Line {
    issued: AtomicU64,
    passed: AtomicU64,
    chunk: AtomicU64,
}

impl Line {
    /// Adds bytes to the end of the line and returns their place.
    pub(super) fn issue(&self, bytes: u64) -> u64 {
        self.issued.fetch_add(bytes, AcqRel).wrapping_add(bytes)
    }

    /// Whether the bytes up to `place` were let through.
    pub(super) fn has_passed(&self, place: u64) -> bool {
        ahead(place, self.passed.load(Acquire)) == 0
    }

    pub(super) fn set_chunk(&self, bytes: u64) {
        self.chunk.store(bytes, Relaxed);
    }

    pub(super) fn chunk(&self) -> u64 {
        self.chunk.load(Relaxed)
    }

    pub(super) fn backlog(&self) -> u64 {
        ahead(self.issued.load(Acquire), self.passed.load(Acquire))
    }

    pub(super) fn pass(&self, bytes: u64) {
        // Only the tree writes it, under its lock.
        self.passed.store(self.passed.load(Relaxed).wrapping_add(bytes), Release);
    }

    /// Takes back what was let through and not asked for. Somebody who asks at this very moment may still pass;
    /// those bytes are then behind in the line and taken from the tree with the next ones.
    pub(super) fn recall(&self) -> u64 {
        let unused = ahead(self.passed.load(Acquire), self.issued.load(Acquire));
        self.passed.store(self.passed.load(Relaxed).wrapping_sub(unused), Release);
        unused
    }
}

/// How far `place` is ahead of `other` on a circle of 2⁶⁴; 0 when it is not.
fn ahead(place: u64, other: u64) -> u64 {
    u64::try_from(place.wrapping_sub(other).cast_signed()).unwrap_or(0)
}
