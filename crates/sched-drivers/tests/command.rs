//! Tools are held on a leash: real processes, real signals.
#![cfg(target_os = "linux")]

mod rig;

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rig::{Attempt, files, until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sched_core::JobSpec;
use sched_drivers::DriverError;
use sched_drivers::backup::Backup;
use sched_drivers::command::{CommandError, ExternalCommand, ProcessMark};
use sched_drivers::destination::LocalDirectory;

fn spec() -> JobSpec {
    JobSpec::new("files", "generic")
}

/// A tool that writes for ever, with a child of its own that does nothing for ever; the number of the latter goes
/// first. Only the test uses a shell.
fn endless() -> ExternalCommand {
    ExternalCommand::new("sh").arg("-c").arg("sleep 10000 & echo $!; exec cat /dev/zero")
}

fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

fn first_line(from: &mut impl Read) -> io::Result<u32> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    loop {
        from.read_exact(&mut byte)?;
        if byte == *b"\n" {
            break;
        }
        line.extend(byte);
    }
    String::from_utf8_lossy(&line).parse().map_err(io::Error::other)
}

#[test]
fn a_cancelled_tool_is_gone_with_all_it_started() {
    let attempt = Attempt::free(spec());
    let mut child = 0;
    let result = endless().run(&attempt.ctx, |stdout| {
        child = first_line(stdout)?;
        assert!(state(child).is_some());
        attempt.cancel();
        io::copy(stdout, &mut io::sink())
    });
    assert!(matches!(result, Err(CommandError::Cancelled { .. })), "{result:?}");
    assert!(state(child).is_none_or(|state| state == 'Z'));
}

#[test]
fn a_tool_that_says_nothing_is_cancelled_too() {
    let attempt = Attempt::free(spec());
    let result = thread::scope(|scope| {
        let silent = ExternalCommand::new("sleep").arg("10000");
        let ctx = attempt.ctx.clone();
        let run = scope.spawn(move || silent.output(&ctx, 100));
        attempt.cancel();
        run.join().unwrap()
    });
    assert!(matches!(result, Err(CommandError::Cancelled { .. })), "{result:?}");
}

#[test]
fn a_tool_that_does_not_listen_is_killed() {
    let attempt = Attempt::free(spec());
    let deaf = ExternalCommand::new("sh").arg("-c").arg("trap '' TERM; echo $$; while :; do sleep 0.1; done");
    let result = deaf.grace(Duration::from_millis(50)).run(&attempt.ctx, |stdout| {
        first_line(stdout)?;
        attempt.cancel();
        io::copy(stdout, &mut io::sink())
    });
    assert!(matches!(result, Err(CommandError::Cancelled { .. })), "{result:?}");
}

#[test]
fn a_tool_that_takes_too_long_is_ended() {
    let attempt = Attempt::free(spec());
    let slow = ExternalCommand::new("sleep").arg("10000").run_timeout(Duration::from_millis(50));
    assert!(matches!(slow.output(&attempt.ctx, 100), Err(CommandError::TimedOut { .. })));
}

#[test]
fn a_tool_that_fails_says_why() {
    let attempt = Attempt::free(spec());
    let failing =
        ExternalCommand::new("sh").arg("-c").arg("head -c 100000 /dev/zero >&2; echo the reason >&2; exit 3");
    let error = failing.output(&attempt.ctx, 100).unwrap_err();
    assert!(
        error.to_string().contains("exit status: 3") && error.said().ends_with("the reason"),
        "{error:?}"
    );
    assert!(error.said().len() < 10_000);
}

#[test]
fn a_missing_tool_names_the_remedy() {
    let attempt = Attempt::free(spec());
    let missing = ExternalCommand::new("no-such-tool").remedy("install the package no-such-tool");
    let error = DriverError::from(missing.output(&attempt.ctx, 100).unwrap_err());
    assert!(error.is_permanent());
    assert_eq!(error.to_string(), "no-such-tool is not there; install the package no-such-tool");
}

#[test]
fn a_reader_that_fails_ends_the_tool() {
    let attempt = Attempt::free(spec());
    let mut child = 0;
    let result = endless().run(&attempt.ctx, |stdout| {
        child = first_line(stdout)?;
        Err::<(), _>(io::Error::new(io::ErrorKind::StorageFull, "full"))
    });
    assert!(
        matches!(&result, Err(CommandError::Reader { source, .. }) if source.kind() == io::ErrorKind::StorageFull)
    );
    assert!(state(child).is_none_or(|state| state == 'Z'));
}

