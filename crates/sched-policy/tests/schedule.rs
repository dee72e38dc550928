//! Timetables: nothing twice, never two at once; all in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use sched_policy::{Due, Every, Misfire, Outcome, Overlap, Recurrence, ScheduleId, Timetable, Turn};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn hours(n: u64) -> Duration {
    Duration::from_secs(3600 * n)
}

fn every(text: &str) -> Recurrence {
    Recurrence::new(text.parse().unwrap()).jitter(Duration::ZERO)
}

/// A timetable of one instance, with the time that the wall shows.
struct One {
    timetable: Timetable,
    id: ScheduleId,
    now: Timestamp,
}

impl One {
    fn new(recurrence: Recurrence, now: &str, last: Option<&str>) -> Self {
        let (mut timetable, now) = (Timetable::new(), at(now));
        let id = timetable.add(now, "orders-1", Arc::new(recurrence), hours(24), last.map(at));
        Self { timetable, id, now }
    }

    fn poll(&mut self, now: &str) -> Option<Due> {
        self.now = at(now);
        self.timetable.poll(self.now)
    }

    fn succeed(&mut self, now: &str) {
        self.now = at(now);
        let outcome = Outcome::Succeeded { recovery_point: self.now };
        assert!(self.timetable.finished(self.now, self.id, outcome));
    }

    fn next(&self) -> String {
        self.timetable.next_due().unwrap().to_string()
    }
}

#[test]
fn slots_that_were_missed_make_one_unless_they_are_to_be_left_out() {
    let after_an_outage = |misfire| {
        let nightly = every("0 2 * * *").misfire(misfire);
        let mut one = One::new(nightly, "2026-11-25T12:00:00Z", Some("2026-11-22T02:05:00Z"));
        let due = one.poll("2026-11-25T12:00:00Z").map(|due| (due.at.to_string(), due.late, due.missed));
        (due, one.timetable.next_due())
    };
    let newest = |missed| Some(("2026-11-25T02:00:00Z".to_owned(), hours(10), missed));
    let tomorrow = Some(at("2026-11-26T02:00:00Z"));
    assert_eq!(after_an_outage(Misfire::Coalesce), (newest(2), None));
    assert_eq!(after_an_outage(Misfire::Within(hours(10))), (newest(2), None));
    assert_eq!(after_an_outage(Misfire::Within(hours(9))), (None, tomorrow));
    assert_eq!(after_an_outage(Misfire::Skip), (None, tomorrow));
}

#[test]
fn what_was_left_out_is_counted_and_a_little_late_is_in_time() {
    let skipping = every("0 2 * * *").misfire(Misfire::Skip);
    let mut one = One::new(skipping, "2026-11-25T12:00:00Z", Some("2026-11-22T02:05:00Z"));
    assert_eq!(one.poll("2026-11-25T12:00:00Z"), None);
    assert_eq!(one.poll("2026-11-26T01:59:59Z"), None);
    let due = one.poll("2026-11-26T02:00:59Z").unwrap();
    assert_eq!((due.missed, due.late), (3, Duration::from_secs(59)));
}

#[test]
fn what_is_left_out_is_told_one_by_one() {
    let skipping = Arc::new(every("0 2 * * *").misfire(Misfire::Skip));
    let (now, last) = (at("2026-11-25T12:00:00Z"), at("2026-11-22T02:05:00Z"));
    let mut timetable = Timetable::new();
    let ids = ["a", "b"].map(|name| timetable.add(now, name, skipping.clone(), hours(24), Some(last)));
    for id in ids {
        let Some(Turn::LeftOut(left_out)) = timetable.turn(now) else { panic!("it came too late") };
        assert_eq!((left_out.id, left_out.slots, left_out.at), (id, 3, at("2026-11-25T02:00:00Z")));
        assert_eq!(timetable.missed(id), 3);
        assert_eq!(timetable.due_at(id), Some(at("2026-11-26T02:00:00Z")));
    }
    assert_eq!(timetable.turn(now), None);
}

