//! Always the same share: [`FixedLaw`].

use sched_core::{Now, Reason};

use super::{ControlLaw, LawError, Observation, Share, within};

/// The same share whatever happens: a throttle as other tools have it, and a bound beside other laws.
#[derive(Clone, Copy, Debug)]
pub struct FixedLaw {
    share: f64,
}

impl FixedLaw {
    /// A law that always says `share`, from 0 to 1.
    ///
    /// # Errors
    /// When the share is out of its range.
    pub fn new(share: f64) -> Result<Self, LawError> {
        within("share", share, (0.0, 1.0), "from 0 to 1")?;
        Ok(Self { share })
    }
}

impl ControlLaw for FixedLaw {
    fn step(&mut self, _: Now, _: Option<Observation>) -> Share {
        let reason = Reason::new(format!("fixed: {:.1} % of the ceiling", self.share * 100.0));
        Share::new(self.share, reason)
    }
}
