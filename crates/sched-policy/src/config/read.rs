//! From a tree of nodes to a [`Config`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sched_core::BackupKind;

use super::node::{Node, Tree};
use super::path::Path;
use super::problem::{Findings, Source};
use super::value::{Field, Keys, Value, entries, read_table, unknown_key};
use super::{Config, Entry};
use crate::calendar::WindowRules;
use crate::level::Lines;
use crate::profile::{Profile, kind_key};
use crate::values;

/// The tables of a file, in the order in which the documentation tells of them.
pub(crate) const TABLES: [&str; 7] =
    ["fleet", "calendars", "technologies", "labels", "clusters", "hosts", "instances"];

/// All that the tree says. What cannot be understood is reported and left out.
pub(crate) fn config(node: &Node<'_>, source: Option<&Source<'_>>, findings: &mut Findings) -> Config {
    let at = &Path::ROOT;
    let mut config = Config::default();
    let mut reader = Reader { source, file: source.map(Source::file), findings, shared: HashMap::new() };
    for entry in entries(node, at, reader.findings).unwrap_or_default() {
        let (node, at) = (&entry.node, &at.key(&entry.key));
        match &*entry.key {
            "fleet" => config.fleet = read_table(node, at, reader.findings).unwrap_or_default(),
            "calendars" => {
                config.calendars =
                    reader.named(node, at, |reader, node, at| WindowRules::read(node, at, reader.findings));
            }
            "technologies" => config.technologies = reader.levels(node, at),
            "labels" => config.labels = reader.levels(node, at),
            "clusters" => config.clusters = reader.levels(node, at),
            "hosts" => {
                config.hosts =
                    reader.named(node, at, |reader, node, at| read_table(node, at, reader.findings));
            }
            "instances" => config.instances = reader.levels(node, at),
            _ => unknown_key(entry, TABLES.into_iter(), &Path::ROOT, reader.findings),
        }
    }
    config
}

struct Reader<'r, 't> {
    source: Option<&'r Source<'t>>,
    file: Option<Arc<str>>,
    findings: &'r mut Findings,
    /// Profiles by what they say, so that those who say the same share one.
    shared: HashMap<String, Arc<Profile>>,
}

impl Reader<'_, '_> {
    /// A table of things by name, each with a policy.
    fn levels<N: Value + Ord + AsRef<str>, T: Keys + Default>(
        &mut self,
        node: &Node<'_>,
        at: &Path<'_>,
    ) -> BTreeMap<N, Entry<T>> {
        self.named(node, at, Self::level)
    }

    fn named<N: Value + Ord, T>(
        &mut self,
        node: &Node<'_>,
        at: &Path<'_>,
        read: impl Fn(&mut Self, &Node<'_>, &Path<'_>) -> Option<T>,
    ) -> BTreeMap<N, T> {
        let mut things = BTreeMap::new();
        for entry in entries(node, at, self.findings).unwrap_or_default() {
            let at = at.key(&entry.key);
            let key = Node { span: entry.key_span, tree: Tree::Text(entry.key.clone()) };
            let name = N::read(&key, &at, self.findings);
            if let Some((name, thing)) = name.zip(read(self, &entry.node, &at)) {
                things.insert(name, thing);
            }
        }
        things
    }

    fn level<T: Keys + Default>(&mut self, node: &Node<'_>, at: &Path<'_>) -> Option<Entry<T>> {
        let (mut about, mut profile) = (T::default(), Profile::new());
        for entry in entries(node, at, self.findings)? {
            let known =
                about.read_key(entry, at, self.findings) || profile.read_key(entry, at, self.findings);
            if !known {
                unknown_key(entry, level_keys(T::FIELDS), at, self.findings);
            }
        }
        let mut lines = Lines::default();
        if let (Some(source), Some(file), false) = (self.source, &self.file, profile.is_empty()) {
            let mut noted = Vec::new();
            note(node, "", source, &mut noted);
            noted.retain(|(key, _)| !T::FIELDS.iter().any(|field| *field.key == **key));
            lines = Lines::new(file.clone(), noted);
        }
        Some(Entry { about, policy: self.share(profile), lines })
    }

    fn share(&mut self, profile: Profile) -> Arc<Profile> {
        let said = if profile.is_empty() { String::new() } else { Node::table(profile.said()).to_string() };
        self.shared.entry(said).or_insert_with(|| Arc::new(profile)).clone()
    }
}

/// The keys that the table of a level may have.
pub(crate) fn level_keys(about: &'static [Field]) -> impl Iterator<Item = &'static str> + Clone {
    let own = about.iter().chain(values::FIELDS).map(|field| field.key);
    own.chain(BackupKind::ALL.into_iter().map(kind_key))
}

/// Notes at which line each key stands, those of tables below it included.
fn note(node: &Node<'_>, prefix: &str, source: &Source<'_>, noted: &mut Vec<(Box<str>, u32)>) {
    let Tree::Table(entries) = &node.tree else { return };
    for entry in entries {
        let key = format!("{prefix}{}", entry.key);
        note(&entry.node, &format!("{key}."), source, noted);
        noted.push((key.into(), source.line(entry.key_span)));
    }
}
