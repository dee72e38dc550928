//! Whether a configuration makes sense beside all that is known already.

use std::collections::BTreeMap;

use sched_core::{GroupName, InstanceName, TechnologyName};

use super::Config;
use super::node::{Node, Span, Tree};
use super::path::is_bare;
use super::problem::{Findings, Severity};

/// Finds what makes no sense, and where it stands.
pub(crate) struct Check<'c, 'n> {
    root: &'c Node<'n>,
    findings: &'c mut Findings,
    /// All names of technologies, those of the configuration included, and which technology each means.
    pub(super) technologies: BTreeMap<TechnologyName, TechnologyName>,
}

/// What a configuration speaks of, kept while its parts move on.
pub(crate) struct Said {
    pub(super) technologies: Vec<TechnologyName>,
    pub(super) labels: Vec<String>,
    pub(super) clusters: Vec<GroupName>,
    pub(super) instances: Vec<InstanceName>,
}

impl Said {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            technologies: config.technologies.keys().cloned().collect(),
            labels: config.labels.keys().cloned().collect(),
            clusters: config.clusters.keys().cloned().collect(),
            instances: config.instances.keys().cloned().collect(),
        }
    }
}

impl<'c, 'n> Check<'c, 'n> {
    pub(crate) fn new(root: &'c Node<'n>, findings: &'c mut Findings) -> Self {
        Self { root, findings, technologies: BTreeMap::new() }
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.findings.has_errors()
    }

    pub(super) fn add(&mut self, severity: Severity, path: &[&str], message: String) {
        // Looking for places takes long in a file that is wrong in each of its lines.
        let span = if self.findings.has_room() { self.locate(path) } else { Span::default() };
        self.findings.add(severity, span, dotted(path), message);
    }

    pub(super) fn error(&mut self, path: &[&str], message: String) {
        self.add(Severity::Error, path, message);
    }

    /// Where the last of the keys stands that can be found: its value, or the key itself if that is a whole table.
    fn locate(&self, path: &[&str]) -> Span {
        let (mut node, mut span) = (self.root, Span::default());
        for key in path {
            let Some(entry) = node.entry(key) else { break };
            node = &entry.node;
            let is_table = matches!(node.tree, Tree::Table(_));
            span = if is_table { entry.key_span } else { node.span };
        }
        span
    }
}

fn dotted(path: &[&str]) -> String {
    let keys = path.iter().map(|key| if is_bare(key) { (*key).to_owned() } else { format!("{key:?}") });
    keys.collect::<Vec<_>>().join(".")
}
