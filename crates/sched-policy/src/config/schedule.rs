//! Recurring backups in a configuration: how often, in which spread, and what becomes of slots that are not kept.

use std::fmt::Display;
use std::str::FromStr;

use super::node::Node;
use super::path::Path;
use super::problem::Findings;
use super::value::{Shape, Value, index_of, text};
use crate::schedule::{Every, Jitter, Misfire, Overlap};

macro_rules! by_own_text {
    ($($type:ty: $example:literal;)*) => {$(
        impl Value for $type {
            const SHAPE: Shape = Shape::Text($example);

            fn read(node: &Node<'_>, at: &Path<'_>, findings: &mut Findings) -> Option<Self> {
                explained(node, concat!("a text such as \"", $example, "\""), at, findings)
            }

            fn write(&self) -> Node<'static> {
                Node::text(self.to_string())
            }
        }
    )*};
}

by_own_text! {
    Every: "0 2 * * *";
    Jitter: "30min";
    Misfire: "6h";
}

/// A text whose parser says by itself what was found and what would be right.
fn explained<T: FromStr<Err: Display>>(
    node: &Node<'_>,
    what: &str,
    at: &Path<'_>,
    findings: &mut Findings,
) -> Option<T> {
    let parsed = text(node, what, at, findings)?.parse();
    parsed.map_err(|error: T::Err| findings.error(node.span, at, error.to_string())).ok()
}

impl Value for Overlap {
    const SHAPE: Shape = Shape::OneOf(&["coalesce", "skip"]);

    fn read(node: &Node<'_>, at: &Path<'_>, findings: &mut Findings) -> Option<Self> {
        let all = [Self::Coalesce, Self::Skip];
        index_of(&["coalesce", "skip"], node, at, findings).map(|index| all[index])
    }

    fn write(&self) -> Node<'static> {
        Node::text(match self {
            Self::Coalesce => "coalesce",
            Self::Skip => "skip",
        })
    }
}