#[test]
fn a_backup_that_was_not_asked_for_counts_where_the_recovery_point_does() {
    let begin = at("2026-11-25T00:00:00Z");
    let renewed = |text: &str| {
        let mut one = One::new(every(text), "2026-11-25T00:00:00Z", Some("2026-11-25T00:00:00Z"));
        assert!(one.timetable.renewed(begin + hours(6), one.id, begin + hours(5)));
        (one.next(), one)
    };
    let (next, mut one) = renewed("rpo");
    assert_eq!(next, "2026-11-25T17:00:00Z");
    assert_eq!(renewed("0 2 * * *").0, "2026-11-25T02:00:00Z", "a slot is a slot");
    // An older one changes nothing.
    assert!(one.timetable.renewed(begin + hours(7), one.id, begin + hours(4)));
    assert_eq!(one.next(), "2026-11-25T17:00:00Z");
    // While one is under way it only moves the deadline of the next.
    assert!(one.poll("2026-11-25T17:00:00Z").is_some());
    assert!(one.timetable.renewed(begin + hours(18), one.id, begin + hours(17)));
    assert_eq!(one.timetable.next_due(), None);
    one.timetable.finished(begin + hours(18), one.id, Outcome::Failed);
    assert_eq!(one.poll("2026-11-25T21:00:00Z").unwrap().deadline, Some(begin + hours(41)));
}

#[test]
fn a_recurrence_that_changes_makes_nothing_up_and_loses_nothing() {
    let noon = at("2026-11-25T12:00:00Z");
    let four = Arc::new(every("0 4 * * *"));
    let change = |one: &mut One| {
        assert!(one.timetable.change(noon, one.id, "orders-1", four.clone(), hours(24), None));
    };
    let tomorrow = at("2026-11-26T04:00:00Z");
    // The night's is done: today's four o'clock was not missed.
    let mut one = One::new(every("0 2 * * *"), "2026-11-25T12:00:00Z", Some("2026-11-25T02:05:00Z"));
    change(&mut one);
    assert_eq!(one.timetable.due_at(one.id), Some(tomorrow));
    // What is due, or was postponed, is still.
    for postponed in [false, true] {
        let mut one = One::new(every("0 2 * * *"), "2026-11-25T12:00:00Z", Some("2026-11-24T02:05:00Z"));
        if postponed {
            let due = one.poll("2026-11-25T12:00:00Z").unwrap();
            one.timetable.postpone(&due, noon);
        }
        change(&mut one);
        let due = one.poll("2026-11-25T12:00:00Z").unwrap();
        assert_eq!((due.at, due.postponed), (at("2026-11-25T02:00:00Z"), true));
        one.succeed("2026-11-25T13:00:00Z");
        assert_eq!(one.timetable.due_at(one.id), Some(tomorrow));
    }
    // One that runs goes on, and is not joined by another.
    let mut one = One::new(every("0 2 * * *"), "2026-11-25T00:00:00Z", None);
    assert!(one.poll("2026-11-25T02:00:00Z").is_some());
    change(&mut one);
    assert_eq!((one.poll("2026-11-26T05:00:00Z"), one.timetable.next_due()), (None, None));
    one.succeed("2026-11-26T05:00:00Z");
    assert_eq!(
        one.timetable.due_at(one.id),
        Some(at("2026-11-26T05:00:00Z") - SignedDuration::from_hours(1))
    );
    // From slots to the recovery point, which is told.
    let rpo = Arc::new(every("rpo"));
    one.timetable.change(noon, one.id, "orders-1", rpo, hours(24), Some(at("2026-11-25T08:00:00Z")));
    assert_eq!(one.next(), "2026-11-25T20:00:00Z");
    let gone = one.id;
    one.timetable.remove(gone);
    assert!(!one.timetable.change(noon, gone, "orders-1", four, hours(24), None));
    assert!(!one.timetable.renewed(noon, gone, noon));
}

