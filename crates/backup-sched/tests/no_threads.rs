//! A process that cannot have another thread, as when a limit of the system is reached: nothing panics, nobody is blamed, and
//! nothing is lost.
#![cfg(target_os = "linux")]

mod rig;

use std::process::Command;
use std::time::Duration;

use backup_sched::observe::{AuditLog, Rotation};
use backup_sched::{
    EventKind, HostProbe, JobState, ManualClock, Policies, Priority, Profile, SchedulerBuilder, StartError,
};
use rig::{LONG, gated, quick, wait_for};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sched_store::EmbeddedStore;

const IN_IT: &str = "BACKUP_SCHED_WITHOUT_THREADS";

/// Until it is dropped there is no room for another stack, though for smaller things.
struct Cramped(Rlimit);

impl Cramped {
    fn new() -> Self {
        let before = getrlimit(Resource::As);
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
        let used = pages * rustix::param::page_size() as u64;
        let current = Some(used + (3 << 19));
        setrlimit(Resource::As, Rlimit { current, maximum: before.maximum }).unwrap();
        Self(before)
    }
}

impl Drop for Cramped {
    fn drop(&mut self) {
        let Rlimit { current, maximum } = self.0;
        setrlimit(Resource::As, Rlimit { current, maximum }).unwrap();
    }
}

/// Runs one of the tests below in a process of its own.
fn in_a_process_of_its_own(test: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(IN_IT, "1");
    let ran = command.output().unwrap();
    let said = [ran.stdout, ran.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(ran.status.success(), "{said}");
    assert!(said.contains("it was cramped"), "{said}");
}

#[test]
fn a_scheduler_that_cannot_have_its_threads_is_an_error_and_leaves_nothing_open() {
    in_a_process_of_its_own("starts_without_threads");
}

/// Does nothing unless this process is that of the test above.
#[test]
fn starts_without_threads() {
    if std::env::var_os(IN_IT).is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let store = || EmbeddedStore::at(directory.path().join("store.redb"));
    let audit = AuditLog::open(directory.path().join("audit.jsonl"), Rotation::default()).unwrap();
    // The file is there, and what opening it takes has been allocated once.
    backup_sched::JobStore::open(&mut store()).unwrap();
    let with: [(&str, SchedulerBuilder); 4] = [
        ("backup-sched", quick()),
        ("store", quick().store(store())),
        ("hooks", quick().hook(audit)),
        ("host", quick().probe(HostProbe::new("local"))),
    ];
    for (thread, builder) in with {
        let cramped = Cramped::new();
        let refused = builder.start();
        drop(cramped);
        match refused {
            Err(StartError::Thread { name, .. }) => assert_eq!(name, thread),
            Err(other) => panic!("{thread}: {other}"),
            Ok(_) => panic!("{thread}: there was room for a thread"),
        }
    }
    println!("it was cramped");
    // Nothing is held that another one needs.
    let scheduler = quick().store(store()).start().unwrap();
    let job = scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap();
    assert_eq!(job.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
}

#[test]
fn a_job_for_which_there_is_no_thread_stays_queued_and_nobody_is_blamed() {
    in_a_process_of_its_own("runs_without_threads");
}

/// Does nothing unless this process is that of the test above.
#[test]
fn runs_without_threads() {
    if std::env::var_os(IN_IT).is_none() {
        return;
    }
    let retry = backup_sched::core::RetryPolicy::new(1, Duration::ZERO, Duration::ZERO);
    let policies = Policies::builtin().with("sqlite", Profile::new().retry(retry)).unwrap();
    let clock = ManualClock::default();
    let (builder, starts, go) = gated();
    let scheduler = builder.policies(policies).max_running(1).clock(clock.clone()).start().unwrap();
    let events = scheduler.subscribe(10_000).unwrap();
    let cramped = Cramped::new();
    let job = scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap();
    for _ in 0..10 {
        let told = wait_for(&events, |kind| matches!(kind, EventKind::Interrupted { .. }));
        let explained = job.explain().unwrap();
        assert!(explained.state.is_waiting(), "{explained}");
        assert!(format!("{told:?}").contains("no thread can be started"), "{told:?}");
        assert_eq!(scheduler.status().unwrap().engine.resources[&"slots".into()].used, 0);
        clock.advance(Duration::from_secs(10));
    }
    println!("it was cramped");
    drop(cramped);
    clock.advance(Duration::from_secs(10));
    assert!(starts.recv_timeout(LONG).unwrap() > 10, "each was an attempt");
    go.send(()).unwrap();
    assert_eq!(job.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
    let blamed =
        |kind: &EventKind| matches!(kind, EventKind::Retried { .. } | EventKind::BreakerTripped { .. });
    assert_eq!(events.try_iter().filter(|event| blamed(&event.kind)).count(), 0);
}
