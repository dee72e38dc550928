//! Which rates follow from what signals say, place by place: through the whole scheduler, with a scripted probe on a
//! clock that is moved by hand.

use std::time::Duration;

use backup_sched::core::{Measured, RunPhase};
use backup_sched::limits::{ControlLaw, FixedLaw, Observation, Share};
use backup_sched::{
    Event, EventKind, JobHandle, JobSpec, JobState, Now, Order, PlaceRate, Rate, Reading, Reason, RunContext,
    Scheduler, SchedulerBuilder, Scope, StartError,
};
use crossbeam_channel::unbounded;

mod rig;

use rig::{LONG, Rig, SECOND, local};

const BRIEF: Duration = Duration::from_millis(30);

fn host(name: &str) -> Scope {
    Scope::Host(name.into())
}

/// A builder whose jobs of technology `mysql` move 1,000 bytes.
fn movers(builder: SchedulerBuilder) -> SchedulerBuilder {
    builder.executor("mysql", |ctx: &RunContext| Ok(ctx.pace(1_000)?))
}

fn mover(rig: &Rig, on: &str) -> JobHandle {
    rig.scheduler.submit(JobSpec::new(format!("of-{on}"), "mysql").host(on)).unwrap()
}

fn rate_of(scheduler: &Scheduler, place: &Scope) -> PlaceRate {
    let rates = scheduler.status().unwrap().rates;
    rates.into_iter().find(|rate| rate.place == *place).unwrap_or_else(|| panic!("{place} has a rate"))
}

fn pressure(of: &str, share: f64) -> Reading {
    Reading::share("psi.cpu", share).scope(host(of))
}

