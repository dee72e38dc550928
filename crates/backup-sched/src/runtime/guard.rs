//! Keeps the dispatcher safe from a control law of the host's: [`Guard`].

use std::fmt;

use crossbeam_channel::Sender;
use sched_core::{Now, Reason, SignalName, caught};
use sched_limits::{ControlLaw, FailSlow, Observation, Share};

/// What is wrong with the law that listens to a signal.
pub(super) type Complaint = (SignalName, Reason);

/// A law that panics is set aside, and its signal gets a blind share from then on; a share that is none is replaced by
/// the one before. Either is complained of once.
pub(super) struct Guard {
    signal: SignalName,
    /// `None` once it was set aside.
    law: Option<Box<dyn ControlLaw>>,
    share: f64,
    /// Whether its last share was nonsense.
    strays: bool,
    complaints: Sender<Complaint>,
}

impl Guard {
    pub(super) fn new(signal: SignalName, law: Box<dyn ControlLaw>, complaints: Sender<Complaint>) -> Self {
        let share = FailSlow::default().blind_floor;
        Self { signal, law: Some(law), share, strays: false, complaints }
    }

    fn complain(&self, text: String) -> Reason {
        let reason = Reason::new(text);
        // Nobody reads while nothing is decided any more.
        drop(self.complaints.send((self.signal.clone(), reason.clone())));
        reason
    }

    /// What the law says, or `None` if it has no say: it is set aside, or was just now.
    fn ask<T>(&mut self, ask: impl FnOnce(&mut dyn ControlLaw) -> T) -> Option<T> {
        let mut law = self.law.take()?;
        match caught(|| ask(&mut *law)) {
            Ok(said) => {
                self.law = Some(law);
                Some(said)
            }
            Err(text) => {
                // A law that is half way through something may panic again when it is dropped.
                drop(caught(|| drop(law)));
                let FailSlow { blind_floor, blind_cap, .. } = FailSlow::default();
                self.share = self.share.clamp(blind_floor, blind_cap);
                self.complain(format!("the control law {text} and is set aside"));
                None
            }
        }
    }

    /// The share of a law that still has its say, held to what a share may be.
    fn bounded(&mut self, mut said: Share) -> Share {
        let usable = (0.0..=1.0).contains(&said.share);
        if usable {
            self.share = said.share;
        } else {
            let kept = self.share;
            let text =
                format!("the control law says {}, no share from 0 to 1; {kept:.3} is kept", said.share);
            said.reason = if self.strays { Reason::new(text) } else { self.complain(text) };
            said.share = kept;
        }
        self.strays = !usable;
        said
    }
}

impl ControlLaw for Guard {
    fn step(&mut self, now: Now, sample: Option<Observation>) -> Share {
        match self.ask(|law| law.step(now, sample)) {
            Some(said) => self.bounded(said),
            None => {
                let percent = self.share * 100.0;
                let text =
                    format!("the control law is set aside; blind share of {percent:.1} % of the ceiling");
                Share::new(self.share, Reason::new(text))
            }
        }
    }

    fn track(&mut self, granted: f64) {
        self.ask(|law| law.track(granted));
    }

    fn allow(&mut self, growth: Option<f64>) {
        self.ask(|law| law.allow(growth));
    }
}

impl fmt::Debug for Guard {
    /// Without the law, whose own way to say what it is may panic.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("signal", &self.signal)
            .field("share", &self.share)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Receiver, unbounded};
    use sched_core::{Clock, ManualClock};

    use super::*;

    /// Says what it is told to say, and panics at values over 1.
    #[derive(Debug)]
    struct Puppet;

    impl ControlLaw for Puppet {
        fn step(&mut self, _: Now, sample: Option<Observation>) -> Share {
            let share = sample.map_or(0.5, |sample| sample.value);
            assert!(share != 7.0, "on purpose");
            Share::new(share, Reason::new("told"))
        }

        fn track(&mut self, granted: f64) {
            assert!(granted != 0.0, "on purpose");
        }
    }

    impl Drop for Puppet {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "even when it goes");
        }
    }

    fn rig() -> (Guard, impl Fn(&mut Guard, f64) -> f64, Receiver<Complaint>) {
        let (complaints, heard) = unbounded();
        let now = ManualClock::default().now();
        let say = move |guard: &mut Guard, value| {
            guard.step(now, Some(Observation::new(now.mono, value, 0.0))).share
        };
        (Guard::new("cpu".into(), Box::new(Puppet), complaints), say, heard)
    }

    #[test]
    fn a_law_that_panics_is_set_aside_and_its_signal_gets_a_blind_share() {
        for (before, blind) in [(0.8, 0.05), (0.03, 0.03), (0.0, 0.01)] {
            let (mut guard, say, heard) = rig();
            assert_eq!(say(&mut guard, before), before);
            assert_eq!(say(&mut guard, 7.0), blind);
            assert_eq!(say(&mut guard, 0.9), blind, "it is not asked again");
            let complaints: Vec<_> = heard.try_iter().collect();
            assert_eq!(complaints.len(), 1);
            let text = complaints[0].1.to_string();
            assert!(text.contains("panicked: on purpose and is set aside"), "{text}");
        }
    }

    #[test]
    fn a_law_may_panic_while_it_follows_another() {
        let (mut guard, say, heard) = rig();
        say(&mut guard, 0.8);
        guard.track(0.5);
        assert_eq!(say(&mut guard, 0.8), 0.8);
        guard.track(0.0);
        assert_eq!(say(&mut guard, 0.8), 0.05);
        assert_eq!(heard.len(), 1);
    }

    #[test]
    fn nonsense_is_replaced_by_what_was_said_before_and_told_once() {
        let (mut guard, say, heard) = rig();
        for nonsense in [f64::NAN, 1.5, -0.1, f64::INFINITY] {
            assert_eq!(say(&mut guard, nonsense), 0.01, "a blind share, before it ever said one");
        }
        assert_eq!(heard.try_iter().count(), 1);
        assert_eq!(say(&mut guard, 0.4), 0.4);
        assert_eq!(say(&mut guard, f64::NEG_INFINITY), 0.4);
        let text = heard.try_recv().unwrap().1.to_string();
        assert!(text.contains("says -inf, no share from 0 to 1; 0.400 is kept"), "{text}");
        std::mem::forget(guard);
    }
}
