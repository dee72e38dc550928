//! The rates of places, from the facade down to the bytes of a running job.

use std::time::Duration;

use backup_sched::core::PlaceError;
use backup_sched::{
    ConfigureError, JobSpec, JobState, ManualClock, Order, RunContext, Scheduler, SchedulerBuilder, Scope,
    StartError,
};
use crossbeam_channel::{Receiver, unbounded};

const LONG: Duration = Duration::from_secs(30);
const BRIEF: Duration = Duration::from_millis(30);

/// A job moves 10,000 bytes on a clock that stands still, and says when it is about to.
fn paced() -> (SchedulerBuilder, ManualClock, Receiver<()>) {
    let (started, starts) = unbounded();
    let clock = ManualClock::default();
    let builder = Scheduler::builder().clock(clock.clone()).max_running(8).executor(
        "sqlite",
        move |ctx: &RunContext| {
            started.send(()).ok();
            ctx.pace(10_000)?;
            Ok(())
        },
    );
    (builder, clock, starts)
}

fn on(host: &str, instance: &str) -> JobSpec {
    JobSpec::new(instance, "sqlite").host(host)
}

#[test]
fn a_link_holds_the_jobs_of_its_hosts_and_no_others() {
    let (builder, clock, starts) = paced();
    let uplink = Scope::Link("uplink".into());
    let scheduler = builder.bandwidth(uplink.clone(), 10_000).start().unwrap();
    scheduler.set_parent(Scope::Host("near".into()), uplink.clone()).unwrap();
    let held = scheduler.submit(on("near", "a")).unwrap();
    let free = scheduler.submit(on("far", "b")).unwrap();
    assert_eq!(free.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
    starts.recv_timeout(LONG).unwrap();
    starts.recv_timeout(LONG).unwrap();
    assert!(held.wait_timeout(BRIEF).is_none());
    // A new rate is felt although the clock stands still.
    scheduler.set_bandwidth(uplink.clone(), Some(0)).unwrap();
    clock.advance(LONG);
    assert!(held.wait_timeout(BRIEF).is_none());
    scheduler.set_bandwidth(uplink, None).unwrap();
    assert_eq!(held.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
}

#[test]
fn time_lets_bytes_through_at_the_rate_of_the_host() {
    let (builder, clock, starts) = paced();
    let scheduler = builder.bandwidth(Scope::Host("near".into()), 10_000).start().unwrap();
    let job = scheduler.submit(on("near", "a")).unwrap();
    starts.recv_timeout(LONG).unwrap();
    let mut turns = 0_u32;
    while job.wait_timeout(Duration::from_millis(2)).is_none() {
        clock.advance(Duration::from_millis(50));
        turns += 1;
        assert!(turns < 10_000, "it never ends");
    }
    assert!(turns >= 19, "10,000 bytes at 10,000 a second take a second: {turns} times 50 ms");
}

#[test]
fn the_lower_of_the_set_rate_and_the_ceiling_counts_at_the_fleet() {
    let (builder, _clock, starts) = paced();
    let scheduler = builder.bandwidth(Scope::Fleet, 1).start().unwrap();
    let job = scheduler.submit(on("near", "a")).unwrap();
    starts.recv_timeout(LONG).unwrap();
    assert!(job.wait_timeout(BRIEF).is_none());
    scheduler.set_bandwidth(Scope::Fleet, None).unwrap();
    assert_eq!(job.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
}

#[test]
fn an_operators_ceiling_holds_a_running_job_until_it_is_lifted() {
    let (builder, _clock, starts) = paced();
    let scheduler = builder.start().unwrap();
    let host = Scope::Host("near".into());
    scheduler.set_ceiling(host.clone(), Some((1, Order::new("ops", "quiet, please")))).unwrap();
    let job = scheduler.submit(on("near", "a")).unwrap();
    starts.recv_timeout(LONG).unwrap();
    assert!(job.wait_timeout(BRIEF).is_none());
    scheduler.set_ceiling(host, None).unwrap();
    assert_eq!(job.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
}

#[test]
fn what_one_job_leaves_of_an_operators_ceiling_goes_to_the_others() {
    let (started, starts) = unbounded();
    let (go, gate) = unbounded::<()>();
    let clock = ManualClock::default();
    let builder = Scheduler::builder().clock(clock.clone()).max_running(8);
    let builder = builder.executor("sqlite", move |ctx: &RunContext| {
        started.send(()).ok();
        if ctx.spec().instance.as_str() == "idle" {
            while gate.recv_timeout(Duration::from_millis(1)).is_err() {
                ctx.checkpoint()?;
            }
            return Ok(());
        }
        Ok(ctx.pace(10_000)?)
    });
    let scheduler = builder.start().unwrap();
    let near = Scope::Host("near".into());
    scheduler.set_ceiling(near, Some((10_000, Order::new("ops", "quiet, please")))).unwrap();
    let idle = scheduler.submit(on("near", "idle")).unwrap();
    let busy = scheduler.submit(on("near", "busy")).unwrap();
    (0..2).for_each(|_| starts.recv_timeout(LONG).unwrap());
    let mut turns = 0_u32;
    while busy.wait_timeout(Duration::from_millis(2)).is_none() {
        clock.advance(Duration::from_millis(50));
        turns += 1;
        assert!(turns < 10_000, "it never ends");
    }
    assert!(
        (19..30).contains(&turns),
        "a second at the whole ceiling, two at half of it: {turns} times 50 ms"
    );
    go.send(()).unwrap();
    assert_eq!(idle.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
}

#[test]
fn wrong_rates_and_places_are_refused_by_name() {
    let group = Scope::Group("orders".into());
    let setting = |builder: SchedulerBuilder| match builder.start() {
        Err(StartError::Setting { setting, problem }) => (setting, problem),
        other => panic!("{other:?}"),
    };
    let (name, problem) = setting(Scheduler::builder().bandwidth(Scope::Host("near".into()), 0));
    assert_eq!(name, "bandwidth");
    assert!(problem.contains("host near would never finish"), "{problem}");
    assert_eq!(setting(Scheduler::builder().bandwidth(group.clone(), 1)).0, "bandwidth");
    let scheduler = Scheduler::builder().start().unwrap();
    let refused = ConfigureError::Place(PlaceError::NotAPlace(group.clone()));
    assert_eq!(scheduler.set_bandwidth(group, Some(1)), Err(refused));
    let nameless = scheduler.set_bandwidth(Scope::Link(" ".into()), Some(1));
    assert!(matches!(nameless, Err(ConfigureError::Place(PlaceError::Name { .. }))));
    scheduler.shutdown(LONG);
    assert_eq!(scheduler.set_bandwidth(Scope::Fleet, Some(1)), Err(ConfigureError::Stopped));
}
