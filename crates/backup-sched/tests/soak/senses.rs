//! A probe, a hook and a store that go wrong.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backup_sched::core::store::Entry;
use backup_sched::limits::FnProbe;
use backup_sched::{CapacityProbe, Event, Hook, JobId, JobStore, ProbeError, Reading, StoreError};
use crossbeam_channel::Receiver;
use sched_store::EmbeddedStore;

use crate::faults::{Chaos, Dice, Fault, panic_quietly, pass};

const PERIOD: Duration = Duration::from_millis(50);
/// Long enough that its value is lost, after five periods.
const SILENCE: Duration = Duration::from_millis(400);

/// A probe of a volume that is half full, if it says so.
pub(crate) fn bad_probe(
    chaos: &Arc<Chaos>,
    mut dice: Dice,
    over: &Receiver<()>,
) -> impl CapacityProbe + use<> {
    let (chaos, over) = (Arc::clone(chaos), over.clone());
    FnProbe::new("bad", PERIOD, move |_| {
        if chaos.strikes(&mut dice, Fault::ProbeFails, 5) {
            return Err(ProbeError::unavailable("the storage does not answer"));
        }
        if chaos.strikes(&mut dice, Fault::ProbePanics, 3) {
            panic_quietly();
        }
        if chaos.strikes(&mut dice, Fault::ProbeSilent, 2) {
            pass(&over, SILENCE);
        }
        let share = match () {
            () if chaos.strikes(&mut dice, Fault::ProbeLies, 5) => f64::NAN,
            () if chaos.strikes(&mut dice, Fault::ProbeFull, 4) => 0.95,
            () => 0.5,
        };
        Ok(vec![Reading::share("volume", share)])
    })
}

/// A hook that panics and is slow now and then.
pub(crate) struct BadHook {
    chaos: Arc<Chaos>,
    dice: Dice,
    over: Receiver<()>,
}

impl BadHook {
    pub(crate) fn new(chaos: &Arc<Chaos>, dice: Dice, over: &Receiver<()>) -> Self {
        Self { chaos: Arc::clone(chaos), dice, over: over.clone() }
    }
}

impl Hook for BadHook {
    fn event(&mut self, _: &Event) {
        if self.chaos.strikes(&mut self.dice, Fault::HookPanics, 1) {
            panic_quietly();
        }
        if self.chaos.strikes(&mut self.dice, Fault::HookSlow, 1) {
            pass(&self.over, self.dice.millis(5..50));
        }
    }
}

/// A store in a file that now and then says that it could not write, and is then opened anew.
pub(crate) struct BadStore {
    path: PathBuf,
    file: EmbeddedStore,
    chaos: Arc<Chaos>,
    dice: Dice,
    /// Never twice in succession: who is shutting down tries once more, and what it could not write then is lost.
    failed: bool,
}

impl BadStore {
    pub(crate) fn new(path: PathBuf, chaos: &Arc<Chaos>, dice: Dice) -> Self {
        Self { file: EmbeddedStore::at(&path), path, chaos: Arc::clone(chaos), dice, failed: false }
    }
}

impl JobStore for BadStore {
    fn place(&self) -> String {
        self.file.place()
    }

    fn open(&mut self) -> Result<(), StoreError> {
        self.file.open()
    }

    fn load(&mut self, take: &mut dyn FnMut(Entry)) -> Result<JobId, StoreError> {
        self.file.load(take)
    }

    fn commit(&mut self, group: &[Entry]) -> Result<(), StoreError> {
        // One in a hundred, or it would be down most of the time.
        let rarely = !std::mem::take(&mut self.failed) && self.dice.below(2) == 0;
        let fails = rarely && self.chaos.strikes(&mut self.dice, Fault::StoreFails, 1);
        if !fails {
            self.file.commit(group)?;
        }
        let is_unsure = rarely && self.chaos.strikes(&mut self.dice, Fault::StoreUnsure, 1);
        if !fails && !is_unsure {
            return Ok(());
        }
        self.file = EmbeddedStore::at(&self.path);
        self.failed = true;
        Err(StoreError::Io { place: self.place(), what: "written", error: "unplugged".into() })
    }
}
