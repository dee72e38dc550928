use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;

const START: &str = "2024-03-04T00:00:00Z";

/// Hours after a Monday midnight.
fn at(hours: i64) -> Timestamp {
    minutes(60 * hours)
}

fn minutes(minutes: i64) -> Timestamp {
    START.parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minutes)
}

fn slot(hours: i64) -> WeekSlot {
    WeekSlot::new(at(hours), 0)
}

/// Learns a load by its hour, from one hour up to another.
fn feed(week: &mut LearnedWeek, hours: std::ops::Range<i64>, load: impl Fn(i64) -> f64) {
    hours.for_each(|hour| week.update(slot(hour), load(hour), OwnLoad::None));
}

fn learned(hours: i64, load: impl Fn(i64) -> f64) -> LearnedWeek {
    let mut week = LearnedWeek::new();
    feed(&mut week, 0..hours, load);
    week
}

fn day(week: &LearnedWeek, from: i64) -> Vec<f32> {
    means(week, from, 24)
}

fn means(week: &LearnedWeek, from: i64, hours: usize) -> Vec<f32> {
    let forecast = week.forecast(&mut LocalClock::utc(), at(from), Duration::from_secs(3600), hours);
    forecast.slots.iter().map(|slot| slot.mean).collect()
}

/// A little noise, the same for the same hour.
fn noise(hour: i64) -> f64 {
    f64::from(dice(hour as u64)) / f64::from(u32::MAX) - 0.5
}

fn office(hour: i64) -> f64 {
    let noon = (hour % 24 - 13) as f64;
    10.0 + 50.0 * (-noon * noon / 18.0).exp() + 2.0 * noise(hour)
}

fn working_days(hour: i64) -> f64 {
    if hour / 24 % 7 < 5 { office(hour) } else { 10.0 + noise(hour) }
}

#[track_caller]
fn near(found: f32, wanted: f64, tolerance: f64) {
    assert!((f64::from(found) - wanted).abs() <= tolerance, "{found} instead of {wanted}");
}

#[test]
fn the_size_is_fixed() {
    assert_eq!(size_of::<LearnedWeek>(), 384);
}

#[test]
fn a_day_is_known_after_one_and_weekends_after_four_weeks() {
    let week = learned(24, office);
    near(day(&week, 24)[13], 60.0, 8.0);
    let week = learned(28 * 24, working_days);
    let ahead = means(&week, 28 * 24, 7 * 24);
    near(ahead[13], 60.0, 8.0);
    near(ahead[5 * 24 + 13], 10.0, 8.0);
    near(ahead[6 * 24 + 13], 10.0, 8.0);
}

#[test]
fn another_weekend_can_be_set() {
    let friday = |hour: i64| if matches!(hour / 24 % 7, 4 | 5) { 10.0 } else { office(hour) };
    let mut week = LearnedWeek::new().weekend(&[Weekday::Friday, Weekday::Saturday]);
    // One week: the day of the week alone is hardly known.
    feed(&mut week, 0..7 * 24, friday);
    let wrong = learned(7 * 24, friday);
    let at_noon = |week: &LearnedWeek, day: usize| means(week, 7 * 24, 7 * 24)[day * 24 + 13];
    assert!(at_noon(&week, 4) < at_noon(&wrong, 4) - 3.0);
    assert!(at_noon(&week, 6) > at_noon(&wrong, 6) + 3.0);
}

#[test]
fn what_the_load_is_now_counts_for_the_next_hours() {
    let mut week = learned(14 * 24, |hour| 40.0 + 4.0 * ((hour as f64) / 9.0).sin() + noise(hour));
    let calm = day(&week, 14 * 24);
    feed(&mut week, 14 * 24..14 * 24 + 3, |_| 48.0);
    let risen = day(&week, 14 * 24 + 3);
    assert!(risen[0] > calm[3] + 1.0, "{} {}", risen[0], calm[3]);
    assert!(risen[23] < risen[0]);
}

