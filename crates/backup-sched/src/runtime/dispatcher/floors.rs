//! What attempts were promised, and to what each is held beside the others.

use std::collections::BTreeMap;

use sched_core::{JobId, Scope};
use sched_limits::Rate;

use super::Dispatcher;
use super::attempts::Running;
use crate::runtime::rates::Rates;
use crate::runtime::signals::Directive;
use crate::runtime::steering::{Promised, UNSLOWED};

/// What is left to attempts that may be slowed, where one runs that may not.
pub(super) type Beside = BTreeMap<Scope, Left>;

/// What is left to each at a place, in bytes a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// So much above its floor.
    AboveFloor(u64),
    /// So much, since the floors of all together are more than there is.
    Only(u64),
}

impl Left {
    fn to(self, floor: u64) -> u64 {
        match self {
            Self::AboveFloor(part) => floor.saturating_add(part),
            Self::Only(part) => part,
        }
    }
}

/// Who may be slowed at a place.
#[derive(Clone, Copy, Debug, Default)]
struct Slowable {
    count: u64,
    floors: u64,
}

impl Slowable {
    /// What is left to each, of a rate for all.
    fn left(self, rate: u64) -> Left {
        let count = self.count.max(1);
        match rate.checked_sub(self.floors) {
            Some(rest) => Left::AboveFloor(rest / count),
            None => Left::Only(rate / count),
        }
    }
}

impl Running {
    fn is_slowable(&self) -> bool {
        self.floor != UNSLOWED && !self.over
    }
}

impl Dispatcher {
    /// What running attempts were promised at each place.
    pub(super) fn promised(&self) -> BTreeMap<Scope, Promised> {
        let mut promised = BTreeMap::<_, Promised>::new();
        for running in self.running.values().filter(|running| running.floor > 0) {
            for place in self.parts.rates.path(&running.place) {
                promised.entry(place).or_default().add(running.floor);
            }
        }
        promised
    }

    /// Where an attempt must not be slowed the place's rate gives way to it. The others there are held to what the laws
    /// choose meanwhile: their floors, and equal parts of the rest. What one of them does not use is nobody's.
    pub(super) fn hold_others(&mut self) {
        let Self { running, parts, beside, .. } = self;
        let rates = &parts.rates;
        if !rates.are_held() || (!rates.gives_way() && beside.is_empty()) {
            return;
        }
        *beside = left_beside(running.values(), rates);
        let mut changed = Vec::new();
        for (job, running) in running.iter_mut() {
            let part = part(beside, rates, &running.place, running.floor);
            if running.part != part {
                running.part = part;
                changed.push(*job);
            }
        }
        self.limit_all(&changed);
    }

    /// Holds the others where rates are about to give way: once they have, those who wait would take a burst of them.
    pub(super) fn hold_first(&mut self, directives: &[Directive]) {
        let mut changed = false;
        for directive in directives {
            if let Directive::Others(place, others @ Some(_)) = directive {
                self.parts.rates.give_way(place, *others);
                changed = true;
            }
        }
        if changed {
            self.hold_others();
        }
    }

    /// Holds an attempt to the lowest of what was asked for, ordered, wanted for a comparison, and left to it beside one
    /// that must not be slowed.
    pub(super) fn limit(&self, job: JobId) {
        self.limit_all(&[job]);
    }

    fn limit_all(&self, jobs: &[JobId]) {
        let running = || jobs.iter().filter_map(|job| Some((*job, self.running.get(job)?)));
        self.parts.rates.limit(running().map(|(job, running)| {
            let stopped = self.parts.impact.as_ref().is_some_and(|impact| impact.stops(job));
            let stopped = stopped.then_some(running.floor);
            (&*running.pacer, [running.own_ceiling, running.ordered_ceiling, running.part, stopped])
        }));
        running().for_each(|(_, running)| running.control.wake());
    }
}

/// Also for places where nobody is yet: who begins there finds it.
fn left_beside<'a>(running: impl Iterator<Item = &'a Running>, rates: &Rates) -> Beside {
    if !rates.gives_way() {
        return Beside::new();
    }
    let mut slowable = BTreeMap::<Scope, Slowable>::new();
    for running in running.filter(|running| running.is_slowable()) {
        for place in rates.path(&running.place) {
            let here = slowable.entry(place).or_default();
            here.count += 1;
            here.floors = here.floors.saturating_add(running.floor);
        }
    }
    let left = |(place, others): (&Scope, Rate)| match others {
        Rate::BytesPerSec(rate) => {
            Some((place.clone(), slowable.get(place).copied().unwrap_or_default().left(rate)))
        }
        Rate::Unlimited => None,
    };
    rates.giving_way().filter_map(left).collect()
}

/// What is left at a place to an attempt with such a floor.
pub(super) fn part(beside: &Beside, rates: &Rates, place: &Scope, floor: u64) -> Option<u64> {
    if beside.is_empty() || floor == UNSLOWED {
        return None;
    }
    rates.path(place).filter_map(|place| Some(beside.get(&place)?.to(floor))).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_come_first_and_all_together_have_no_more_than_there_is() {
        for floors in [&[][..], &[0], &[0, 0, 0], &[300, 0, 100]] {
            for rate in [0, 1, 399, 400, 1_000, u64::MAX] {
                let sum = floors.iter().fold(0, |sum: u64, floor| sum.saturating_add(*floor));
                let left = Slowable { count: floors.len() as u64, floors: sum }.left(rate);
                let parts: Vec<u64> = floors.iter().map(|floor| left.to(*floor)).collect();
                let all: u128 = parts.iter().map(|part| u128::from(*part)).sum();
                assert!(all <= rate.into(), "{parts:?} of {rate}");
                let kept = floors.iter().zip(&parts).all(|(floor, part)| part >= floor);
                assert!(kept || sum > rate, "{parts:?} for {floors:?} of {rate}");
            }
        }
        assert_eq!(Slowable { count: 3, floors: 400 }.left(1_000).to(300), 500);
    }
}
