//! Other policies for a scheduler that runs.

use backup_sched::{BackupKind, EventKind, Gate, JobSpec, JobState, Order, Priority, ReloadError, Scope};

use crate::rig::{HOUR, Stands, fleet, fleet_with, policies, waits};

fn counts(kind: &EventKind) -> Option<(u64, u64)> {
    match kind {
        EventKind::PolicyReloaded { placed_anew, keep, .. } => Some((*placed_anew, *keep)),
        _ => None,
    }
}

#[test]
fn jobs_that_wait_are_placed_anew_and_jobs_that_run_keep_what_they_began_with() {
    let file = |rpo, floor| {
        format!(
            "[technologies.generic]\nfloor = '{floor} MB/s'\n[instances.c]\ntechnology = 'generic'\nrpo = '{rpo}h'\n"
        )
    };
    let fleet = fleet_with(&file(24, 1), |builder| builder.max_running(1));
    let running = fleet.start("a");
    fleet.ask("b");
    fleet.ask("c");
    let changes = fleet.scheduler.reload(policies(&file(2, 2))).unwrap();
    assert_eq!(changes.instances.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["c"]);
    let told = fleet.wait_for(|kind| counts(kind).is_some());
    assert_eq!(counts(&told.kind), Some((2, 1)));
    assert_eq!(running.terms.floor_bytes_per_sec, 1_000_000);
    running.end();
    let next = fleet.begun();
    assert_eq!((next.instance.as_str(), next.terms.floor_bytes_per_sec), ("c", 2_000_000));
}

#[test]
fn an_attempt_that_fails_is_followed_by_one_under_the_new_policies() {
    let file = |floor| {
        format!("[technologies.generic]\nfloor = '{floor} MB/s'\nretry_base = '0s'\nretry_cap = '1h'\n")
    };
    let fleet = fleet(&file(1));
    let running = fleet.start("a");
    fleet.scheduler.reload(policies(&file(2))).unwrap();
    running.fail();
    assert_eq!(fleet.begun().terms.floor_bytes_per_sec, 2_000_000);
}

#[test]
fn what_cannot_be_used_changes_nothing() {
    let fleet = fleet("[technologies.generic]\nmax_per_host = 1\n");
    fleet.submit(JobSpec::new("a", "generic").host("h"));
    fleet.begun();
    let job = fleet.submit(JobSpec::new("b", "generic").host("h"));
    let refused = fleet.scheduler.reload(policies("[fleet]\nresources = { room = 9 }\n"));
    assert_eq!(refused, Err(ReloadError::Reserved { name: "room".into() }));
    assert_eq!(fleet.stands(&job), waits(Gate::Resource("1 of generic".into())));
    fleet.scheduler.reload(policies("")).unwrap();
    assert_eq!(fleet.stands(&job), Stands::Runs);
}

#[test]
fn of_policies_with_one_thing_that_cannot_be_used_nothing_is_in_force() {
    let file = |most, hour, slots, wrong| {
        format!(
            "[technologies.generic]\nmax_per_host = {most}\nfloor = '{most} MB/s'\n[hosts.h]\nresources = {{ tapes = {slots} }}\n\
             [calendars.shop]\nbusiness_hours = ['mon-fri 0{hour}:00-18:00']\n\
             [instances.r]\ntechnology = 'generic'\nschedule = '0 {hour} * * *'\n{wrong}"
        )
    };
    let fleet = fleet(&file(1, 2, 3, ""));
    fleet.submit(JobSpec::new("a", "generic").host("h"));
    let run = fleet.begun();
    let job = fleet.submit(JobSpec::new("b", "generic").host("h").demand("tapes", 2));
    let picture = || {
        let status = fleet.scheduler.status().unwrap();
        let next = fleet.scheduler.next_runs(10).unwrap();
        let loads: Vec<_> =
            status.engine.loads.iter().map(|(scope, load)| (scope.clone(), load.level)).collect();
        format!("{next:?} {loads:?} {:?} {:?}", status.engine.resources, fleet.stands(&job))
    };
    let before = picture();
    let wrong = "[fleet]\nresources = { room = 9 }\n";
    assert_eq!(
        fleet.scheduler.reload(policies(&file(5, 4, 1, wrong))),
        Err(ReloadError::Reserved { name: "room".into() })
    );
    assert_eq!(picture(), before);
    // Its demand is still for what there was, and whoever has room starts as before.
    run.end();
    assert_eq!(fleet.begun().terms.floor_bytes_per_sec, 1_000_000);
    // Without the one thing all of it is in force.
    fleet.scheduler.reload(policies(&file(5, 4, 2, ""))).unwrap();
    assert_ne!(picture(), before);
}

