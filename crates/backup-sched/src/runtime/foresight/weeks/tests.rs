use sched_core::{Clock, LoadLevel, ManualClock, Reason};

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

struct Watched {
    clock: ManualClock,
    weeks: Weeks,
    news: Vec<(Scope, Option<LoadLevel>)>,
}

impl Watched {
    fn new() -> Self {
        let config = ForecastConfig { zone: jiff::tz::TimeZone::UTC, ..ForecastConfig::default() };
        let weeks = Weeks::new(&config).unwrap();
        let clock = ManualClock::new("2026-03-02T00:00:00Z".parse().unwrap());
        Self { clock, weeks, news: Vec::new() }
    }

    fn host() -> Scope {
        Scope::Host("db-1".into())
    }

    fn reading(pressure: f64) -> Result<LoadReading, DetectError> {
        Ok(LoadReading::new(LoadLevel::Calm, Reason::new("told by a test")).pressure(pressure))
    }

    /// A reading a minute for so many minutes.
    fn say(&mut self, minutes: u32, pressure: impl Fn(i64) -> f64) {
        for _ in 0..minutes {
            let now = self.clock.now();
            let hour = now.wall.as_second().div_euclid(3600).rem_euclid(24);
            self.weeks.heard(now, &Self::host(), 0, &Self::reading(pressure(hour)));
            self.clock.advance(MINUTE);
            self.tick();
        }
    }

    fn tick(&mut self) {
        let news = self.weeks.tick(self.clock.now());
        self.news.extend(news.into_iter().map(|(scope, state)| (scope, state.map(|state| state.level))));
    }

    fn usual(&self) -> f32 {
        self.weeks.status(self.clock.now(), 9).1[0].usual.unwrap()
    }
}

fn day(hour: i64) -> f64 {
    if (8..18).contains(&hour) { 0.6 } else { 0.1 }
}

#[test]
fn what_detectors_say_is_learned_and_what_is_unusual_is_a_peak_until_it_is_over_or_unknown() {
    let mut watched = Watched::new();
    watched.say(4 * 1440, day);
    assert!((watched.usual() - 10.0).abs() < 1.0, "in percent of the target: {}", watched.usual());
    assert!(watched.weeks.trusted(&[Scope::Fleet, Watched::host()]).is_some());
    // The mornings of the first days were not known to be usual yet.
    watched.news.clear();
    watched.say(20, |_| 0.6);
    assert_eq!(watched.news.last(), Some(&(Watched::host(), Some(LoadLevel::Peak))));
    watched.say(40, |_| 0.1);
    assert_eq!(watched.news.last(), Some(&(Watched::host(), Some(LoadLevel::Calm))));
    watched.say(20, |_| 0.6);
    watched.news.clear();
    // The detector falls silent.
    let silent_from = watched.clock.now().mono;
    while let Some(at) = watched.weeks.next_look() {
        watched.clock.advance_to(at);
        watched.tick();
    }
    assert_eq!(watched.news, [(Watched::host(), None)], "nothing is known any more");
    let silence = watched.clock.now().mono.since(silent_from);
    assert!((10 * MINUTE..=25 * MINUTE).contains(&silence), "{silence:?}");
}

#[test]
fn what_a_run_adds_is_neither_learned_nor_a_peak() {
    let mut watched = Watched::new();
    watched.say(4 * 1440, |_| 0.1);
    let host = [Watched::host()];
    watched.news.clear();
    watched.weeks.run(watched.clock.now(), &host, true);
    watched.say(240, |_| 0.9);
    watched.weeks.run(watched.clock.now(), &host, false);
    assert_eq!(watched.news, []);
    watched.say(1440, |_| 0.1);
    let now = watched.clock.now().wall;
    let forecast = watched.weeks.forecast(&host[0], now, 60 * MINUTE, 24).unwrap();
    assert!(forecast.slots.iter().all(|slot| slot.mean < 12.0), "{forecast:?}");
    // Samples that the host hands in later are of that time too.
    let began = now - 1440 * MINUTE - 200 * MINUTE;
    assert!(!watched.weeks.scopes[&host[0]].movement.covers(now));
    assert!(watched.weeks.scopes[&host[0]].movement.covers(began));
}