#[test]
fn who_waits_is_listed_by_when_it_is_due() {
    let now = at("2026-11-25T00:00:00Z");
    let mut timetable = Timetable::new();
    let mut add = |text: &str| timetable.add(now, "a", Arc::new(every(text)), hours(24), Some(now));
    let (late, never, soon) = (add("0 5 * * *"), add("rpo"), add("0 3 * * *"));
    timetable.change(now, never, "a", Arc::new(every("rpo")), Duration::MAX, Some(Timestamp::MAX));
    let listed: Vec<_> = timetable.waiting().map(|(_, id)| id).collect();
    assert_eq!((listed, timetable.due_at(never)), (vec![soon, late], None));
}

#[test]
fn two_never_run_at_once() {
    let overlapping = |overlap| {
        let hourly = every("0 * * * *").overlap(overlap);
        let mut one = One::new(hourly, "2026-11-25T11:30:00Z", None);
        assert!(one.poll("2026-11-25T12:00:00Z").is_some());
        assert_eq!(one.poll("2026-11-25T14:30:00Z"), None, "it still runs");
        one.succeed("2026-11-25T14:40:00Z");
        let due = one.poll("2026-11-25T14:40:00Z");
        (due.map(|due| (due.at, due.missed)), one)
    };
    let (due, _) = overlapping(Overlap::Coalesce);
    assert_eq!(due, Some((at("2026-11-25T14:00:00Z"), 1)), "13:00 and 14:00 make one");
    let (due, mut one) = overlapping(Overlap::Skip);
    assert_eq!((due, one.next()), (None, "2026-11-25T15:00:00Z".into()));
    assert_eq!(one.poll("2026-11-25T15:00:00Z").unwrap().missed, 2, "what was left out is counted");
    // Who waited for the former backup is not late for that.
    let hourly = every("0 * * * *").misfire(Misfire::Skip);
    let mut one = One::new(hourly, "2026-11-25T11:30:00Z", None);
    assert!(one.poll("2026-11-25T12:00:00Z").is_some());
    one.succeed("2026-11-25T14:40:00Z");
    assert!(one.poll("2026-11-25T14:40:30Z").is_some());
}

#[test]
fn the_recovery_point_objective_leaves_the_moment_to_the_scheduler() {
    let mut one = One::new(every("rpo"), "2026-11-25T00:00:00Z", Some("2026-11-24T18:00:00Z"));
    assert_eq!(one.next(), "2026-11-25T06:00:00Z", "half of a day after the recovery point");
    let due = one.poll("2026-11-25T06:00:00Z").unwrap();
    assert_eq!(due.deadline, Some(at("2026-11-25T18:00:00Z")));
    // The recovery point is the beginning of the backup.
    let outcome = Outcome::Succeeded { recovery_point: at("2026-11-25T15:00:00Z") };
    one.timetable.finished(at("2026-11-25T16:00:00Z"), one.id, outcome);
    assert_eq!(one.next(), "2026-11-26T03:00:00Z");
    // One that failed is asked for again soon, with the old deadline.
    assert!(one.poll("2026-11-26T03:00:00Z").is_some());
    one.timetable.finished(at("2026-11-26T04:00:00Z"), one.id, Outcome::Failed);
    assert_eq!(one.next(), "2026-11-26T07:00:00Z");
    assert_eq!(one.poll("2026-11-26T07:00:00Z").unwrap().deadline, Some(at("2026-11-26T15:00:00Z")));
    // A replica that lags by days is not backed up in a circle.
    let outcome = Outcome::Succeeded { recovery_point: at("2026-11-20T00:00:00Z") };
    one.timetable.finished(at("2026-11-26T08:00:00Z"), one.id, outcome);
    assert_eq!(one.next(), "2026-11-26T11:00:00Z");
    // Without any backup, at once.
    let mut new = One::new(every("rpo"), "2026-11-25T00:00:00Z", None);
    let due = new.poll("2026-11-25T00:00:00Z").unwrap();
    assert_eq!((due.late, due.deadline), (Duration::ZERO, None));
    // Spread, but not beyond the deadline.
    let spread = every("rpo").jitter(hours(1_000));
    let spread = One::new(spread, "2026-11-25T00:00:00Z", Some("2026-11-25T00:00:00Z"));
    assert!(spread.timetable.next_due().unwrap() <= at("2026-11-25T18:00:00Z"));
}

