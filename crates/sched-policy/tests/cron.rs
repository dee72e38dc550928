//! Cron expressions against a matcher that looks at the clock every minute, and shares nothing with what it tests.

use std::collections::BTreeSet;

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use sched_policy::{Cron, Zone};

const ZONES: [(&str, &str); 10] = [
    ("UTC", "2026-02-25T00:00:00Z"),
    ("Europe/Berlin", "2026-03-27T00:00:00Z"),
    ("America/New_York", "2026-10-30T00:00:00Z"),
    ("Australia/Lord_Howe", "2026-04-03T00:00:00Z"),
    ("Pacific/Chatham", "2026-09-24T00:00:00Z"),
    ("Asia/Kathmandu", "2027-02-26T00:00:00Z"),
    // Skips 30 December 2011.
    ("Pacific/Apia", "2011-12-28T00:00:00Z"),
    ("Pacific/Fakaofo", "2011-12-28T00:00:00Z"),
    // Set by three hours, both ways.
    ("Antarctica/Casey", "2011-10-26T00:00:00Z"),
    ("Antarctica/Casey", "2012-02-20T00:00:00Z"),
];

/// One field, and the numbers that it means.
#[derive(Clone, Debug)]
struct Field {
    text: String,
    means: BTreeSet<i8>,
}

fn item(low: i8, high: i8) -> impl Strategy<Value = Field> {
    let range = move |a: i8, b: i8| (a.min(b), a.max(b));
    let field = |text: String, means: Vec<i8>| Field { text, means: means.into_iter().collect() };
    prop_oneof![
        (low..=high).prop_map(move |n| field(n.to_string(), vec![n])),
        (low..=high, low..=high).prop_map(move |(a, b)| {
            let (a, b) = range(a, b);
            field(format!("{a}-{b}"), (a..=b).collect())
        }),
        (low..=high, low..=high, 1..=7_i8).prop_map(move |(a, b, step)| {
            let (a, b) = range(a, b);
            field(format!("{a}-{b}/{step}"), (a..=b).step_by(step as usize).collect())
        }),
        (1..=(high - low).max(1)).prop_map(move |step| {
            field(format!("*/{step}"), (low..=high).step_by(step as usize).collect())
        }),
    ]
}

fn field(low: i8, high: i8) -> impl Strategy<Value = Field> {
    prop_oneof![
        1 => Just(Field { text: "*".into(), means: (low..=high).collect() }),
        2 => prop::collection::vec(item(low, high), 1..3).prop_map(|items| Field {
            text: items.iter().map(|item| item.text.as_str()).collect::<Vec<_>>().join(","),
            means: items.iter().flat_map(|item| item.means.iter().copied()).collect(),
        }),
    ]
}

/// Days in the words of the crontab manual: the month and, of the day fields that are not `*`, one (or with `+` both).
#[derive(Clone, Debug)]
struct Days {
    day: Field,
    month: Field,
    weekday: Field,
    both: bool,
}

impl Days {
    fn on(&self, date: Date, by_day: bool, by_weekday: bool) -> bool {
        let (any_day, any_weekday) = (self.day.text == "*", self.weekday.text == "*");
        self.month.means.contains(&date.month())
            && match (any_day, any_weekday) {
                (true, true) => true,
                (true, false) => by_weekday,
                (false, true) => by_day,
                (false, false) if self.both => by_day && by_weekday,
                (false, false) => by_day || by_weekday,
            }
    }

    fn plain(&self, date: Date) -> bool {
        let sunday_is_7 =
            |day: i8| self.weekday.means.contains(&day) || day == 0 && self.weekday.means.contains(&7);
        self.on(
            date,
            self.day.means.contains(&date.day()),
            sunday_is_7(date.weekday().to_sunday_zero_offset()),
        )
    }
}

/// Every minute of the real time line: what the clock shows, and for hours that are not `*`, each thing shown only once
/// and what was skipped at the end of the gap.
fn walk(
    zone: &TimeZone,
    (from, minutes): (Timestamp, i64),
    any_hour: bool,
    matches: impl Fn(DateTime) -> bool,
) -> Vec<Timestamp> {
    let minute = SignedDuration::from_mins(1);
    let mut shown = zone.to_datetime(from - minute);
    // The hours before, in which the clock may have been set back.
    for n in 1..300 {
        shown = shown.max(zone.to_datetime(from - minute * n));
    }
    let mut found = vec![];
    for n in 0..minutes {
        let at = from + minute * n as i32;
        let local = zone.to_datetime(at);
        let skipped = || {
            let gap = local.duration_since(shown) - minute;
            let whole_day = gap >= SignedDuration::from_hours(24);
            let mut skipped = (1..=gap.as_secs() / 60).map(|n| shown + minute * n as i32);
            !whole_day && skipped.any(&matches)
        };
        if any_hour && matches(local) || !any_hour && local > shown && (matches(local) || skipped()) {
            found.push(at);
        }
        shown = shown.max(local);
    }
    found
}