#[test]
fn a_busy_host_slows_its_own_backups_and_nobody_elses() {
    let rig = Rig::new(SECOND, |builder| movers(builder).rate_ceiling(1_000_000));
    (0..20).for_each(|_| rig.say(&[pressure("busy", 0.95), pressure("calm", 0.01)]));
    let busy = rate_of(&rig.scheduler, &host("busy"));
    assert_eq!((busy.rate, busy.steered), (Rate::BytesPerSec(0), Some(Rate::BytesPerSec(0))));
    let Measured { signal, value, threshold, .. } = busy.reason.measured.clone().expect("a value");
    assert_eq!((signal.as_str(), value, threshold), ("psi.cpu", 0.95, 0.9));
    assert!(busy.reason.to_string().contains("pressure law"), "{}", busy.reason);
    let calm = rate_of(&rig.scheduler, &host("calm"));
    assert!(calm.rate > Rate::BytesPerSec(20_000), "{calm:?}");
    assert_eq!(rate_of(&rig.scheduler, &Scope::Fleet).rate, Rate::BytesPerSec(1_000_000));

    let (held, free) = (mover(&rig, "busy"), mover(&rig, "calm"));
    assert_eq!(free.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
    assert!(held.wait_timeout(BRIEF).is_none());
    (0..20).for_each(|_| rig.say(&[pressure("busy", 0.01), pressure("calm", 0.01)]));
    assert_eq!(held.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
}

#[test]
fn a_host_whose_probe_is_silent_slows_nobody_else() {
    let rig = Rig::new(SECOND, |builder| movers(builder).rate_ceiling(1_000_000));
    (0..5).for_each(|_| rig.say(&[pressure("silent", 0.01), pressure("calm", 0.01)]));
    let of = |place: &Scope| rate_of(&rig.scheduler, place).rate;
    let (silent, calm) = (host("silent"), host("calm"));
    let before = of(&calm);
    (0..8).for_each(|_| rig.say(&[pressure("calm", 0.01)]));
    assert!(of(&calm) >= before, "{:?}", rate_of(&rig.scheduler, &calm));
    assert_eq!(of(&Scope::Fleet), Rate::BytesPerSec(1_000_000));
    assert!(of(&silent) < of(&calm), "blind: {:?}", rate_of(&rig.scheduler, &silent));
    assert_eq!(mover(&rig, "calm").wait_timeout(LONG).unwrap().state, JobState::Succeeded);
}

#[test]
fn the_lower_of_the_laws_rate_and_what_was_set_counts_and_is_named() {
    let fixed = |share| FixedLaw::new(share).unwrap();
    let rig = Rig::new(SECOND, |builder| {
        let builder = builder.rate_ceiling(1_000_000).bandwidth(host("a"), 100_000);
        builder.law("plan", fixed(0.5)).law_at(host("a"), "plan", fixed(0.2))
    });
    let of = |place| rate_of(&rig.scheduler, &place);
    let bytes = Rate::BytesPerSec;
    assert_eq!((of(Scope::Fleet).rate, of(Scope::Fleet).steered), (bytes(500_000), Some(bytes(500_000))));
    assert_eq!(rig.scheduler.status().unwrap().rate, bytes(500_000));
    assert!(of(Scope::Fleet).reason.to_string().contains("fixed"), "{}", of(Scope::Fleet).reason);
    // The full share at a place is the bandwidth that it was given at the start.
    assert_eq!(of(host("a")).rate, bytes(20_000));
    rig.scheduler.set_bandwidth(host("a"), Some(10_000)).unwrap();
    rig.scheduler.set_bandwidth(Scope::Fleet, Some(400_000)).unwrap();
    assert_eq!((of(host("a")).rate, of(host("a")).set), (bytes(10_000), Some(bytes(10_000))));
    assert_eq!(rig.scheduler.status().unwrap().rate, bytes(400_000));
    assert_eq!(of(Scope::Fleet).reason.to_string(), "set by the host application");
    rig.scheduler.set_ceiling(host("a"), Some((5_000, Order::new("ada", "quiet, please")))).unwrap();
    assert_eq!((of(host("a")).rate, of(host("a")).ordered), (bytes(5_000), Some(bytes(5_000))));
    assert_eq!(of(host("a")).reason.to_string(), "ordered by ada: quiet, please");
    let no_place = Scope::Group("orders".into());
    let refused = Scheduler::builder().law_at(no_place, "plan", fixed(0.5)).start();
    assert!(matches!(refused, Err(StartError::Setting { setting: "law_at", .. })));
}

/// Says what it hears, and does worse when it hears too much.
#[derive(Debug)]
struct Puppet;

impl ControlLaw for Puppet {
    fn step(&mut self, _: Now, sample: Option<Observation>) -> Share {
        let said = sample.map_or(1.0, |sample| sample.value);
        assert!(said < 9.0, "on purpose");
        let share = if said == 2.0 { f64::NAN } else { said.min(1.0) };
        let pause = (said == 3.0).then_some(SECOND);
        Share { share, pause, reason: Reason::new("told by a test") }
    }
}

fn told(value: f64) -> [Reading; 1] {
    [Reading::new("gauge", value, "shares").scope(local())]
}

fn failures(rig: &Rig) -> Vec<String> {
    let failure = |event: &Event| match &event.kind {
        EventKind::LawFailed { scope, signal, reason } => Some(format!("{signal} at {scope}: {reason}")),
        _ => None,
    };
    rig.events.try_iter().filter_map(|event| failure(&event)).collect()
}

#[test]
fn a_law_that_panics_or_says_nonsense_is_told_once_and_ends_nothing() {
    let rig = Rig::new(SECOND, |builder| movers(builder).rate_ceiling(1_000_000).law("gauge", Puppet));
    let rate = || rig.scheduler.status().unwrap().rate;
    rig.say(&told(0.5));
    assert_eq!(rate(), Rate::BytesPerSec(500_000));
    (0..3).for_each(|_| rig.say(&told(2.0)));
    assert_eq!(rate(), Rate::BytesPerSec(500_000));
    assert_eq!(
        failures(&rig),
        ["gauge at fleet: the control law says NaN, no share from 0 to 1; 0.500 is kept"]
    );
    (0..3).for_each(|_| rig.say(&told(9.0)));
    rig.say(&told(0.9));
    assert_eq!(rate(), Rate::BytesPerSec(50_000));
    assert_eq!(failures(&rig), ["gauge at fleet: the control law panicked: on purpose and is set aside"]);
    let reason = rate_of(&rig.scheduler, &Scope::Fleet).reason.to_string();
    assert!(reason.contains("set aside"), "{reason}");
    assert_eq!(mover(&rig, "local").wait_timeout(LONG).unwrap().state, JobState::Succeeded);
}

#[test]
fn a_pause_to_see_the_foreground_alone_leaves_room_as_it_was() {
    let rig = Rig::new(SECOND, |builder| {
        let builder = builder.rate_ceiling(30_000_000).law("gauge", Puppet);
        builder.concurrency(|c| c.job_bytes_per_sec = Some(10_000_000))
    });
    let room = || rig.scheduler.status().unwrap().rooms[0].jobs;
    rig.say(&told(1.0));
    assert_eq!(room(), 3);
    for _ in 0..20 {
        rig.say(&told(3.0));
        assert_eq!((room(), rig.scheduler.status().unwrap().rate), (3, Rate::BytesPerSec(0)));
    }
    rig.say(&told(1.0));
    assert_eq!((room(), rig.scheduler.status().unwrap().rate), (3, Rate::BytesPerSec(30_000_000)));
    // A rate that is really that low feeds fewer.
    (0..5).for_each(|_| rig.say(&told(0.1)));
    assert_eq!(room(), 1);
}

#[test]
fn a_phase_that_must_not_be_slowed_lifts_the_rate_for_nobody_else() {
    let (moved, moves) = unbounded();
    let (over, until) = unbounded::<()>();
    let rig = Rig::new(SECOND, |builder| {
        let fork = move |ctx: &RunContext| {
            ctx.phase(RunPhase::new("fork").floor(u64::MAX));
            ctx.pace(1_000)?;
            moved.send(()).ok();
            until.recv().ok();
            Ok(())
        };
        let builder = builder.executor("generic", |ctx: &RunContext| Ok(ctx.pace(1_000)?));
        builder.executor("redis", fork).rate_ceiling(1_000_000).law("gauge", Puppet)
    });
    // Nothing is promised to these.
    let files =
        |on: &str| rig.scheduler.submit(JobSpec::new(format!("of-{on}"), "generic").host(on)).unwrap();
    rig.say(&told(0.0));
    let fork = rig.scheduler.submit(JobSpec::new("cache", "redis").host("a")).unwrap();
    rig.wait_for(|kind| matches!(kind, EventKind::PhaseBegan { .. }));
    rig.scheduler.status().unwrap();
    rig.clock.advance(SECOND / 10);
    moves.recv_timeout(LONG).expect("nothing slows it");
    let (beside, elsewhere) = (files("a"), files("b"));
    assert!(beside.wait_timeout(BRIEF).is_none() && elsewhere.wait_timeout(BRIEF).is_none());
    let fleet = rate_of(&rig.scheduler, &Scope::Fleet);
    assert_eq!(fleet.rate, Rate::BytesPerSec(1_000_000));
    let why = fleet.reason.to_string();
    assert!(why.contains("must not be slowed") && why.contains("held to 0.0 B/s (told by a test"), "{why}");
    // Of what the law leaves to them the others have equal parts.
    rig.say(&told(0.5));
    for job in [beside, elsewhere] {
        assert_eq!(job.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
    }
    rig.say(&told(0.0));
    let late = files("a");
    assert!(late.wait_timeout(BRIEF).is_none());
    over.send(()).unwrap();
    assert_eq!(fork.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
    assert!(late.wait_timeout(BRIEF).is_none());
    rig.say(&told(1.0));
    assert_eq!(late.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
}

#[test]
fn beside_a_phase_that_must_not_be_slowed_others_change_sides() {
    let (moved, moves) = unbounded();
    let (over, until) = unbounded::<()>();
    let (step, steps) = unbounded::<()>();
    let rig = Rig::new(SECOND, |builder| {
        let fork = move |ctx: &RunContext| {
            ctx.phase(RunPhase::new("fork").floor(u64::MAX));
            until.recv().ok();
            Ok(())
        };
        // As with the phases of an instance's name: each character a floor, `m` for one that must not be slowed.
        let changes = move |ctx: &RunContext| {
            for floor in ctx.spec().instance.as_str().chars() {
                ctx.phase(RunPhase::new(floor).floor(if floor == 'm' { u64::MAX } else { 0 }));
                steps.recv().ok();
            }
            ctx.pace(1_000)?;
            moved.send(()).ok();
            Ok(())
        };
        let builder = builder.executor("redis", fork).executor("generic", changes);
        builder.rate_ceiling(1_000_000).law("gauge", Puppet)
    });
    let begun = || rig.wait_for(|kind| matches!(kind, EventKind::PhaseBegan { .. }));
    rig.say(&told(0.0));
    let fork = rig.scheduler.submit(JobSpec::new("cache", "redis").host("a")).unwrap();
    begun();
    for (phases, passes) in [("0m", true), ("m0", false)] {
        let job = rig.scheduler.submit(JobSpec::new(phases, "generic").host("a")).unwrap();
        begun();
        step.send(()).unwrap();
        begun();
        rig.scheduler.status().unwrap();
        step.send(()).unwrap();
        rig.clock.advance(SECOND / 100);
        assert_eq!(moves.recv_timeout(if passes { LONG } else { BRIEF }).is_ok(), passes, "{phases}");
        assert_eq!(job.wait_timeout(if passes { LONG } else { BRIEF }).is_some(), passes, "{phases}");
    }
    drop(over);
    assert_eq!(fork.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
    assert!(moves.recv_timeout(BRIEF).is_err(), "the law says 0");
    rig.say(&told(1.0));
    assert!(moves.recv_timeout(LONG).is_ok());
}

#[test]
fn advice_tells_rates_and_holds_nobody_to_them() {
    let rig = Rig::new(SECOND, |builder| {
        let builder = movers(builder).advise_only().rate_ceiling(1).bandwidth(host("a"), 1);
        builder.law("gauge", Puppet)
    });
    rig.say(&told(0.0));
    rig.scheduler.set_ceiling(host("a"), Some((1, Order::new("ada", "quiet, please")))).unwrap();
    let group = Scope::Instance("of-a".into());
    rig.scheduler.set_ceiling(group, Some((1, Order::new("ada", "quiet, please")))).unwrap();
    let own = JobSpec::new("of-a", "mysql").host("a").max_bytes_per_sec(1);
    let job = rig.scheduler.submit(own).unwrap();
    assert_eq!(job.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
    rig.scheduler.set_bandwidth(Scope::Fleet, Some(0)).unwrap();
    assert_eq!(mover(&rig, "a").wait_timeout(LONG).unwrap().state, JobState::Succeeded);
    let status = rig.scheduler.status().unwrap();
    assert_eq!(status.rate, Rate::BytesPerSec(0));
    assert_eq!(rate_of(&rig.scheduler, &host("a")).rate, Rate::BytesPerSec(1));
}
