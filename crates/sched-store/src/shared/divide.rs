//! How a limit that spans schedulers is divided among them: [`Division`], pure.
//!
//! What keeps the limit at all times is one rule about [`Part::bound`], the most that a member may still be using: it is
//! never less than what the member was granted, and it falls only when the member says that it has applied a smaller grant
//! and uses no more, or when the member's lease has run out. Nobody is granted more than its own bound unless the bounds
//! of all leave that much of the total.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a member wants of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// All that it could use now: what its attempts hold and what its waiting jobs need.
    pub demand: u64,
    /// What it needs at least to go on: what its attempts hold, and all that its most urgent waiting job needs.
    pub least: u64,
    /// How urgent that job is: the less, the more.
    pub key: i64,
}

/// One member's part of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What it may use from the moment it hears of it.
    pub amount: u64,
    /// The most that it may be using, whatever it has heard.
    pub bound: u64,
    /// What it wants.
    pub wish: Wish,
}

/// What a member tells of its use of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// The grant that it has applied: it starts nothing that would use more.
    pub applied: u64,
    /// What it uses, looked at after that.
    pub used: u64,
    /// What it wants.
    pub wish: Wish,
}

/// A limit and its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Division {
    /// All that there is.
    pub total: u64,
    /// The parts of the members whose leases may still hold, by id.
    pub parts: BTreeMap<i64, Part>,
}

impl Division {
    /// A member tells what it uses: it stands by this, so its bound falls to it. One that joined anew may use what its
    /// former self was granted: as long as that runs, nobody else gets it.
    pub fn hear(&mut self, member: i64, told: Use) {
        let part = self.parts.entry(member).or_default();
        part.wish = told.wish;
        // What it was granted meanwhile it may have heard of by now.
        part.bound = part.bound.min(told.applied.max(told.used)).max(part.amount).max(told.used);
    }

    /// The lease of a member has run out and its grace is over: it uses nothing any more.
    pub fn forget(&mut self, member: i64) {
        self.parts.remove(&member);
    }

    /// Divides the total anew by what is wanted. Who is to have less is told so at once; who is to have more gets as
    /// much as is surely free, the most urgent first.
    pub fn divide(&mut self) {
        let aims = self.aims();
        for (member, part) in &mut self.parts {
            part.amount = part.amount.min(aims[member]);
        }
        let mut free = self.total.saturating_sub(self.bounds());
        for member in self.by_urgency() {
            let Some(part) = self.parts.get_mut(&member) else { continue };
            let aim = aims[&member];
            let more = aim.saturating_sub(part.bound).min(free);
            free -= more;
            part.bound += more;
            part.amount = part.amount.max(aim.min(part.bound));
        }
    }

    /// The sum of what may be in use.
    pub fn bounds(&self) -> u64 {
        self.parts.values().fold(0, |sum, part| sum.saturating_add(part.bound))
    }

    /// What each should have: first, in order of urgency, what it needs at least, whole or not at all; then equal parts of
    /// the rest up to its demand; and of what nobody wants the lower ones more, so that a job that comes finds some.
    fn aims(&self) -> BTreeMap<i64, u64> {
        let order = self.by_urgency();
        let mut aims: BTreeMap<i64, u64> = self.parts.keys().map(|member| (*member, 0)).collect();
        let mut left = self.total;
        for member in &order {
            let wish = self.parts[member].wish;
            if wish.least <= left {
                left -= wish.least;
                aims.insert(*member, wish.least);
            }
        }
        let demand = |member: &i64| {
            let wish = self.parts[member].wish;
            wish.demand.max(wish.least)
        };
        fill(&mut aims, &order, &mut left, demand);
        fill(&mut aims, &order, &mut left, |_| self.total);
        aims
    }

    fn by_urgency(&self) -> Vec<i64> {
        let mut order: Vec<i64> = self.parts.keys().copied().collect();
        order.sort_by_key(|member| (self.parts[member].wish.key, *member));
        order
    }
}

