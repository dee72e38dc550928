//! The lowest hourly peak that recovery points and windows allow: [`lowest_peaks`].
//!
//! Whoever meets every RPO has a whole backup of an instance in each stretch of an RPO's length: the last recovery
//! point before the stretch has to be replaced by one that starts after it and is done within the stretch. So each of
//! the stretches that follow each other from the first recovery point on is a *need*: bytes that a link must move
//! between two moments. Fluid: bytes may be moved at any rate, by parts, in any of the hours that a need touches and its
//! calendar has open. Then no schedule has a lower peak than the densest set of hours: the bytes of those needs that
//! have no other hours, over their number.

use std::collections::BTreeMap;
use std::time::Duration;

use sched_core::{Calendar, CalendarName, CalendarState, wall_plus, wall_until};

use super::first_point;
use crate::MONDAY;
use crate::fleet::{Fleet, Terms};

const HOUR: f64 = 3600.0;

/// Bytes to be moved in some of the hours from `from` to `until`, the last excluded.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Need {
    from: usize,
    until: usize,
    bytes: f64,
}

/// By link, the lowest number of bytes in the busiest hour with which every RPO can be met, in so many hours from the
/// beginning of a simulation. A lower bound: the best real schedule may need more, since backups do not stop at hours,
/// and hosts are no faster than they are.
///
/// Instances with a calendar move only in hours in which it is open for a part at least, unless their terms let them
/// start late outside it.
pub fn lowest_peaks(fleet: &Fleet, terms: Option<&Terms>, hours: usize) -> Vec<f64> {
    let open = |calendar: &std::sync::Arc<dyn Calendar>| open_hours(&**calendar, hours);
    let calendars: BTreeMap<&CalendarName, Vec<bool>> =
        terms.iter().flat_map(|terms| &terms.calendars).map(|(name, of)| (name, open(of))).collect();
    let mut by_link = vec![BTreeMap::<Option<&CalendarName>, Vec<Need>>::new(); fleet.links.len()];
    for (n, instance) in fleet.instances.iter().enumerate() {
        let of = terms.and_then(|terms| terms.of(n as u32));
        let calendar = of.filter(|of| !of.open_window_when_late).and_then(|of| of.window.as_ref());
        let calendar = calendar.filter(|name| calendars.contains_key(name));
        let needs = by_link[fleet.hosts[instance.host as usize].link as usize].entry(calendar).or_default();
        let rpo = instance.rpo.as_secs_f64();
        let mut from = first_point(instance);
        while from + rpo <= instance.life.dropped.min(hours as f64 * HOUR) {
            let (begin, end) = (from.max(0.0), from + rpo);
            let bytes = instance.bytes_after(begin / 86_400.0).min(instance.bytes_after(end / 86_400.0));
            needs.push(Need { from: (begin / HOUR) as usize, until: (end / HOUR).ceil() as usize, bytes });
            from = end;
        }
    }
    let always = vec![true; hours];
    let link = |groups: BTreeMap<Option<&CalendarName>, Vec<Need>>| {
        let open = |name: &Option<&CalendarName>| name.map_or(&always, |name| &calendars[name]);
        let each = groups.iter().map(|(name, needs)| densest(needs, open(name)));
        let mut any = vec![false; hours];
        groups.keys().for_each(|name| any.iter_mut().zip(open(name)).for_each(|(any, open)| *any |= open));
        let all: Vec<Need> = groups.values().flatten().copied().collect();
        each.fold(densest(&all, &any), f64::max)
    };
    by_link.into_iter().map(link).collect()
}

