//! Tools that schedulers start end with their leases, also while the scheduler that started them stands still.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use backup_sched::{Executor, JobSpec, RunContext, RunError};
use rustix::process::Signal;
use sched_drivers::command::ExternalCommand;
use sched_testbed::wait_until;

use crate::child::{GRACE, LEASE};
use crate::rig::{Rig, SOON, now};

/// Backups that may run at once, so that all begin.
const INSTANCES: u32 = 4;
/// One that no other test uses.
pub(crate) const TECHNOLOGY: &str = "clickhouse";
/// Present when a tool may end.
const ENOUGH: &str = "enough";
/// Writes down every few milliseconds that it is alive, and does not end when it is told to.
const TOOL: &str = r#"trap "" TERM; while [ ! -e "$2" ]; do date +%s%3N >> "$1.$$"; sleep 0.02; done"#;

/// Makes backups by a tool that lives on when its scheduler stands still.
pub(crate) struct Tooling {
    pub(crate) directory: PathBuf,
}

impl Executor for Tooling {
    fn run(&self, ctx: &RunContext) -> Result<(), RunError> {
        std::fs::create_dir_all(&self.directory)?;
        let life = format!("{}.{}", ctx.spec().instance, std::process::id());
        let tool = ExternalCommand::new("sh").args(["-c", TOOL, "tool"]);
        let tool = tool.arg(self.directory.join(life)).arg(self.directory.join(ENOUGH));
        tool.output(ctx, 0).map(drop).map_err(|error| RunError::Retryable(error.to_string()))
    }
}

/// The life of a tool as it wrote it down, in Unix milliseconds.
#[derive(Debug)]
struct Life {
    scheduler: u32,
    from: i64,
    to: i64,
}

/// By instance, in order of their beginnings.
fn lives(directory: &Path) -> BTreeMap<String, Vec<Life>> {
    let mut lives = BTreeMap::<String, Vec<Life>>::new();
    for file in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = file.file_name().into_string().unwrap();
        let Some((instance, rest)) = name.split_once('.') else { continue };
        let scheduler = rest.split_once('.').unwrap().0.parse().unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        // Killed, it may have left a line without an end.
        let mut moments = text.lines().filter_map(|line| line.parse::<i64>().ok());
        let Some(from) = moments.next() else { continue };
        let life = Life { scheduler, from, to: moments.next_back().unwrap_or(from) };
        lives.entry(instance.to_owned()).or_default().push(life);
    }
    lives.values_mut().for_each(|lives| lives.sort_by_key(|life| life.from));
    lives
}

#[test]
#[ignore = "needs postgresql"]
fn two_tools_of_one_instance_never_run_at_once() {
    let mut rig = Rig::new(2);
    let directory = rig.tools();
    for n in 0..INSTANCES {
        rig.ask_for(&JobSpec::new(format!("db-{n}"), TECHNOLOGY).host(format!("host-{n}")));
    }
    wait_until("all run", SOON, || (lives(&directory).len() == INSTANCES as usize).then_some(())).unwrap();
    let runs = |pid| lives(&directory).values().any(|lives| lives[0].scheduler == pid);
    let victim = rig.children.iter().position(|child| runs(child.pid())).unwrap();
    let pid = rig.children[victim].pid();
    rig.children[victim].signal(Signal::STOP);
    let stopped = now();
    wait_until("the other one makes all that the stopped one had", SOON, || {
        let lives = lives(&directory);
        let mut cut = lives.values().filter(|lives| lives[0].scheduler == pid);
        // For a while, so that one that ought to be gone is seen beside it.
        cut.all(|lives| lives.len() > 1 && lives[1].to > lives[1].from + 500).then_some(())
    })
    .unwrap();
    rig.children[victim].signal(Signal::CONT);
    std::fs::write(directory.join(ENOUGH), b"").unwrap();
    wait_until("all have ended", SOON, || {
        (rig.sql("select count(*) from backup_sched.jobs where live") == "0").then_some(())
    })
    .unwrap();
    let lost = "select count(*) from backup_sched.jobs where state <> 'succeeded'";
    assert_eq!(rig.sql(lost), "0");

    let bound = i64::try_from((LEASE + GRACE).as_millis()).unwrap();
    for (instance, lives) in lives(&directory) {
        for pair in lives.windows(2) {
            println!(
                "{instance}: {} ms from the last sign of one to the first of the next",
                pair[1].from - pair[0].to
            );
            assert!(pair[0].to < pair[1].from, "two tools of {instance} at once: {lives:?}");
        }
        for life in lives.iter().filter(|life| life.scheduler == pid && life.from < stopped) {
            println!("{instance}: gone {} ms after the stop", life.to - stopped);
            assert!(life.to < stopped + bound, "beyond the lease and the grace: {life:?}");
        }
    }
}