#[test]
fn hours_of_too_few_requests_are_learned_as_idle_and_other_errors_not_at_all() {
    let few = DetectError::TooFew { found: 3, needed: 50, window: MINUTE };
    let mean = |error: DetectError, hour: usize| {
        let mut watched = Watched::new();
        for _ in 0..4 * 1440 {
            let now = watched.clock.now();
            let hour = now.wall.as_second().div_euclid(3600).rem_euclid(24);
            let said = if day(hour) > 0.5 { Watched::reading(0.6) } else { Err(error.clone()) };
            watched.weeks.heard(now, &Watched::host(), 0, &said);
            watched.clock.advance(MINUTE);
            watched.tick();
        }
        let now = watched.clock.now().wall;
        watched.weeks.forecast(&Watched::host(), now, 60 * MINUTE, 24).unwrap().slots[hour].mean
    };
    assert!(mean(few.clone(), 12) > 55.0);
    assert!(mean(few, 3) < 5.0);
    assert!(mean(DetectError::Failed("no answer".into()), 3) > 40.0, "unknown is not idle");
}

#[test]
fn beside_short_backups_the_rest_of_a_sample_is_learned() {
    let mut watched = Watched::new();
    let host = [Watched::host()];
    // One runs for the second minute of five: the readings at its beginning and after its end are its own.
    for minute in 0..4 * 1440 {
        if let begins @ (1 | 2) = minute % 5 {
            watched.weeks.run(watched.clock.now(), &host, begins == 1);
        }
        let load = if matches!(minute % 5, 1 | 2) { 0.9 } else { 0.1 };
        watched.say(1, |_| load);
    }
    assert_eq!(watched.weeks.week(&host[0]).map(|week| week.days()), Some(4));
    assert!((watched.usual() - 10.0).abs() < 0.5, "{}", watched.usual());
}

#[test]
fn a_wall_that_is_wrong_for_less_than_an_hour_teaches_nothing_and_ends_no_learning() {
    let mut watched = Watched::new();
    watched.say(4 * 1440, day);
    let week = watched.weeks.week(&Watched::host());
    let jump = |watched: &Watched, hours| {
        watched.clock.step_wall(watched.clock.now().wall + SignedDuration::from_hours(hours));
    };
    jump(&watched, 40 * 24 + 12);
    watched.say(50, |_| 0.9);
    jump(&watched, -40 * 24 - 12);
    watched.say(55, |_| 0.1);
    assert_eq!(watched.weeks.week(&Watched::host()), week);
    watched.say(2 * 60, |_| 0.1);
    let days = |week: Option<LearnedWeek>| week.map(|week| week.days());
    assert_eq!(days(week), Some(4));
    assert_eq!(days(watched.weeks.week(&Watched::host())), Some(5), "it goes on");
    // Resuming after a suspension is a jump that lasts.
    jump(&watched, 8);
    watched.say(3 * 60, day);
    assert_eq!(
        watched.weeks.status(watched.clock.now(), 1).1[0].newest,
        Some(watched.clock.now().wall - MINUTE)
    );
}

#[test]
fn of_many_that_fall_silent_a_portion_is_told_at_a_time() {
    let (mut watched, many) = (Watched::new(), 3 * PORTION + 1);
    let name = |n: usize| Scope::Instance(format!("db-{n}").into());
    let week = {
        let mut taught = Watched::new();
        taught.say(3 * 1440, day);
        taught.weeks.week(&Watched::host()).unwrap()
    };
    let now = watched.clock.now();
    for n in 0..many {
        watched.weeks.put(now, &name(n), week);
        watched.weeks.learn(now, &name(n), &[(now.wall, 10.0)]);
    }
    let mut told = 0;
    let mut all = |watched: &mut Watched| {
        let (now, mut portions) = (watched.clock.now(), 0);
        while watched.weeks.next_look().is_some_and(|at| at <= now.mono) {
            let news = watched.weeks.tick(now);
            assert!(news.len() <= PORTION);
            told += news.len();
            portions += 1;
        }
        portions
    };
    assert_eq!(all(&mut watched), 4, "that they are calm");
    watched.clock.advance(60 * MINUTE);
    assert_eq!(all(&mut watched), 4, "that nobody knows");
    assert_eq!((told, watched.weeks.next_look()), (2 * many, None));
}

