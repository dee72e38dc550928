//! A set of backup kinds: [`Kinds`].

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::spec::BackupKind;

/// A set of backup kinds, in a byte.
///
/// ```
/// use sched_core::{BackupKind, Kinds};
///
/// let kinds: Kinds = [BackupKind::Full, BackupKind::Incremental].into_iter().collect();
/// assert!(kinds.has(BackupKind::Full) && !kinds.has(BackupKind::Log));
/// assert_eq!(kinds.without(BackupKind::Full).to_string(), "incremental");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<BackupKind>", into = "Vec<BackupKind>")]
pub struct Kinds(u8);

impl Kinds {
    /// Whether a kind is in it.
    pub fn has(self, kind: BackupKind) -> bool {
        self.0 & bit(kind) != 0
    }

    /// Without one kind.
    #[must_use]
    pub fn without(self, kind: BackupKind) -> Self {
        Self(self.0 & !bit(kind))
    }

    /// Whether no kind is in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many kinds are in it.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Its kinds, in their order.
    pub fn iter(self) -> impl Iterator<Item = BackupKind> {
        BackupKind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }
}

fn bit(kind: BackupKind) -> u8 {
    1 << kind as u8
}

impl FromIterator<BackupKind> for Kinds {
    fn from_iter<I: IntoIterator<Item = BackupKind>>(kinds: I) -> Self {
        Self(kinds.into_iter().fold(0, |all, kind| all | bit(kind)))
    }
}

impl Extend<BackupKind> for Kinds {
    fn extend<I: IntoIterator<Item = BackupKind>>(&mut self, kinds: I) {
        self.0 |= kinds.into_iter().collect::<Self>().0;
    }
}

impl From<Vec<BackupKind>> for Kinds {
    fn from(kinds: Vec<BackupKind>) -> Self {
        kinds.into_iter().collect()
    }
}

impl From<Kinds> for Vec<BackupKind> {
    fn from(kinds: Kinds) -> Self {
        kinds.iter().collect()
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<_> = self.iter().map(|kind| kind.to_string()).collect();
        f.write_str(&kinds.join(", "))
    }
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
