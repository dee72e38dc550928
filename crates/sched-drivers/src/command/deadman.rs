//! What ends a tool when its lease is over though this process stands still: [`DeadManSwitch`].

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use sched_core::RunLease;

use super::ProcessMark;

/// What the process does, in the language of any `sh`.
const SCRIPT: &str = include_str!("deadman.sh");
/// The time in which a tool must be gone is so many looks. They are spent like this: two until the process is sure that
/// the lease is over, [`PATIENCE`] while the tool may end by itself, and one in reserve.
const LOOKS: u32 = 5;
/// Looks between the request to end and the kill.
const PATIENCE: u32 = 2;
/// Each look starts a process.
const LEAST_LOOK: Duration = Duration::from_millis(10);
/// Told of a lease that holds for ever: a number with which any shell can count.
const MOST_LOOKS: u128 = 1 << 30;
/// How long it may take to end when it is told to, in ms. It takes one or two.
const ENDING_MS: u32 = 100;

/// A process beside a tool, in a group of its own, that ends the tool's group when it has not heard in time that the lease
/// still holds; see `deadman.sh`. It ends by itself when this process is gone, and with the tool. Dropping it ends it.
///
/// It can reach no stranger: it is gone before the number of the tool's group is given back, and where others have given it
/// back it looks at when the leader started, and without a leader at the session.
#[derive(Debug)]
pub(super) struct DeadManSwitch {
    child: Child,
    hears: PipeWriter,
    says: PipeReader,
    look: Duration,
}

impl DeadManSwitch {
    /// Starts one for a tool that is about to be started. It ends nothing before it is [told](Self::tell) of that: a
    /// process that is stopped in the microseconds between the tool's start and the first word leaves it unguarded.
    pub(super) fn start(lease: &dyn RunLease) -> io::Result<Self> {
        let look = look(lease);
        let ((told, hears), (says, said)) = (io::pipe()?, io::pipe()?);
        // Neither waits for the other: it looks whether anything was told, and it may be stopped itself.
        rustix::io::ioctl_fionbio(&told, true)?;
        rustix::io::ioctl_fionbio(&hears, true)?;
        rustix::io::ioctl_fionbio(&says, true)?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "dead-man-switch"]);
        command.args([look.as_secs_f64().to_string(), PATIENCE.to_string(), looks(lease, look).to_string()]);
        command.env_clear().envs(super::inherited()).env("LC_ALL", "C").current_dir("/");
        command.stdin(told).stdout(said).stderr(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        Ok(Self { child: command.spawn()?, hears, says, look })
    }

    /// How often it must be told.
    pub(super) fn every(&self) -> Duration {
        self.look
    }

    /// Tells how long the lease of a tool holds from now on.
    ///
    /// # Errors
    /// When it has ended: nobody would end the tool.
    pub(super) fn tell(&mut self, lease: &dyn RunLease, tool: &ProcessMark) -> io::Result<()> {
        if !self.runs() {
            return Err(io::Error::other("the process that would end it with its lease is gone"));
        }
        let line = format!("{} {} {}\n", looks(lease, self.look), tool.pid, tool.started_ticks);
        match self.hears.write_all(line.as_bytes()) {
            // It stands still with a full pipe. When it goes on it finds what was told before.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            told => told,
        }
    }

    /// Ends it when the tool is gone; returns whether it has ended that.
    pub(super) fn end(mut self) -> bool {
        self.says.read(&mut [0]).is_ok_and(|said| said > 0)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Whether it runs. While it does, its number is its own.
    fn runs(&self) -> bool {
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        matches!(rustix::io::retry_on_intr(|| waitid(WaitId::Pid(self.pid()), ended)), Ok(None))
    }
}

impl Drop for DeadManSwitch {
    fn drop(&mut self) {
        // The group: its sleep, too. The shell takes note of that one's end and goes, and leaves no orphan behind.
        for _ in 0..ENDING_MS {
            if !self.runs() {
                break;
            }
            let _ = kill_process_group(self.pid(), Signal::TERM);
            thread::park_timeout(Duration::from_millis(1));
        }
        if self.runs() {
            let _ = kill_process_group(self.pid(), Signal::KILL);
        }
        // Where others have waited for it there is nothing left to wait for.
        let _ = self.child.wait();
    }
}

/// How long what is told to end when its lease is over may take to do so before it is killed.
pub(super) fn patience(lease: &dyn RunLease) -> Duration {
    look(lease) * PATIENCE
}

/// The time between two looks.
fn look(lease: &dyn RunLease) -> Duration {
    (lease.ends_within() / LOOKS).max(LEAST_LOOK)
}

