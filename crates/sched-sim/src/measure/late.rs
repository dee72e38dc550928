//! Recovery points that were hardly replaced in time, or too late, and why: [`Late`], [`Cause`].

use std::fmt;

use serde::{Deserialize, Serialize};

const HOUR: f64 = 3600.0;

/// A recovery point, how late it was replaced, and what the time was spent on. Times are seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Late {
    /// Which instance, by number.
    pub instance: u32,
    /// By how much it was late; negative where it was in time.
    pub by_secs: f64,
    /// The same in parts of the RPO.
    pub by_rpos: f64,
    /// When it fell due.
    pub due: f64,
    /// Whether it was replaced at all before the end.
    pub replaced: bool,
    /// From the recovery point to the asking for the next backup.
    pub unasked_secs: f64,
    /// From the asking to the first start.
    pub waited_secs: f64,
    /// Attempts that failed.
    pub failed: u16,
    /// From the start of the first attempt to the end of the last.
    pub tried_secs: f64,
    /// Of it, while an attempt ran, and the foreground left next to nothing of its host.
    pub host_secs: f64,
    /// Of it, while an attempt ran, and its link kept it from going as fast as the host allowed.
    pub link_secs: f64,
    /// Of it, while an attempt ran and nothing kept it back.
    pub free_secs: f64,
}

/// What took most of the time.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cause {
    /// Attempts failed: how many.
    Failed(u16),
    /// Nobody asked for a backup for so many seconds.
    Unasked(f64),
    /// It waited to start, for so many seconds.
    Waited(f64),
    /// The foreground left next to nothing of its host, for so many seconds.
    Host(f64),
    /// Its link was full, for so many seconds.
    Link(f64),
    /// It is large: it moved for so many seconds with nothing in its way.
    Large(f64),
}

impl Late {
    /// What took most of the time.
    pub fn cause(&self) -> Cause {
        if self.failed > 0 {
            return Cause::Failed(self.failed);
        }
        let causes = [
            (self.waited_secs, Cause::Waited(self.waited_secs)),
            (self.host_secs, Cause::Host(self.host_secs)),
            (self.link_secs, Cause::Link(self.link_secs)),
            (self.free_secs, Cause::Large(self.free_secs)),
        ];
        // Waiting to be asked for is the schedule itself; it counts when it alone comes near to what was allowed.
        let worst = causes.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
        let (secs, cause) = worst.unwrap_or((0.0, Cause::Unasked(self.unasked_secs)));
        if secs < 0.1 * self.unasked_secs { Cause::Unasked(self.unasked_secs) } else { cause }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = |secs: &f64| secs / HOUR;
        match self {
            Self::Failed(1) => write!(f, "an attempt failed"),
            Self::Failed(attempts) => write!(f, "{attempts} attempts failed"),
            Self::Unasked(secs) => {
                write!(f, "the next backup was only asked for {:.1} h after the last", hours(secs))
            }
            Self::Waited(secs) => write!(f, "it waited {:.1} h to start", hours(secs)),
            Self::Host(secs) => write!(f, "its host was too busy for {:.1} h", hours(secs)),
            Self::Link(secs) => write!(f, "its link was full for {:.1} h", hours(secs)),
            Self::Large(secs) => write!(f, "it takes {:.1} h with nothing in its way", hours(secs)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_most_is_named() {
        let late = Late { unasked_secs: 24.0 * HOUR, ..Late::default() };
        assert_eq!(late.cause(), Cause::Unasked(24.0 * HOUR));
        let late = Late { host_secs: 3.0 * HOUR, link_secs: 5.0 * HOUR, ..late };
        assert_eq!(late.cause().to_string(), "its link was full for 5.0 h");
        assert_eq!(Late { failed: 2, ..late }.cause().to_string(), "2 attempts failed");
    }
}
