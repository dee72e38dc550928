//! Calendars against a walk that asks the clock of the zone every minute.

use std::time::Duration;

use jiff::civil::{DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use proptest::prelude::*;
use sched_core::{Calendar, CalendarState, Reason, Stretch};
use sched_policy::{CalendarError, Rule, WindowCalendar, WindowRules};

/// Zones with summer time, without, with odd offsets, and with days that were skipped or came twice; and two years of
/// each in which something happens.
const ZONES: [(&str, i16); 10] = [
    ("UTC", 2027),
    ("Europe/Berlin", 2026),
    ("America/New_York", 2027),
    ("Australia/Lord_Howe", 2026),
    ("Asia/Kathmandu", 2027),
    ("Pacific/Chatham", 2026),
    ("Pacific/Apia", 2011),
    ("Antarctica/Casey", 2023),
    ("America/St_Johns", 2026),
    ("Africa/Casablanca", 2026),
];

/// A rule as the naive walk understands it.
#[derive(Clone, Debug)]
struct Naive {
    text: String,
    day: DayTest,
    from: u32,
    minutes: u32,
}

#[derive(Clone, Debug)]
enum DayTest {
    Weekdays(Vec<Weekday>),
    /// From one date of the year on, so many days in the same month.
    Dates(i8, i8, i8),
    Nth(i8, Weekday),
    Last(Weekday),
    LastDay,
}

impl Naive {
    /// Whether the clock shows a time of the rule.
    fn covers(&self, local: DateTime) -> bool {
        let minute = local.hour() as u32 * 60 + local.minute() as u32;
        let begun = |days_ago: i64, minute: u32| {
            let Ok(day) = local.date().checked_sub(days_ago.days()) else { return false };
            let on = match &self.day {
                DayTest::Weekdays(days) => days.contains(&day.weekday()),
                DayTest::Dates(month, first, last) => {
                    day.month() == *month && (*first..=*last).contains(&day.day())
                }
                DayTest::Nth(nth, weekday) => {
                    day.weekday() == *weekday && ((nth - 1) * 7 + 1..=nth * 7).contains(&day.day())
                }
                DayTest::Last(weekday) => {
                    let week_later = day.checked_add(7.days()).unwrap();
                    day.weekday() == *weekday && week_later.month() != day.month()
                }
                DayTest::LastDay => day.tomorrow().is_ok_and(|next| next.day() == 1),
            };
            on && self.from <= minute && minute < self.from + self.minutes
        };
        begun(0, minute) || begun(1, minute + 1440)
    }
}

fn naive() -> impl Strategy<Value = Naive> {
    let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let weekday = |n: usize| Weekday::from_monday_zero_offset(n as i8).unwrap();
    let days = prop_oneof![
        4 => prop::collection::vec(0..7_usize, 1..5).prop_map(move |days| {
            let text: Vec<_> = days.iter().map(|n| names[*n]).collect();
            (text.join(","), DayTest::Weekdays(days.into_iter().map(weekday).collect()))
        }),
        1 => (1..=12_i8, 1..=20_i8, 0..=8_i8).prop_map(|(m, d, more)| {
            let last = d + more;
            (format!("{m:02}-{d:02}/{m:02}-{last:02}"), DayTest::Dates(m, d, last))
        }),
        1 => (1..=4_usize, 0..7_usize).prop_map(move |(nth, n)| {
            let ordinal = ["first", "second", "third", "fourth"][nth - 1];
            (format!("{ordinal} {}", names[n]), DayTest::Nth(nth as i8, weekday(n)))
        }),
        1 => (0..7_usize).prop_map(move |n| (format!("last {}", names[n]), DayTest::Last(weekday(n)))),
        1 => Just(("last day".to_owned(), DayTest::LastDay)),
    ];
    // Windows about the hours at which clocks are set, too.
    let from = prop_oneof![0..1440_u32, 0..240_u32];
    (days, from, 1..=1440_u32).prop_map(|((days, day), from, minutes)| {
        let end = from + minutes;
        let end = if end > 1440 { end - 1440 } else { end };
        let text = format!("{days} {:02}:{:02}-{:02}:{:02}", from / 60, from % 60, end / 60, end % 60);
        Naive { text, day, from, minutes }
    })
}

#[derive(Debug, PartialEq)]
enum State {
    Open,
    Closed,
    Blackout,
}

impl State {
    fn of(stretch: &Stretch) -> Self {
        match stretch.state {
            CalendarState::Open => Self::Open,
            CalendarState::Closed { .. } => Self::Closed,
            CalendarState::Blackout { .. } => Self::Blackout,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Each minute about the changes of a zone's clock in two years, and of two weeks beside them.
    #[test]
    fn as_a_walk_by_the_minute(
        zone in 0..ZONES.len(),
        windows in prop::collection::vec(naive(), 0..4),
        blackouts in prop::collection::vec(naive(), 0..3),
        weeks in prop::collection::vec(0..104_i64, 2),
    ) {
        let Some(walk) = Walk::new(ZONES[zone], windows, blackouts) else { return Ok(()) };
        let sets = walk.zone.following(walk.begin).map(|set| set.timestamp());
        let about_sets = sets.take_while(|set| *set < walk.end).map(|set| set - SignedDuration::from_hours(30));
        let others = weeks.iter().map(|week| walk.begin + SignedDuration::from_hours(168 * week));
        for start in about_sets.chain(others) {
            walk.compare(start, start + SignedDuration::from_hours(60), 1)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2, ..ProptestConfig::default() })]

    /// All of two years in all zones, by a step that meets every minute of the day, and the edges of all stretches.
    #[test]
    fn as_a_walk_through_two_years(
        windows in prop::collection::vec(naive(), 0..4),
        blackouts in prop::collection::vec(naive(), 0..3),
    ) {
        for zone in ZONES {
            let Some(walk) = Walk::new(zone, windows.clone(), blackouts.clone()) else { continue };
            walk.compare(walk.begin, walk.end, 13)?;
        }
    }
}

/// A calendar, and the same as a question to the clock.
struct Walk {
    calendar: WindowCalendar,
    zone: TimeZone,
    windows: Vec<Naive>,
    blackouts: Vec<Naive>,
    begin: Timestamp,
    end: Timestamp,
}

impl Walk {
    /// None when the calendar never opens.
    fn new((zone, year): (&str, i16), windows: Vec<Naive>, blackouts: Vec<Naive>) -> Option<Self> {
        let rules = |naive: &[Naive]| naive.iter().map(|rule| rule.text.parse().unwrap()).collect();
        let mut made_of = WindowRules::new(zone.parse().unwrap());
        (made_of.windows, made_of.blackouts) = (rules(&windows), rules(&blackouts));
        let calendar = made_of.build().ok()?;
        let begin = at(&format!("{year:04}-01-01T00:00:00Z"));
        let end = begin + SignedDuration::from_hours(24 * 731);
        Some(Self { calendar, zone: TimeZone::get(zone).unwrap(), windows, blackouts, begin, end })
    }

    fn naive(&self, at: Timestamp) -> State {
        let local = self.zone.to_datetime(at);
        let covers = |rules: &[Naive]| rules.iter().any(|rule| rule.covers(local));
        if covers(&self.blackouts) {
            State::Blackout
        } else if self.windows.is_empty() || covers(&self.windows) {
            State::Open
        } else {
            State::Closed
        }
    }

    fn compare(&self, start: Timestamp, end: Timestamp, step: i64) -> Result<(), TestCaseError> {
        let minute = SignedDuration::from_mins(1);
        let mut stretch = self.calendar.at(start);
        let (mut at, mut looks) = (start, 0);
        while at < end {
            // Every stretch that ends before the next look, the last minute of each and the first of the next.
            while let Some(until) = stretch.until.filter(|until| *until <= at) {
                prop_assert_eq!(self.naive(until - minute), State::of(&stretch), "before {}", until);
                let next = self.calendar.at(until);
                prop_assert_eq!(next.from, Some(until));
                prop_assert_ne!(&next.state, &stretch.state);
                prop_assert_eq!(self.naive(until), State::of(&next), "from {}", until);
                stretch = next;
            }
            prop_assert_eq!(State::of(&stretch), self.naive(at), "{} is {}", at, self.zone.to_datetime(at));
            // From within, a stretch looks the same as from its beginning.
            if looks % 61 == 0 {
                let within = self.calendar.at(at);
                prop_assert_eq!((&within.state, within.until), (&stretch.state, stretch.until));
                prop_assert!(within.from.is_none_or(|from| from <= at));
                prop_assert!(within.from.is_none_or(|from| self.calendar.at(from).state == within.state));
            }
            (at, looks) = (at + minute * step as i32, looks + 1);
        }
        Ok(())
    }
}

fn calendar(zone: &str, windows: &[&str], blackouts: &[&str]) -> Result<WindowCalendar, CalendarError> {
    let rule = |text: &&str| text.parse::<Rule>().unwrap();
    let mut rules = WindowRules::new(zone.parse().unwrap());
    rules.windows = windows.iter().map(rule).collect();
    rules.blackouts = blackouts.iter().map(rule).collect();
    rules.build()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn opens(calendar: &WindowCalendar, from: &str, count: usize) -> Vec<String> {
    let horizon = at(from) + SignedDuration::from_hours(24 * 800);
    calendar.open_between(at(from), horizon).take(count).map(|(from, _)| from.to_string()).collect()
}

#[test]
fn an_hour_that_comes_twice_is_open_twice_and_one_that_is_skipped_never() {
    let berlin = calendar("Europe/Berlin", &["daily 02:15-02:45"], &[]).unwrap();
    assert_eq!(
        opens(&berlin, "2026-10-24T22:00:00Z", 3),
        ["2026-10-25T00:15:00Z", "2026-10-25T01:15:00Z", "2026-10-26T01:15:00Z"]
    );
    let after_the_gap = ["2026-03-30T00:15:00Z"];
    assert_eq!(
        opens(&berlin, "2026-03-28T12:00:00Z", 1),
        after_the_gap,
        "on the 29th the clock goes from 2 to 3"
    );
    // Through the hour that comes twice, a window is an hour longer, and it is one window.
    let night = calendar("Europe/Berlin", &["sat 22:00-06:00"], &[]).unwrap();
    let night = night.at(at("2026-10-25T01:30:00Z"));
    assert_eq!(
        (night.from, night.until),
        (Some(at("2026-10-24T20:00:00Z")), Some(at("2026-10-25T05:00:00Z")))
    );
    // On Lord Howe half an hour comes twice.
    let lord_howe = calendar("Australia/Lord_Howe", &["sun 01:45-02:15"], &[]).unwrap();
    assert_eq!(opens(&lord_howe, "2026-04-04T00:00:00Z", 3).len(), 3);
    let twice = opens(&lord_howe, "2026-04-04T00:00:00Z", 2);
    assert_eq!(twice, ["2026-04-04T14:45:00Z", "2026-04-04T15:15:00Z"]);
}

#[test]
fn a_day_that_a_zone_skips_does_not_come() {
    let apia = calendar("Pacific/Apia", &["fri"], &[]).unwrap();
    // The 30 December 2011 was a Friday.
    assert_eq!(opens(&apia, "2011-12-24T10:00:00Z", 1), ["2012-01-05T10:00:00Z"]);
}

#[test]
fn blackouts_beat_windows() {
    let dates = ["2026-12-24/2026-12-26", "first mon 00:00-12:00"];
    let calendar = calendar("UTC", &["daily 22:00-06:00"], &dates).unwrap();
    assert!(calendar.is_open(at("2026-12-23T23:00:00Z")));
    assert!(!calendar.is_open(at("2026-12-24T00:00:00Z")));
    let stretch = calendar.at(at("2026-12-25T12:00:00Z"));
    let blackout = CalendarState::Blackout { reason: Reason::new("blackout 2026-12-24/2026-12-26 (UTC)") };
    assert_eq!(stretch.state, blackout);
    assert_eq!(stretch.until, Some(at("2026-12-27T00:00:00Z")));
    assert_eq!(opens(&calendar, "2026-12-24T03:00:00Z", 1), ["2026-12-27T00:00:00Z"]);
    assert_eq!(opens(&calendar, "2026-12-07T02:00:00Z", 1), ["2026-12-07T22:00:00Z"]);
}

#[test]
fn who_waits_is_told_for_which_windows() {
    let nights = calendar("Europe/Berlin", &["mon-fri 22:00-06:00", "sat,sun"], &[]).unwrap();
    let reason = "outside its windows: mon-fri 22:00-06:00, sat,sun 00:00-24:00 (Europe/Berlin)";
    let expected = CalendarState::Closed { reason: Reason::new(reason) };
    assert_eq!(nights.at(at("2026-11-25T11:00:00Z")).state, expected);
}

#[test]
fn a_window_is_found_that_holds_what_is_to_be_done() {
    let calendar = calendar("UTC", &["mon-fri 22:00-24:00", "sat 00:00-12:00"], &[]).unwrap();
    let (from, horizon) = (at("2026-11-23T00:00:00Z"), at("2027-11-23T00:00:00Z"));
    let holds = |hours: u64| calendar.next_open_for(from, Duration::from_secs(3600 * hours), horizon);
    // Friday night goes on into Saturday: they touch.
    assert_eq!(holds(2), Some(at("2026-11-23T22:00:00Z")));
    assert_eq!(holds(14), Some(at("2026-11-27T22:00:00Z")));
    assert_eq!(holds(15), None);
    // What is left of the present window counts, and what lies beyond the horizon does not.
    let now = at("2026-11-28T03:00:00Z");
    assert_eq!(calendar.next_open_for(now, Duration::from_secs(9 * 3600), horizon), Some(now));
    let near = at("2026-11-28T04:00:00Z");
    assert_eq!(calendar.next_open_for(now, Duration::from_secs(2 * 3600), near), None);
    assert_eq!(calendar.open_between(now, near).collect::<Vec<_>>(), [(now, near)]);
    assert_eq!(calendar.next_open(near, near), None);
}

#[test]
fn what_is_always_open_has_no_end_and_what_never_opens_is_refused() {
    let always = calendar("Europe/Berlin", &[], &[]).unwrap();
    assert_eq!(always.at(at("2026-11-25T00:00:00Z")), Stretch::ALWAYS);
    let (from, to) = (at("2026-11-25T00:00:00Z"), at("2036-11-25T00:00:00Z"));
    assert_eq!(always.open_between(from, to).collect::<Vec<_>>(), [(from, to)]);
    let never = [
        ("UTC", "mon 10:00-12:00", "mon 09:00-13:00"),
        ("UTC", "2026-12-24", "2026-12-01/2026-12-31"),
        // An hour that the clock skips on this day, and a day that the zone skipped.
        ("Europe/Berlin", "2026-03-29 02:00-03:00", "2020-01-01"),
        ("Pacific/Apia", "2011-12-30", "2020-01-01"),
    ];
    for (zone, window, blackout) in never {
        let error = calendar(zone, &[window], &[blackout]).unwrap_err();
        assert_eq!(error, CalendarError::NeverOpen, "{window}");
    }
    let once = calendar("UTC", &["2026-05-05 10:00-12:00"], &[]).unwrap();
    assert_eq!(opens(&once, "2026-01-01T00:00:00Z", 2), ["2026-05-05T10:00:00Z"]);
    let far = calendar("UTC", &["2041-05-05 10:00-12:00"], &[]).unwrap();
    assert_eq!(opens(&far, "2041-01-01T00:00:00Z", 2), ["2041-05-05T10:00:00Z"]);
    let leap = calendar("UTC", &["02-29"], &[]).unwrap();
    assert_eq!(opens(&leap, "2026-12-31T00:00:00Z", 2), ["2028-02-29T00:00:00Z"]);
}

#[test]
fn business_hours_are_a_hint_and_close_nothing() {
    let rules = WindowRules::new("Asia/Kathmandu".parse().unwrap());
    let calendar = rules.business_hours("mon-fri 09:00-17:00".parse().unwrap()).build().unwrap();
    // Nepal is 5:45 ahead.
    for (moment, busy) in
        [("2026-11-25T03:14:00Z", false), ("2026-11-25T03:15:00Z", true), ("2026-11-28T05:00:00Z", false)]
    {
        assert_eq!(calendar.is_business_hour(at(moment)), busy, "{moment}");
        assert!(calendar.is_open(at(moment)));
    }
}

#[test]
fn times_at_the_ends_of_time_do_not_panic() {
    let nights = calendar("Pacific/Apia", &["daily 22:00-06:00"], &["12-31"]).unwrap();
    for end in [Timestamp::MIN, Timestamp::MAX] {
        nights.at(end);
        nights.next_open(end, Timestamp::MAX);
        nights.is_business_hour(end);
    }
    assert_eq!(nights.open_between(Timestamp::MAX, Timestamp::MIN).count(), 0);
}

#[test]
fn rules_are_read_from_a_file_and_written_back() {
    let text = "zone = \"Europe/Berlin\"\nwindows = [\"mon-fri 22:00-06:00\", \"sat,sun 00:00-24:00\"]\n\
                blackouts = [\"2026-12-24/2026-12-26\", \"first mon 00:00-12:00\"]\n\
                business_hours = [\"mon-fri 08:00-18:00\"]\n";
    let rules: WindowRules = toml::from_str(text).unwrap();
    assert_eq!(toml::to_string(&rules).unwrap(), text);
    let error = |text: &str| toml::from_str::<WindowRules>(text).unwrap_err().to_string();
    assert!(error("windows = [\"mon-fri 22:00-26:00\"]").contains("at 15: the hour 26 is over 24"));
    assert!(error("zone = \"Europe/Berln\"").contains("did you mean \"Europe/Berlin\"?"));
    assert!(error("window = []").contains("unknown field `window`"));
}

proptest! {
    #[test]
    fn no_text_makes_reading_a_rule_panic(text in "(mon|first|last|fifth|daily|é|[0-9]{1,4}|[-,:/ ]){0,8}") {
        if let Ok(rule) = text.parse::<Rule>() {
            prop_assert_eq!(rule.to_string().parse::<Rule>().unwrap(), rule);
        }
    }
}
