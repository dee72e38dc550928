//! Ready-made hooks.

mod audit;
mod log;
mod recent;
#[cfg(feature = "webhook")]
mod webhook;

pub use audit::{AuditError, AuditLog, Rotation};
pub use log::TracingHook;
pub use recent::DecisionLog;
#[cfg(feature = "webhook")]
pub use webhook::{Webhook, WebhookError};
