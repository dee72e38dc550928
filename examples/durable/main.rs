//! A run of backups that is killed twice, and goes on: every accepted job is made once, an attempt that was cut off is made
//! again under the next number, and what it left is removed first.
//!
//! `cargo run --release --example durable`
//!
//! The scheduler runs in a process of its own, which is this program called again, so that it can be killed like one.

mod backup;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use backup_sched::{Clock, EventKind, JobSpec, Order, Scheduler, Scope, SystemClock};
use sched_store::EmbeddedStore;

use crate::backup::CopyBackup;

type Failure = Box<dyn std::error::Error>;

/// Databases that are backed up.
const DATABASES: usize = 8;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args_os().skip(1);
    match (arguments.next(), arguments.next()) {
        (Some(what), Some(directory)) if what == "schedule" => schedule(Path::new(&directory)),
        _ => watch(),
    }
}

/// Runs the scheduler until no job is left.
fn schedule(directory: &Path) -> Result<(), Failure> {
    let scheduler = Scheduler::builder()
        .executor("sqlite", CopyBackup::new(directory))
        .max_running(2)
        .store(EmbeddedStore::at(directory.join("store.redb")))
        .start()?;
    if !directory.join("asked").exists() {
        let specs = (1..=DATABASES).map(|n| JobSpec::new(format!("db-{n}"), "sqlite"));
        let handles = scheduler.submit_all(specs).into_iter().collect::<Result<Vec<_>, _>>()?;
        println!("{} jobs were accepted: they are durable from here on", handles.len());
        let order = Order::new("ana", "its disk is being moved");
        scheduler.hold(Scope::Instance("db-8".into()), order)?;
        println!("ana holds db-8");
        std::fs::write(directory.join("asked"), "")?;
    } else {
        let events = scheduler.events_since(0, 100)?.events;
        let read = events.iter().find(|event| matches!(event.kind, EventKind::StoreRead { .. }));
        println!("{}", read.ok_or("it does not say what it found")?.kind);
    }
    // Whoever was there before was killed: nobody waits for handles, so the numbers of the whole are asked for.
    loop {
        let summary = scheduler.summary()?;
        let running: usize = summary.engine.active.values().sum();
        if summary.engine.waiting == 1 && running == 0 {
            for entry in scheduler.audit(1)? {
                let by = entry.order.map(|order| order.to_string()).unwrap_or_default();
                println!(
                    "one job is left, because of an order that outlasted two crashes: {} by {by}",
                    entry.what
                );
            }
            scheduler.release(Scope::Instance("db-8".into()))?;
        }
        if summary.engine.waiting == 0 && running == 0 {
            scheduler.shutdown(Duration::from_secs(5));
            println!("done");
            return Ok(());
        }
        nap(Duration::from_millis(20));
    }
}

/// Starts the scheduler, kills it twice, lets it end, and looks at what is there.
fn watch() -> Result<(), Failure> {
    let directory = tempfile::tempdir()?;
    println!("{DATABASES} databases, two backups at a time, in a process that is killed twice\n");
    for kill_after in [3, 4, usize::MAX] {
        let mut child = start(directory.path())?;
        let lines = BufReader::new(child.stdout.take().ok_or("the scheduler has no output")?).lines();
        let mut begun = 0;
        for line in lines {
            let line = line?;
            println!("  {line}");
            begun += usize::from(line.contains(" begins"));
            if begun == kill_after {
                child.kill()?;
                break;
            }
        }
        let ended = child.wait()?;
        if kill_after == usize::MAX {
            if !ended.success() {
                return Err(format!("the scheduler ended with {ended}").into());
            }
        } else {
            println!("  ✗ kill -9 in the middle of a backup\n");
        }
    }
    let (complete, partial) = backup::count(directory.path())?;
    println!("\n{complete} of {DATABASES} backups are there, each once; {partial} half-made files are left");
    if (complete, partial) != (DATABASES, 0) {
        return Err("that is not what was promised".into());
    }
    Ok(())
}

fn start(directory: &Path) -> Result<Child, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    Ok(command.arg("schedule").arg(directory).stdout(Stdio::piped()).spawn()?)
}

/// Waits on the real clock.
fn nap(pause: Duration) {
    let (_nobody, never) = crossbeam_channel::bounded::<()>(0);
    let until = SystemClock.now().mono + pause;
    while let Some(left) = SystemClock.sleep_for(until).filter(|left| !left.is_zero()) {
        let _ = never.recv_timeout(left);
    }
}