#[test]
fn the_spread_grows_ahead_and_covers_what_comes() {
    let load = |hour: i64| office(hour) + 10.0 * noise(hour * 31);
    let mut week = learned(28 * 24, load);
    let (mut inside, mut all) = (0, 0);
    for from in 28..56 {
        let forecast = week.forecast(&mut LocalClock::utc(), at(from * 24), Duration::from_secs(3600), 24);
        assert!(forecast.slots[0].spread <= forecast.slots[23].spread * 3.0);
        for (hour, slot) in (from * 24..).zip(&forecast.slots) {
            all += 1;
            inside += u32::from((load(hour) - f64::from(slot.mean)).abs() < f64::from(2.0 * slot.spread));
        }
        feed(&mut week, from * 24..(from + 1) * 24, load);
    }
    let share = f64::from(inside) / f64::from(all);
    assert!((0.9..=1.0).contains(&share), "{share} within two deviations");
}

#[test]
fn a_load_that_drifts_around_the_clock_is_followed() {
    // A dip every 23 hours, as of a job that begins so long after the last one ended.
    let dip = |hour: i64| if hour % 23 == 5 { 2.0 } else { 10.0 + noise(hour) };
    let week = learned(21 * 24, dip);
    let ahead = day(&week, 21 * 24);
    let lowest = (0..24).min_by(|a, b| ahead[*a].total_cmp(&ahead[*b])).unwrap();
    assert_eq!((21 * 24 + lowest as i64) % 23, 5, "{ahead:?}");
}

#[test]
fn growth_decline_and_a_new_level_are_followed() {
    let grown = learned(42 * 24, |hour| office(hour) * (1.0 + hour as f64 / (42.0 * 24.0)));
    near(day(&grown, 42 * 24)[13], 120.0, 20.0);
    let gone = learned(42 * 24, |hour| office(hour) * if hour < 21 * 24 { 1.0 } else { 0.001 });
    near(day(&gone, 42 * 24)[13], 0.06, 0.6);
    let shifted = learned(31 * 24, |hour| office(hour) + if hour < 21 * 24 { 0.0 } else { 30.0 });
    near(day(&shifted, 31 * 24)[13], 90.0, 15.0);
    near(day(&shifted, 31 * 24)[1], 40.0, 8.0);
    // A constant load that changes once: bursts are cut off, but not for ever.
    let stepped = learned(28 * 24, |hour| if hour < 21 * 24 { 5.0 } else { 50.0 });
    near(day(&stepped, 28 * 24)[13], 50.0, 10.0);
}

#[test]
fn another_phase_is_learned_within_two_weeks() {
    let week = learned(35 * 24, |hour| office(if hour < 21 * 24 { hour } else { hour + 6 }));
    let ahead = day(&week, 35 * 24);
    near(ahead[7], 60.0, 15.0);
    assert!(ahead[17] < 25.0);
}

#[test]
fn holidays_hardly_change_a_working_day() {
    let holiday = |hour: i64| matches!(hour / 24, 24 | 25 | 36);
    let with = learned(39 * 24, |hour| if holiday(hour) { 10.0 } else { working_days(hour) });
    near(day(&with, 42 * 24)[13], 60.0, 20.0);
}

#[test]
fn an_idle_instance_stays_idle_and_can_wake_up() {
    let mut week = learned(28 * 24, |_| 0.0);
    assert_eq!(day(&week, 28 * 24), [0.0; 24]);
    feed(&mut week, 28 * 24..42 * 24, office);
    near(day(&week, 42 * 24)[13], 60.0, 10.0);
}

#[test]
fn one_absurd_value_spoils_nothing() {
    let mut week = learned(21 * 24, office);
    week.update(slot(21 * 24 + 3), f64::INFINITY, OwnLoad::None);
    feed(&mut week, 21 * 24 + 4..23 * 24, office);
    let ahead = day(&week, 23 * 24);
    near(ahead[13], 60.0, 12.0);
    near(ahead[1], 10.0, 4.0);
    // Even before it can be told from the usual.
    let mut early = learned(30, office);
    early.update(slot(30), 1e300, OwnLoad::None);
    feed(&mut early, 31..35 * 24, office);
    near(day(&early, 35 * 24)[13], 60.0, 12.0);
}

