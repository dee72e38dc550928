//! What a backup does to the foreground's latency: [`slowdown`], [`Room`].
//!
//! Hosts answer load as the machine does on which `sched-limits` tries its control laws.

pub use sched_limits::plant::latency;

/// The foreground's p99 with a backup over that without, at this foreground load.
pub fn slowdown(foreground: f64, backup: f64) -> f64 {
    latency(foreground + backup) / latency(foreground)
}

/// How far backups may fill a host: where a control law that is told the healthy latency comes to rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Room {
    utilization: f64,
}

impl Room {
    /// Backups may make the foreground's p99 so many times that of the idle host, at least 1 (1.10: a tenth more).
    pub fn allowing(ratio: f64) -> Self {
        let allowed = if ratio.is_finite() { ratio.max(1.0) } else { 1.0 };
        let (mut low, mut high) = (0.0, 1.0);
        // By bisection: latency grows with utilization.
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if latency(middle) <= allowed { low = middle } else { high = middle }
        }
        Self { utilization: low }
    }

    /// The highest backup load beside this foreground load that keeps within what is allowed, from 0 to 1.
    pub fn beside(self, foreground: f64) -> f64 {
        (self.utilization - foreground.max(0.0)).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_up_to_what_is_allowed() {
        let room = Room::allowing(1.1);
        for load in [0.0, 0.1, 0.3, 0.501] {
            assert!((latency(load + room.beside(load)) - 1.1).abs() < 1e-9, "{load}");
        }
        assert_eq!(room.beside(0.75), 0.0);
    }

    #[test]
    fn nonsense_leaves_no_room() {
        assert!(Room::allowing(f64::NAN).beside(0.0) < 0.01);
        assert_eq!(Room::allowing(1.1).beside(7.0), 0.0);
        assert!(Room::allowing(1.1).beside(-1.0) < 1.0);
    }
}
