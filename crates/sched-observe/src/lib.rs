//! Telling what happens: the [`Hook`] trait, the [`HookRunner`] that keeps hooks from doing harm, and ready-made
//! hooks.
//!
//! Hooks see decisions and cannot change them. Each runs on a thread of its own behind a bounded queue: a slow hook
//! loses events, which are counted, and delays nobody.
//!
//! | hook | tells |
//! |---|---|
//! | [`TracingHook`] | log lines and spans |
//! | [`DecisionLog`] | the newest events, in memory |
//! | [`AuditLog`] | every event, as lines of JSON in files that rotate |
#![cfg_attr(feature = "webhook", doc = "| [`Webhook`] | what needs somebody, by HTTP |")]
//! | [`FnHook`] | what a closure makes of it |
//!
//! [`impact`] finds out what backups cost the foreground.

mod feed;
mod history;
mod hook;
mod hooks;
pub mod impact;
pub mod metrics;
mod runner;

pub use feed::{Feed, FeedPage};
pub use history::{AttemptHistory, AttemptOutcome, AttemptRecord};
pub use hook::{FnHook, Hook};
pub use hooks::{AuditError, AuditLog, DecisionLog, Rotation, TracingHook};
#[cfg(feature = "webhook")]
pub use hooks::{Webhook, WebhookError};
pub use runner::{EventSink, HookRunner, HookStats};