#[test]
fn samples_that_say_nothing_or_come_too_late_are_left_out() {
    let mut week = learned(14 * 24, office);
    let before = week;
    week.update(slot(14 * 24 - 3), 900.0, OwnLoad::None);
    week.update(slot(14 * 24 - 1), f64::NAN, OwnLoad::None);
    week.update(slot(14 * 24), 900.0, OwnLoad::Unknown);
    week.update(slot(14 * 24), f64::NAN, OwnLoad::Known(3.0));
    assert_eq!(week, before);
    week.update(slot(14 * 24 - 1), -5.0, OwnLoad::None);
    assert!(week.so_far() < before.so_far(), "counts as 0");
}

#[test]
fn a_clock_that_was_wrong_is_forgiven() {
    let mut week = learned(14 * 24, office);
    week.update(slot(300 * 24), 10.0, OwnLoad::None);
    feed(&mut week, 14 * 24..28 * 24, office);
    near(day(&week, 28 * 24)[13], 60.0, 8.0);
    week.update(slot(-900 * 24), 10.0, OwnLoad::None);
    feed(&mut week, 28 * 24..29 * 24, office);
    near(day(&week, 29 * 24)[13], 60.0, 8.0);
}

#[test]
fn hours_that_were_not_seen_are_not_taken_for_those_before_them() {
    let unseen = |week: &LearnedWeek| week.tables.recent.iter().filter(|code| **code == UNSEEN).count();
    let mut gap = learned(14 * 24, office);
    feed(&mut gap, 14 * 24 + 5..14 * 24 + 7, office);
    assert_eq!(unseen(&gap), 5);
    let mut set_back = learned(14 * 24, office);
    feed(&mut set_back, 24..27, office);
    assert_eq!(unseen(&set_back), RECENT - 2, "the third hour is not over");
}

#[test]
fn a_load_that_falls_to_a_millionth_is_told_apart_again() {
    let fallen = learned(300 * 24, |hour| office(hour) * if hour < 21 * 24 { 1.0 } else { 1e-6 });
    let ahead = day(&fallen, 300 * 24);
    assert!(ahead[13] < 1e-4 && ahead[13] > 3.0 * ahead[1], "{ahead:?}");
}

#[test]
fn gaps_change_little_and_a_year_of_silence_is_made_up_for_in_a_day() {
    let mut gap = learned(17 * 24 + 7, working_days);
    feed(&mut gap, 20 * 24 + 12..21 * 24, working_days);
    near(day(&gap, 21 * 24)[13], 60.0, 8.0);
    let mut silent = learned(28 * 24, office);
    let later = 393 * 24;
    near(day(&silent, later)[13], 60.0, 8.0);
    feed(&mut silent, later..later + 48, |hour| office(hour + 12));
    let ahead = day(&silent, later + 48);
    near(ahead[1], 60.0, 10.0);
    near(ahead[13], 10.0, 10.0);
}

#[test]
fn a_changing_step_changes_nothing_but_the_hours_without_samples() {
    let mut fine = LearnedWeek::new();
    let mut mixed = LearnedWeek::new();
    for minute in 0..21 * 24 * 60 {
        let load = office(minute / 60) + noise(minute);
        let slot = WeekSlot::new(minutes(minute), 0);
        fine.update(slot, load, OwnLoad::None);
        let step = [1, 15, 60, 5][usize::try_from(minute / 60 / 24 % 4).unwrap()];
        if minute % step == 0 {
            mixed.update(slot, load, OwnLoad::None);
        }
    }
    for (fine, mixed) in day(&fine, 21 * 24).into_iter().zip(day(&mixed, 21 * 24)) {
        near(mixed, f64::from(fine), 3.0);
    }
}

#[test]
fn the_wall_clock_decides_also_when_it_is_changed() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let mut clock = LocalClock::new(zone.clone());
    let mut week = LearnedWeek::new();
    // Four weeks that end three days after the change of 31 March 2024; the office keeps local hours.
    for hour in 0..30 * 24 {
        let local = zone.to_datetime(at(hour)).hour();
        week.update(clock.slot(at(hour)), office(i64::from(local)), OwnLoad::None);
    }
    let forecast = week.forecast(&mut clock, at(30 * 24), Duration::from_secs(3600), 24);
    let noon: Timestamp = "2024-04-03T13:30:00+02:00".parse().unwrap();
    near(forecast.at(noon).unwrap().mean, 60.0, 8.0);
    near(forecast.at(noon - SignedDuration::from_hours(8)).unwrap().mean, 10.0, 8.0);
}

