//! Who should own which share: [`rebalance`], a pure function that every scheduler computes for itself.

use std::collections::BTreeMap;

/// Which share should go to whom, so that each member owns its part by weight (rounded to a whole share) and as few
/// shares move as possible.
///
/// `members` are those alive with their weights, by id; `owners` holds for each share who owns it, `None` if nobody does
/// or its owner is gone. A member that has more than its part gives up its highest shares; shares without an owner go, in
/// order, to the member that lacks most of its part, the least id first. The result holds every share, unless there are no
/// members.
///
/// Members that see the fleet alike come to the same result. Where they do not, each acts only on its own part: it gives
/// up what it owns, and takes what nobody owns, which the store grants to one of them.
pub fn rebalance(members: &BTreeMap<i64, u32>, owners: &[Option<i64>]) -> BTreeMap<u32, i64> {
    let mut owned: BTreeMap<i64, Vec<u32>> = members.keys().map(|id| (*id, Vec::new())).collect();
    let mut free = Vec::new();
    for (share, owner) in (0..).zip(owners) {
        match owner.and_then(|owner| owned.get_mut(&owner)) {
            Some(shares) => shares.push(share),
            None => free.push(share),
        }
    }
    let parts = parts(members, owners.len(), &owned);
    for (id, shares) in &mut owned {
        free.extend(shares.drain(parts[id].min(shares.len())..));
    }
    free.sort_unstable();
    for share in free {
        let lacks = |(id, shares): &(&i64, &mut Vec<u32>)| (parts[*id].saturating_sub(shares.len()), -**id);
        if let Some((_, shares)) = owned.iter_mut().max_by_key(lacks) {
            shares.push(share);
        }
    }
    owned.into_iter().flat_map(|(id, shares)| shares.into_iter().map(move |share| (share, id))).collect()
}

/// How many shares each member should own: largest remainders, where whoever owns one more already keeps it.
fn parts(
    members: &BTreeMap<i64, u32>,
    shares: usize,
    owned: &BTreeMap<i64, Vec<u32>>,
) -> BTreeMap<i64, usize> {
    let all: u128 = members.values().map(|weight| u128::from((*weight).max(1))).sum();
    let exact = |weight: u32| u128::from(weight.max(1)) * shares as u128;
    let mut parts: BTreeMap<i64, usize> =
        members.iter().map(|(id, weight)| (*id, (exact(*weight) / all) as usize)).collect();
    let left = shares - parts.values().sum::<usize>();
    let mut turns: Vec<(bool, std::cmp::Reverse<u128>, i64)> = members
        .iter()
        .filter(|(_, weight)| exact(**weight) % all > 0)
        .map(|(id, weight)| (owned[id].len() <= parts[id], std::cmp::Reverse(exact(*weight) % all), *id))
        .collect();
    turns.sort_unstable();
    for (_, _, id) in turns.into_iter().take(left) {
        parts.entry(id).and_modify(|part| *part += 1);
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fleet() -> impl Strategy<Value = (BTreeMap<i64, u32>, Vec<Option<i64>>)> {
        let members = prop::collection::btree_map(1_i64..12, 1_u32..4, 1..6);
        (members, prop::collection::vec(prop::option::of(1_i64..12), 1..80))
    }

    fn count(plan: &BTreeMap<u32, i64>, id: i64) -> usize {
        plan.values().filter(|owner| **owner == id).count()
    }

    fn as_owners(plan: &BTreeMap<u32, i64>) -> Vec<Option<i64>> {
        plan.values().map(|id| Some(*id)).collect()
    }

    proptest! {
        #[test]
        fn every_share_has_one_owner_and_each_owns_its_part((members, owners) in fleet()) {
            let plan = rebalance(&members, &owners);
            prop_assert_eq!(plan.len(), owners.len());
            let all: u32 = members.values().sum();
            for (id, weight) in &members {
                let exact = owners.len() as f64 * f64::from(*weight) / f64::from(all);
                let has = count(&plan, *id) as f64;
                prop_assert!((has - exact).abs() < 1.0, "{id} has {has} of {exact}");
            }
        }

        #[test]
        fn nothing_moves_twice((members, owners) in fleet()) {
            let plan = rebalance(&members, &owners);
            prop_assert_eq!(&rebalance(&members, &as_owners(&plan)), &plan);
        }

        /// No plan in which each owns its part moves fewer shares away from living owners.
        #[test]
        fn no_more_moves_than_must((members, owners) in fleet()) {
            let plan = rebalance(&members, &owners);
            let mut moved = BTreeMap::<i64, usize>::new();
            for (share, owner) in (0..).zip(&owners) {
                if let Some(owner) = owner.filter(|owner| members.contains_key(owner) && plan[&share] != *owner) {
                    *moved.entry(owner).or_default() += 1;
                }
            }
            for (id, moved) in moved {
                let had = owners.iter().filter(|owner| **owner == Some(id)).count();
                prop_assert_eq!(moved, had - count(&plan, id), "{} gives up and takes at once", id);
            }
        }

        #[test]
        fn a_member_that_leaves_moves_only_what_it_had(members in 2_i64..9, shares in 1_usize..80, gone in 0_i64..9) {
            let equal: BTreeMap<i64, u32> = (0..members).map(|id| (id, 1)).collect();
            let before = rebalance(&equal, &vec![None; shares]);
            let gone = gone % members;
            let rest: BTreeMap<i64, u32> = equal.into_iter().filter(|(id, _)| *id != gone).collect();
            let after = rebalance(&rest, &as_owners(&before));
            for (share, owner) in &before {
                prop_assert!(*owner == gone || after[share] == *owner, "share {share} moved without need");
            }
        }
    }

    #[test]
    fn nobody_owns_anything_where_nobody_is() {
        assert!(rebalance(&BTreeMap::new(), &[None, Some(3)]).is_empty());
    }
}
