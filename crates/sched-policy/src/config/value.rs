//! What a value of a configuration is: how it is read, written, put over another, and described.

use super::node::{Entry, Node, Tree};
use super::path::Path;
use super::problem::Findings;
use crate::nearest;

/// What a value may look like. Error messages, the JSON schema and the table of keys are made from it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    Flag,
    /// A whole number.
    Count,
    Number,
    /// A text, and an example of it.
    Text(&'static str),
    /// A text with a unit: an example, and the regular expression that it matches.
    Unit(&'static str, &'static str),
    /// One of these texts.
    OneOf(&'static [&'static str]),
    Either(&'static Shape, &'static Shape),
    List(&'static Shape),
    /// A table whose keys are names.
    Map(&'static Shape),
    /// A table with these keys.
    Table(&'static [Field]),
}

/// A key of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) key: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) shape: Shape,
}

/// A value of a configuration.
pub(crate) trait Value: Clone + PartialEq {
    const SHAPE: Shape;

    /// The value, or `None` after what is wrong with it was reported.
    fn read(node: &Node<'_>, at: &Path<'_>, findings: &mut Findings) -> Option<Self>;

    fn write(&self) -> Node<'static>;

    /// Puts `over` in the place of this. Maps are put together key by key.
    fn overlay(&mut self, over: &Self) {
        self.clone_from(over);
    }
}

/// A table with keys of its own: a part of what one place in the file may say.
pub(crate) trait Keys {
    const FIELDS: &'static [Field];

    /// Reads one key; `false` if it has none of that name.
    fn read_key(&mut self, entry: &Entry<'_>, at: &Path<'_>, findings: &mut Findings) -> bool;

    /// What is said.
    fn said(&self) -> Vec<(&'static str, Node<'static>)>;
}

/// Declares a table: each key may be absent.
macro_rules! keys {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $( $(#[doc = $doc:literal])+ $field:ident: $type:ty, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq)]
        #[non_exhaustive]
        $vis struct $name {
            $( $(#[doc = $doc])+ pub $field: Option<$type>, )*
        }

        impl $crate::config::value::Keys for $name {
            const FIELDS: &'static [$crate::config::value::Field] = &[
                $( $crate::config::value::Field {
                    key: stringify!($field),
                    doc: concat!($($doc),+),
                    shape: <$type as $crate::config::value::Value>::SHAPE,
                }, )*
            ];

            fn read_key(
                &mut self,
                entry: &$crate::config::node::Entry<'_>,
                at: &$crate::config::path::Path<'_>,
                findings: &mut $crate::config::problem::Findings,
            ) -> bool {
                use $crate::config::value::Value;
                match &*entry.key {
                    $( stringify!($field) => {
                        self.$field = <$type>::read(&entry.node, &at.key(stringify!($field)), findings);
                    } )*
                    _ => return false,
                }
                true
            }

            fn said(&self) -> Vec<(&'static str, $crate::config::node::Node<'static>)> {
                use $crate::config::value::Value;
                let mut said = Vec::new();
                $( if let Some(value) = &self.$field {
                    said.push((stringify!($field), value.write()));
                } )*
                said
            }
        }
    };
}
pub(crate) use keys;

/// Reports that the node is not what is wanted.
pub(crate) fn expected<T>(what: &str, node: &Node<'_>, at: &Path<'_>, findings: &mut Findings) -> Option<T> {
    findings.error(node.span, at, format!("expected {what}, found {}", node.type_name()));
    None
}

/// Reports a key that is not known, with the most similar one of those that are.
pub(crate) fn unknown_key<'k>(
    entry: &Entry<'_>,
    known: impl Iterator<Item = &'k str> + Clone,
    at: &Path<'_>,
    findings: &mut Findings,
) {
    let nearest = nearest::of(&entry.key, known.clone());
    let hint = match nearest {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("known are {}", known.collect::<Vec<_>>().join(", ")),
    };
    findings.error(entry.key_span, at, format!("there is no key `{}` here; {hint}", entry.key));
}

/// The entries of a table.
pub(crate) fn entries<'n, 'a>(
    node: &'n Node<'a>,
    at: &Path<'_>,
    findings: &mut Findings,
) -> Option<&'n [Entry<'a>]> {
    match &node.tree {
        Tree::Table(entries) => Some(entries),
        _ => expected("a table", node, at, findings),
    }
}

/// A whole table with the keys of one type.
pub(crate) fn read_table<T: Keys + Default>(
    node: &Node<'_>,
    at: &Path<'_>,
    findings: &mut Findings,
) -> Option<T> {
    let mut table = T::default();
    for entry in entries(node, at, findings)? {
        if !table.read_key(entry, at, findings) {
            unknown_key(entry, T::FIELDS.iter().map(|field| field.key), at, findings);
        }
    }
    Some(table)
}

pub(crate) fn text<'n>(
    node: &'n Node<'_>,
    what: &str,
    at: &Path<'_>,
    findings: &mut Findings,
) -> Option<&'n str> {
    match &node.tree {
        Tree::Text(text) => Some(text),
        _ => expected(what, node, at, findings),
    }
}

/// A text that a parser of another type understands.
pub(crate) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    node: &Node<'_>,
    what: &str,
    at: &Path<'_>,
    findings: &mut Findings,
) -> Option<T> {
    let text = text(node, what, at, findings)?;
    let parsed = text.parse();
    parsed.map_err(|error| findings.error(node.span, at, format!("{text:?} is not {what}: {error}"))).ok()
}

/// One of a few names; `$all` holds each value once, and its `Display` is its name.
macro_rules! one_of {
    ($type:ty, $all:expr, [$($name:literal),*]) => {
        impl $crate::config::value::Value for $type {
            const SHAPE: $crate::config::value::Shape = $crate::config::value::Shape::OneOf(&[$($name),*]);

            fn read(
                node: &$crate::config::node::Node<'_>,
                at: &$crate::config::path::Path<'_>,
                findings: &mut $crate::config::problem::Findings,
            ) -> Option<Self> {
                $crate::config::value::index_of(&[$($name),*], node, at, findings)
                    .map(|index| $all[index])
            }

            fn write(&self) -> $crate::config::node::Node<'static> {
                $crate::config::node::Node::text(self.to_string())
            }
        }
    };
}
pub(crate) use one_of;

/// Which of the names it is.
pub(crate) fn index_of(
    names: &[&'static str],
    node: &Node<'_>,
    at: &Path<'_>,
    findings: &mut Findings,
) -> Option<usize> {
    let text = text(node, &format!("one of {}", names.join(", ")), at, findings)?;
    let found = names.iter().position(|name| *name == text);
    if found.is_none() {
        let hint = match nearest::of(text, names.iter().copied()) {
            Some(nearest) => format!("did you mean {nearest:?}?"),
            None => format!("it is one of {}", names.join(", ")),
        };
        findings.error(node.span, at, format!("there is no {text:?}; {hint}"));
    }
    found
}