#[test]
fn an_instance_always_has_the_same_place_and_instances_are_spread() {
    let six_hours = Recurrence::new("6h".parse().unwrap());
    let start = at("2026-11-25T00:00:00Z");
    let place = |name: &str| {
        let next = six_hours.next_after(name, start).unwrap();
        assert_eq!(six_hours.next_after(name, next), Some(next + SignedDuration::from_hours(6)));
        next.duration_since(start).as_secs()
    };
    // Written down: another place would move every backup of everybody.
    assert_eq!([place("orders-1"), place("orders-2")], PLACES);
    let mut tenths = [0; 10];
    for n in 0..10_000 {
        tenths[(place(&format!("db-{n}")) * 10 / (6 * 3600)) as usize] += 1;
    }
    // Of 1,000 expected in each tenth, the standard deviation is 30.
    assert!(tenths.iter().all(|count| (880..1120).contains(count)), "{tenths:?}");
    let nightly =
        |jitter| Recurrence::new("0 2 * * *".parse().unwrap()).jitter(jitter).next_after("orders-1", start);
    assert_eq!(nightly(Duration::ZERO), Some(at("2026-11-25T02:00:00Z")));
    assert!(
        nightly(hours(1)) > nightly(Duration::ZERO) && nightly(hours(1)) < Some(at("2026-11-25T03:00:00Z"))
    );
    // Nothing overflows.
    let _ = Recurrence::new(Every::default()).jitter(Duration::MAX).next_after("a", Timestamp::MAX);
    let _ =
        Recurrence::new("0 2 * * *".parse().unwrap()).jitter(Duration::MAX).next_after("a", Timestamp::MIN);
    let mut far = Timetable::new();
    far.add(Timestamp::MAX, "a", Arc::new(six_hours.clone()), Duration::MAX, Some(Timestamp::MAX));
    far.add(Timestamp::MIN, "a", Arc::new(every("rpo")), Duration::MAX, Some(Timestamp::MIN));
    while let Some(due) = far.poll(Timestamp::MAX) {
        assert_eq!(due.deadline, Some(Timestamp::MAX));
    }
    assert_eq!(far.next_due(), None, "what never comes again is not waited for");
}

const PLACES: [i64; 2] = [15_735, 1_939];

#[test]
fn an_outage_of_years_is_one_backup_and_not_looked_through_slot_by_slot() {
    for (text, newest) in [
        ("* * * * *", "2026-11-25T12:00:00Z"),
        ("*/7 3 * * *", "2026-11-25T03:56:00Z"),
        ("0 0 1 1 *", "2026-01-01T00:00:00Z"),
        ("0 0 29 2 *", "2024-02-29T00:00:00Z"),
        ("1min", "2026-11-25T12:00:00Z"),
    ] {
        let mut one = One::new(every(text), "2026-11-25T12:00:30Z", Some("1990-01-01T00:00:00Z"));
        let due = one.poll("2026-11-25T12:00:30Z").unwrap();
        assert_eq!(due.at, at(newest), "{text}");
        assert!(due.missed <= 100);
    }
}

