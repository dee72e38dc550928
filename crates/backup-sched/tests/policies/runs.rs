//! What an attempt is told and may do, and what follows its failure.

use std::time::Duration;

use backup_sched::{EventKind, JobState};

use crate::rig::{Fleet, HOUR, LONG, fleet};

fn of_technology(key: &str) -> Fleet {
    fleet(&format!("[technologies.generic]\n{key}\n"))
}

/// A window that ends has who may pause stand still.
pub(crate) fn window_end() {
    let states = ["finish", "pause", "stop"].map(|end| {
        let file = format!(
            "[calendars.night]\nwindows = ['00:00-01:00']\n\
             [technologies.generic]\nwindow = 'night'\nwindow_end = '{end}'\npausable = true\nexpected_duration = '1min'\n"
        );
        let fleet = fleet(&file);
        let job = fleet.ask("a");
        let _run = fleet.begun();
        fleet.clock.advance(HOUR);
        match end {
            "pause" => _ = fleet.wait_for(|kind| matches!(kind, EventKind::Paused)),
            "stop" => _ = fleet.wait_for(|kind| matches!(kind, EventKind::Interrupted { .. })),
            _ => _ = fleet.wait_for(|kind| matches!(kind, EventKind::CalendarChanged { .. })),
        }
        job.explain().unwrap().state
    });
    assert_eq!(states, [JobState::Running, JobState::Paused, JobState::Queued]);
}

pub(crate) fn pausable() {
    let states = [false, true].map(|pausable| {
        let file = format!(
            "[calendars.night]\nwindows = ['00:00-01:00']\n[technologies.generic]\nwindow = 'night'\n\
             window_end = 'pause'\npausable = {pausable}\nexpected_duration = '1min'\n"
        );
        let fleet = fleet(&file);
        let job = fleet.ask("a");
        let _run = fleet.begun();
        fleet.clock.advance(HOUR);
        fleet.wait_for(|kind| matches!(kind, EventKind::CalendarChanged { .. }));
        if pausable {
            fleet.wait_for(|kind| matches!(kind, EventKind::Paused));
        }
        job.explain().unwrap().state
    });
    assert_eq!(states, [JobState::Running, JobState::Paused]);
}

/// A law that leaves nothing is raised by the floors of what runs.
pub(crate) fn floor() {
    let rates = ["0 B/s", "1 MB/s"].map(|floor| {
        let file = format!("[technologies.generic]\nfloor = '{floor}'\n");
        let fleet = fleet(&file);
        let _run = fleet.start("a");
        _run.terms.floor_bytes_per_sec
    });
    assert_eq!(rates, [0, 1_000_000]);
}

/// In a second of a ceiling of 1 MB/s a tenth of what is asked for moves.
pub(crate) fn ceiling() {
    let fleet = of_technology("ceiling = 'none'");
    fleet.start("a").pace(10_000_000).recv_timeout(LONG).unwrap();
    let fleet = of_technology("ceiling = '1 MB/s'");
    let run = fleet.start("a");
    assert_eq!(run.spec.max_bytes_per_sec, Some(1_000_000));
    let paced = run.pace(3_000_000);
    fleet.clock.advance(Duration::from_secs(1));
    fleet.scheduler.status().unwrap();
    assert!(paced.is_empty());
    while paced.is_empty() {
        fleet.clock.advance(Duration::from_millis(100));
        std::thread::yield_now();
    }
}

/// A phase that the executor announces tolerates what the file says.
pub(crate) fn phases() {
    let floors = ["[]", "[{ name = 'copy', tolerates = 'slowable', floor = '3 MB/s' }]"].map(|phases| {
        let fleet = of_technology(&format!("phases = {phases}"));
        let run = fleet.start("a");
        run.phase("copy");
        let began = fleet.wait_for(|kind| matches!(kind, EventKind::PhaseBegan { .. }));
        match &began.kind {
            EventKind::PhaseBegan { phase } => phase.floor_bytes_per_sec,
            _ => unreachable!("it was waited for"),
        }
    });
    assert_eq!(floors, [0, 3_000_000]);
}

pub(crate) fn timeout() {
    for (key, ends) in [("timeout = 'none'", false), ("timeout = '30min'\nretry_attempts = 1", true)] {
        let fleet = of_technology(key);
        let job = fleet.ask("a");
        let run = fleet.begun();
        fleet.clock.advance(HOUR);
        if !ends {
            run.end();
        }
        let ended = job.wait_timeout(LONG).expect("it ends");
        assert_eq!(ended.state == JobState::Failed, ends);
    }
}

pub(crate) fn retry_attempts() {
    let attempts = [1, 3].map(|attempts| {
        let fleet =
            of_technology(&format!("retry_attempts = {attempts}\nretry_base = '1s'\nretry_cap = '1s'"));
        let job = fleet.ask("a");
        let mut begun = 0;
        while job.ended().is_none() {
            let run = fleet.begun();
            begun = run.number;
            run.fail();
            fleet.wait_for(|kind| matches!(kind, EventKind::Retried { .. } | EventKind::Failed { .. }));
            fleet.clock.advance(Duration::from_secs(1));
            if begun == attempts {
                job.wait_timeout(LONG).expect("no attempt is left");
            }
        }
        begun
    });
    assert_eq!(attempts, [1, 3]);
}

/// How long the wait after the first and the third failure is at most, in seconds.
fn back_offs(keys: &str) -> [u64; 2] {
    let fleet = of_technology(&format!("retry_attempts = 9\n{keys}"));
    fleet.ask("a");
    let retry = fleet.begun().terms.retry;
    [1, 3].map(|failed| retry.longest_wait(failed).as_secs())
}

pub(crate) fn retry_base() {
    let waits = ["retry_base = '0s'\nretry_cap = '1h'", "retry_base = '1h'\nretry_cap = '1h'"].map(|keys| {
        let fleet = of_technology(&format!("retry_attempts = 2\n{keys}"));
        fleet.ask("a");
        fleet.begun().fail();
        let retried = fleet.wait_for(|kind| matches!(kind, EventKind::Retried { .. }));
        match &retried.kind {
            EventKind::Retried { not_before, .. } => *not_before > retried.at.wall,
            _ => unreachable!("it was waited for"),
        }
    });
    assert_eq!(waits, [false, true]);
}

pub(crate) fn retry_cap() {
    assert_eq!(back_offs("retry_base = '1min'\nretry_cap = '2min'"), [60, 120]);
    assert_eq!(back_offs("retry_base = '1min'\nretry_cap = '10min'"), [60, 240]);
}
