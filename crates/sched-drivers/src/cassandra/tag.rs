//! What snapshots are called: [`Tag`].

use std::fmt;

use sched_core::{BackupKind, RunContext};

use crate::command::ProcessMark;

const PREFIX: &str = "backup-sched-";

/// The name of a snapshot, such as `backup-sched-full-20261129T134430.250Z-j7-a1-p4711-t88123-b3f2a90c1`: who took it,
/// for what, and when. Names of one kind sort by time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tag(String);

impl Tag {
    /// The snapshot that an attempt takes.
    pub(super) fn of(ctx: &RunContext) -> Self {
        let at = ctx.started().strftime("%Y%m%dT%H%M%S.%3fZ");
        let (job, attempt) = (ctx.job().0, ctx.attempt());
        let ProcessMark { pid, started_ticks, boot } = ProcessMark::own();
        let boot = short(&boot);
        Self(format!("{PREFIX}{}-{at}-j{job}-a{attempt}-p{pid}-t{started_ticks}-b{boot}", ctx.spec().kind))
    }

    /// A name as the node tells it; `None` for one that is not ours.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let tag = Self(text.to_owned());
        let known = |kind: &BackupKind| kind.to_string() == tag.part(0);
        (text.starts_with(PREFIX) && BackupKind::ALL.iter().any(known)).then_some(tag)
    }

    /// Whether it was taken for backups of this kind.
    pub(super) fn is_of(&self, kind: BackupKind) -> bool {
        self.part(0) == kind.to_string()
    }

    /// Whether the process that took it still runs on this machine, and is not this one.
    pub(super) fn taken_by_another(&self) -> bool {
        let own = ProcessMark::own();
        let number = |part, letter: char| self.part(part).strip_prefix(letter)?.parse::<u64>().ok();
        let (Some(pid), Some(started_ticks)) = (number(4, 'p'), number(5, 't')) else { return false };
        let Ok(pid) = u32::try_from(pid) else { return false };
        let mark = ProcessMark { pid, started_ticks, boot: own.boot.clone() };
        self.part(6).strip_prefix('b') == Some(&*short(&own.boot)) && mark != own && mark.runs()
    }

    fn part(&self, number: usize) -> &str {
        self.0.strip_prefix(PREFIX).and_then(|rest| rest.split('-').nth(number)).unwrap_or_default()
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The beginning of what tells one run of one machine.
fn short(boot: &str) -> String {
    boot.chars().filter(char::is_ascii_alphanumeric).take(8).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sched_core::{JobSpec, ManualClock};

    use super::*;

    #[test]
    fn a_tag_says_whose_it_is() {
        let spec = JobSpec::new("orders", "cassandra");
        let ctx = RunContext::detached(spec, Arc::new(ManualClock::default()));
        let tag = Tag::of(&ctx);
        assert_eq!(Tag::parse(&tag.to_string()), Some(tag.clone()));
        assert!(tag.is_of(BackupKind::Full) && !tag.is_of(BackupKind::Snapshot));
        // Whose process is not this one, and is there: the first of all. It started when the machine did.
        assert!(!tag.taken_by_another());
        let others = ProcessMark::of(1);
        let text = tag.to_string().replace(&format!("-p{}-", std::process::id()), "-p1-");
        let own = ProcessMark::own().started_ticks;
        let text = text.replace(&format!("-t{own}-"), &format!("-t{}-", others.started_ticks));
        assert_eq!(Tag::parse(&text).unwrap().taken_by_another(), cfg!(target_os = "linux"));
        for strange in ["before-upgrade", "backup-sched-", "backup-sched-weekly-1", ""] {
            assert_eq!(Tag::parse(strange), None, "{strange}");
        }
    }
}