/// Each day a backup is put where the forecast is lowest, adds to the load for two hours, and is seen as `told`.
fn starts(told: impl Fn(f64) -> OwnLoad) -> Vec<usize> {
    let quiet = |hour: i64| if matches!(hour % 24, 2..=4) { 4.0 } else { office(hour) + 2.0 };
    let mut week = learned(7 * 24, quiet);
    (7..49)
        .map(|number| {
            let ahead = day(&week, number * 24);
            let start =
                (0..23).min_by(|a, b| (ahead[*a] + ahead[a + 1]).total_cmp(&(ahead[*b] + ahead[b + 1])));
            let start = start.unwrap();
            for hour in 0..24 {
                let runs = (start..start + 2).contains(&hour);
                let (at, own) = (number * 24 + hour as i64, if runs { 40.0 } else { 0.0 });
                let told = if runs { told(own) } else { OwnLoad::None };
                week.update(slot(at), quiet(at) + own, told);
            }
            start
        })
        .collect()
}

#[test]
fn a_backup_does_not_teach_that_its_own_time_is_busy() {
    let right = |start: &&usize| (2..=3).contains(*start);
    for told in [OwnLoad::Known, |_| OwnLoad::Unknown] {
        let starts = starts(told);
        assert!(starts.iter().all(|start| right(&start)), "{starts:?}");
    }
    // Without being told it drives itself out of the best hours: what this is for.
    let untold = starts(|_| OwnLoad::None);
    let wrong = untold.iter().filter(|start| !right(start)).count();
    assert!(wrong > untold.len() / 4, "{untold:?}");
}

#[test]
fn a_new_instance_takes_over_a_groups_shape_at_its_own_level() {
    let group: Vec<_> =
        [1.0, 10.0, 400.0].map(|size| learned(28 * 24, |hour| size * working_days(hour))).to_vec();
    let prior = LearnedWeek::merged(&group).unwrap();
    let mut new = LearnedWeek::from_prior(&prior);
    let mut naive = LearnedWeek::new();
    // From Monday 00:00 to 06:00, before it has ever been busy.
    feed(&mut new, 0..6, |hour| 3.0 * working_days(hour));
    feed(&mut naive, 0..6, |hour| 3.0 * working_days(hour));
    near(day(&new, 6)[7], 180.0, 40.0);
    near(day(&naive, 6)[7], 30.0, 10.0);
    feed(&mut new, 6..28 * 24, |hour| 3.0 * working_days(hour));
    near(day(&new, 28 * 24)[13], 180.0, 20.0);
    assert_eq!(LearnedWeek::merged([&LearnedWeek::new()]), None);
    // Of nothing a start from nothing.
    let mut of_nothing = LearnedWeek::from_prior(&LearnedWeek::new());
    feed(&mut of_nothing, 0..48, office);
    near(day(&of_nothing, 48)[13], 60.0, 10.0);
}

#[test]
fn nothing_learned_expects_nothing() {
    let week = LearnedWeek::new();
    assert_eq!(means(&week, 0, 168), [0.0; 168]);
    assert_eq!(week.usual(slot(3)), None);
    assert_eq!(week.days(), 0);
    assert!(means(&week, 0, 0).is_empty());
}

#[test]
fn steps_of_any_length_give_the_same_means() {
    let week = learned(28 * 24, working_days);
    let mut clock = LocalClock::utc();
    let mut forecast = |secs, steps| {
        let forecast = week.forecast(&mut clock, at(28 * 24), Duration::from_secs(secs), steps);
        forecast.slots.iter().map(|slot| slot.mean).collect::<Vec<_>>()
    };
    let (hours, quarters, days) = (forecast(3600, 168), forecast(900, 672), forecast(86_400, 7));
    for (at, hour) in hours.iter().enumerate() {
        near(quarters[4 * at..4 * at + 4].iter().sum::<f32>() / 4.0, f64::from(*hour), 0.5);
    }
    for (at, day) in days.iter().enumerate() {
        near(hours[24 * at..24 * at + 24].iter().sum::<f32>() / 24.0, f64::from(*day), 0.5);
    }
    let zero = week.forecast(&mut clock, at(0), Duration::ZERO, 3);
    assert_eq!(zero.step, Duration::from_secs(1));
    week.forecast(&mut clock, Timestamp::MAX, Duration::MAX, 2);
}

