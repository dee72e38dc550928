//! What a file may say, for editors and for people: made from the same tables that read it.

use sched_core::BackupKind;
use serde::{Serialize, Serializer};

use super::node::{Node, Tree};
use super::value::{Field, Keys, Shape};
use super::{Label, calendar};
use crate::fleet::{Cluster, Host, Instance, Technology};
use crate::profile::kind_key;
use crate::values;

/// The JSON schema of a configuration file. Serialize it in whichever format is wanted.
#[derive(Clone, Debug)]
pub struct Schema(Node<'static>);

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// The JSON schema (draft 7, which editors of TOML understand) of a configuration file.
pub fn schema() -> Schema {
    let text = |text: &'static str| Node::text(text);
    let named = |what, level| {
        Node::table([("description", text(what)), ("type", text("object")), ("additionalProperties", level)])
    };
    let tables = [
        ("fleet", object(own_keys(Host::FIELDS))),
        ("calendars", named("Calendars by name.", object(own_keys(calendar::FIELDS)))),
        ("technologies", named("Technologies by name.", level(Technology::FIELDS))),
        ("labels", named("Labels by name.", level(Label::FIELDS))),
        ("clusters", named("Clusters by name.", level(Cluster::FIELDS))),
        ("hosts", named("Hosts by name.", object(own_keys(Host::FIELDS)))),
        ("instances", named("Instances by name.", level(Instance::FIELDS))),
    ];
    let values = values::FIELDS.iter().map(|field| (field.key, described(field)));
    let of_kind = ("of_kind", object(references()));
    Schema(Node::table([
        ("$schema", text("http://json-schema.org/draft-07/schema#")),
        ("title", text("Policies of backup-sched")),
        ("type", text("object")),
        ("additionalProperties", Node::new(Tree::Flag(false))),
        ("properties", Node::table(tables)),
        ("definitions", Node::table(values.chain([of_kind]))),
    ]))
}

type Properties = Vec<(&'static str, Node<'static>)>;

fn object(properties: Properties) -> Node<'static> {
    Node::table(object_keys(properties))
}

fn object_keys(properties: Properties) -> Properties {
    vec![
        ("type", Node::text("object")),
        ("additionalProperties", Node::new(Tree::Flag(false))),
        ("properties", Node::table(properties)),
    ]
}

/// A table with keys of its own, the values of a policy, and those of single kinds.
fn level(own: &'static [Field]) -> Node<'static> {
    let kinds = BackupKind::ALL.map(|kind| (kind_key(kind), reference("of_kind")));
    object(own_keys(own).into_iter().chain(references()).chain(kinds).collect())
}

fn own_keys(fields: &'static [Field]) -> Properties {
    fields.iter().map(|field| (field.key, described(field))).collect()
}

fn references() -> Properties {
    values::FIELDS.iter().map(|field| (field.key, reference(field.key))).collect()
}

fn reference(name: &str) -> Node<'static> {
    Node::table([("$ref", Node::text(format!("#/definitions/{name}")))])
}

fn described(field: &Field) -> Node<'static> {
    let description = ("description", Node::text(field.doc.trim()));
    Node::table([description].into_iter().chain(type_of(field.shape)))
}

