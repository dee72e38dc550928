//! Several laws at once: [`Override`].

use sched_core::{Now, Reason};

use super::{ControlLaw, Observation, Share};

/// Override control: each signal has a law of its own, the least share is granted, and the others follow it.
///
/// Without that, a law that has no say would integrate to its cap, and need minutes to come down once its signal is the
/// one that hurts.
#[derive(Debug, Default)]
pub struct Override {
    laws: Vec<(Box<dyn ControlLaw>, Share)>,
}

impl Override {
    /// No law at all: everything is granted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a law; the number by which [`step`](Self::step) knows it.
    pub fn add(&mut self, now: Now, mut law: Box<dyn ControlLaw>) -> usize {
        let first = sane(law.step(now, None), None);
        self.laws.push((law, first));
        self.laws.len() - 1
    }

    /// Steps one law, with a sample of its signal or without. A number that is not known changes nothing.
    pub fn step(&mut self, now: Now, law: usize, sample: Option<Observation>) {
        let Some((law, last)) = self.laws.get_mut(law) else { return };
        *last = sane(law.step(now, sample), Some(last.share));
        let Some((_, least)) = self.least() else { return };
        // A pause is no share that a law should come down to.
        if least.pause.is_some() {
            return;
        }
        let share = least.share;
        for (law, last) in &mut self.laws {
            if last.share > share {
                law.track(share);
            }
        }
    }

    /// Tells all laws by how much the foreground's latency may grow; see [`ControlLaw::allow`].
    pub fn allow(&mut self, growth: Option<f64>) {
        self.laws.iter_mut().for_each(|(law, _)| law.allow(growth));
    }

    /// The law whose share is the least, by its number, and what it says; `None` without laws.
    pub fn least(&self) -> Option<(usize, &Share)> {
        let all = self.laws.iter().map(|(_, last)| last).enumerate();
        all.min_by(|(_, a), (_, b)| a.granted().total_cmp(&b.granted()))
    }
}

/// A law that returns nonsense is held to what it said before.
fn sane(mut share: Share, before: Option<f64>) -> Share {
    if !(0.0..=1.0).contains(&share.share) {
        let kept = before.unwrap_or(0.0);
        share.reason = Reason::new(format!(
            "a control law said {}; a share is from 0 to 1, so {kept:.3} is kept",
            share.share
        ));
        share.share = kept;
    }
    share
}