#[test]
fn limits_and_capacities_follow() {
    let file = |slots, most| {
        format!(
            "[hosts.h]\nresources = {{ slots = {slots} }}\n[clusters.c]\ntechnology = 'generic'\nmax_per_cluster = {most}\n\
             [instances.a]\ncluster = 'c'\nhost = 'h'\n[instances.b]\ncluster = 'c'\nhost = 'h'\n"
        )
    };
    let fleet = fleet(&file(1, 2));
    fleet.start("a");
    let job = fleet.ask("b");
    assert_eq!(fleet.stands(&job), waits(Gate::Resource("slots".into())));
    // What runs counts against the limit that there is by now.
    let changes = fleet.scheduler.reload(policies(&file(2, 1))).unwrap();
    assert_eq!(changes.places, [Scope::Host("h".into())].into());
    assert_eq!(fleet.stands(&job), waits(Gate::Limit));
    fleet.scheduler.reload(policies(&file(2, 2))).unwrap();
    assert_eq!(fleet.stands(&job), Stands::Runs);
}

#[test]
fn what_the_file_says_no_longer_is_as_it_was_without_it() {
    let fleet = fleet("[fleet]\nresources = { slots = 1 }\n[hosts.h]\nresources = { slots = 1 }\n");
    fleet.submit(JobSpec::new("a", "generic").host("h"));
    fleet.begun();
    let job = fleet.submit(JobSpec::new("b", "generic").host("h"));
    assert_ne!(fleet.stands(&job), Stands::Runs);
    fleet.scheduler.reload(policies("")).unwrap();
    assert_eq!(fleet.stands(&job), Stands::Runs);
    assert_eq!(fleet.scheduler.status().unwrap().engine.resources[&"slots".into()].total, 9);
}

#[test]
fn calendars_are_installed_exchanged_and_removed() {
    let file = |calendar: &str| format!("{calendar}[instances.a]\ntechnology = 'generic'\n");
    let of = |hours: &str| file(&format!("[calendars.w]\nwindows = ['{hours}']\n")) + "window = 'w'\n";
    let fleet = fleet(&file(""));
    fleet.scheduler.hold(Scope::Fleet, Order::new("ana", "test")).unwrap();
    let job = fleet.ask("a");
    let both = || Stands::Waits(vec![Gate::Hold, Gate::Window]);
    assert_eq!(fleet.stands(&job), waits(Gate::Hold));
    let changes = fleet.scheduler.reload(policies(&of("04:00-06:00"))).unwrap();
    assert_eq!(changes.calendars, ["w".into()].into());
    assert_eq!(fleet.stands(&job), both());
    fleet.scheduler.reload(policies(&of("00:00-02:00"))).unwrap();
    assert_eq!(fleet.stands(&job), waits(Gate::Hold));
    fleet.scheduler.reload(policies(&of("03:00-05:00"))).unwrap();
    assert_eq!(fleet.stands(&job), both());
    fleet.scheduler.reload(policies(&file(""))).unwrap();
    assert_eq!(fleet.stands(&job), waits(Gate::Hold));
    fleet.clock.advance(HOUR);
}

