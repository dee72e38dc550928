//! The rates of places: what control laws choose, what the host application set, what operators ordered. The lowest
//! counts, and the bandwidth tree holds it.

use std::collections::BTreeMap;
use std::iter;
use std::sync::Arc;

use sched_core::{Clock, Engine, Now, Order, PlaceError, Priority, Reason, Scope, StartOrder};
use sched_limits::{BandwidthTree, JobPacer, JobShare, Rate};

use crate::status::PlaceRate;

/// Every rate that was chosen, set or ordered, and the tree that holds them.
#[derive(Debug)]
pub(crate) struct Rates {
    tree: BandwidthTree,
    places: BTreeMap<Scope, Limits>,
    /// Links and hosts that do not hang under the fleet.
    parents: BTreeMap<Scope, Scope>,
    /// Whether the tree holds them, or they are only told.
    enforce: bool,
    /// Places whose rate gives way.
    giving_way: usize,
}

/// What limits one place.
#[derive(Debug, Default)]
struct Limits {
    /// The ceiling of the fleet.
    ceiling: Option<Rate>,
    steered: Option<Rate>,
    /// What the laws choose for those who may be slowed, while some may not.
    others: Option<Rate>,
    set: Option<Rate>,
    ordered: Option<(Rate, Order)>,
}

impl Rates {
    pub(crate) fn new(clock: Arc<dyn Clock>, ceiling: Option<u64>, enforce: bool) -> Self {
        let fleet = Limits { ceiling: ceiling.map(Rate::BytesPerSec), ..Limits::default() };
        let places = BTreeMap::from([(Scope::Fleet, fleet)]);
        let tree = BandwidthTree::new(clock, Rate::Unlimited);
        let this = Self { tree, places, parents: BTreeMap::new(), enforce, giving_way: 0 };
        this.hold(&Scope::Fleet);
        this
    }

    /// What the host application sets.
    pub(crate) fn set(&mut self, place: &Scope, rate: Option<Rate>) -> Result<(), PlaceError> {
        // The tree knows which scopes are places, and which names can be used.
        self.tree.set_rate(place, self.held(place))?;
        self.change(place, |limits| limits.set = rate);
        Ok(())
    }

    /// What the control laws choose.
    pub(super) fn steer(&mut self, place: &Scope, rate: Rate) {
        self.change(place, |limits| limits.steered = Some(rate));
    }

    /// What the control laws choose for those who may be slowed, while the rate gives way to one that may not; `None`: it
    /// no longer does.
    pub(super) fn give_way(&mut self, place: &Scope, others: Option<Rate>) {
        let limits = self.places.entry(place.clone()).or_default();
        self.giving_way += usize::from(others.is_some());
        self.giving_way -= usize::from(std::mem::replace(&mut limits.others, others).is_some());
    }

    /// Whether the rate of some place gives way.
    pub(super) fn gives_way(&self) -> bool {
        self.giving_way > 0
    }

    /// The places whose rate gives way, and what the others there may move together.
    pub(super) fn giving_way(&self) -> impl Iterator<Item = (&Scope, Rate)> {
        self.places.iter().filter_map(|(place, limits)| Some((place, limits.others?)))
    }

    /// What an operator orders.
    pub(super) fn order(&mut self, place: &Scope, ceiling: Option<(u64, Order)>) {
        let ordered = ceiling.map(|(rate, order)| (Rate::BytesPerSec(rate), order));
        self.change(place, |limits| limits.ordered = ordered);
    }

    /// Puts a link or a host elsewhere, for rates and for the engine: both or neither.
    pub(super) fn set_parent(
        &mut self,
        engine: &mut Engine,
        now: Now,
        child: &Scope,
        parent: &Scope,
    ) -> Result<(), PlaceError> {
        self.tree.check_parent(child, parent)?;
        engine.set_parent(now, child, parent)?;
        self.tree.set_parent(child, parent)?;
        self.parents.insert(child.clone(), parent.clone());
        Ok(())
    }

    /// A place in the tree for an attempt; `part` is what is left to it beside one that must not be slowed.
    pub(super) fn join(&self, order: &StartOrder, part: Option<u64>) -> Result<JobPacer, PlaceError> {
        let share = if self.enforce { share(order, part) } else { JobShare::default() };
        self.tree.join(&place(order), share)
    }

    /// Whether rates are more than advice.
    pub(super) fn are_held(&self) -> bool {
        self.enforce
    }

    /// Changes the ceilings of attempts, each to the lowest of what is said of it.
    pub(super) fn limit<'a>(&self, limits: impl Iterator<Item = (&'a JobPacer, [Option<u64>; 4])>) {
        if self.enforce {
            self.tree.set_ceilings(limits.map(|(pacer, limits)| (pacer, ceiling(&limits))));
        }
    }

    /// Bytes that all backups at or below a place have taken so far.
    pub(super) fn moved(&self, place: &Scope) -> u64 {
        self.tree.granted(place).unwrap_or(0)
    }

    /// The lowest rate of a place; those above it count beside it.
    pub(super) fn rate(&self, place: &Scope) -> Rate {
        self.places.get(place).map_or(Rate::Unlimited, Limits::least)
    }

    /// The fleet and every place for which something was said, with the lowest rate there.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Scope, Rate)> {
        self.places.iter().map(|(place, limits)| (place, limits.least()))
    }

    /// The place and all above it, up to the fleet.
    pub(super) fn path(&self, place: &Scope) -> impl Iterator<Item = Scope> {
        iter::successors(Some(place.clone()), |place| match place {
            Scope::Fleet => None,
            Scope::Volume(host, _) => Some(Scope::Host(host.clone())),
            place => Some(self.parents.get(place).cloned().unwrap_or(Scope::Fleet)),
        })
    }

    /// The rates of all places; `why` tells the reason of one that control laws chose.
    pub(super) fn list(&self, why: impl Fn(&Scope) -> Option<Reason>) -> Vec<PlaceRate> {
        let tell = |(place, limits): (&Scope, &Limits)| PlaceRate {
            place: place.clone(),
            rate: limits.least(),
            steered: limits.steered,
            set: limits.set,
            ordered: limits.ordered.as_ref().map(|(rate, _)| *rate),
            reason: limits.reason(|| why(place)),
        };
        self.places.iter().map(tell).collect()
    }

    fn change(&mut self, place: &Scope, change: impl FnOnce(&mut Limits)) {
        change(self.places.entry(place.clone()).or_default());
        self.hold(place);
    }

    fn held(&self, place: &Scope) -> Rate {
        if self.enforce { self.rate(place) } else { Rate::Unlimited }
    }

    fn hold(&self, place: &Scope) {
        let held = self.tree.set_rate(place, self.held(place));
        debug_assert!(held.is_ok(), "names are checked where they come from: {held:?}");
    }
}

