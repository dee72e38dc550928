//! The process that a scheduler lives in. A child that is forked off has its memory and none of its threads: whoever asked there
//! would wait for ever, perhaps for a lock that a thread held which is not there.

use crate::error::Stopped;

/// The process in which there are threads that answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home(u32);

impl Home {
    /// This process.
    pub(crate) fn here() -> Self {
        Self(std::process::id())
    }

    /// Another process than this one.
    #[cfg(test)]
    pub(crate) fn elsewhere() -> Self {
        Self(std::process::id() ^ 1)
    }

    /// To be looked at before any lock and any channel.
    ///
    /// # Errors
    /// When this is another process.
    pub(crate) fn check(self) -> Result<(), Stopped> {
        if self.is_here() { Ok(()) } else { Err(Stopped::Forked { process: self.0 }) }
    }

    pub(crate) fn is_here(self) -> bool {
        self == Self::here()
    }
}
