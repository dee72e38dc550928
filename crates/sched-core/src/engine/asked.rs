//! Which figures of a job somebody asked for, in one byte.

use crate::spec::JobSpec;

/// What the request itself said of what is otherwise learned or taken from the terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked(u8);

impl Asked {
    const SIZE: u8 = 1;
    const DURATION: u8 = 2;
    const RPO: u8 = 4;

    pub(super) fn by(spec: &JobSpec) -> Self {
        let bit = |asked: bool, bit: u8| if asked { bit } else { 0 };
        Self(
            bit(spec.size_bytes.is_some(), Self::SIZE)
                | bit(spec.expected_duration.is_some(), Self::DURATION)
                | bit(spec.rpo.is_some(), Self::RPO),
        )
    }

    /// Takes note of a second request: its size counts.
    pub(super) fn join(&mut self, spec: &JobSpec) {
        self.0 |= Self::by(spec).0 & Self::SIZE;
    }

    pub(super) fn size(self) -> bool {
        self.0 & Self::SIZE != 0
    }

    pub(super) fn duration(self) -> bool {
        self.0 & Self::DURATION != 0
    }

    pub(super) fn rpo(self) -> bool {
        self.0 & Self::RPO != 0
    }
}
