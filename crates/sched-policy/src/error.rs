//! Why no policy could be applied: [`PolicyError`].

use crate::config::problem::Problems;
use sched_core::{GroupName, InstanceName, NameError, TechnologyName};

/// Why no policy could be applied, or none be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// No technology has that name.
    #[error(
        "technology: {name:?} is not known{}; known are {known}; add your own with `Policies::with`, or as a table such as `[technologies.ledger]` in a policy file",
        match nearest { Some(nearest) => format!(", did you mean {nearest:?}?"), None => String::new() }
    )]
    UnknownTechnology {
        /// The name found.
        name: TechnologyName,
        /// The most similar known name, if one is similar.
        nearest: Option<TechnologyName>,
        /// All known names.
        known: String,
    },
    /// The name of a new technology cannot be used.
    #[error("technology: the name {name:?} cannot be used: {source}")]
    Name {
        /// The name.
        name: TechnologyName,
        /// Why.
        source: NameError,
    },
    /// What was said cannot be used.
    #[error(transparent)]
    Config(#[from] Problems),
    /// A cluster is to be backed up that has nobody to take the backup from.
    #[error(
        "cluster {cluster}: no instance belongs to it that has one of the roles that its policy takes: {roles}"
    )]
    NoMember {
        /// The cluster.
        cluster: GroupName,
        /// The roles, the best first.
        roles: String,
    },
    /// A request names another technology than the configuration.
    #[error("technology: the configuration says that {instance} is {configured}, the request says {asked}")]
    OtherTechnology {
        /// The instance.
        instance: InstanceName,
        /// What the configuration says.
        configured: TechnologyName,
        /// What the request says.
        asked: TechnologyName,
    },
}
