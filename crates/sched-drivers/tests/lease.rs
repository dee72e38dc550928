//! Tools end with the lease under which they were started, whatever has become of their scheduler: real processes.
#![cfg(target_os = "linux")]

mod rig;

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use rig::{Attempt, RealClock, still, until};
use rustix::process::{Pid, Signal, kill_process};
use sched_core::{Clock, JobSpec, MonoTime, RunContext, RunError, RunLease};
use sched_drivers::DriverError;
use sched_drivers::command::{CommandError, ExternalCommand, ProcessMark};

const LENGTH: Duration = Duration::from_millis(1000);
const ENDS_WITHIN: Duration = Duration::from_millis(500);
/// For a machine that is busy with something else.
const LATE: Duration = Duration::from_secs(2);

/// A lease that holds as long as this process renews it.
#[derive(Debug, Default)]
struct Lease {
    until_ms: AtomicU64,
}

fn now() -> Duration {
    RealClock.now().mono.since(MonoTime::default())
}

impl Lease {
    fn renew(&self) {
        self.until_ms.store((now() + LENGTH).as_millis() as u64, Relaxed);
    }

    fn kept_up() -> Arc<Self> {
        let lease = Arc::new(Self::default());
        lease.renew();
        let renewed = Arc::clone(&lease);
        thread::spawn(move || {
            loop {
                thread::park_timeout(Duration::from_millis(100));
                if !renewed.left().is_zero() {
                    renewed.renew();
                }
            }
        });
        lease
    }
}

impl RunLease for Lease {
    fn left(&self) -> Duration {
        Duration::from_millis(self.until_ms.load(Relaxed)).saturating_sub(now())
    }

    fn length(&self) -> Duration {
        LENGTH
    }

    fn ends_within(&self) -> Duration {
        ENDS_WITHIN
    }
}

fn under(lease: Arc<Lease>) -> RunContext {
    Attempt::free(JobSpec::new("files", "generic")).ctx.under(lease)
}

/// A tool that writes for ever, with a child that does nothing for ever and whose number goes first. Neither ends when it
/// is told to.
fn deaf() -> ExternalCommand {
    ExternalCommand::new("sh").arg("-c").arg("trap '' TERM; sleep 10000 & echo $!; exec cat /dev/zero")
}

const HOST: &str = "SCHED_DRIVERS_TEST_LEASE_HOST";

/// Not a test of its own: the process that is stopped or killed by those below.
#[test]
fn host_process() {
    let Some(root) = std::env::var_os(HOST) else { return };
    let root = Path::new(&root);
    let ctx = under(Lease::kept_up());
    let write = |name: &str, mark: &ProcessMark| {
        let (path, whole) = (root.join(format!("{name}.new")), root.join(name));
        fs::write(&path, serde_json::to_vec(mark)?).and_then(|()| fs::rename(path, whole))
    };
    let stands = root.join("stands").exists();
    let result = deaf().stops_for(Duration::from_secs(3600)).run_marked(
        &ctx,
        |mark| write("tool", mark),
        |stdout| {
            let mut stdout = BufReader::new(stdout);
            let mut line = String::new();
            stdout.read_line(&mut line)?;
            write("child", &ProcessMark::of(line.trim().parse().map_err(io::Error::other)?))?;
            ctx.control().set_paused(stands);
            io::copy(&mut stdout, &mut io::sink())
        },
    );
    let left = children(std::process::id());
    fs::write(root.join("ended"), format!("{result:?}, left are {left:?}")).unwrap();
}

/// A host with a tool at work.
struct Host {
    process: Child,
    root: tempfile::TempDir,
    tool: ProcessMark,
    child: ProcessMark,
}

impl Host {
    fn start(stands: bool) -> Self {
        let root = tempfile::tempdir().unwrap();
        if stands {
            fs::write(root.path().join("stands"), b"").unwrap();
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "host_process", "--nocapture"]).env(HOST, root.path());
        let process = command.spawn().unwrap();
        let read = |name: &str| {
            let path = root.path().join(name);
            until(&format!("the {name}"), || path.exists());
            serde_json::from_slice::<ProcessMark>(&fs::read(path).unwrap()).unwrap()
        };
        let (tool, child) = (read("tool"), read("child"));
        Self { process, tool, child, root }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// The process that would end the tool in the host's place.
    fn switch(&self) -> ProcessMark {
        let mut found = children(self.process.id()).into_iter();
        let is_switch = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains("dead-man-switch")
        };
        ProcessMark::of(found.find(is_switch).expect("it is there beside the tool"))
    }

    fn outlives_two_leases(&self) {
        let from = now();
        until("two leases", || now() > from + (LENGTH + ENDS_WITHIN) * 2);
        assert!(self.tool.runs() && self.child.runs(), "its lease was renewed");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The processes that a process has started and not waited for.
fn children(of: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(") ").next()?.split(' ').nth(1)?.parse::<u32>().ok()
    };
    pids.filter(|pid| parent(pid) == Some(of)).collect()
}

