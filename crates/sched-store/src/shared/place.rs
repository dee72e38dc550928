//! Which share of the fleet a job belongs to.

use sched_core::JobSpec;

/// The share of `shares` that holds what is called `name`: a cluster, or a host that belongs to none. The same in every
/// process and version: FNV-1a (Fowler, Noll and Vo), and a last mixing so that similar names are spread.
pub fn share_of_name(name: &str, shares: u32) -> u32 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // The high half of a product with a number below 2³² is below that number.
    ((u128::from(hash) * u128::from(shares.max(1))) >> 64) as u32
}

/// The share that a job belongs to: that of its first group in order of name, else that of its host (its first member's,
/// if it has members). So a cluster is in one share as a whole, and the rules for its members stay with one scheduler.
pub fn share_of(spec: &JobSpec, shares: u32) -> u32 {
    let host = spec.members.first().map_or(&spec.host, |member| &member.host);
    let name = spec.groups.first().map_or(host.as_str(), |group| group.as_str());
    share_of_name(name, shares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_never_change() {
        // Written down once: a release that moves these would have two schedulers work on one host.
        assert_eq!(
            [("local", 64), ("db-1", 64), ("db-2", 64), ("", 7)].map(|(n, s)| share_of_name(n, s)),
            PLACES
        );
    }

    const PLACES: [u32; 4] = [62, 18, 48, 3];

    #[test]
    fn shares_are_about_equally_full() {
        let mut full = [0_u32; 64];
        (0..64_000).for_each(|n| full[share_of_name(&format!("host-{n}.example.org"), 64) as usize] += 1);
        assert!(full.iter().all(|n| (850..1_150).contains(n)), "{full:?}");
    }

    #[test]
    fn a_cluster_stays_together() {
        let spec = |host: &str| JobSpec::new("orders", "postgresql").host(host);
        let shares: Vec<_> =
            (0..20).map(|n| share_of(&spec(&format!("db-{n}")).group("pg-main"), 64)).collect();
        assert!(shares.iter().all(|share| *share == shares[0]));
        let apart: std::collections::BTreeSet<_> =
            (0..20).map(|n| share_of(&spec(&format!("db-{n}")), 64)).collect();
        assert!(apart.len() > 10);
        assert_eq!(
            share_of(&spec("x").member("a", "db-1").member("b", "db-2"), 64),
            share_of(&spec("db-1"), 64)
        );
    }
}
