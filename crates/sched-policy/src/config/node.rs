//! What any format comes down to before it is understood: a tree of [`Node`]s that know where they stood.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Where something stands in the text, in bytes. Empty where there is no text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node<'a> {
    pub(crate) span: Span,
    pub(crate) tree: Tree<'a>,
}

/// A value of any type that formats have.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tree<'a> {
    Flag(bool),
    Integer(i64),
    Number(f64),
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Table(Vec<Entry<'a>>),
}

/// A key of a table and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry<'a> {
    pub(crate) key: Cow<'a, str>,
    pub(crate) key_span: Span,
    pub(crate) node: Node<'a>,
}

impl<'a> Node<'a> {
    pub(crate) fn new(tree: Tree<'a>) -> Self {
        Self { span: Span::default(), tree }
    }

    pub(crate) fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::new(Tree::Text(text.into()))
    }

    pub(crate) fn integer(number: impl TryInto<i64>) -> Self {
        Self::new(Tree::Integer(number.try_into().unwrap_or(i64::MAX)))
    }

    /// A table without positions.
    pub(crate) fn table<K: Into<Cow<'a, str>>>(entries: impl IntoIterator<Item = (K, Self)>) -> Self {
        let entry = |(key, node): (K, Self)| Entry { key: key.into(), key_span: Span::default(), node };
        Self::new(Tree::Table(entries.into_iter().map(entry).collect()))
    }

    pub(crate) fn list(nodes: impl IntoIterator<Item = Self>) -> Self {
        Self::new(Tree::List(nodes.into_iter().collect()))
    }

    /// Whether it is a table without keys.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(&self.tree, Tree::Table(entries) if entries.is_empty())
    }

    /// The entry of a table.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry<'a>> {
        match &self.tree {
            Tree::Table(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// What it is, for people.
    pub(crate) fn type_name(&self) -> &'static str {
        match self.tree {
            Tree::Flag(_) => "a boolean",
            Tree::Integer(_) => "an integer",
            Tree::Number(_) => "a number",
            Tree::Text(_) => "a text",
            Tree::List(_) => "a list",
            Tree::Table(_) => "a table",
        }
    }
}

/// As an inline value of TOML.
impl fmt::Display for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tree {
            Tree::Flag(flag) => write!(f, "{flag}"),
            Tree::Integer(number) => write!(f, "{number}"),
            Tree::Number(number) => write!(f, "{number:?}"),
            Tree::Text(text) => write!(f, "{text:?}"),
            Tree::List(nodes) => {
                f.write_str("[")?;
                for (n, node) in nodes.iter().enumerate() {
                    write!(f, "{}{node}", if n > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Tree::Table(entries) => {
                f.write_str("{ ")?;
                for (n, Entry { key, node, .. }) in entries.iter().enumerate() {
                    write!(f, "{}{key} = {node}", if n > 0 { ", " } else { "" })?;
                }
                f.write_str(" }")
            }
        }
    }
}

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.tree {
            Tree::Flag(flag) => serializer.serialize_bool(*flag),
            Tree::Integer(number) => serializer.serialize_i64(*number),
            Tree::Number(number) => serializer.serialize_f64(*number),
            Tree::Text(text) => serializer.serialize_str(text),
            Tree::List(nodes) => serializer.collect_seq(nodes),
            Tree::Table(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for Entry { key, node, .. } in entries {
                    map.serialize_entry(key, node)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node<'static> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyNode)
    }
}

struct AnyNode;

impl<'de> Visitor<'de> for AnyNode {
    type Value = Node<'static>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a boolean, number, text, list or table")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Node::new(Tree::Flag(flag)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Node::new(Tree::Integer(number)))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
        i64::try_from(number).map_err(E::custom).map(|number| Node::new(Tree::Integer(number)))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Node::new(Tree::Number(number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Node::text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = items.next_element()? {
            nodes.push(node);
        }
        Ok(Node::list(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = items.next_entry::<String, Node<'static>>()? {
            entries.push(entry);
        }
        Ok(Node::table(entries))
    }
}