fn stop_the_host(stands: bool) {
    let mut host = Host::start(stands);
    host.outlives_two_leases();
    host.signal(Signal::STOP);
    let stopped = now();
    until("the end of the tool and its child", || !host.tool.runs() && !host.child.runs());
    let took = now() - stopped;
    println!("gone {took:?} after the stop");
    assert!(took > LENGTH * 2 / 3, "gone after {took:?}: its lease still held");
    assert!(took < LENGTH + ENDS_WITHIN + LATE, "gone after {took:?}");
    // It goes on, and finds out why its tool is gone.
    host.signal(Signal::CONT);
    assert!(host.process.wait().unwrap().success());
    let ended = fs::read_to_string(host.root.path().join("ended")).unwrap();
    assert!(ended.contains("LeaseOver") && ended.ends_with("left are []"), "{ended}");
}

#[test]
fn a_tool_ends_with_the_lease_of_a_host_that_is_stopped() {
    stop_the_host(false);
}

#[test]
fn a_tool_that_stands_ends_with_the_lease_of_a_host_that_is_stopped() {
    stop_the_host(true);
}

#[test]
fn all_that_a_tool_has_started_dies_with_a_host_that_is_killed() {
    let mut host = Host::start(false);
    let switch = host.switch();
    host.process.kill().unwrap();
    host.process.wait().unwrap();
    until("the end of all", || !host.tool.runs() && !host.child.runs() && !switch.runs());
}

/// The scheduler runs, and does not reach whoever would renew its lease.
#[test]
fn a_lease_that_is_not_renewed_ends_the_tool_from_within() {
    let lease = Arc::new(Lease::default());
    lease.renew();
    let mut tool = None;
    let result = deaf().run_marked(
        &under(Arc::clone(&lease)),
        |mark| {
            tool = Some(mark.clone());
            Ok(())
        },
        |stdout| io::copy(stdout, &mut io::sink()),
    );
    assert!(matches!(result, Err(CommandError::LeaseOver { .. })), "{result:?}");
    assert!(lease.left().is_zero() && !tool.unwrap().runs());
    // And nothing is started any more.
    let ctx = under(lease);
    let late = ExternalCommand::new("true").output(&ctx, 100);
    assert!(matches!(late, Err(CommandError::LeaseOver { .. })), "{late:?}");
    assert_eq!(DriverError::from(late.unwrap_err()).into_run_error(&ctx), RunError::Cancelled);
}

/// As far as anybody here can see it holds.
#[derive(Debug)]
struct Holds;

impl RunLease for Holds {
    fn left(&self) -> Duration {
        ENDS_WITHIN
    }

    fn length(&self) -> Duration {
        LENGTH
    }

    fn ends_within(&self) -> Duration {
        ENDS_WITHIN
    }
}

/// On a clock that stands nobody tells a second time that the lease holds, as in a process that is stopped.
#[test]
fn what_a_tool_wrote_before_it_was_ended_is_no_backup_though_it_ends_well() {
    let polite = "trap 'exit 0' TERM; echo half; while :; do sleep 0.01; done";
    let ctx = still(JobSpec::new("files", "generic")).under(Arc::new(Holds));
    let result = ExternalCommand::new("sh").arg("-c").arg(polite).output(&ctx, 100);
    assert!(matches!(result, Err(CommandError::LeaseOver { .. })), "{result:?}");
}

#[test]
fn a_tool_gets_nothing_of_what_would_end_it() {
    let open = |ctx: &RunContext| {
        let seen = ExternalCommand::new("ls").arg("/proc/self/fd").output(ctx, 1000).unwrap();
        String::from_utf8(seen).unwrap().lines().count()
    };
    // Beside its own there may be some that this process was given itself.
    let free = Attempt::free(JobSpec::new("files", "generic"));
    assert_eq!(open(&under(Lease::kept_up())), open(&free.ctx));
}
