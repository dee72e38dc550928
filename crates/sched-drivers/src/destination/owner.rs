//! Whose attempt it is that others find: [`Owner`].

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use crate::command::ProcessMark;

/// Who makes a backup, written where other machines read it too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    /// The machine's name.
    host: String,
    /// The number that it was installed with; empty where it has none, as in most containers.
    machine: String,
    /// Where the process has its number; empty where the kernel does not tell.
    namespace: String,
    process: ProcessMark,
    /// Tells apart what one process claims.
    claim: u64,
}

impl Owner {
    /// This process, with a claim that it has not made before.
    pub(super) fn new() -> Self {
        static CLAIMS: AtomicU64 = AtomicU64::new(0);
        let claim = CLAIMS.fetch_add(1, Relaxed);
        Self { host: host(), machine: machine(), namespace: namespace(), process: ProcessMark::own(), claim }
    }

    /// Whether it is certain that the process has ended.
    ///
    /// Names are not unique among all machines that reach a store. One of this name in another run of the kernel was
    /// this machine only if its number says so; else it may be a namesake, at work. And in the same run, processes of
    /// other containers cannot be seen.
    pub(super) fn is_dead(&self) -> bool {
        let visible = if self.process.boot == ProcessMark::own().boot {
            self.namespace == namespace()
        } else {
            !self.machine.is_empty()
        };
        visible && self.host == host() && self.machine == machine() && !self.process.runs()
    }
}

fn host() -> String {
    #[cfg(unix)]
    {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }
    #[cfg(not(unix))]
    {
        std::env::var("COMPUTERNAME").unwrap_or_default()
    }
}

fn namespace() -> String {
    fs::read_link("/proc/self/ns/pid").unwrap_or_default().display().to_string()
}

fn machine() -> String {
    fs::read_to_string("/etc/machine-id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_surely_ended_is_dead() {
        let own = Owner::new();
        assert!(!own.is_dead());
        assert_ne!(own, Owner::new());
        if !cfg!(target_os = "linux") {
            return;
        }
        let mut earlier = own.clone();
        earlier.process.started_ticks += 1;
        assert!(earlier.is_dead());
        assert!(!Owner { host: "another".into(), ..earlier.clone() }.is_dead());
        assert!(!Owner { machine: "another".into(), ..earlier.clone() }.is_dead());
        assert!(!Owner { namespace: "another".into(), ..earlier.clone() }.is_dead());
        earlier.process.boot = "another".into();
        assert_eq!(earlier.is_dead(), !earlier.machine.is_empty());
    }
}