#[test]
fn who_is_out_of_use_for_long_is_forgotten_as_others_become_known() {
    let mut watched = Watched::new();
    let scope = |name: String| Scope::Instance(name.into());
    let learn = |watched: &mut Watched, name: &str, n: u32| {
        let now = watched.clock.now();
        watched.weeks.make_room(now);
        watched.weeks.learn(now, &scope(format!("{name}-{n}")), &[(now.wall, 1.0)]);
        watched.tick();
    };
    watched.weeks.watch(&Watched::host(), MINUTE);
    (0..40).for_each(|n| learn(&mut watched, "old", n));
    let (runs, ran) = (scope("old-1".into()), scope("old-2".into()));
    watched.weeks.run(watched.clock.now(), std::slice::from_ref(&runs), true);
    watched.clock.advance(FORGOTTEN_AFTER - MINUTE);
    for moves in [true, false] {
        watched.weeks.run(watched.clock.now(), std::slice::from_ref(&ran), moves);
    }
    learn(&mut watched, "old", 3);
    (0..41).for_each(|n| learn(&mut watched, "new", n));
    assert_eq!(watched.weeks.all().len(), 82, "nobody is old enough");
    watched.clock.advance(MINUTE);
    watched.tick();
    (41..82).for_each(|n| learn(&mut watched, "new", n));
    let left: Vec<_> = watched.weeks.all().into_iter().map(|(scope, _)| scope).collect();
    let old = left.iter().filter(|scope| scope.to_string().contains("old"));
    assert_eq!(old.collect::<Vec<_>>(), [&runs, &ran, &scope("old-3".into())]);
    assert!(left.contains(&Watched::host()) && left.len() == 82 + 4);
}

#[test]
fn levels_without_a_measure_are_learned_and_never_a_peak() {
    let mut watched = Watched::new();
    let level = |level| Ok(LoadReading::new(level, Reason::new("told by a test")));
    for minute in 0..5 * 1440 {
        let busy = (480..960).contains(&(minute % 1440)) || minute > 5 * 1440 - 120;
        let said = level(if busy { LoadLevel::Busy } else { LoadLevel::Calm });
        watched.weeks.heard(watched.clock.now(), &Scope::Fleet, 0, &said);
        watched.clock.advance(MINUTE);
        watched.tick();
    }
    assert_eq!(watched.news, []);
    let midnight = watched.clock.now().wall;
    let forecast = watched.weeks.forecast(&Scope::Fleet, midnight, 60 * MINUTE, 24).unwrap();
    assert!(forecast.slots[12].mean > 140.0 && forecast.slots[4].mean < 40.0, "{forecast:?}");
}

#[test]
fn of_several_detectors_the_busiest_counts() {
    let mut watched = Watched::new();
    for _ in 0..60 {
        for (detector, pressure) in [(0, 0.2), (1, 0.7), (2, 0.4)] {
            let reading = Watched::reading(pressure);
            watched.weeks.heard(watched.clock.now(), &Watched::host(), detector, &reading);
        }
        watched.clock.advance(MINUTE);
        watched.tick();
    }
    let load = watched.weeks.status(watched.clock.now(), 1).1[0].load.unwrap();
    assert!((load - 70.0).abs() < 1e-9, "{load}");
}

#[test]
fn samples_of_the_host_teach_and_bad_ones_are_left_out() {
    let mut watched = Watched::new();
    let now = watched.clock.now();
    let hours = (1..=24 * 14).rev().map(|ago| now.wall - 60 * ago * MINUTE);
    let mut samples: Vec<_> =
        hours.map(|at| (at, day(at.as_second().div_euclid(3600).rem_euclid(24)))).collect();
    samples.extend([(now.wall, f64::NAN), (now.wall + MINUTE, 5.0)]);
    let group = Scope::Group("shop".into());
    assert_eq!(watched.weeks.learn(now, &group, &samples), 24 * 14);
    let forecast = watched.weeks.forecast(&group, now.wall, 60 * MINUTE, 24).unwrap();
    assert!(forecast.slots[12].mean > 0.5 && forecast.slots[3].mean < 0.2);
    assert!(watched.weeks.any_trusted());
    assert_eq!(watched.weeks.week(&Scope::Fleet), None);
}
