//! Which process it was: [`ProcessMark`].

use serde::{Deserialize, Serialize};

/// Tells a process from all others, also from a later one of the same number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProcessMark {
    /// Its number.
    pub pid: u32,
    /// When it started, in the kernel's ticks since boot; 0 where the kernel does not tell.
    pub started_ticks: u64,
    /// Which run of which machine; empty where the kernel does not tell.
    pub boot: String,
}

impl ProcessMark {
    /// The mark of a process that runs.
    pub fn of(pid: u32) -> Self {
        Self { pid, started_ticks: started(pid).unwrap_or_default(), boot: boot() }
    }

    /// The mark of this process.
    pub fn own() -> Self {
        Self::of(std::process::id())
    }

    /// Whether that very process still runs on this machine. One that only waits to be reaped does not.
    pub fn runs(&self) -> bool {
        if self.boot != boot() {
            return false;
        }
        #[cfg(target_os = "linux")]
        {
            started(self.pid).is_some_and(|started| started == self.started_ticks)
        }
        #[cfg(not(target_os = "linux"))]
        {
            i32::try_from(self.pid)
                .ok()
                .and_then(rustix::process::Pid::from_raw)
                .is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
        }
    }
}

/// When a process started; `None` for one that does not run any more.
#[cfg(target_os = "linux")]
fn started(pid: u32) -> Option<u64> {
    use procfs_core::FromRead;
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = procfs_core::process::Stat::from_read(&text[..]).ok()?;
    (!matches!(stat.state, 'Z' | 'X' | 'x')).then_some(stat.starttime)
}

#[cfg(not(target_os = "linux"))]
fn started(_pid: u32) -> Option<u64> {
    None
}

fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_runs_and_another_of_its_number_did_not() {
        let own = ProcessMark::own();
        assert!(own.runs());
        if cfg!(target_os = "linux") {
            assert!(!ProcessMark { started_ticks: own.started_ticks + 1, ..own.clone() }.runs());
            assert!(!ProcessMark { boot: "another".into(), ..own }.runs());
        }
    }
}
