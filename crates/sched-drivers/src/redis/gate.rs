//! Whether a server can bear a fork: [`ForkLimits`].

use std::time::Duration;

use super::info::Info;
use crate::DriverError;

/// What a server pays per GB of its memory for a fork, where it has not forked yet: the upper end of what the page tables
/// of ordinary machines cost.
const FORK_PER_GB: Duration = Duration::from_millis(20);

/// What a fork may cost a server. A snapshot is of a forked process: the server stands still while it is forked, and
/// every page that is written before the snapshot is done takes memory again.
///
/// The policy's gate on `latest_fork_ms` only defers; these limits refuse, also when the deadline is near.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ForkLimits {
    /// How long the last fork may have taken; where there was none, 20 ms a GB are reckoned. Default 1 s.
    pub longest: Duration,
    /// How much memory must be free, as a share of what the server uses: what writers may touch while the snapshot is
    /// made. 1 is the worst case. Default .5.
    ///
    /// Free is what the machine has beyond what the server itself takes; what others take there, the server does not
    /// know.
    pub free_memory: f64,
}

impl Default for ForkLimits {
    fn default() -> Self {
        Self { longest: Duration::from_secs(1), free_memory: 0.5 }
    }
}

impl ForkLimits {
    /// Sets how long the last fork may have taken.
    #[must_use]
    pub fn longest(mut self, fork: Duration) -> Self {
        self.longest = fork;
        self
    }

    /// Sets how much memory must be free, as a share of what the server uses.
    #[must_use]
    pub fn free_memory(mut self, share: f64) -> Self {
        self.free_memory = share;
        self
    }

    /// Refuses a server that cannot be backed up now.
    pub(super) fn check(&self, server: &str, info: &Info) -> Result<(), DriverError> {
        self.problem(info)
            .map_or(Ok(()), |problem| Err(DriverError::NotReady { server: server.to_owned(), problem }))
    }

    fn problem(&self, info: &Info) -> Option<String> {
        if info.flag("loading") {
            return Some("it is still loading its data".into());
        }
        if info.is_replica() && info.text("master_link_status") != Some("up") {
            let down = info.text("master_link_down_since_seconds").unwrap_or("some");
            return Some(format!("it has lost its primary for {down} s, and its data are old"));
        }
        if info.flag("rdb_bgsave_in_progress") || info.flag("aof_rewrite_in_progress") {
            return Some("it has forked already, for a save or a rewrite of its log".into());
        }
        let used = info.bytes("used_memory").unwrap_or(0);
        let fork = match info.number("latest_fork_usec") {
            Some(usec) if usec > 0.0 => Duration::from_secs_f64(usec / 1e6),
            _ => FORK_PER_GB.mul_f64(used as f64 / 1e9),
        };
        if fork > self.longest {
            return Some(format!(
                "a fork stalls it for about {fork:?}, and at most {:?} are allowed; huge pages make forks slow",
                self.longest
            ));
        }
        // Where the server does not know the machine's memory nothing can be said.
        let total = info.bytes("total_system_memory")?;
        let free = total.saturating_sub(info.bytes("used_memory_rss").unwrap_or(used));
        let needed = (used as f64 * self.free_memory) as u64;
        (free < needed).then(|| {
            format!(
                "{} MiB of memory are free at most, and {} MiB may be needed: {} of the {} MiB in use",
                free >> 20,
                needed >> 20,
                self.free_memory,
                used >> 20
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn problem(more: &str) -> Option<String> {
        let text = format!("role:master\nused_memory:{}\nused_memory_rss:{}\n{more}", 8 * GIB, 9 * GIB);
        ForkLimits::default().problem(&Info::parse(&text))
    }

    #[test]
    fn a_healthy_server_passes() {
        assert_eq!(problem(&format!("latest_fork_usec:90000\ntotal_system_memory:{}", 16 * GIB)), None);
        assert_eq!(problem(""), None);
    }

    #[test]
    fn what_is_in_the_way_is_said_with_numbers() {
        let says = |more: &str, text: &str| {
            let problem = problem(more).unwrap_or_default();
            assert!(problem.contains(text), "{problem:?} lacks {text:?}");
        };
        says("loading:1", "loading");
        says("rdb_bgsave_in_progress:1", "forked already");
        says("latest_fork_usec:1500000", "1.5s");
        says(
            &format!("total_system_memory:{}", 12 * GIB),
            "3072 MiB of memory are free at most, and 4096 MiB",
        );
        says("role:slave\nmaster_link_status:down\nmaster_link_down_since_seconds:70", "for 70 s");
    }

    #[test]
    fn the_first_fork_is_reckoned_from_the_memory() {
        let used = 80 * 1_000_000_000_u64;
        let info = Info::parse(&format!("used_memory:{used}\nlatest_fork_usec:0"));
        assert!(ForkLimits::default().problem(&info).unwrap().contains("1.6s"));
    }
}