impl Limits {
    fn least(&self) -> Rate {
        let ordered = self.ordered.as_ref().map(|(rate, _)| *rate);
        let all = [self.ceiling, self.steered, self.set, ordered];
        all.into_iter().flatten().min().unwrap_or(Rate::Unlimited)
    }

    /// Why the rate is no higher.
    fn reason(&self, steered: impl FnOnce() -> Option<Reason>) -> Reason {
        let least = self.least();
        let is_least = |rate: Option<Rate>| rate == Some(least);
        if let Some((_, order)) = self.ordered.as_ref().filter(|(rate, _)| *rate == least) {
            return Reason::new(format!("ordered by {order}"));
        }
        if is_least(self.set) {
            return Reason::new("set by the host application");
        }
        if is_least(self.steered)
            && let Some(reason) = steered()
        {
            return reason;
        }
        Reason::new(if is_least(self.ceiling) { "the rate ceiling" } else { "nothing limits it" })
    }
}

/// The innermost place that an attempt runs at.
pub(super) fn place(order: &StartOrder) -> Scope {
    let host = order.spec.host.clone();
    match &order.spec.volume {
        Some(volume) => Scope::Volume(host, volume.clone()),
        None => Scope::Host(host),
    }
}

/// How an attempt shares the rates above it: the more urgent its class, the larger its part.
fn share(order: &StartOrder, part: Option<u64>) -> JobShare {
    let weight = match order.terms.priority {
        Priority::Low => 1,
        Priority::Normal => 2,
        Priority::High => 4,
        Priority::Critical => 8,
    };
    JobShare::default()
        .ceiling(ceiling(&[order.spec.max_bytes_per_sec, order.ceiling_bytes_per_sec, part]))
        .floor(order.terms.floor_bytes_per_sec)
        .weight(weight)
}

/// The lowest of what is said.
fn ceiling(limits: &[Option<u64>]) -> Rate {
    limits.iter().flatten().min().map_or(Rate::Unlimited, |rate| Rate::BytesPerSec(*rate))
}

#[cfg(test)]
mod tests {
    use sched_core::{EngineConfig, ManualClock};

    use super::*;

    fn link(name: &str) -> Scope {
        Scope::Link(name.into())
    }

    #[test]
    fn a_parent_that_the_tree_refuses_is_not_the_engines_either() {
        let clock = ManualClock::default();
        let mut engine = Engine::new(EngineConfig::default(), clock.now());
        let mut rates = Rates::new(Arc::new(clock.clone()), None, true);
        // The tree knows of a link more than the engine does.
        rates.tree.set_parent(&link("a"), &link("b")).unwrap();
        let refused = rates.set_parent(&mut engine, clock.now(), &link("b"), &link("a"));
        assert!(matches!(refused, Err(PlaceError::Cycle { .. })), "{refused:?}");
        // So the engine has room for the other way round.
        assert_eq!(rates.set_parent(&mut engine, clock.now(), &link("a"), &link("b")), Ok(()));
        let path: Vec<_> = rates.path(&link("a")).collect();
        assert_eq!(path, [link("a"), link("b"), Scope::Fleet]);
    }

    #[test]
    fn the_lowest_counts_and_is_named() {
        let clock = ManualClock::default();
        let mut rates = Rates::new(Arc::new(clock), Some(1_000), true);
        let host = Scope::Host("db-1".into());
        let told = |rates: &Rates, place: &Scope| {
            let list = rates.list(|_| Some(Reason::new("the law says so")));
            let found = list.into_iter().find(|rate| rate.place == *place).unwrap();
            (found.rate, found.reason.to_string())
        };
        let bytes = Rate::BytesPerSec;
        assert_eq!(told(&rates, &Scope::Fleet), (bytes(1_000), "the rate ceiling".into()));
        rates.steer(&host, bytes(500));
        assert_eq!(told(&rates, &host), (bytes(500), "the law says so".into()));
        rates.set(&host, Some(bytes(300))).unwrap();
        assert_eq!(told(&rates, &host), (bytes(300), "set by the host application".into()));
        rates.order(&host, Some((200, Order::new("ada", "quiet, please"))));
        assert_eq!(told(&rates, &host), (bytes(200), "ordered by ada: quiet, please".into()));
        assert_eq!(rates.tree.rate(&host), Some(bytes(200)));
        rates.order(&host, None);
        rates.set(&host, None).unwrap();
        assert_eq!(rates.tree.rate(&host), Some(bytes(500)));
        assert_eq!(told(&rates, &Scope::Fleet).0, bytes(1_000));
    }
}