#[test]
fn the_environment_of_the_host_does_not_reach_it() {
    let attempt = Attempt::free(spec());
    let env = ExternalCommand::new("env").env("PGAPPNAME", "backup").output(&attempt.ctx, 10_000).unwrap();
    let text = String::from_utf8(env).unwrap();
    assert!(text.contains("PGAPPNAME=backup") && text.contains("LC_ALL=C"));
    // Cargo sets this one for tests.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some() && !text.contains("CARGO"), "{text}");
}

#[test]
fn a_paused_tool_is_stopped_where_it_may_be_and_goes_on() {
    let attempt = Attempt::free(spec());
    let tool = endless().stops_for(Duration::from_secs(3600));
    let result = tool.run_marked(
        &attempt.ctx,
        |mark| {
            attempt.ctx.control().set_paused(true);
            until("the stop", || state(mark.pid) == Some('T'));
            attempt.ctx.control().set_paused(false);
            until("that it goes on", || state(mark.pid) != Some('T'));
            attempt.ctx.control().set_paused(true);
            until("the second stop", || state(mark.pid) == Some('T'));
            attempt.cancel();
            Ok(())
        },
        |stdout| io::copy(stdout, &mut io::sink()),
    );
    assert!(matches!(result, Err(CommandError::Cancelled { .. })), "{result:?}");
}

#[test]
fn a_tool_stands_no_longer_than_it_may() {
    let attempt = Attempt::free(spec());
    let result = endless().stops_for(Duration::from_millis(30)).run_marked(
        &attempt.ctx,
        |mark| {
            attempt.ctx.control().set_paused(true);
            // Filling the pipe takes moments; a stopped process would never get there.
            until("that it waits for its reader", || state(mark.pid) == Some('S'));
            attempt.cancel();
            Ok(())
        },
        |stdout| io::copy(stdout, &mut io::sink()),
    );
    assert!(matches!(result, Err(CommandError::Cancelled { .. })), "{result:?}");
}

/// A tool that leaves behind a process of another group that holds its output: what daemons do.
fn leaves_a_daemon() -> ExternalCommand {
    ExternalCommand::new("sh").arg("-c").arg("setsid sh -c 'echo $$; exec sleep 10000' & exec sleep 10000")
}