#[test]
fn what_waits_can_be_postponed_and_forgotten() {
    let mut one = One::new(every("0 2 * * *"), "2026-11-25T12:00:00Z", Some("2026-11-24T02:05:00Z"));
    let due = one.poll("2026-11-25T12:00:00Z").unwrap();
    assert!(one.timetable.postpone(&due, at("2026-11-26T03:00:00Z")));
    assert!(!one.timetable.postpone(&due, at("2026-11-26T03:00:00Z")), "it waits already");
    assert_eq!(one.poll("2026-11-26T02:59:59Z"), None, "the slot of 02:00 waits with it");
    let due = one.poll("2026-11-26T03:00:00Z").unwrap();
    assert_eq!((due.at, due.missed), (at("2026-11-26T02:00:00Z"), 1));
    // What was handed out once is not too late for having been postponed, whatever comes meanwhile.
    let mut strict = One::new(every("0 2 * * *").misfire(Misfire::Skip), "2026-11-25T00:00:00Z", None);
    let due = strict.poll("2026-11-25T02:00:00Z").unwrap();
    strict.timetable.postpone(&due, at("2026-11-26T03:00:00Z"));
    assert_eq!(strict.poll("2026-11-26T03:00:00Z").map(|due| due.at), Some(at("2026-11-26T02:00:00Z")));
    assert_eq!(one.timetable.len(), 1);
    assert!(one.timetable.remove(one.id) && one.timetable.is_empty());
    assert!(!one.timetable.remove(one.id));
    // Its place is another's now.
    let other = one.timetable.add(one.now, "b", Arc::new(every("6h")), hours(6), None);
    assert_ne!(other, one.id);
    assert!(!one.timetable.finished(one.now, one.id, Outcome::Failed));
    assert!(
        !one.timetable.remove(one.id) && one.timetable.len() == 1,
        "the other is not forgotten in its place"
    );
}

#[test]
fn what_a_wall_that_was_ahead_took_away_comes_after_a_rewind() {
    let ahead = |rewind: bool| {
        let mut one = One::new(every("0 2 * * *"), "2026-11-25T12:00:00Z", None);
        assert!(one.poll("2026-11-28T12:00:00Z").is_some(), "the wall is three days ahead");
        one.succeed("2026-11-28T12:10:00Z");
        if rewind {
            one.timetable.rewind(at("2026-11-25T12:20:00Z"));
        }
        assert_eq!(one.poll("2026-11-25T12:20:00Z"), None, "the slot before is not handed out again");
        one.next()
    };
    assert_eq!(ahead(false), "2026-11-29T02:00:00Z");
    assert_eq!(ahead(true), "2026-11-26T02:00:00Z");
    let mut rpo = One::new(every("rpo"), "2026-11-25T00:00:00Z", Some("2026-11-28T00:00:00Z"));
    rpo.timetable.rewind(at("2026-11-25T00:00:00Z"));
    assert_eq!(rpo.next(), "2026-11-25T12:00:00Z");
}

#[test]
fn recurrences_are_read_from_a_file_and_written_back() {
    let text = "every = \"0 2 * * *\"\nzone = \"Europe/Berlin\"\njitter = \"30m\"\noverlap = \"skip\"\nmisfire = \"6h\"\n";
    let read: Recurrence = toml::from_str(text).unwrap();
    let built = Recurrence::new("0 2 * * *".parse().unwrap())
        .zone("Europe/Berlin".parse().unwrap())
        .jitter(Duration::from_secs(1800))
        .overlap(Overlap::Skip)
        .misfire(Misfire::Within(hours(6)));
    assert_eq!(read, built);
    assert_eq!(toml::to_string(&read).unwrap(), text);
    assert_eq!(toml::from_str::<Recurrence>("").unwrap(), Recurrence::default());
    let error = |text: &str| toml::from_str::<Recurrence>(text).unwrap_err().to_string();
    assert!(error("every = \"0 25 * * *\"").contains("at 3: \"25\" is no hour"));
    assert!(error("misfire = \"never\"").contains("\"never\" is neither \"coalesce\", nor \"skip\""));
    assert!(error("jitter = \"half\"").contains("nor a duration such as \"30min\""));
    assert!(error("evry = \"6h\"").contains("unknown field `evry`"));
}

#[derive(Clone, Debug)]
enum Step {
    /// The wall moves by minutes, also back.
    Wall(i64),
    Poll,
    Finish(usize, bool),
    Postpone(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..400_i64).prop_map(Step::Wall),
        1 => (-5_000..5_000_i64).prop_map(Step::Wall),
        4 => Just(Step::Poll),
        3 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(n, ok)| Step::Finish(n.index(8), ok)),
        1 => (0..300_i64).prop_map(Step::Postpone),
    ]
}