/// The most bytes an hour that needs ask for which have all their open hours in a stretch of hours. Exactly the lowest
/// peak when all needs have the same open hours, since each then asks for a stretch of these.
fn densest(needs: &[Need], open: &[bool]) -> f64 {
    // Hours that are not open are left out: `place[h]` is the number of open hours before `h`.
    let place: Vec<usize> = std::iter::once(0)
        .chain(open.iter().scan(0, |sum, open| (*sum += usize::from(*open), Some(*sum)).1))
        .collect();
    let hours = open.iter().filter(|open| **open).count();
    let mut bytes = vec![vec![0.0; hours + 1]; hours + 1];
    for need in needs {
        let (from, until) = (place[need.from.min(open.len())], place[need.until.min(open.len())]);
        // Where nothing is open nothing can be met, by nobody.
        if from < until {
            bytes[from][until] += need.bytes;
        }
    }
    let mut densest: f64 = 0.0;
    // Within a stretch are the needs that begin there and those within it less its first hour.
    let mut within = vec![0.0; hours + 1];
    for from in (0..hours).rev() {
        let mut begun = 0.0;
        for until in from + 1..=hours {
            begun += bytes[from][until];
            within[until] += begun;
            densest = densest.max(within[until] / (until - from) as f64);
        }
    }
    densest
}

/// In which hours a calendar is open, for a part at least.
fn open_hours(calendar: &dyn Calendar, hours: usize) -> Vec<bool> {
    let hour = |n: usize| wall_plus(MONDAY, Duration::from_secs(3600 * n as u64));
    let mut open = vec![false; hours];
    for (n, open) in open.iter_mut().enumerate() {
        let (mut at, end) = (hour(n), hour(n + 1));
        while at < end && !*open {
            let stretch = calendar.at(at);
            *open = stretch.state == CalendarState::Open;
            let next = stretch.until.unwrap_or(end);
            // One that ends before it begins would never be left.
            at = if wall_until(at, next) > Duration::ZERO { next } else { end };
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The lowest peak by moving bytes from fuller to emptier hours until nothing is gained: each step halves the
    /// difference of two hours, as far as the need has bytes there. Loads that are as even as can be have the lowest peak.
    fn evened_out(needs: &[Need], open: &[bool]) -> f64 {
        let hours = |need: &Need| (need.from..need.until).filter(|h| open[*h]).collect::<Vec<_>>();
        let mut parts: Vec<Vec<(usize, f64)>> = needs
            .iter()
            .map(|need| hours(need).iter().map(|h| (*h, need.bytes / hours(need).len() as f64)).collect())
            .collect();
        let mut load = vec![0.0; open.len()];
        parts.iter().flatten().for_each(|(h, bytes)| load[*h] += bytes);
        for _ in 0..3_000 {
            for part in &mut parts {
                for a in 0..part.len() {
                    for b in 0..part.len() {
                        let (from, to) = (part[a].0, part[b].0);
                        let moved = ((load[from] - load[to]) / 2.0).clamp(0.0, part[a].1);
                        part[a].1 -= moved;
                        part[b].1 += moved;
                        load[from] -= moved;
                        load[to] += moved;
                    }
                }
            }
        }
        load.into_iter().fold(0.0, f64::max)
    }

    proptest! {
        #[test]
        fn as_evening_out_finds_it(
            needs in prop::collection::vec((0..7_usize, 1..8_usize, 1.0..50.0_f64), 1..9),
            open in prop::collection::vec(prop::bool::weighted(0.8), 8),
        ) {
            let needs: Vec<Need> = needs
                .into_iter()
                .map(|(from, long, bytes)| Need { from, until: (from + long).min(8), bytes })
                .collect();
            let (bound, found) = (densest(&needs, &open), evened_out(&needs, &open));
            prop_assert!((bound - found).abs() <= 0.01 * found + 1e-9, "{bound} {found}");
        }
    }

    #[test]
    fn a_fleet_with_one_instance_needs_a_backup_an_rpo() {
        let text = "instance,technology,host,link,size_gb,growth_per_day,rpo_hours,every_hours,disk_mb_per_sec,\
                    link_mb_per_sec,load,load_base,load_swing,peak_hour,noise\n\
                    a,etcd,h,l,10,0,5,5,100,100,stable,.1,0,11,0\n";
        let fleet = Fleet::read("x", text.as_bytes()).unwrap();
        let first = first_point(&fleet.instances[0]) / HOUR + 5.0;
        let peaks = lowest_peaks(&fleet, None, 24);
        assert!((peaks[0] - 10e9 / first.ceil().min(6.0)).abs() < 1.0, "{peaks:?} {first}");
    }
}
