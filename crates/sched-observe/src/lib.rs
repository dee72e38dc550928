//! Telling what happens: the [`Hook`] trait, the [`HookRunner`] that keeps hooks from doing harm, and ready-made
//! hooks.
//!
//! Hooks see decisions and cannot change them. They run on a thread of their own behind a bounded queue: a slow hook
//! loses events, which are counted, and delays nobody.

mod hook;
mod log;
mod recent;
mod runner;

pub use hook::{FnHook, Hook};
pub use log::TracingHook;
pub use recent::DecisionLog;
pub use runner::{EventSink, HookRunner, HookStats};