fn end(daemon: u32) {
    use rustix::process::{Pid, Signal, kill_process};
    kill_process(Pid::from_raw(daemon as i32).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn a_daemon_that_holds_the_output_does_not_hold_up_the_end() {
    let attempt = Attempt::free(spec());
    let (sent, daemon) = std::sync::mpsc::channel();
    let ctx = attempt.ctx.clone();
    let run = thread::spawn(move || {
        leaves_a_daemon().grace(Duration::from_millis(50)).run(&ctx, |stdout| {
            sent.send(first_line(stdout)?).map_err(io::Error::other)?;
            io::copy(stdout, &mut io::sink())
        })
    });
    let daemon = daemon.recv().unwrap();
    attempt.cancel();
    let ended =
        sched_testbed::wait_until("the end", Duration::from_secs(20), || run.is_finished().then_some(()));
    end(daemon);
    ended.unwrap();
    let result = run.join().unwrap();
    assert!(matches!(result, Err(CommandError::Cancelled { .. })), "{result:?}");
}

#[test]
fn a_tool_whose_end_others_took_is_let_go() {
    use rustix::process::{Pid, WaitOptions, waitpid};
    let attempt = Attempt::free(spec());
    let pid = std::cell::Cell::new(None);
    let result = ExternalCommand::new("true").run_marked(
        &attempt.ctx,
        |mark| {
            pid.set(Pid::from_raw(mark.pid as i32));
            Ok(())
        },
        |stdout| {
            io::copy(stdout, &mut io::sink())?;
            // As a host does that waits for all its children.
            Ok(waitpid(pid.get(), WaitOptions::empty())?)
        },
    );
    assert!(matches!(result, Err(CommandError::Io { .. })), "{result:?}");
    // Nobody is left who would send signals to a number that may be a stranger's by now.
    until("that nobody watches it", || std::sync::Arc::strong_count(attempt.ctx.control()) == 1);
}

const HOST: &str = "SCHED_DRIVERS_TEST_HOST";

/// Not a test of its own: the process that is killed by those below.
#[test]
fn host_process() {
    let Some(root) = std::env::var_os(HOST) else { return };
    let root = Path::new(&root);
    // The dump stands at the dam after a megabyte: it neither ends nor goes on.
    let attempt = Attempt::new(spec(), 1 << 20);
    let stops = root.join("stops").exists();
    let tool = ExternalCommand::new("cat").arg("/dev/zero").stops_for(Duration::from_secs(3600));
    let mut backup = Backup::begin(&attempt.ctx, &LocalDirectory::new(root.join("backups"))).unwrap();
    if stops {
        let ctx = attempt.ctx.clone();
        thread::spawn(move || {
            until("some bytes", || ctx.control().progress().paced_bytes > 500_000);
            ctx.control().set_paused(true);
        });
    }
    let _ = backup.store_output("zeros", &tool);
}

fn kill_the_host(stops: bool) {
    let root = tempfile::tempdir().unwrap();
    if stops {
        fs::write(root.path().join("stops"), b"").unwrap();
    }
    let mut host = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "host_process", "--nocapture"])
        .env(HOST, root.path())
        .spawn()
        .unwrap();
    let backups = root.path().join("backups");
    let record = || {
        let path = files(&backups).into_iter().find(|file| file.ends_with(".attempt"))?;
        fs::read_to_string(backups.join(path)).ok()
    };
    let tool = || -> Option<ProcessMark> {
        let record = record()?;
        let line = record.lines().find(|line| line.contains("\"process\":{") && !line.contains("owner"))?;
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        serde_json::from_value(value["process"].clone()).ok()
    };
    let stored = || files(&backups).iter().any(|file| file.ends_with("zeros"));
    until("the tool at work", || tool().is_some() && stored());
    let tool = tool().unwrap();
    let wanted = if stops { 'T' } else { 'S' };
    until("that it stands", || state(tool.pid) == Some(wanted));
    assert!(tool.runs());

    host.kill().unwrap();
    host.wait().unwrap();
    until("the end of the tool", || !tool.runs());

    // And the next attempt finds what the killed one left, proves its processes gone, and removes it.
    assert!(stored());
    let next = Attempt::nth(spec(), u64::MAX, 2);
    let mut backup = Backup::begin(&next.ctx, &LocalDirectory::new(&backups)).unwrap();
    backup.store("x", &b"x"[..]).unwrap();
    backup.complete().unwrap();
    assert_eq!(files(&backups).len(), 2, "{:?}", files(&backups));
}

#[test]
fn a_tool_dies_with_a_host_that_is_killed() {
    kill_the_host(false);
}

#[test]
fn a_stopped_tool_dies_with_a_host_that_is_killed() {
    kill_the_host(true);
}

const NO_THREADS: &str = "SCHED_DRIVERS_TEST_NO_THREADS";

/// Not a test of its own: a process in which there is no room for the stack of another thread.
#[test]
fn process_without_threads() {
    if std::env::var_os(NO_THREADS).is_none() {
        return;
    }
    let attempt = Attempt::free(spec());
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
    let used = pages * rustix::param::page_size() as u64;
    let before = getrlimit(Resource::As);
    setrlimit(Resource::As, Rlimit { current: Some(used + (3 << 19)), ..before }).unwrap();
    let refused = ExternalCommand::new("sleep").arg("10000").output(&attempt.ctx, 100);
    setrlimit(Resource::As, before).unwrap();
    assert!(matches!(refused, Err(CommandError::Io { what: "watch", .. })), "{refused:?}");
    // Nobody watches it, so it does not run.
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let children = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap_or_default();
    let left: String = tasks.map(|task| children(task.unwrap())).collect();
    assert_eq!(left.trim(), "");
    assert!(ExternalCommand::new("true").output(&attempt.ctx, 100).is_ok());
}

#[test]
fn a_tool_that_nobody_can_watch_is_ended() {
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process_without_threads", "--test-threads=1"])
        .env(NO_THREADS, "1")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
}
