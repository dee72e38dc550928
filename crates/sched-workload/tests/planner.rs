//! The planner against one that tries every minute, its bounds under any input, and the books of the fleet.

mod timeline;

use std::collections::HashMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use sched_core::JobId;
use sched_workload::plan::{
    Fit, FleetPlanner, LinkId, LinkLedger, LinkSet, PlanExplanation, PlanRequest, PlanSettings, PlannedJob,
    Planner,
};
use timeline::{Night, at, exact, forecast, minute, minutes, nightly, windows};

/// Which minutes are open.
struct Open(Vec<bool>);

/// The minutes that are looked at: -3000 to 9000.
const BEFORE: i64 = 3000;

impl Open {
    fn new(windows: &[(i64, i64)]) -> Self {
        let is_open = |m| windows.iter().any(|&(from, length)| (from..from + length).contains(&m));
        Self((-BEFORE..9000).map(is_open).collect())
    }

    fn all(&self, from: i64, until: i64) -> bool {
        self.0[(from + BEFORE) as usize..(until + BEFORE) as usize].iter().all(|open| *open)
    }
}

/// What a minute of a slot costs, said as simply as can be.
fn naive_cost(request: &PlanRequest<'_>, ledger: &LinkLedger, capacities: &[u64], slot: i64) -> f64 {
    let load = request.forecast.map_or(1.0, |forecast| {
        let mean =
            forecast.slots.iter().map(|s| f64::from(s.mean)).sum::<f64>() / forecast.slots.len() as f64;
        let load = |when| forecast.at(at(when)).map_or(1.0, |slot| f64::from(slot.mean) / mean);
        (slot * 15..slot * 15 + 15).map(load).sum::<f64>() / 15.0
    });
    let rate = request.bytes as f64 / request.duration.as_secs_f64();
    let link = |link: LinkId| {
        let (fill, own) = (ledger.fill(link, at(slot * 15)), rate / capacities[link.0 as usize] as f64);
        fill + 4.0 * (fill + own - 1.0).max(0.0)
    };
    load + request.links.iter().map(link).sum::<f64>()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_minute_is_cheaper_than_the_plan(
        now in 0..600_i64,
        open in vec((0..1400_i64, 1..700_i64), 1..4),
        latest in 0..1500_i64,
        duration in 1..300_i64,
        bytes in 0..5_000_000_u64,
        start in -300..900_i64,
        step in prop::sample::select(vec![5_i64, 15, 20, 60]),
        means in vec(0.1..9.0_f32, 1..150),
        others in vec((0..2000_i64, 1..200_i64, 0..3_000_000_u64, 0..2_u32), 0..12),
        seed: u64,
    ) {
        let settings = exact();
        let capacities = [900, 500];
        let mut ledger = LinkLedger::new(&settings, at(now));
        let links: Vec<LinkId> = capacities.iter().map(|&capacity| ledger.add_link(capacity)).collect();
        for (start, duration, bytes, link) in others {
            let link = LinkSet::new([links[link as usize]]).unwrap();
            let _committed = ledger.put(link, at(now + start), minutes(duration), bytes);
        }
        let (windows, forecast) = (windows(&open), forecast(start, step, &means, 0.0));
        let request = PlanRequest {
            windows: &windows,
            latest_start: Some(at(latest)),
            duration: minutes(duration),
            bytes,
            links: LinkSet::new(links).unwrap(),
            forecast: Some(&forecast),
            seed,
            ..PlanRequest::new(at(now))
        };
        let slots: Vec<f64> = (0..300).map(|slot| naive_cost(&request, &ledger, &capacities, slot)).collect();
        let run = |start: i64| {
            (start..start + duration).map(|minute| slots[minute as usize / 15]).sum::<f64>() / duration as f64
        };
        let open = Open::new(&open);
        let allowed: Vec<i64> = (now..=latest).filter(|&s| open.all(s, s + duration)).collect();
        let in_horizon = |&&start: &&i64| start <= allowed[0] + 1440;
        let plan = Planner::new(settings).unwrap().plan(&request, &ledger).unwrap();
        prop_assert_eq!(plan.fit == Fit::Whole, !allowed.is_empty());
        if plan.fit == Fit::Whole {
            let least = allowed.iter().filter(in_horizon).map(|&s| run(s)).fold(f64::INFINITY, f64::min);
            prop_assert!(plan.cost <= least + 1e-6, "{} costs {}, but {} is possible", plan.start, plan.cost, least);
            // At whole minutes the naive cost of the plan's own start is the one that it says.
            if plan.start.as_millisecond() % 60_000 == 0 {
                prop_assert!((plan.cost - run(minute(plan.start))).abs() < 1e-6);
            }
            prop_assert!((plan.gain - (run(allowed[0]) - plan.cost)).abs() < 1e-6);
        }
    }

    #[test]
    fn windows_and_deadline_hold_for_any_input(
        now in -2000..2000_i64,
        waited in -100..5000_i64,
        open in vec((-3000..3000_i64, -100..2000_i64), 0..6),
        latest in prop::option::of(-3000..6000_i64),
        may_override: bool,
        duration in prop_oneof![0..2000_i64, Just(i64::MAX / 60)],
        bytes: u64,
        links in vec(0..4_u32, 0..3),
        means in vec(prop_oneof![any::<f32>(), Just(f32::NAN), Just(f32::MAX), Just(0.0)], 0..100),
        step in prop_oneof![0..100_i64, Just(i64::MAX / 60)],
        current in prop::option::of(-3000..6000_i64),
        seed: u64,
    ) {
        let settings = PlanSettings::default();
        let mut ledger = LinkLedger::new(&settings, at(0));
        ledger.add_link(0);
        ledger.add_link(u64::MAX);
        let links = LinkSet::new(links.into_iter().map(LinkId)).unwrap();
        for _ in 0..2 {
            let _committed = ledger.put(links, at(now), minutes(duration), bytes);
        }
        let (windows, forecast) = (windows(&open), forecast(now, step, &means, f32::NAN));
        let request = PlanRequest {
            windows: &windows,
            since: at(now - waited),
            latest_start: latest.map(at),
            may_override,
            duration: minutes(duration),
            bytes,
            links,
            forecast: Some(&forecast),
            current: current.map(at),
            seed,
            ..PlanRequest::new(at(now))
        };
        let duration = if duration == 0 { 15 } else { duration };
        let last = latest.unwrap_or(i64::MAX);
        let open = Open::new(&open);
        let holds = duration < 3000 && (now..=last.min(6000)).any(|s| open.all(s, s + duration));
        let opens_in_time = (now..=last.min(6000)).any(|s| open.all(s, s + 1));
        let Some(plan) = Planner::new(settings).unwrap().plan(&request, &ledger) else {
            let opens_later = (now..6000).any(|s| open.all(s, s + 1));
            prop_assert!(!opens_later && (latest.is_none() || !may_override));
            return Ok(());
        };
        prop_assert!(plan.start >= at(now));
        prop_assert!(plan.cost.is_finite() && plan.gain.is_finite() && plan.cost >= 0.0);
        prop_assert_eq!(holds, plan.fit == Fit::Whole, "{:?}", plan);
        let opens = windows.iter().any(|w| w.from <= plan.start && plan.start < w.until);
        match plan.fit {
            Fit::Whole => {
                let end = plan.start + minutes(duration);
                prop_assert!(open.all(minute(plan.start), minute(end - Duration::from_millis(1)) + 1));
                prop_assert!(latest.is_none_or(|latest| plan.start <= at(latest)));
            }
            Fit::Cut => prop_assert!(opens && latest.is_none_or(|latest| plan.start <= at(latest))),
            Fit::Outside => prop_assert!(may_override && !opens_in_time && plan.start == at(last)),
            Fit::Overdue => prop_assert!((may_override || opens) && last < now && plan.start == at(now)),
            Fit::Late => prop_assert!(!may_override && opens && !opens_in_time && last < minute(plan.start)),
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn noise_within_the_forecasts_own_moves_no_plan(
        means in vec(1.0..20.0_f32, 96),
        spread in 0.1..5.0_f32,
        noise in vec(vec(-1.0..1.0_f32, 96), 1..8),
        duration in 1..500_i64,
        seed: u64,
    ) {
        let ledger = LinkLedger::new(&exact(), at(0));
        let mut planner = Planner::new(exact()).unwrap();
        let base = forecast(0, 15, &means, spread);
        let latest_start = Some(at(1440 - duration));
        let request = PlanRequest { latest_start, duration: minutes(duration), seed, ..PlanRequest::new(at(0)) };
        let first = planner.plan(&PlanRequest { forecast: Some(&base), ..request }, &ledger).unwrap();
        for noise in noise {
            // A gain of another start is at most twice the noise, which is .5 a less rounding.
            let noisy: Vec<f32> = means.iter().zip(noise).map(|(m, n)| (m + n * 0.16 * spread).max(0.0)).collect();
            let noisy = forecast(0, 15, &noisy, spread);
            let again = PlanRequest { forecast: Some(&noisy), current: Some(first.start), ..request };
            prop_assert_eq!(planner.plan(&again, &ledger).unwrap().start, first.start);
        }
    }

    #[test]
    fn noise_moves_a_prompt_plan_to_and_fro_no_more_than_once(
        means in vec(1.0..4.0_f32, 24),
        gain in 0.02..0.5_f64,
        noise in vec(vec(-1.0..1.0_f32, 96), 2..20),
        duration in 15..300_i64,
        seed: u64,
    ) {
        let settings = PlanSettings::default().min_gain(gain).hysteresis(0.0).prompt(true);
        let ledger = LinkLedger::new(&settings, at(0));
        let mut planner = Planner::new(settings).unwrap();
        // Noise that changes the difference between two costs, in multiples of the mean, by a quarter of the gain.
        let mean = means.iter().sum::<f32>() / 24.0;
        let dearest = means.iter().fold(0.0_f32, |most, m| most.max(*m)) / mean;
        let most = 0.9 * gain as f32 / 8.0 / (1.0 + dearest) * mean;
        let (mut current, mut later) = (None, 0);
        for noise in noise {
            let noisy: Vec<f32> = noise.iter().zip(0..).map(|(n, slot)| means[slot / 4] + n * most).collect();
            let noisy = forecast(0, 15, &noisy, 1.0);
            let request = PlanRequest {
                forecast: Some(&noisy), current, duration: minutes(duration), seed, ..PlanRequest::new(at(0))
            };
            let start = planner.plan(&request, &ledger).unwrap().start;
            later += usize::from(current.replace(start).is_some_and(|before| before < start));
        }
        prop_assert!(later <= 1, "{later} times to a later start");
    }

    #[test]
    fn the_ledger_holds_what_is_committed(
        history in vec((0..5_u8, 0..400_i64, 0..600_i64, 0..10_000_000_u64, 0..3_u32), 1..80),
    ) {
        let mut ledger = LinkLedger::new(&PlanSettings::default(), at(0));
        let ids = [ledger.add_link(100), ledger.add_link(100)];
        let (mut now, mut first, mut held, mut void) = (0_i64, 0, Vec::new(), Vec::new());
        for (step, start, duration, bytes, which) in history {
            match step {
                0 | 1 => {
                    let links = LinkSet::new(ids.iter().copied().filter(|id| id.0 != which)).unwrap();
                    let receipt = ledger.put(links, at(now + start), minutes(duration), bytes);
                    let duration = if duration == 0 { 15 } else { duration };
                    held.push((receipt, now + start, duration, bytes, which));
                }
                2 if !held.is_empty() => ledger.take(held.swap_remove(start as usize % held.len()).0),
                3 => now -= start / 4,
                _ => now += start / 8,
            }
            if ledger.advance(at(now)) {
                first = now.div_euclid(15);
                void.append(&mut held);
            } else if !void.is_empty() && step == 2 {
                ledger.take(void.swap_remove(0).0);
            }
            first = first.max(now.div_euclid(15));
            for slot in first..first + 60 {
                for id in ids {
                    let mut expected = 0.0;
                    for (_, start, duration, bytes, which) in &held {
                        let covered = (start + duration).min(slot * 15 + 15) - (*start).max(slot * 15);
                        let share = covered.max(0) as f64 / *duration as f64;
                        expected += if id.0 == *which { 0.0 } else { *bytes as f64 * share };
                    }
                    let found = ledger.committed(id, at(slot * 15)) as f64;
                    prop_assert!((found - expected).abs() <= held.len() as f64, "{found} {expected}");
                }
            }
        }
        held.into_iter().chain(void).for_each(|(receipt, ..)| ledger.take(receipt));
        let left: u64 = (0..300).flat_map(|slot| ids.map(|id| ledger.committed(id, at(slot * 15)))).sum();
        prop_assert_eq!(left, 0);
    }

    #[test]
    fn the_fleets_books_follow_any_history(
        history in vec((0..8_u8, 0..12_u64, 0..40_i64), 1..150),
    ) {
        let mut fleet = FleetPlanner::new(PlanSettings::default(), at(0)).unwrap();
        let links = LinkSet::new([fleet.add_link(1000)]).unwrap();
        let (mut now, mut known, mut told) = (0, HashMap::new(), HashMap::new());
        for (step, id, number) in history {
            let id = JobId(id);
            match step {
                0 | 1 => {
                    let job = PlannedJob { bytes: 15_000 * (1 + number as u64), ..nightly(links, id.0) };
                    fleet.insert(id, job);
                    if known.insert(id, (job.bytes, false)).is_some_and(|(_, running)| running) {
                        told.remove(&id);
                    }
                }
                2 => fleet.changed(id),
                3 if known.contains_key(&id) => {
                    fleet.started(id, at(now));
                    known.get_mut(&id).unwrap().1 = true;
                }
                4 => {
                    fleet.remove(id);
                    known.remove(&id);
                    told.remove(&id);
                }
                5 => now += number,
                6 => now += number * 30,
                _ => {}
            }
            let mut changes = Vec::new();
            fleet.replan(at(now), &Night, number as usize, &mut changes);
            prop_assert!(changes.len() <= number as usize);
            for (job, plan) in changes {
                prop_assert!(!known[&job].1, "a running job is not planned");
                told.insert(job, plan.unwrap().start);
            }
        }
        let mut changes = Vec::new();
        // What is left of an earlier slot's turn ends before the turn of this one begins.
        fleet.replan(at(now), &Night, 100, &mut changes);
        fleet.replan(at(now), &Night, 100, &mut changes);
        told.extend(changes.into_iter().map(|change| (change.0, change.1.unwrap().start)));
        prop_assert!(fleet.next_replan(at(now)) > at(now), "nothing is left to plan");
        prop_assert!(known.iter().all(|(id, (_, running))| *running || told.contains_key(id)));
        let waiting = known.iter().filter(|(id, (_, running))| !running && told[id] >= at(now + 15));
        let expected: u64 = waiting.map(|(_, (bytes, _))| bytes).sum();
        let others: Vec<JobId> = known.iter().filter(|(id, (_, running))| *running || told[id] < at(now + 15)).map(|(id, _)| *id).collect();
        others.into_iter().for_each(|id| fleet.remove(id));
        let committed = |fleet: &FleetPlanner| -> u64 {
            (0..200).map(|slot| fleet.ledger().committed(LinkId(0), at(now + slot * 15))).sum()
        };
        prop_assert_eq!(committed(&fleet), expected);
        (0..12).for_each(|id| fleet.remove(JobId(id)));
        prop_assert_eq!(committed(&fleet), 0);
    }
}

#[test]
fn an_explanation_shows_the_choice_among_others_and_survives_a_file() {
    let mut means = [8.0; 24];
    (means[3], means[20]) = (2.0, 3.0);
    let forecast = forecast(0, 60, &means, 1.0);
    let settings = PlanSettings::default();
    let mut ledger = LinkLedger::new(&settings, at(0));
    let links = LinkSet::new([ledger.add_link(1000)]).unwrap();
    let _committed = ledger.put(links, at(195), minutes(15), 450_000);
    let request = PlanRequest {
        latest_start: Some(at(1380)),
        duration: minutes(60),
        bytes: 1000,
        links,
        forecast: Some(&forecast),
        ..PlanRequest::new(at(0))
    };
    let mut planner = Planner::new(settings).unwrap();
    let explained = planner.explain(&request, &ledger).unwrap();
    assert_eq!(explained.start.duration_since(at(180)).as_mins(), 0);
    assert!(explained.considered.len() <= 13 && explained.compared > 90);
    let chosen = explained.considered.iter().find(|c| c.start == explained.start).unwrap();
    assert_eq!(chosen.load, Some(2.0));
    assert!((chosen.fills[0].fill - 0.5).abs() < 1e-9);
    assert!(explained.considered.iter().all(|c| c.cost >= chosen.cost - 0.01));
    assert!(explained.considered.iter().any(|c| c.load == Some(3.0)), "the evening was considered");
    assert!(explained.why.text.contains("% less of load and links"), "{}", explained.why);
    let text = serde_json::to_string(&explained).unwrap();
    let back: PlanExplanation = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (back.start, back.why, back.considered.len()),
        (explained.start, explained.why, explained.considered.len())
    );
}

#[test]
fn a_plan_is_given_up_only_for_a_clear_gain() {
    let ledger = LinkLedger::new(&exact(), at(0));
    let mut planner = Planner::new(exact()).unwrap();
    let mut with = |means: [f32; 4], current| {
        let forecast = forecast(0, 60, &means, 2.0);
        let duration = minutes(60);
        let latest_start = Some(at(180));
        let request = PlanRequest {
            latest_start,
            duration,
            current,
            forecast: Some(&forecast),
            ..PlanRequest::new(at(0))
        };
        let plan = planner.plan(&request, &ledger).unwrap();
        (minute(plan.start), plan.kept)
    };
    // .5 a = .5 · .6745 · 2 = .67
    assert_eq!(with([9.0, 5.0, 4.0, 9.0], None), (120, false));
    assert_eq!(with([9.0, 4.0, 4.5, 9.0], Some(at(120))), (120, true));
    assert_eq!(with([9.0, 4.0, 4.8, 9.0], Some(at(120))), (60, false));
    assert_eq!(with([9.0, 4.0, 4.5, 9.0], Some(at(181))), (60, false), "it was after the latest start");
}

#[test]
fn what_would_overflow_a_slot_is_not_entered_and_not_taken_out() {
    let mut ledger = LinkLedger::new(&PlanSettings::default(), at(0));
    let link = ledger.add_link(1);
    let links = LinkSet::new([link]).unwrap();
    let first = ledger.put(links, at(0), minutes(15), u64::MAX);
    let second = ledger.put(links, at(0), minutes(15), 5);
    assert_eq!(ledger.committed(link, at(0)), u64::MAX);
    ledger.take(second);
    assert_eq!(ledger.committed(link, at(0)), u64::MAX);
    ledger.take(first);
    assert_eq!(ledger.committed(link, at(0)), 0);
    assert!(LinkSet::new((0..5).map(LinkId)).is_err());
}

#[test]
fn the_prompt_wait_only_for_what_gains() {
    let ledger = LinkLedger::new(&exact(), at(0));
    let settings = exact().prompt(true).min_gain(0.1);
    let mut planner = Planner::new(settings).unwrap();
    let mut start = |current: Option<i64>, means: &[f32]| {
        let forecast = forecast(0, 60, means, 0.0);
        let current = current.map(at);
        let request = PlanRequest {
            duration: minutes(60),
            forecast: Some(&forecast),
            current,
            seed: 7,
            ..PlanRequest::new(at(0))
        };
        minute(planner.plan(&request, &ledger).unwrap().start)
    };
    let (flat, dip, slight) =
        ([10.0; 24], [12.0, 12.0, 12.0, 4.0, 12.0, 4.0, 12.0], [12.0, 12.0, 11.5, 12.0]);
    assert_eq!([start(None, &flat), start(None, &slight)], [0, 0]);
    assert!((180..=183).contains(&start(None, &dip)), "the first of equal ones");
    assert_eq!(start(Some(181), &dip), 181, "kept");
    assert!((180..=183).contains(&start(Some(301), &dip)), "an earlier slot that costs no more is taken");
    assert_eq!(start(Some(301), &flat), 0, "nobody waits for nothing");
}

#[test]
fn a_start_as_dear_as_what_a_plan_is_given_up_for_is_taken_once_or_never() {
    let settings = PlanSettings::default().min_gain(0.05).prompt(true);
    let ledger = LinkLedger::new(&settings, at(0));
    let mut planner = Planner::new(settings).unwrap();
    let (mut current, mut moves) = (None, 0);
    for n in 0..40 {
        // From 3 to 4 h it costs some 5 % of the mean more than from 10 to 11 h.
        let dear = if n % 2 == 0 { 25.38 } else { 24.98 };
        let means = (0..110).map(|quarter| match quarter {
            12..16 => dear,
            40..44 => 20.0,
            _ => 110.0,
        });
        let forecast = forecast(0, 15, &means.collect::<Vec<_>>(), 1.0);
        let request = PlanRequest {
            since: at(0),
            duration: minutes(60),
            forecast: Some(&forecast),
            current,
            seed: 7,
            ..PlanRequest::new(at(n))
        };
        let start = planner.plan(&request, &ledger).unwrap().start;
        moves += usize::from(current.replace(start) != Some(start));
    }
    assert!(moves <= 2, "{moves} moves");
}
