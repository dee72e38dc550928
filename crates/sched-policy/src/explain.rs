//! What counts for somebody, and who said so: [`PolicyExplanation`].

use std::fmt;

use sched_core::{BackupKind, InstanceName, JobSpec, TechnologyName};
use serde::Serialize;

use crate::config::node::{Entry, Node, Tree};
use crate::config::value::Keys;
use crate::error::PolicyError;
use crate::level::{Layer, Origin};
use crate::policies::Policies;
use crate::profile::kind_key;
use crate::values::Values;

/// A value that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Explained {
    /// Its key, such as `rpo` or `demand.memory`.
    pub key: String,
    /// The value, as a file has it.
    pub value: String,
    /// Who says it: the strongest level that does.
    pub origin: Option<Origin>,
    /// Whether it is said of this kind alone.
    pub of_kind: bool,
}

/// All values that count for backups of one kind of one instance. Its `Display` is for people, and valid TOML.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PolicyExplanation {
    /// The instance.
    pub instance: InstanceName,
    /// Its technology.
    pub technology: TechnologyName,
    /// The kind.
    pub kind: BackupKind,
    /// The values, in the order of the documentation.
    pub values: Vec<Explained>,
}

impl Policies {
    /// What counts for a request, value by value, and who said so.
    ///
    /// # Errors
    /// As [`effective`](Self::effective).
    pub fn explain(&self, spec: &JobSpec) -> Result<PolicyExplanation, PolicyError> {
        let effective = self.effective(spec)?;
        let layers = self.layers(spec)?;
        let mut values = Vec::new();
        for (key, node) in Values::from(&**effective).said() {
            let parts = match &node.tree {
                Tree::Table(entries) => entries
                    .iter()
                    .map(|Entry { key: part, node, .. }| (format!("{key}.{part}"), node))
                    .collect(),
                _ => vec![(key.to_owned(), &node)],
            };
            for (path, node) in parts {
                let (origin, of_kind) = origin(&layers, spec.kind, &path, key);
                values.push(Explained { key: path, value: node.to_string(), origin, of_kind });
            }
        }
        Ok(PolicyExplanation {
            instance: spec.instance.clone(),
            technology: self.canonical_name(&spec.technology)?,
            kind: spec.kind,
            values,
        })
    }

    /// Who says the value of a key, for people.
    pub(crate) fn said_by(&self, spec: &JobSpec, key: &str) -> String {
        let origin = self.layers(spec).ok().and_then(|layers| origin(&layers, spec.kind, key, key).0);
        origin.map_or_else(|| "nobody".into(), |origin| origin.to_string())
    }

    /// As [`explain`](Self::explain), for an instance that the configuration names.
    ///
    /// `None` if it names no such instance.
    pub fn explain_instance(&self, name: &InstanceName, kind: BackupKind) -> Option<PolicyExplanation> {
        let instance = self.instances.get(name)?;
        let spec = JobSpec::new(name, &instance.technology).kind(kind);
        self.explain(&spec).ok()
    }
}

/// Who says it, strongest first, and whether of this kind alone; what is said of the kind goes first.
pub(crate) fn origin(
    layers: &[Layer<'_>],
    kind: BackupKind,
    path: &str,
    key: &str,
) -> (Option<Origin>, bool) {
    for of_kind in [true, false] {
        for layer in layers.iter().rev() {
            let says = |(own, values): (bool, &Values)| own == of_kind && says(values, path, key);
            if layer.profile.of(kind).any(says) {
                let prefix = if of_kind { format!("{}.", kind_key(kind)) } else { String::new() };
                return (Some(layer.origin(&format!("{prefix}{path}"))), of_kind);
            }
        }
    }
    (None, false)
}

fn says(values: &Values, path: &str, key: &str) -> bool {
    let part = path.strip_prefix(key).and_then(|part| part.strip_prefix('.'));
    let said =
        |(said, node): (&str, Node<'_>)| said == key && part.is_none_or(|part| node.entry(part).is_some());
    values.said().into_iter().any(said)
}

impl fmt::Display for PolicyExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instance, technology, kind, values } = self;
        write!(f, "# {kind} backups of {instance} ({technology})")?;
        let said = |Explained { key, value, .. }: &Explained| format!("{key} = {value}");
        let width = values.iter().map(|value| said(value).chars().count()).filter(|width| *width <= 48).max();
        for value in values {
            let origin = value.origin.as_ref().map_or_else(|| "nobody".into(), Origin::to_string);
            let of_kind = if value.of_kind { format!(", of {kind} backups") } else { String::new() };
            write!(f, "\n{:width$}  # {origin}{of_kind}", said(value), width = width.unwrap_or(0))?;
        }
        Ok(())
    }
}
