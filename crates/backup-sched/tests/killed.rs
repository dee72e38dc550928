//! A real process that is killed at any moment, hundreds of times, and goes on each time from its file.
//!
//! The child is this very test, told by its environment what to do. Whatever it does it first writes, line by line, into a
//! history that outlasts it; at the end the history is held against what was promised.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use backup_sched::{
    Clock, Event, EventKind, Hook, JobSpec, Policies, RunContext, RunError, Scheduler, SystemClock,
};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use sched_store::EmbeddedStore;

const WORK: &str = "BACKUP_SCHED_KILLED_IN";
const FINISH: &str = "BACKUP_SCHED_KILLED_FINISH";
/// Kills that are wanted, and the time that they may take; a few are enough to tell that nothing is broken.
const KILLS: u32 = 200;
const WITHIN: Duration = Duration::from_secs(35);
const AT_LEAST: u32 = 20;
/// Backups that may run at the same time.
const AT_ONCE: u32 = 3;
/// One in so many is stopped for a while before it is killed.
const STOPPED: u32 = 5;

/// A file to which whole lines are added.
#[derive(Clone)]
struct History(Arc<Mutex<File>>);

impl History {
    fn open(path: &Path) -> Self {
        let file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        Self(Arc::new(Mutex::new(file)))
    }

    fn add(&self, line: std::fmt::Arguments<'_>) {
        self.0.lock().write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// Tells which jobs have succeeded.
struct Done(Arc<Mutex<Vec<u64>>>);

impl Hook for Done {
    fn name(&self) -> &str {
        "done"
    }

    fn event(&mut self, event: &Event) {
        if let (EventKind::Succeeded { .. }, Some(job)) = (&event.kind, &event.job) {
            self.0.lock().push(job.id.0);
        }
    }
}

/// Does nothing unless this process is the child.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(WORK).map(PathBuf::from) else { return };
    let history = History::open(&directory.join("history"));
    let told = history.clone();
    let executor = move |ctx: &RunContext| {
        let (job, attempt) = (ctx.job().0, ctx.attempt());
        told.add(format_args!("began {job} {attempt} {}", ctx.spec().instance));
        // What a disk and a network would take.
        let busy = SystemClock.now().mono + Duration::from_micros(fastrand::u64(0..3_000));
        while SystemClock.now().mono < busy {
            std::thread::yield_now();
        }
        if fastrand::u8(0..12) == 0 {
            told.add(format_args!("failed {job} {attempt}"));
            return Err(RunError::Retryable("now and then".into()));
        }
        told.add(format_args!("did {job} {attempt}"));
        Ok(())
    };
    let policies = "[technologies.generic]\nretry_attempts = 50\nretry_base = '1ms'\nretry_cap = '5ms'\n";
    let done = Arc::new(Mutex::new(Vec::new()));
    let scheduler = Scheduler::builder()
        .executor("generic", executor)
        .policies(Policies::builtin().with_toml("policy.toml", policies).unwrap())
        .max_running(AT_ONCE)
        .hook(Done(done.clone()))
        .store(EmbeddedStore::at(directory.join("store.redb")))
        .start()
        .unwrap();
    let idle = || {
        let summary = scheduler.summary().unwrap();
        summary.engine.waiting == 0 && summary.engine.active.is_empty()
    };
    let settle = || {
        let some = std::mem::take(&mut *done.lock());
        while scheduler.summary().unwrap().store.unwrap().backlog > 0 {
            std::thread::yield_now();
        }
        some.iter().for_each(|job| history.add(format_args!("settled {job}")));
    };
    if std::env::var_os(FINISH).is_some() {
        while !idle() {
            std::thread::yield_now();
        }
        settle();
        let report = scheduler.shutdown(Duration::from_secs(60)).unwrap();
        assert!(!report.store_behind);
        return;
    }
    let process = std::process::id();
    for n in 0.. {
        let some = 1 + fastrand::usize(0..4);
        let names: Vec<_> = (0..some).map(|k| format!("{process}-{n}-{k}")).collect();
        let answers = scheduler.submit_all(names.iter().map(|name| JobSpec::new(name.as_str(), "generic")));
        for (name, answer) in names.iter().zip(answers) {
            history.add(format_args!("accepted {name} {}", answer.unwrap().id().0));
        }
        settle();
    }
}

fn run(directory: &Path, finish: bool) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env(WORK, directory);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    if finish {
        command.env(FINISH, "1");
    }
    command.spawn().unwrap()
}

