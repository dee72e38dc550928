//! When an instance exists: [`Life`].

/// From when to when an instance exists, in seconds from the simulation's Monday midnight. By default always.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Life {
    /// When it is created; 0 when it was there before the simulation. It counts as a recovery point: nothing is lost of
    /// what did not exist.
    pub created: f64,
    /// When it is dropped, after its creation; infinite for never. What is under way then is given up.
    pub dropped: f64,
}

impl Default for Life {
    fn default() -> Self {
        Self { created: 0.0, dropped: f64::INFINITY }
    }
}

impl Life {
    /// Whether it exists at a moment.
    pub fn is_at(&self, secs: f64) -> bool {
        self.created <= secs && secs < self.dropped
    }

    /// The share of a time from the beginning on, in seconds, for which it exists, from 0 to 1.
    pub fn share_of(&self, secs: f64) -> f64 {
        if secs <= 0.0 {
            return 0.0;
        }
        (self.dropped.min(secs) - self.created.max(0.0)).max(0.0) / secs
    }
}
