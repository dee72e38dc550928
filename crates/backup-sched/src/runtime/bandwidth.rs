//! Where an attempt stands in the bandwidth tree, and under which terms.

use sched_core::{Priority, Scope, StartOrder};
use sched_limits::{JobShare, Rate};

/// What bounds all backups together: the lower of the two counts.
#[derive(Clone, Copy)]
pub(crate) struct FleetRate {
    /// What the control laws choose.
    pub(crate) steered: Rate,
    /// What the host application set.
    pub(crate) set: Rate,
}

impl FleetRate {
    pub(crate) fn least(self) -> Rate {
        self.steered.min(self.set)
    }
}

/// The innermost place that an attempt runs at.
pub(super) fn place(order: &StartOrder) -> Scope {
    let host = order.spec.host.clone();
    match &order.spec.volume {
        Some(volume) => Scope::Volume(host, volume.clone()),
        None => Scope::Host(host),
    }
}

/// How an attempt shares the rates above it: the more urgent its class, the larger its part.
pub(super) fn share(order: &StartOrder) -> JobShare {
    let weight = match order.terms.priority {
        Priority::Low => 1,
        Priority::Normal => 2,
        Priority::High => 4,
        Priority::Critical => 8,
    };
    JobShare::default()
        .ceiling(ceiling(order.spec.max_bytes_per_sec, order.ceiling_bytes_per_sec))
        .floor(order.terms.floor_bytes_per_sec)
        .weight(weight)
}

/// The lower of what the request and an operator allow.
pub(super) fn ceiling(asked: Option<u64>, ordered: Option<u64>) -> Rate {
    asked.into_iter().chain(ordered).min().map_or(Rate::Unlimited, Rate::BytesPerSec)
}
