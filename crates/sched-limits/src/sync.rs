//! Atomics and locks of the code that `sched-models` compiles once more, with those of `loom`.

pub(crate) use std::sync::atomic::{AtomicI64, AtomicU64};

pub(crate) use parking_lot::Mutex;
