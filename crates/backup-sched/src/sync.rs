//! Locks of the code that `sched-models` compiles once more, with those of `loom`.

pub(crate) use parking_lot::{Condvar, Mutex};