/// How many looks a lease still holds: none is begun after its end.
fn looks(lease: &dyn RunLease, look: Duration) -> u128 {
    lease.left().as_nanos().div_ceil(look.as_nanos()).min(MOST_LOOKS)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::process::CommandExt;

    use rustix::process::test_kill_process_group;

    use super::*;

    /// A lease that always holds for so many looks of 50 ms.
    #[derive(Debug)]
    struct Holds(u32);

    /// A lease that always holds, and leaves no time when it is over.
    #[derive(Debug)]
    struct HoldsForEver;

    impl RunLease for HoldsForEver {
        fn left(&self) -> Duration {
            Duration::MAX
        }

        fn length(&self) -> Duration {
            Duration::MAX
        }

        fn ends_within(&self) -> Duration {
            Duration::ZERO
        }
    }

    const LOOK: Duration = Duration::from_millis(50);

    impl RunLease for Holds {
        fn left(&self) -> Duration {
            LOOK * self.0
        }

        fn length(&self) -> Duration {
            LOOK * 10
        }

        fn ends_within(&self) -> Duration {
            LOOK * LOOKS
        }
    }

    /// A tool that does not end when it is told to, with a child that does not either.
    struct Tool(Child);

    impl Tool {
        fn start() -> Self {
            let mut command = Command::new("sh");
            command.args(["-c", "trap '' TERM; sleep 1000 & echo; sleep 1000; sleep 1000"]).process_group(0);
            let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
            io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
            Self(child)
        }

        fn group(&self) -> Pid {
            Pid::from_child(&self.0)
        }
    }

    impl Drop for Tool {
        fn drop(&mut self) {
            let _ = kill_process_group(self.group(), Signal::KILL);
            let _ = self.0.wait();
        }
    }

    #[test]
    fn when_nothing_is_told_the_group_is_ended() {
        let mut tool = Tool::start();
        let mut switch = DeadManSwitch::start(&Holds(4)).unwrap();
        switch.tell(&Holds(4), &ProcessMark::of(tool.0.id())).unwrap();
        switch.child.wait().unwrap();
        tool.0.wait().unwrap();
        let gone = || test_kill_process_group(tool.group()).is_err().then_some(());
        sched_testbed::wait_until("the end of the group", Duration::from_secs(20), gone).unwrap();
        assert!(switch.tell(&Holds(4), &ProcessMark::own()).is_err(), "nobody is there to be told");
        assert!(switch.end());
    }

    /// The group of a process that has left a child behind and was waited for.
    fn without_leader(command: &mut Command) -> (Pid, ProcessMark) {
        let mut leader =
            command.args(["sh", "-c", "read -r _; sleep 1000 &"]).stdin(Stdio::piped()).spawn().unwrap();
        let (group, mark) = (Pid::from_child(&leader), ProcessMark::of(leader.id()));
        leader.wait().unwrap();
        (group, mark)
    }

    #[test]
    fn what_a_tool_has_left_is_ended_though_others_have_waited_for_the_tool() {
        let (group, mark) = without_leader(Command::new("env").process_group(0));
        let mut switch = DeadManSwitch::start(&Holds(1)).unwrap();
        switch.tell(&Holds(1), &mark).unwrap();
        let gone = || test_kill_process_group(group).is_err().then_some(());
        sched_testbed::wait_until("the end of the group", Duration::from_secs(20), gone).unwrap();
    }

    #[test]
    fn a_group_without_leader_of_another_session_is_let_be() {
        let (group, mark) = without_leader(&mut Command::new("setsid"));
        let mut switch = DeadManSwitch::start(&Holds(1)).unwrap();
        switch.tell(&Holds(1), &mark).unwrap();
        switch.child.wait().unwrap();
        assert!(!switch.end());
        kill_process_group(group, Signal::KILL).expect("it is there");
    }

    #[test]
    fn a_lease_for_ever_is_told_in_a_number_that_a_shell_reads() {
        let mut tool = Tool::start();
        let mut switch = DeadManSwitch::start(&HoldsForEver).unwrap();
        assert_eq!(switch.every(), LEAST_LOOK);
        for _ in 0..30 {
            switch.tell(&HoldsForEver, &ProcessMark::of(tool.0.id())).unwrap();
            thread::park_timeout(LEAST_LOOK);
        }
        assert!(!switch.end() && tool.0.try_wait().unwrap().is_none());
    }

    #[test]
    fn a_stranger_of_the_same_number_is_let_be() {
        let mut tool = Tool::start();
        let mut switch = DeadManSwitch::start(&Holds(1)).unwrap();
        let mut mark = ProcessMark::of(tool.0.id());
        mark.started_ticks += 1;
        switch.tell(&Holds(1), &mark).unwrap();
        switch.child.wait().unwrap();
        assert!(tool.0.try_wait().unwrap().is_none());
    }

    #[test]
    fn who_is_told_in_time_ends_nothing() {
        let mut tool = Tool::start();
        let mut switch = DeadManSwitch::start(&Holds(8)).unwrap();
        for _ in 0..30 {
            switch.tell(&Holds(8), &ProcessMark::of(tool.0.id())).unwrap();
            thread::park_timeout(LOOK);
        }
        assert!(!switch.end());
        assert!(tool.0.try_wait().unwrap().is_none());
    }

    #[test]
    fn it_ends_at_once_with_its_sleep() {
        let switch = DeadManSwitch::start(&Holds(1000)).unwrap();
        let group = switch.pid();
        drop(switch);
        let gone = || test_kill_process_group(group).is_err().then_some(());
        sched_testbed::wait_until("the end of all of it", Duration::from_secs(20), gone).unwrap();
    }
}
