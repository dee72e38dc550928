//! Who decides when a backup runs, and how fast: [`Strategy`].

mod adaptive;
mod baseline;
mod clockwork;

use crate::world::{Finished, World};

pub use adaptive::{Adaptive, LEARNED_DAYS, Weeks};
pub use baseline::{Baseline, baselines, best};
pub use clockwork::{Clockwork, StartAt};

/// Decides what runs.
pub trait Strategy {
    /// A name for tables.
    fn name(&self) -> String;

    /// Looks at the world and starts what is to start. Returns when it wants to look again, in seconds: infinity for
    /// never. It is asked after every end of a backup too.
    fn wake(&mut self, world: &mut World<'_>) -> f64;

    /// A backup has ended.
    fn finished(&mut self, world: &mut World<'_>, finished: &Finished);
}
