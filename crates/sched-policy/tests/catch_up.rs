//! What an outage left behind is levelled over the links that it shares: no storm, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sched_policy::{CatchUp, Due, Recurrence, Timetable};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Ten thousand instances on twenty host links and one uplink are down for three days.
#[test]
fn an_outage_of_days_is_caught_up_without_a_storm() {
    const INSTANCES: usize = 10_000;
    let (down, up) = (at("2026-11-22T12:00:00Z"), at("2026-11-25T12:00:00Z"));
    let mut random = fastrand::Rng::with_seed(6);
    let recurrences = ["0 2 * * *", "6h", "rpo", "30 */4 * * *"]
        .map(|text| Arc::new(Recurrence::new(text.parse().unwrap())));
    let mut catch_up = CatchUp::new(0.5);
    let uplink = catch_up.link(1_250_000_000);
    let links: Vec<_> = (0..20).map(|_| catch_up.link(125_000_000)).collect();
    let (mut timetable, mut about) = (Timetable::new(), BTreeMap::new());
    for n in 0..INSTANCES {
        let last = down - SignedDuration::from_mins(random.i64(0..720));
        let recurrence = Arc::clone(&recurrences[n % recurrences.len()]);
        let id = timetable.add(up, &format!("db-{n}"), recurrence, Duration::from_secs(86_400), Some(last));
        // From 100 MB to 10 GB, most of them small.
        let bytes = (1e8 * 10_f64.powf(random.f64() * 2.0)) as u64;
        about.insert(id, (bytes, links[n % links.len()]));
    }
    let mut dues: Vec<Due> = std::iter::from_fn(|| timetable.poll(up)).collect();
    assert_eq!(dues.len(), INSTANCES, "each instance once, however many slots it has missed");
    assert!(dues.iter().all(|due| due.late > Duration::ZERO));
    let mut starts = BTreeMap::new();
    for due in dues.drain(..) {
        let (bytes, link) = about[&due.id];
        let start = catch_up.start(up, bytes, &[uplink, link]);
        starts.entry(link).or_insert_with(Vec::new).push((start, bytes));
        assert!(timetable.postpone(&due, start));
    }
    // On every link no more is started up to a moment than it carries by then, and one.
    for of_link in starts.values() {
        let mut sum = 0.0;
        for (start, bytes) in of_link {
            let carried = start.duration_since(up).as_secs_f64() * 62_500_000.0;
            assert!(sum <= carried + 1e7, "{sum} of {carried}");
            sum += *bytes as f64;
        }
        assert!(of_link.is_sorted_by_key(|(start, _)| *start), "the most overdue first");
    }
    let spans: Vec<_> = starts.values().map(|of_link| of_link.last().unwrap().0).collect();
    let (first, last) = (spans.iter().min().unwrap(), spans.iter().max().unwrap());
    println!("the last starts between {first} and {last}");
    // Then the wall goes on, and everybody starts when it is said.
    let mut buckets: BTreeMap<i64, (u32, f64)> = BTreeMap::new();
    let mut started = BTreeSet::new();
    while started.len() < INSTANCES {
        let now = timetable.next_due().unwrap();
        while let Some(due) = timetable.poll(now) {
            assert!(started.insert(due.id), "{due:?} is started twice");
            let bucket = buckets.entry(now.duration_since(up).as_secs() / 900).or_default();
            *bucket = (bucket.0 + 1, bucket.1 + about[&due.id].0 as f64);
        }
    }
    // Whole quarters of an hour until the first link is done.
    let whole = first.duration_since(up).as_secs() / 900;
    let counted: Vec<_> = buckets.range(..whole).map(|(_, bucket)| *bucket).collect();
    assert_eq!(counted.len() as i64, whole, "there is no quarter of an hour without a start");
    let peak_to_mean = |of: &dyn Fn(&(u32, f64)) -> f64| {
        let sum: f64 = counted.iter().map(of).sum();
        counted.iter().map(of).fold(0.0, f64::max) / (sum / counted.len() as f64)
    };
    let (by_count, by_bytes) = (peak_to_mean(&|b| f64::from(b.0)), peak_to_mean(&|b| b.1));
    println!("{whole} quarters of an hour, peak to mean of starts {by_count:.2}, of bytes {by_bytes:.2}");
    assert!(by_count < 1.5 && by_bytes < 1.5, "{by_count:.2} {by_bytes:.2}");
}

#[test]
fn a_backup_that_waits_for_one_link_does_not_hold_up_others_on_another() {
    let mut catch_up = CatchUp::new(1.0);
    let (slow, uplink) = (catch_up.link(1_000_000), catch_up.link(1_000_000_000));
    let now = at("2026-11-25T12:00:00Z");
    let after = |start: Timestamp| start.duration_since(now).as_secs();
    assert_eq!(after(catch_up.start(now, 3_600_000_000, &[slow, uplink])), 0);
    assert_eq!(after(catch_up.start(now, 3_600_000_000, &[slow, uplink])), 3600);
    assert_eq!(after(catch_up.start(now, 3_600_000_000, &[uplink])), 7, "7.2 s of both before it");
    // A wider link takes the next sooner.
    catch_up.set_link(slow, 3_600_000_000);
    catch_up.start(now, 3_600_000_000, &[slow]);
    assert_eq!(after(catch_up.start(now, 1, &[slow])), 7201);
    // What has been worked off counts no more, and a share of nothing is not for ever.
    let later = now + SignedDuration::from_hours(24);
    assert_eq!(catch_up.start(later, 1, &[slow, uplink]), later);
    assert!(CatchUp::new(f64::NAN).start(now, u64::MAX, &[]) == now);
    let mut never = CatchUp::new(0.0);
    let link = never.link(0);
    never.start(now, u64::MAX, &[link]);
    assert_eq!(never.start(now, u64::MAX, &[link]), Timestamp::MAX);
}