fn recurrence() -> impl Strategy<Value = Recurrence> {
    let texts =
        ["0 2 * * *", "*/20 * * * *", "15 */6 * * MON-FRI", "30 2 * * *", "1h", "7h", "rpo", "@daily"];
    let zones = ["UTC", "Europe/Berlin", "Australia/Lord_Howe"];
    let misfire = prop_oneof![
        Just(Misfire::Coalesce),
        Just(Misfire::Skip),
        (0..600_u64).prop_map(|minutes| Misfire::Within(Duration::from_secs(60 * minutes)))
    ];
    (0..texts.len(), 0..zones.len(), 0..120_u64, any::<bool>(), misfire).prop_map(
        move |(text, zone, jitter, skip, misfire)| {
            Recurrence::new(texts[text].parse().unwrap())
                .zone(zones[zone].parse().unwrap())
                .jitter(Duration::from_secs(60 * jitter))
                .overlap(if skip { Overlap::Skip } else { Overlap::Coalesce })
                .misfire(misfire)
        },
    )
}

proptest! {
    /// However the wall jumps: no slot twice, never two of an instance at once, nothing before its time, each slot one
    /// that the recurrence names, and all slots accounted for.
    #[test]
    fn nothing_comes_twice_and_never_two_at_once(
        recurrences in prop::collection::vec(recurrence(), 1..8),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut now = at("2026-03-25T00:00:00Z");
        let (begin, mut timetable) = (now, Timetable::new());
        let mut ids = BTreeMap::new();
        for (n, recurrence) in recurrences.iter().enumerate() {
            let recurrence = Arc::new(recurrence.clone());
            ids.insert(timetable.add(now, &format!("db-{n}"), recurrence, hours(12), Some(now)), n);
        }
        let (mut running, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut handed_out = vec![(0_u64, 0_u64, begin); recurrences.len()];
        for step in steps {
            match step {
                Step::Wall(minutes) => now = (now + SignedDuration::from_mins(minutes)).max(begin),
                Step::Poll | Step::Postpone(_) => {
                    let Some(due) = timetable.poll(now) else {
                        prop_assert!(timetable.next_due().is_none_or(|at| at > now));
                        continue;
                    };
                    let n = ids[&due.id];
                    prop_assert!(due.at <= now && running.insert(n), "{:?} runs already", due);
                    if let Step::Postpone(minutes) = step {
                        running.remove(&n);
                        prop_assert!(timetable.postpone(&due, now + SignedDuration::from_mins(minutes)));
                        continue;
                    }
                    let recurrence = &recurrences[n];
                    if recurrence.every != Every::Rpo {
                        prop_assert!(seen.insert((n, due.at)), "{:?} came twice", due);
                        let name = format!("db-{n}");
                        let before = due.at - SignedDuration::from_nanos(1);
                        prop_assert_eq!(recurrence.next_after(&name, before), Some(due.at), "no slot");
                        let (count, missed, newest) = &mut handed_out[n];
                        prop_assert!(due.at > *newest, "slots come in order");
                        (*count, *missed, *newest) = (*count + 1, *missed + u64::from(due.missed), due.at);
                        let slots = std::iter::successors(recurrence.next_after(&name, begin), |at| recurrence.next_after(&name, *at));
                        let slots = slots.take_while(|at| *at <= due.at).count() as u64;
                        // Those before the first slot with this jitter are none of ours.
                        prop_assert!(*count + *missed <= slots + 1, "{} and {} of {}", count, missed, slots);
                        prop_assert!(slots > 90 || *count + *missed + 1 >= slots, "{} and {} of {}", count, missed, slots);
                    }
                }
                Step::Finish(n, ok) => {
                    let Some((id, n)) = ids.iter().find(|(_, index)| **index == n).map(|(id, n)| (*id, *n)) else { continue };
                    let outcome = if ok { Outcome::Succeeded { recovery_point: now } } else { Outcome::Failed };
                    prop_assert_eq!(timetable.finished(now, id, outcome), running.remove(&n));
                }
            }
        }
    }
}