#[test]
fn the_same_policies_again_change_nothing() {
    let file = "[calendars.w]\nwindows = ['04:00-06:00']\n[fleet]\nresources = { slots = 3 }\n\
                [technologies.generic]\nwindow = 'w'\nmax_per_host = 1\n";
    let fleet = fleet(file);
    fleet.ask("a");
    let before = fleet.scheduler.status().unwrap().engine;
    let changes = fleet.scheduler.reload(policies(file)).unwrap();
    assert!(changes.is_empty());
    let told = fleet.wait_for(|kind| counts(kind).is_some());
    assert_eq!(counts(&told.kind), Some((0, 0)));
    assert_eq!(fleet.scheduler.status().unwrap().engine, before);
}

#[test]
fn what_a_request_said_itself_is_kept() {
    let fleet = fleet_with("", |builder| builder.max_running(1));
    let running = fleet.start("a");
    let asked =
        JobSpec::new("b", "generic").host("own").size_bytes(77).max_bytes_per_sec(5).priority(Priority::High);
    let job = fleet.submit(asked);
    let file = "[instances.b]\ntechnology = 'generic'\nhost = 'h'\nsize = '1 GB'\nceiling = '1 B/s'\n\
                destination = 's3'\npriority = 'low'\n";
    fleet.scheduler.reload(policies(file)).unwrap();
    assert_eq!(job.explain().unwrap().job.priority, Priority::High);
    running.end();
    let spec = fleet.begun().spec;
    assert_eq!((spec.host.as_str(), spec.size_bytes, spec.max_bytes_per_sec), ("own", Some(77), Some(1)));
    assert_eq!(spec.destination, Some("s3".into()));
}

#[test]
fn a_job_to_which_the_new_policies_do_not_apply_keeps_its_terms() {
    let fleet = fleet_with("", |builder| builder.max_running(1));
    let running = fleet.start("a");
    let job = fleet.ask("b");
    fleet.scheduler.reload(policies("[instances.b]\ntechnology = 'mysql'\n")).unwrap();
    let told = fleet.wait_for(|kind| counts(kind).is_some());
    assert_eq!(counts(&told.kind).unwrap().1, 1);
    running.end();
    assert_eq!(fleet.begun().instance, "b");
    assert_eq!(job.explain().unwrap().state, JobState::Running);
}

#[test]
fn a_later_request_joins_a_job_that_was_placed_anew() {
    let fleet = fleet_with("", |builder| builder.max_running(1));
    let _running = fleet.start("a");
    let job = fleet.ask("b");
    fleet
        .scheduler
        .reload(policies("[instances.b]\ntechnology = 'generic'\nhost = 'h'\ndestination = 's3'\n"))
        .unwrap();
    assert_eq!(fleet.ask("b").id(), job.id());
}

/// Requests and reloads at the same time: every request is accepted under one of the two policies, and none is lost.
#[test]
fn requests_beside_reloads() {
    let file = |most| {
        format!("[technologies.generic]\nmax_per_host = {most}\ndestination_is = 0\n")
            .replace("destination_is = 0\n", "")
    };
    let fleet = fleet(&file(1));
    fleet.scheduler.hold(Scope::Fleet, Order::new("ana", "test")).unwrap();
    std::thread::scope(|scope| {
        let scheduler = &fleet.scheduler;
        for thread in 0..3 {
            scope.spawn(move || {
                for n in 0..100 {
                    let spec = JobSpec::new(format!("{thread}-{}", n % 60), "generic").host("h");
                    scheduler.submit(spec.kind(BackupKind::Full)).unwrap();
                }
            });
        }
        for n in 0..30 {
            scheduler.reload(policies(&file(1 + n % 2))).unwrap();
        }
    });
    fleet.scheduler.reload(policies(&file(3))).unwrap();
    assert_eq!(fleet.scheduler.status().unwrap().engine.waiting, 180);
    fleet.scheduler.release(Scope::Fleet).unwrap();
    let runs = [fleet.begun(), fleet.begun(), fleet.begun()];
    for run in &runs {
        assert!(run.terms.demand.iter().any(|(name, _)| name.as_str() == "3 of generic"));
    }
}