#[test]
fn it_is_stored_and_read_again() {
    let week = learned(20 * 24, working_days);
    let json = serde_json::to_value(week).unwrap();
    assert_eq!(serde_json::from_value::<LearnedWeek>(json.clone()).unwrap(), week);
    let refused = |field: &str, value: serde_json::Value| {
        let mut json = json.clone();
        json[field] = value;
        serde_json::from_value::<LearnedWeek>(json).unwrap_err().to_string()
    };
    assert_eq!(refused("version", 2.into()), "version 2 of a learned week is not known; this is version 1");
    for (field, value) in [("hour", 168), ("scale", -1), ("noise", -1), ("hours", -1), ("sum", -1)] {
        assert_eq!(refused(field, value.into()), format!("{field} of a learned week is out of its range"));
    }
    assert!(refused("tables", vec![1; 3].into()).contains("tables"));
}

fn any_load() -> impl Strategy<Value = f64> {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, f64::MAX, 1e-300, 5e-324];
    prop_oneof![4 => 0.0..100.0_f64, 1 => any::<f64>(), 1 => prop::sample::select(odd.to_vec())]
}

fn any_own() -> impl Strategy<Value = OwnLoad> {
    prop_oneof![
        6 => Just(OwnLoad::None), 1 => Just(OwnLoad::Unknown), 1 => any_load().prop_map(OwnLoad::Known)
    ]
}

proptest! {
    #[test]
    fn forecasts_are_finite_whatever_comes(
        samples in prop::collection::vec((-4000..200_000_i64, any_load(), any_own()), 0..400),
        ordered in any::<bool>(), prior in any::<bool>(), from in -5_000..9_000_i64
    ) {
        let mut samples = samples;
        if ordered {
            samples.sort_by_key(|(minute, ..)| *minute);
        }
        let mut week = LearnedWeek::new();
        if prior {
            week = LearnedWeek::from_prior(&learned(9 * 24, office));
        }
        for (minute, load, own) in samples {
            week.update(WeekSlot::new(minutes(minute), 19_800), load, own);
        }
        let mut clock = LocalClock::utc();
        let forecast = week.forecast(&mut clock, at(from), Duration::from_secs(3600), 200);
        for slot in forecast.slots {
            prop_assert!(slot.mean.is_finite() && slot.mean >= 0.0, "{slot:?}");
            prop_assert!(slot.spread.is_finite() && slot.spread >= 0.0, "{slot:?}");
        }
        let json = serde_json::to_string(&week).unwrap();
        prop_assert!(serde_json::from_str::<LearnedWeek>(&json).is_ok(), "{json}");
    }

    #[test]
    fn the_order_of_samples_within_an_hour_is_irrelevant(
        loads in prop::collection::vec(0.0..100.0_f64, 1..40), seed in any::<u64>()
    ) {
        let mut shuffled = loads.clone();
        let length = shuffled.len() as u64;
        for at in 0..length {
            let other = u64::from(dice(seed ^ at)) % length;
            shuffled.swap(usize::try_from(at).unwrap(), usize::try_from(other).unwrap());
        }
        let run = |loads: &[f64]| {
            let mut week = learned(9 * 24, office);
            loads.iter().for_each(|load| week.update(slot(9 * 24), *load, OwnLoad::None));
            week.update(slot(9 * 24 + 1), 1.0, OwnLoad::None);
            week
        };
        prop_assert_eq!(run(&loads), run(&shuffled));
    }

    #[test]
    fn a_unit_changes_nothing_but_the_unit(octaves in -20..40_i32, days in 2..20_i64) {
        let unit = 2.0_f64.powi(octaves);
        let (plain, scaled) = (learned(days * 24, office), learned(days * 24, |hour| unit * office(hour)));
        for (plain, scaled) in day(&plain, days * 24).into_iter().zip(day(&scaled, days * 24)) {
            let scaled = f64::from(scaled) / unit;
            prop_assert!((f64::from(plain) - scaled).abs() < 1e-3 * f64::from(plain), "{plain} {scaled}");
        }
    }
}
