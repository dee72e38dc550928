//! What a run goes through: [`Phase`].

use std::fmt;

use sched_core::RunPhase;

use crate::config::node::Node;
use crate::config::path::Path;
use crate::config::problem::Findings;
use crate::config::value::{Keys, Shape, Value, keys, one_of, read_table};
use crate::units::ByteRate;

/// What a phase of a run tolerates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Tolerance {
    /// It may begin later; once begun it must finish.
    Deferrable,
    /// It may be slowed down to its floor, and must not stand still.
    #[default]
    Slowable,
    /// It may stand still and go on later.
    Pausable,
    /// It must finish at full speed: slowing it does harm.
    MustFinish,
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Deferrable => "deferrable",
            Self::Slowable => "slowable",
            Self::Pausable => "pausable",
            Self::MustFinish => "must_finish",
        })
    }
}

one_of!(
    Tolerance,
    [Tolerance::Deferrable, Tolerance::Slowable, Tolerance::Pausable, Tolerance::MustFinish],
    ["deferrable", "slowable", "pausable", "must_finish"]
);

/// A part of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Phase {
    /// The name under which the executor announces it.
    pub name: String,
    /// What it tolerates.
    pub tolerates: Tolerance,
    /// The rate below which slowing it does harm. 0: none.
    pub floor: ByteRate,
}

impl Phase {
    /// A part of a run, with the rate below which slowing it does harm; 0: none.
    pub fn new(name: impl Into<String>, tolerates: Tolerance, floor: ByteRate) -> Self {
        Self { name: name.into(), tolerates, floor }
    }
}

impl From<&Phase> for RunPhase {
    /// As an executor announces it: what must finish is not slowed, and neither is what could only have begun later.
    fn from(phase: &Phase) -> Self {
        let run = Self::new(&*phase.name);
        match phase.tolerates {
            Tolerance::Slowable => run.floor(phase.floor.0),
            Tolerance::Pausable => run.floor(phase.floor.0).pausable(),
            Tolerance::Deferrable | Tolerance::MustFinish => run.floor(u64::MAX),
        }
    }
}

keys! {
    struct PhaseKeys {
        /// The name under which the executor announces it. Must be said.
        name: String,
        /// What it tolerates: to begin later, to be slowed, to stand still, or nothing. `slowable` unless said.
        tolerates: Tolerance,
        /// The rate below which slowing it does harm. `0 B/s`, none, unless said.
        floor: ByteRate,
    }
}

impl Value for Phase {
    const SHAPE: Shape = Shape::Table(PhaseKeys::FIELDS);

    fn read(node: &Node<'_>, at: &Path<'_>, findings: &mut Findings) -> Option<Self> {
        let PhaseKeys { name, tolerates, floor } = read_table(node, at, findings)?;
        let Some(name) = name else {
            findings.error(node.span, at, "a phase needs a `name`");
            return None;
        };
        let (tolerates, floor) = (tolerates.unwrap_or_default(), floor.unwrap_or_default());
        if floor.0 > 0 && !matches!(tolerates, Tolerance::Slowable | Tolerance::Pausable) {
            let message = format!("a {tolerates} phase is not slowed: leave its `floor` out");
            findings.error(node.span, &at.key("floor"), message);
            return None;
        }
        Some(Self { name, tolerates, floor })
    }

    fn write(&self) -> Node<'static> {
        let floor = (self.floor.0 > 0).then_some(self.floor);
        let keys = PhaseKeys { name: Some(self.name.clone()), tolerates: Some(self.tolerates), floor };
        Node::table(keys.said())
    }
}