fn type_of(shape: Shape) -> Properties {
    let schema = |shape: &Shape| Node::table(type_of(*shape));
    let text = |text: &'static str| Node::text(text);
    match shape {
        Shape::Flag => vec![("type", text("boolean"))],
        Shape::Count => vec![("type", text("integer")), ("minimum", Node::integer(0))],
        Shape::Number => vec![("type", text("number")), ("minimum", Node::integer(0))],
        Shape::Text(example) => vec![("type", text("string")), ("examples", Node::list([text(example)]))],
        Shape::Unit(example, pattern) => vec![
            ("type", text("string")),
            ("pattern", text(pattern)),
            ("examples", Node::list([text(example)])),
        ],
        Shape::OneOf(names) => vec![("enum", Node::list(names.iter().copied().map(text)))],
        Shape::Either(one, other) => vec![("anyOf", Node::list([schema(one), schema(other)]))],
        Shape::List(item) => vec![("type", text("array")), ("items", schema(item))],
        Shape::Map(value) => vec![("type", text("object")), ("additionalProperties", schema(value))],
        Shape::Table(fields) => object_keys(own_keys(fields)),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::path::Path;

    use super::*;
    use crate::policies::Policies;
    use crate::values::Values;

    fn committed(name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
        std::fs::read_to_string(path).unwrap()
    }

    /// The part that the tables of keys take in a page.
    const BEGIN: &str = "<!-- keys: made from the code, and a test holds them to it -->\n";
    const END: &str = "<!-- end of keys -->";

    #[test]
    fn the_committed_schema_is_the_real_one() {
        let real = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
        assert_eq!(committed("policy.schema.json"), real, "write this into docs/policy.schema.json:\n{real}");
    }

    #[test]
    fn the_documented_keys_are_the_real_ones() {
        let page = committed("policies.md");
        let (_, rest) = page.split_once(BEGIN).unwrap();
        let (documented, _) = rest.split_once(END).unwrap();
        let real = keys();
        assert_eq!(documented, real, "write this into docs/policies.md:\n{real}");
    }

    fn keys() -> String {
        let mut page = String::new();
        let tables: [(&str, &[Field]); 6] = [
            ("`[calendars.NAME]`", calendar::FIELDS),
            ("`[technologies.NAME]`", Technology::FIELDS),
            ("`[labels.NAME]`", Label::FIELDS),
            ("`[clusters.NAME]`", Cluster::FIELDS),
            ("`[instances.NAME]`", Instance::FIELDS),
            ("`[hosts.NAME]` and `[fleet]`", Host::FIELDS),
        ];
        for (title, fields) in tables {
            writeln!(page, "\n### {title}\n\n| key | is | meaning |\n|---|---|---|").unwrap();
            for field in fields {
                writeln!(page, "| `{}` | {} | {} |", field.key, words(field.shape), field.doc.trim())
                    .unwrap();
            }
        }
        let generic = Policies::builtin();
        let generic = generic.technology(&"generic".into(), BackupKind::Full).unwrap();
        let defaults = Values::from(&**generic).said();
        let title = "Values of a policy";
        writeln!(page, "\n### {title}\n\n| key | is | `generic` says | meaning |\n|---|---|---|---|")
            .unwrap();
        for (field, (key, default)) in values::FIELDS.iter().zip(&defaults) {
            assert_eq!(field.key, *key);
            let (is, doc) = (words(field.shape), field.doc.trim());
            writeln!(page, "| `{key}` | {is} | `{default}` | {doc} |").unwrap();
            if let Some(fields) = inner(field.shape) {
                for inner in fields {
                    let (is, doc) = (words(inner.shape), inner.doc.trim());
                    writeln!(page, "| `{key}` … `{}` | {is} | | {doc} |", inner.key).unwrap();
                }
            }
        }
        page + "\n"
    }

    fn words(shape: Shape) -> String {
        match shape {
            Shape::Flag => "true or false".into(),
            Shape::Count => "whole number".into(),
            Shape::Number => "number".into(),
            Shape::Text(example) | Shape::Unit(example, _) => format!("text, as `\"{example}\"`"),
            Shape::OneOf(names) => {
                let names: Vec<_> = names.iter().map(|name| format!("`\"{name}\"`")).collect();
                names.join(", ")
            }
            Shape::Either(one, other) => format!("{}, or {}", words(*one), words(*other)),
            Shape::List(item) => format!("list of {}", words(*item)),
            Shape::Map(value) => format!("table by name of {}", words(*value)),
            Shape::Table(_) => "table".into(),
        }
    }

    fn inner(shape: Shape) -> Option<&'static [Field]> {
        match shape {
            Shape::Table(fields) => Some(fields),
            Shape::List(inner) | Shape::Map(inner) => self::inner(*inner),
            Shape::Either(one, other) => self::inner(*one).or_else(|| self::inner(*other)),
            _ => None,
        }
    }
}