fn occurrences(cron: &Cron, zone: &str, (from, minutes): (Timestamp, i64)) -> Vec<Timestamp> {
    let zone: Zone = zone.parse().unwrap();
    let end = from + SignedDuration::from_mins(minutes);
    let before = from - SignedDuration::from_nanos(1);
    std::iter::successors(cron.next_after(before, &zone), |at| cron.next_after(*at, &zone))
        .take_while(|at| *at < end)
        .collect()
}

fn days() -> impl Strategy<Value = Days> {
    (field(1, 31), field(1, 12), field(0, 7), any::<bool>()).prop_map(|(day, month, weekday, both)| Days {
        day,
        month,
        weekday,
        both,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn as_a_clock_that_is_looked_at_every_minute(
        zone in 0..ZONES.len(),
        minute in field(0, 59),
        hour in field(0, 23),
        days in days(),
        shift in 0..7 * 1440_i64,
    ) {
        let (zone, around) = ZONES[zone];
        let from = around.parse::<Timestamp>().unwrap() - SignedDuration::from_mins(shift);
        let weekday = format!("{}{}", if days.both { "+" } else { "" }, days.weekday.text);
        let text = format!("{} {} {} {} {weekday}", minute.text, hour.text, days.day.text, days.month.text);
        // With `+`, a weekday that is `*` is not the same as none.
        prop_assume!(!(days.both && days.weekday.text == "*"));
        let Ok(cron) = text.parse::<Cron>() else {
            // Only what never comes in four years, or 28 where a weekday and a date meet, is refused.
            let first: Date = "2000-01-01".parse().unwrap();
            let mut all = std::iter::successors(Some(first), |day| day.tomorrow().ok()).take(28 * 366);
            prop_assert!(!all.any(|day| days.plain(day)), "{} was refused", text);
            return Ok(());
        };
        prop_assert_eq!(cron.to_string().parse::<Cron>().unwrap(), cron.clone());
        let matches = |at: DateTime| {
            minute.means.contains(&at.minute()) && hour.means.contains(&at.hour()) && days.plain(at.date())
        };
        let span = (from, 12 * 1440);
        let expected = walk(&TimeZone::get(zone).unwrap(), span, hour.text.starts_with('*'), matches);
        prop_assert_eq!(occurrences(&cron, zone, span), expected, "{} in {}", text, zone);
    }

    #[test]
    fn no_text_makes_reading_panic(text in "([0-9]{1,3}|[*,/#LW?+@-]|MON|jan|é| ){0,12}") {
        let _ = text.parse::<Cron>();
    }
}

/// The dates of four years at which an expression comes at midnight.
fn dates(text: &str) -> Vec<Date> {
    let cron: Cron = text.parse().unwrap();
    let found = occurrences(&cron, "UTC", ("2025-01-01T00:00:00Z".parse().unwrap(), 4 * 366 * 1440));
    found.into_iter().map(|at| TimeZone::UTC.to_datetime(at).date()).collect()
}

fn expected(on: impl Fn(Date) -> bool) -> Vec<Date> {
    let first: Date = "2025-01-01".parse().unwrap();
    std::iter::successors(Some(first), |day| day.tomorrow().ok())
        .take(4 * 366)
        .filter(|day| on(*day))
        .collect()
}

/// The weekday nearest to a day, in the same month.
fn nearest_weekday(of: Date, day: i8) -> Option<Date> {
    let day = Date::new(of.year(), of.month(), day).ok()?;
    let moved = match day.weekday() {
        Weekday::Saturday if day.day() == 1 => 2,
        Weekday::Saturday => -1,
        Weekday::Sunday if day.day() == day.days_in_month() => -2,
        Weekday::Sunday => 1,
        _ => 0,
    };
    day.checked_add(SignedDuration::from_hours(24 * moved)).ok()
}

#[test]
fn the_last_day_the_nearest_weekday_and_the_nth_of_a_month() {
    let is_weekday = |day: Date| !matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday);
    let last = |day: Date| day.day() == day.days_in_month();
    assert_eq!(dates("0 0 L * *"), expected(last));
    assert_eq!(dates("0 0 1,L * *"), expected(|day| last(day) || day.day() == 1));
    for nth in [1, 15, 30, 31] {
        let near = move |day: Date| nearest_weekday(day, nth) == Some(day);
        assert_eq!(dates(&format!("0 0 {nth}W * *")), expected(near), "{nth}W");
    }
    let last_weekday = |day: Date| {
        let rest =
            (day.day() + 1..=day.days_in_month()).filter_map(|n| Date::new(day.year(), day.month(), n).ok());
        is_weekday(day) && !rest.into_iter().any(is_weekday)
    };
    assert_eq!(dates("0 0 LW * *"), expected(last_weekday));
    for nth in 1..=5_i8 {
        let on = move |day: Date| day.weekday() == Weekday::Friday && (day.day() + 6) / 7 == nth;
        assert_eq!(dates(&format!("0 0 * * FRI#{nth}")), expected(on), "the {nth}. Friday");
    }
    let last_friday = |day: Date| day.weekday() == Weekday::Friday && day.day() + 7 > day.days_in_month();
    assert_eq!(dates("0 0 * * FRI#L"), expected(last_friday));
    assert_eq!(dates("0 0 * * 5L"), expected(last_friday));
    // Friday the 13th, and either of them.
    let (friday, the_13th) = (|day: Date| day.weekday() == Weekday::Friday, |day: Date| day.day() == 13);
    assert_eq!(dates("0 0 13 * +FRI"), expected(|day| friday(day) && the_13th(day)));
    assert_eq!(dates("0 0 13 * FRI"), expected(|day| friday(day) || the_13th(day)));
    assert_eq!(dates("0 0 ? * FRI"), expected(friday));
}

#[test]
fn names_stand_for_numbers() {
    for (name, number) in [
        ("0 2 * JAN,MAR-MAY *", "0 2 * 1,3-5 *"),
        ("0 2 * * mon-fri", "0 2 * * 1-5"),
        ("0 2 * * FRI-SUN", "0 2 * * 5-7"),
        ("0 2 * * 0", "0 2 * * 7"),
        ("@daily", "0 0 * * *"),
        ("@Midnight", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
        ("@weekly", "0 0 * * SUN"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
    ] {
        let span = ("2026-01-01T00:00:00Z".parse().unwrap(), 500 * 1440);
        let all = |text: &str| occurrences(&text.parse().unwrap(), "UTC", span);
        assert_eq!(all(name), all(number), "{name}");
        assert!(!all(name).is_empty());
    }
}

#[test]
fn what_lies_in_a_gap_comes_at_its_end_and_a_skipped_day_not_at_all() {
    let first = |text: &str, zone: &str, from: &str| {
        let cron: Cron = text.parse().unwrap();
        cron.next_after(from.parse().unwrap(), &zone.parse().unwrap()).unwrap().to_string()
    };
    // Berlin goes from 2 to 3.
    assert_eq!(first("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z"), "2026-03-29T01:00:00Z");
    assert_eq!(first("30 2,14 * * *", "Europe/Berlin", "2026-03-28T14:00:00Z"), "2026-03-29T01:00:00Z");
    assert_eq!(first("30 */2 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z"), "2026-03-29T02:30:00Z");
    // The first of two.
    assert_eq!(first("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z"), "2026-10-25T00:30:00Z");
    assert_eq!(first("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z"), "2026-10-26T01:30:00Z");
    assert_eq!(first("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z"), "2026-10-26T01:30:00Z");
    assert_eq!(first("30 * * * *", "Europe/Berlin", "2026-10-25T00:30:00Z"), "2026-10-25T01:30:00Z");
    // Samoa had no 30 December 2011.
    assert_eq!(first("0 2 * * *", "Pacific/Apia", "2011-12-29T13:00:00Z"), "2011-12-30T12:00:00Z");
    assert_eq!(first("0 2 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z"), "2012-12-29T12:00:00Z");
    // 29 February on a Monday: rare, and found.
    assert_eq!(first("0 0 29 2 +MON", "UTC", "2026-01-01T00:00:00Z"), "2044-02-29T00:00:00Z");
    assert_eq!(first("0 0 29 2 +THU", "UTC", "2000-01-01T00:00:00Z"), "2024-02-29T00:00:00Z");
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let error = |text: &str| text.parse::<Cron>().unwrap_err().to_string();
    assert_eq!(error("60 2 * * *"), "at 1: \"60\" is no minute; write 0-59, with * , - /");
    assert_eq!(error("0  24 * * *"), "at 4: \"24\" is no hour; write 0-23, with * , - /");
    assert_eq!(
        error("0 2 32 * *"),
        "at 5: \"32\" is no day of the month; write 1-31, L, 15W or LW, with * , - /"
    );
    assert_eq!(
        error("0 2 * JANUARY *"),
        "at 7: \"JANUARY\" is no month; write 1-12 or JAN-DEC, with * , - /"
    );
    assert_eq!(
        error("0 2 * * FRI#6"),
        "at 9: \"FRI#6\" is no day of the week; write 0-7 or SUN-SAT, FRI#2 or FRI#L, with * , - /"
    );
    assert_eq!(error("1,,2 2 * * *"), "at 1: \"1,,2\" is no minute; write 0-59, with * , - /");
    assert_eq!(error("5-1 2 * * *"), "at 1: \"5-1\" is no minute; write 0-59, with * , - /");
    assert!(error("0 0 2 * * *").ends_with("found 6"));
    assert!(error("").ends_with("found 0"));
    assert!(error("@fortnightly").starts_with("there is no \"@fortnightly\"; write @hourly"));
    for never in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 30 2 +MON", "0 0 * 2 +MON#6"] {
        assert!(never.parse::<Cron>().is_err(), "{never}");
    }
    assert_eq!(error("0 0 30 2 *"), "\"0 0 30 2 *\" never comes: no year has such a date");
}
