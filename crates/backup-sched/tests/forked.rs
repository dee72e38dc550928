//! Processes that come from this one: a copy that is forked off does nothing through a scheduler that it has copied, and a
//! program that is started has nothing of it open.
#![cfg(target_os = "linux")]

mod rig;

use std::collections::BTreeSet;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use backup_sched::limits::ProcessProbe;
use backup_sched::observe::{AuditLog, Rotation};
use backup_sched::{
    AcquireError, Clock, ConfigureError, HostProbe, JobError, JobHandle, JobSpec, JobState, Permit, Policies,
    Priority, ReloadError, Scheduler, Stopped, SubmitError, SystemClock,
};
use fork::{Fork, fork, waitpid};
use rig::{LONG, gated};
use sched_store::EmbeddedStore;

const WORK: &str = "BACKUP_SCHED_FORKED_IN";

/// Runs one of the tests below in a process of its own, which is given up when it hangs.
fn in_a_process_of_its_own(test: &str) {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(WORK, directory.path()).stdin(Stdio::null());
    let mut process = command.spawn().unwrap();
    let until = SystemClock.now().mono + LONG;
    let ended = loop {
        if let Some(ended) = process.try_wait().unwrap() {
            break Some(ended);
        }
        if SystemClock.now().mono > until {
            break None;
        }
        std::thread::yield_now();
    };
    let _ = process.kill();
    assert!(ended.expect("it does not hang").success());
    assert!(directory.path().join("done").exists(), "it has done what it was for");
}

fn work() -> Option<PathBuf> {
    std::env::var_os(WORK).map(PathBuf::from)
}

fn done(directory: &Path) {
    std::fs::write(directory.join("done"), "").unwrap();
}

#[test]
fn what_is_copied_into_a_child_is_refused_there_and_goes_on_here() {
    in_a_process_of_its_own("forks");
}

/// Does nothing unless this process is that of the test above.
#[test]
fn forks() {
    let Some(directory) = work() else { return };
    let (builder, starts, go) = gated();
    let store = EmbeddedStore::at(directory.join("store.redb"));
    let scheduler = builder.store(store).start().unwrap();
    let handle = scheduler.schedule_backup("runs", "sqlite", Priority::Normal).unwrap();
    starts.recv_timeout(LONG).unwrap();
    let permit = scheduler.acquire(JobSpec::new("pulled", "postgres")).unwrap();
    match fork().unwrap() {
        Fork::Child => {
            let child = catch_unwind(AssertUnwindSafe(move || in_the_child(scheduler, &handle, permit)));
            std::process::exit(i32::from(child.is_err()));
        }
        Fork::Parent(child) => assert_eq!(waitpid(child).unwrap(), 0, "what the child has said is above"),
    }
    // Nothing has changed here.
    assert_eq!(scheduler.status().unwrap().running.len(), 2);
    assert_eq!(permit.finish().state, JobState::Succeeded);
    let another = scheduler.schedule_backup("another", "sqlite", Priority::Normal).unwrap();
    starts.recv_timeout(LONG).unwrap();
    (0..2).for_each(|_| go.send(()).unwrap());
    for handle in [handle, another] {
        assert_eq!(handle.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
    }
    assert!(!scheduler.shutdown(LONG).unwrap().store_behind);
    done(&directory);
}

fn in_the_child(scheduler: Scheduler, handle: &JobHandle, permit: Permit) {
    let forked = |stopped: Stopped| matches!(stopped, Stopped::Forked { .. });
    assert!(forked(scheduler.status().unwrap_err()));
    assert!(forked(scheduler.subscribe(1).unwrap_err()));
    assert!(forked(scheduler.next_runs(1).unwrap_err()));
    let refused = scheduler.schedule_backup("b", "sqlite", Priority::Low).unwrap_err();
    assert!(matches!(refused, SubmitError::Forked(_)), "{refused}");
    let refused = scheduler.acquire(JobSpec::new("c", "postgres")).unwrap_err();
    assert!(matches!(refused, AcquireError::Submit(SubmitError::Forked(_))), "{refused}");
    assert!(matches!(scheduler.set_max_running(9), Err(ConfigureError::Forked(_))));
    assert!(matches!(scheduler.reload(Policies::builtin()), Err(ReloadError::Forked(_))));
    assert!(matches!(handle.cancel(), Err(JobError::Forked(_))));
    assert_eq!(handle.wait().state, JobState::Failed, "nobody here will ever hear of its end");
    assert!(handle.wait_timeout(Duration::MAX).unwrap().error.unwrap().contains("was forked"));
    assert_eq!(scheduler.shutdown(Duration::MAX), None);
    assert_eq!(permit.finish().state, JobState::Failed);
    drop(scheduler);
}

#[test]
fn a_program_that_is_started_has_nothing_of_a_scheduler_open() {
    in_a_process_of_its_own("opens");
}

/// What is open, but for the streams that every program is given.
fn open() -> BTreeSet<RawFd> {
    let names = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.to_str().unwrap().parse().unwrap()).filter(|fd| *fd > 2).collect()
}

/// Whether a descriptor is closed when another program takes this one's place; `None` when it is closed already.
fn closes_on_exec(fd: RawFd) -> Option<bool> {
    let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    let flags = about.lines().find_map(|line| line.strip_prefix("flags:"))?;
    Some(i32::from_str_radix(flags.trim(), 8).unwrap() & 0o2_000_000 != 0)
}

/// Does nothing unless this process is that of the test above.
#[test]
fn opens() {
    let Some(directory) = work() else { return };
    let before = open();
    let (builder, starts, go) = gated();
    let scheduler = builder
        .store(EmbeddedStore::at(directory.join("store.redb")))
        .probe(HostProbe::new("h"))
        .probe(ProcessProbe::pid("this", std::process::id()))
        .hook(AuditLog::open(directory.join("audit.jsonl"), Rotation::default()).unwrap())
        .start()
        .unwrap();
    let handle = scheduler.schedule_backup("a", "sqlite", Priority::Critical).unwrap();
    starts.recv_timeout(LONG).unwrap();
    while scheduler.status().unwrap().probes.iter().any(|probe| probe.answers == 0) {
        std::thread::yield_now();
    }
    let opened: Vec<_> = open().difference(&before).copied().collect();
    let kept: Vec<_> = opened.iter().copied().filter(|fd| closes_on_exec(*fd) == Some(false)).collect();
    let name = |fd: &RawFd| std::fs::read_link(format!("/proc/self/fd/{fd}"));
    assert_eq!(kept.iter().map(name).filter_map(Result::ok).collect::<Vec<_>>(), Vec::<PathBuf>::new());
    assert!(opened.len() >= 4, "a store, its lock, a log, and what probes read: {opened:?}");
    go.send(()).unwrap();
    assert_eq!(handle.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
    done(&directory);
}
