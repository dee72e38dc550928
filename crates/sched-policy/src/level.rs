//! The levels at which something may be said, and what was said there: [`Level`], [`Layer`].

use std::fmt;
use std::sync::Arc;

use sched_core::{GroupName, InstanceName, TechnologyName};
use serde::Serialize;

use crate::profile::Profile;

/// Who says something, weakest first: later ones go before earlier ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Level {
    /// A technology as it comes with this crate.
    BuiltIn(TechnologyName),
    /// A technology of the host's own, or what it changes of a built-in one.
    Technology(TechnologyName),
    /// A label that a cluster or an instance has.
    Label(String),
    /// A cluster.
    Cluster(GroupName),
    /// A single instance.
    Instance(InstanceName),
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn(name) => write!(f, "built-in {name}"),
            Self::Technology(name) => write!(f, "technology {name}"),
            Self::Label(name) => write!(f, "label {name}"),
            Self::Cluster(name) => write!(f, "cluster {name}"),
            Self::Instance(name) => write!(f, "instance {name}"),
        }
    }
}

/// Where a value was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Origin {
    /// By whom.
    pub level: Level,
    /// In which file, and at which of its lines, from 1; `None` if it was said in code.
    pub place: Option<(Arc<str>, u32)>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.level.fmt(f)?;
        match &self.place {
            Some((file, line)) => write!(f, ", {file}:{line}"),
            None => Ok(()),
        }
    }
}

/// What one level says.
#[derive(Clone, Debug)]
pub(crate) struct Layer<'p> {
    pub(crate) level: Level,
    pub(crate) profile: &'p Arc<Profile>,
    pub(crate) lines: &'p Lines,
}

impl Layer<'_> {
    /// Where this level says the value of a key.
    pub(crate) fn origin(&self, key: &str) -> Origin {
        let place = self.lines.file.clone().zip(self.lines.of(key));
        Origin { level: self.level.clone(), place }
    }
}

/// The lines at which the values of a level stand; none if it was said in code.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines {
    file: Option<Arc<str>>,
    /// Of each key from the level's table on, such as `log.demand.memory`.
    lines: Box<[(Box<str>, u32)]>,
}

impl Lines {
    pub(crate) fn new(file: Arc<str>, lines: Vec<(Box<str>, u32)>) -> Self {
        Self { file: Some(file), lines: lines.into() }
    }

    /// The line of a key, or of the closest table around it.
    fn of(&self, mut key: &str) -> Option<u32> {
        loop {
            if let Some((_, line)) = self.lines.iter().find(|(noted, _)| **noted == *key) {
                return Some(*line);
            }
            key = key.rsplit_once('.')?.0;
        }
    }
}
