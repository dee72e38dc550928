//! One thread for each probe or detector: it may block, panic or lie without harm to anybody else.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use sched_core::{Clock, MonoTime, Wake, caught};
use sched_limits::{CapacityProbe, Sample};
use sched_workload::{DetectError, LoadDetector};

use super::Command;

/// Something to be asked again and again.
pub(crate) enum Source {
    Probe(Box<dyn CapacityProbe>),
    Detector(Box<dyn LoadDetector>),
}

impl Source {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Probe(probe) => probe.name(),
            Self::Detector(detector) => detector.name(),
        }
    }

    pub(crate) fn period(&self) -> Duration {
        match self {
            Self::Probe(probe) => probe.period(),
            Self::Detector(detector) => detector.period(),
        }
    }

    fn ask(&mut self, index: usize, clock: &dyn Clock) -> Command {
        match self {
            Self::Probe(probe) => {
                let sample = || Sample::take(&mut **probe, clock).map_err(|error| error.to_string());
                Command::Sample(index, caught(sample).flatten())
            }
            Self::Detector(detector) => {
                let asked = clock.now();
                let panicked = |text| Err(DetectError::Failed(text));
                Command::Load(index, asked, caught(|| detector.detect(asked)).unwrap_or_else(panicked))
            }
        }
    }
}

/// Ends a sampler when dropped; also what a hand-moved clock wakes.
pub(crate) struct SamplerEnd {
    poke: Sender<()>,
    at_once: Arc<AtomicBool>,
}

impl SamplerEnd {
    /// Has the source asked at once, and not only when it is due.
    pub(crate) fn ask(&self) {
        self.at_once.store(true, Ordering::SeqCst);
        self.wake();
    }
}

impl Wake for SamplerEnd {
    fn wake(&self) {
        // A poke that is already waiting does as well.
        let _ = self.poke.try_send(());
    }
}

/// Starts asking `source` once a period. The thread ends when the returned value is dropped, or, if the source
/// hangs, when it returns.
pub(crate) fn spawn_sampler(
    index: usize,
    mut source: Source,
    clock: Arc<dyn Clock>,
    commands: Sender<Command>,
) -> io::Result<Arc<SamplerEnd>> {
    let (poke, poked) = bounded(1);
    let at_once = Arc::<AtomicBool>::default();
    let end = Arc::new(SamplerEnd { poke, at_once: Arc::clone(&at_once) });
    let waker: Weak<dyn Wake> = Arc::<SamplerEnd>::downgrade(&end);
    clock.on_move(waker);
    let name = format!("sample-{}", source.name());
    let run = move || {
        let period = source.period();
        let mut due = clock.now().mono;
        loop {
            if !wait_until(&*clock, due, &poked, &at_once) {
                return;
            }
            if commands.send(source.ask(index, &*clock)).is_err() {
                return;
            }
            // A source that took long is not asked twice in a row to catch up.
            let now = clock.now().mono;
            due = if due > now { now + period } else { (due + period).max(now) };
        }
    };
    thread::Builder::new().name(name).spawn(run)?;
    Ok(end)
}

/// Waits for a moment of `clock`, or until it is asked for at once; `false` when the sampler is to end.
fn wait_until(clock: &dyn Clock, due: MonoTime, poked: &Receiver<()>, at_once: &AtomicBool) -> bool {
    loop {
        if at_once.swap(false, Ordering::SeqCst) {
            return true;
        }
        let over = match clock.sleep_for(due) {
            Some(Duration::ZERO) => return !matches!(poked.try_recv(), Err(e) if e.is_disconnected()),
            Some(real) => poked.recv_timeout(real),
            None => poked.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        if matches!(over, Err(RecvTimeoutError::Disconnected)) {
            return false;
        }
    }
}