/// Raises the lowest together, each up to what it wants, until nothing is left; the units that do not divide go to the
/// first in order.
fn fill(aims: &mut BTreeMap<i64, u64>, order: &[i64], left: &mut u64, wanted: impl Fn(&i64) -> u64) {
    let mut open: Vec<i64> = order.iter().copied().filter(|member| aims[member] < wanted(member)).collect();
    while *left > 0 && !open.is_empty() {
        let lowest = open.iter().map(|member| aims[member]).min().unwrap_or(0);
        // Up to the next that has more, or to the first that has enough, or as far as it goes.
        let next =
            open.iter().map(|member| aims[member]).filter(|has| *has > lowest).min().unwrap_or(u64::MAX);
        let low: Vec<i64> = open.iter().copied().filter(|member| aims[member] == lowest).collect();
        let enough = low.iter().map(&wanted).min().unwrap_or(u64::MAX);
        let step = (next.min(enough) - lowest).min(*left / low.len() as u64);
        if step == 0 {
            for member in low.iter().take(*left as usize) {
                aims.entry(*member).and_modify(|has| *has += 1);
                *left -= 1;
            }
        } else {
            for member in &low {
                aims.entry(*member).and_modify(|has| *has += step);
            }
            *left -= step * low.len() as u64;
        }
        open.retain(|member| aims[member] < wanted(member));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wish(demand: u64, least: u64, key: i64) -> Wish {
        Wish { demand, least, key }
    }

    fn divided(total: u64, wishes: &[Wish]) -> Vec<u64> {
        let parts = (1..).zip(wishes).map(|(id, wish)| (id, Part { wish: *wish, ..Part::default() }));
        let mut division = Division { total, parts: parts.collect() };
        division.divide();
        division.parts.values().map(|part| part.amount).collect()
    }

    #[test]
    fn the_most_urgent_gets_what_it_needs_whole() {
        // Two jobs that need six of ten each: in equal parts neither could ever start.
        assert_eq!(divided(10, &[wish(6, 6, 20), wish(6, 6, 10)]), [4, 6]);
    }

    #[test]
    fn who_wants_little_leaves_the_rest_to_others() {
        assert_eq!(divided(12, &[wish(2, 1, 0), wish(100, 1, 0), wish(100, 1, 0)]), [2, 5, 5]);
        assert_eq!(divided(10, &[wish(3, 0, 0), wish(0, 0, 0)]), [5, 5]);
        assert_eq!(divided(7, &[wish(9, 0, 5), wish(9, 0, 4), wish(9, 0, 3)]), [2, 2, 3]);
        assert_eq!(divided(0, &[wish(9, 1, 5)]), [0]);
        assert_eq!(
            divided(u64::MAX, &[wish(u64::MAX, 1, 5), wish(u64::MAX, 1, 5)]),
            [u64::MAX / 2 + 1, u64::MAX / 2]
        );
    }

    #[test]
    fn nobody_grows_before_a_shrink_is_acknowledged() {
        let mut division = Division { total: 10, parts: BTreeMap::new() };
        division.hear(1, Use { wish: wish(10, 1, 0), ..Use::default() });
        division.divide();
        assert_eq!(division.parts[&1].amount, 10);
        division.hear(1, Use { applied: 10, used: 10, wish: wish(10, 1, 0) });
        division.hear(2, Use { wish: wish(10, 1, 0), ..Use::default() });
        division.divide();
        assert_eq!((division.parts[&1].amount, division.parts[&2].amount), (5, 0));
        // It has heard of it, and eight still run.
        division.hear(1, Use { applied: 5, used: 8, wish: wish(10, 8, 0) });
        division.divide();
        assert_eq!((division.parts[&1].bound, division.parts[&2].amount), (8, 2));
    }

    #[test]
    fn what_outlives_a_lease_is_not_given_to_others() {
        let mut division = Division { total: 10, parts: BTreeMap::new() };
        division.hear(1, Use { wish: wish(10, 10, 0), ..Use::default() });
        division.divide();
        // Its lease ran out, and it joined again while four still stop.
        division.forget(1);
        division.hear(2, Use { used: 4, ..Use::default() });
        division.hear(3, Use { wish: wish(10, 1, 0), ..Use::default() });
        division.divide();
        assert_eq!((division.parts[&2].bound, division.parts[&3].amount), (4, 6));
    }

    /// A member as far as a limit is concerned: messages to it and from it may be late or lost, and it may stop.
    #[derive(Clone, Debug, Default)]
    struct Member {
        applied: u64,
        used: u64,
        gone: bool,
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// The member tells what it uses; the answer with its amount comes now, later or never.
        Tell(i64, Option<bool>),
        /// An answer that is under way arrives, if it is still the newest that the member has asked for.
        Arrive(usize),
        /// The member uses more, as far as it may.
        Start(i64, u64),
        End(i64, u64),
        Divide,
        /// The member stops; its lease runs out later.
        Stop(i64),
        Expire(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let member = 1_i64..5;
        prop_oneof![
            4 => (member.clone(), prop::option::of(any::<bool>())).prop_map(|(m, when)| Step::Tell(m, when)),
            2 => (0_usize..8).prop_map(Step::Arrive),
            4 => (member.clone(), 1_u64..12).prop_map(|(m, n)| Step::Start(m, n)),
            2 => (member.clone(), 1_u64..12).prop_map(|(m, n)| Step::End(m, n)),
            3 => Just(Step::Divide),
            1 => member.clone().prop_map(Step::Stop),
            1 => member.prop_map(Step::Expire),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

        /// Whatever is late, lost or stopped: what is used and what is granted never exceed the limit together.
        #[test]
        fn the_limit_is_kept(total in 0_u64..20, wishes in prop::collection::vec((0_u64..25, 0_u64..9, 0_i64..4), 4),
            steps in prop::collection::vec(step(), 1..120)) {
            let mut division = Division { total, parts: BTreeMap::new() };
            let mut members: BTreeMap<i64, Member> = BTreeMap::new();
            // Answers under way; a member takes them in the order in which it asked, so a later one puts out earlier ones.
            let mut under_way: Vec<(i64, u64)> = Vec::new();
            for step in steps {
                match step {
                    Step::Tell(id, answer) => {
                        let member = members.entry(id).or_default();
                        if member.gone { continue }
                        let (demand, least, key) = wishes[id as usize - 1];
                        division.hear(id, Use { applied: member.applied, used: member.used, wish: wish(demand, least, key) });
                        let amount = division.parts[&id].amount;
                        under_way.retain(|(other, _)| *other != id);
                        match answer {
                            Some(true) => member.applied = amount,
                            Some(false) => under_way.push((id, amount)),
                            None => {}
                        }
                    }
                    Step::Arrive(at) if at < under_way.len() => {
                        let (id, amount) = under_way.remove(at);
                        if let Some(member) = members.get_mut(&id).filter(|member| !member.gone) {
                            member.applied = amount;
                        }
                    }
                    Step::Arrive(_) => {}
                    Step::Start(id, n) => if let Some(member) = members.get_mut(&id)
                        && !member.gone && member.used + n <= member.applied { member.used += n },
                    Step::End(id, n) => if let Some(member) = members.get_mut(&id) {
                        member.used = member.used.saturating_sub(n);
                    },
                    Step::Divide => division.divide(),
                    Step::Stop(id) => if let Some(member) = members.get_mut(&id) { member.gone = true },
                    // A member that cannot renew has stopped all by then.
                    Step::Expire(id) => if members.get(&id).is_some_and(|member| member.gone) {
                        members.remove(&id);
                        under_way.retain(|(other, _)| *other != id);
                        division.forget(id);
                    },
                }
                let used: u64 = members.values().map(|member| member.used).sum();
                prop_assert!(used <= total, "{used} of {total} used");
                prop_assert!(division.bounds() <= total);
                for (id, member) in &members {
                    let part = division.parts.get(id).copied().unwrap_or_default();
                    prop_assert!(member.used.max(member.applied) <= part.bound.max(member.used), "{id}: {member:?} {part:?}");
                    prop_assert!(part.amount <= part.bound);
                }
            }
        }

        /// When all speak, the division comes to rest with everything given out, and nobody without what it needs who could
        /// have it.
        #[test]
        fn nothing_is_left_lying(total in 0_u64..40, wishes in prop::collection::vec((0_u64..25, 0_u64..9, 0_i64..4), 1..5)) {
            let mut division = Division { total, parts: BTreeMap::new() };
            let mut before = None;
            for _ in 0..4 {
                for (id, (demand, least, key)) in (1..).zip(&wishes) {
                    let applied = division.parts.get(&id).map_or(0, |part| part.amount);
                    division.hear(id, Use { applied, used: 0, wish: wish(*demand, *least, *key) });
                }
                division.divide();
                let now = division.clone();
                if before.as_ref() == Some(&now) { break }
                before = Some(now);
            }
            let sum: u64 = division.parts.values().map(|part| part.amount).sum();
            prop_assert_eq!(sum, total);
            let first = division.by_urgency()[0];
            let part = division.parts[&first];
            prop_assert!(part.amount >= part.wish.least.min(total) || part.wish.least > total);
        }
    }
}
