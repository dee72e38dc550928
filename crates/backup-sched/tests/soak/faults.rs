//! What goes wrong on purpose, when, and how often it has.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

macro_rules! faults {
    ($($name:ident = $text:literal;)*) => {
        /// What can go wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Fault { $($name,)* }

        impl Fault {
            /// All, in the order of their counts.
            const ALL: &[Self] = &[$(Self::$name,)*];

            fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

faults! {
    // Of attempts.
    Retryable = "retryable errors";
    Permanent = "permanent errors";
    Unavailable = "destinations not available";
    Panic = "panics of backups";
    Deaf = "attempts that do not listen";
    Endless = "attempts that never end by themselves";
    // Of those who asked for them.
    PermitDropped = "permits dropped";
    HandleDropped = "handles dropped";
    // Of what is heard and told.
    ProbeFails = "probes that fail";
    ProbePanics = "probes that panic";
    ProbeLies = "probes that lie";
    ProbeFull = "full volumes";
    ProbeSilent = "silent probes";
    HookPanics = "hooks that panic";
    HookSlow = "slow hooks";
    SubscriberGone = "subscribers gone";
    Burst = "bursts of latency";
    // Of what is to be durable.
    StoreFails = "writes that failed";
    StoreUnsure = "writes of which nobody knows";
    // Of operators, to jobs and to scopes.
    Cancel = "cancellations";
    Interrupt = "interruptions";
    Reprioritize = "other classes";
    RunNow = "orders to run now";
    Hold = "holds and drains";
    Ceiling = "ceilings";
    Limit = "limits";
    Down = "hosts down";
    Reload = "reloads";
    BadReload = "reloads refused";
    // Ends of schedulers.
    Shutdown = "shutdowns";
    CutShort = "shutdowns without grace";
    Dropped = "schedulers dropped";
}

/// Chooses by a seed what goes wrong, and counts it.
pub(crate) struct Chaos {
    seed: u64,
    /// Nothing goes wrong any more.
    calm: AtomicBool,
    counts: [AtomicU64; Fault::ALL.len()],
}

impl Chaos {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, calm: AtomicBool::new(false), counts: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// Choices that follow from the seed and from whose they are alone.
    pub(crate) fn dice(&self, whose: impl std::hash::Hash) -> Dice {
        let mut hash = std::hash::DefaultHasher::new();
        whose.hash(&mut hash);
        Dice(fastrand::Rng::with_seed(self.seed ^ std::hash::Hasher::finish(&hash)))
    }

    /// Whether a fault comes now, as it does so often in a hundred times. It is counted.
    pub(crate) fn strikes(&self, dice: &mut Dice, fault: Fault, percent: u8) -> bool {
        let strikes = dice.0.u8(0..100) < percent && !self.calm.load(Relaxed);
        if strikes {
            self.count(fault);
        }
        strikes
    }

    pub(crate) fn count(&self, fault: Fault) {
        self.counts[fault as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn end(&self) {
        self.calm.store(true, Relaxed);
    }

    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// What has not gone wrong once.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let never = |fault: &&Fault| self.counts[**fault as usize].load(Relaxed) == 0;
        Fault::ALL.iter().filter(never).map(|fault| fault.text()).collect()
    }
}

impl fmt::Display for Chaos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count =
            |fault: &Fault| format!("{} {}", self.counts[*fault as usize].load(Relaxed), fault.text());
        f.write_str(&Fault::ALL.iter().map(count).collect::<Vec<_>>().join(", "))
    }
}

/// Choices of one thread or attempt.
pub(crate) struct Dice(fastrand::Rng);

impl Dice {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0.usize(0..n)
    }

    pub(crate) fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        (!all.is_empty()).then(|| &all[self.0.usize(0..all.len())])
    }

    pub(crate) fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.0.u64(range))
    }
}

/// Lets some time pass; `false` when what it waits beside is over.
pub(crate) fn pass(over: &Receiver<()>, time: Duration) -> bool {
    over.recv_timeout(time) == Err(RecvTimeoutError::Timeout)
}

/// Unwinds as a panic does, without the message that would be collected for the test's output: thousands of them would look
/// like a leak.
pub(crate) fn panic_quietly() -> ! {
    std::panic::resume_unwind(Box::new("on purpose"))
}