#[test]
fn killed_at_any_moment_it_loses_nothing_and_does_nothing_twice() {
    let directory = tempfile::tempdir().unwrap();
    let history = History::open(&directory.path().join("history"));
    let begun = SystemClock.now().mono;
    let mut kills = 0;
    while kills < KILLS && (kills < AT_LEAST || SystemClock.now().mono.since(begun) < WITHIN) {
        let mut child = run(directory.path(), false);
        // Also while it opens the file, and later and later, so that it comes to do something on a slow machine.
        let pause = Duration::from_millis(fastrand::u64(0..20 + u64::from(kills % 20) * 12));
        let until = SystemClock.now().mono + pause;
        let pass = |child: &mut Child, until| {
            while SystemClock.now().mono < until {
                assert!(child.try_wait().unwrap().is_none(), "it ended by itself, after {kills} kills");
                std::thread::yield_now();
            }
        };
        pass(&mut child, until);
        if kills.is_multiple_of(STOPPED) {
            // As by a terminal, or a machine whose processors are given to others. What it does then is in the history.
            let process = Pid::from_child(&child);
            kill_process(process, Signal::STOP).unwrap();
            pass(&mut child, SystemClock.now().mono + Duration::from_millis(100));
            kill_process(process, Signal::CONT).unwrap();
            pass(&mut child, SystemClock.now().mono + pause);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        history.add(format_args!("killed"));
        kills += 1;
    }
    assert!(run(directory.path(), true).wait().unwrap().success(), "the last one could not finish");
    let history = std::fs::read_to_string(directory.path().join("history")).unwrap();
    let (accepted, attempts) = check(&history);
    println!("{kills} kills, {accepted} jobs accepted, {attempts} attempts");
    assert!(accepted > 20, "only {accepted} jobs were accepted");
}

/// Holds a history against what was promised. Returns how many jobs were accepted, and how many attempts were made.
fn check(history: &str) -> (usize, usize) {
    let mut accepted = BTreeMap::<u64, &str>::new();
    let mut names = BTreeMap::<u64, &str>::new();
    let mut newest = BTreeMap::<u64, u32>::new();
    let mut did = BTreeSet::new();
    let mut settled = BTreeSet::new();
    let mut attempts = 0;
    let mut running = BTreeSet::new();
    for line in history.lines() {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["accepted", name, job] => {
                let job = job.parse().unwrap();
                let before = accepted.insert(job, name);
                assert!(before.is_none(), "{job} is {before:?} and {name}");
                let ran = names.entry(job).or_insert(name);
                assert_eq!(*ran, name, "{job} ran as something else");
            }
            ["began", job, attempt, name] => {
                attempts += 1;
                let (job, attempt): (u64, u32) = (job.parse().unwrap(), attempt.parse().unwrap());
                let known = names.entry(job).or_insert(name);
                assert_eq!(*known, name, "the number {job} was given twice");
                let before = newest.insert(job, attempt).unwrap_or(0);
                assert!(attempt > before, "{job} began attempt {attempt} after {before}");
                assert!(!settled.contains(&job), "{job} had ended for good and began again");
                running.insert((job, attempt));
                assert!(running.len() <= AT_ONCE as usize, "more at once than may: {running:?}");
            }
            ["failed", job, attempt] => {
                assert!(running.remove(&(job.parse().unwrap(), attempt.parse().unwrap())), "{line}");
            }
            ["killed"] => running.clear(),
            ["did", job, attempt] => {
                let (job, attempt): (u64, u32) = (job.parse().unwrap(), attempt.parse().unwrap());
                assert!(did.insert((job, attempt)), "attempt {attempt} of {job} did its work twice");
                running.remove(&(job, attempt));
            }
            ["settled", job] => {
                let job: u64 = job.parse().unwrap();
                assert!(settled.insert(job), "{job} succeeded twice");
            }
            _ => panic!("a line that nobody writes: {line:?}"),
        }
    }
    let done: BTreeSet<_> = did.iter().map(|(job, _)| *job).collect();
    for (job, name) in &accepted {
        assert!(done.contains(job), "{name} was accepted as {job}, and nobody did it");
    }
    let mut jobs_of = BTreeMap::new();
    for (job, name) in names {
        assert_eq!(jobs_of.insert(name, job), None, "{name} is there twice");
    }
    (accepted.len(), attempts)
}

#[test]
fn the_checker_notices_what_it_is_for() {
    let caught = |history: &str| std::panic::catch_unwind(|| check(history)).is_err();
    assert!(!caught("accepted a 1\nbegan 1 1 a\nbegan 1 2 a\ndid 1 2\nsettled 1"));
    assert!(caught("accepted a 1\nbegan 1 1 a"), "lost");
    assert!(caught("accepted a 1\nbegan 1 2 a\nbegan 1 2 a\ndid 1 2"), "a number twice");
    assert!(caught("accepted a 1\nbegan 1 1 a\ndid 1 1\nsettled 1\nbegan 1 2 a\ndid 1 2"), "done twice");
    assert!(caught("accepted a 1\nbegan 1 1 a\ndid 1 1\naccepted b 1"), "one number for two");
    assert!(caught("began 1 1 a\ndid 1 1\nbegan 2 1 a\ndid 2 1"), "one job twice");
    let three = "began 1 1 a\nbegan 2 1 b\nbegan 3 1 c";
    assert!(caught(&format!("{three}\nbegan 4 1 d")), "four at once");
    assert!(!caught(&format!("{three}\nfailed 2 1\nbegan 4 1 d\nkilled\nbegan 5 1 e")));
}
