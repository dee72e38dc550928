//! The values of which tables are made: numbers, texts, durations, names, lists and maps.

use std::collections::BTreeMap;
use std::time::Duration;

use sched_core::{
    BackupKind, CalendarName, DestinationName, GroupName, HostName, InstanceName, Priority, ResourceName,
    SignalName, TechnologyName, TenantName, VolumeName, WindowEnd,
};

use super::node::{Node, Tree};
use super::path::Path;
use super::problem::Findings;
use super::value::{Shape, Value, entries, expected, index_of, one_of, parsed, text};
use crate::units::{ByteRate, ByteSize};

impl Value for bool {
    const SHAPE: Shape = Shape::Flag;

    fn read(node: &Node<'_>, at: &Path<'_>, findings: &mut Findings) -> Option<Self> {
        match node.tree {
            Tree::Flag(flag) => Some(flag),
            _ => expected("true or false", node, at, findings),
        }
    }

    fn write(&self) -> Node<'static> {
        Node::new(Tree::Flag(*self))
    }
}

impl Value for u32 {
    const SHAPE: Shape = Shape::Count;

    fn read(node: &Node<'_>, at: &Path<'_>, findings: &mut Findings) -> Option<Self> {
        let Tree::Integer(number) = node.tree else {
            return expected("a whole number", node, at, findings);
        };
        let count = Self::try_from(number);
        count
            .map_err(|_| findings.error(node.span, at, format!("{number} is not from 0 to {}", Self::MAX)))
            .ok()
    }

    fn write(&self) -> Node<'static> {
        Node::integer(*self)
    }
}

impl Value for f64 {
    const SHAPE: Shape = Shape::Number;

    fn read(node: &Node<'_>, at: &Path<'_>, findings: &mut Findings) -> Option<Self> {
        let number = match node.tree {
            Tree::Number(number) => number,
            Tree::Integer(number) => number as f64,
            _ => return expected("a number", node, at, findings),
        };
        if !number.is_finite() || number < 0.0 {
            findings.error(node.span, at, format!("{number} is not a number from 0 up"));
            return None;
        }
        Some(number)
    }

    fn write(&self) -> Node<'static> {
        Node::new(Tree::Number(*self))
    }
}

/// Amounts of a resource: plain numbers, or bytes with a unit.
impl Value for u64 {
    const SHAPE: Shape = Shape::Either(&Shape::Count, &ByteSize::SHAPE);

    fn read(node: &Node<'_>, at: &Path<'_>, findings: &mut Findings) -> Option<Self> {
        match &node.tree {
            Tree::Text(_) => ByteSize::read(node, at, findings).map(|size| size.0),
            Tree::Integer(number) => {
                let amount = Self::try_from(*number);
                amount.map_err(|_| findings.error(node.span, at, format!("{number} is less than 0"))).ok()
            }
            _ => expected("a whole number, or bytes such as \"4 GiB\"", node, at, findings),
        }
    }

    fn write(&self) -> Node<'static> {
        // Numbers above what TOML holds are bytes in any case.
        match i64::try_from(*self) {
            Ok(number) if *self < 1_000_000 => Node::integer(number),
            _ => ByteSize(*self).write(),
        }
    }
}

impl Value for Duration {
    const SHAPE: Shape = Shape::Unit("6h 30min", r"^\s*(\d+\s*[a-zA-Zµ]+\s*)+$");

    fn read(node: &Node<'_>, at: &Path<'_>, findings: &mut Findings) -> Option<Self> {
        let what = "a duration such as \"6h\" or \"1h 30min\"";
        let text = text(node, what, at, findings)?;
        let parsed = humantime::parse_duration(text);
        parsed.map_err(|error| findings.error(node.span, at, format!("{text:?} is not {what}: {error}"))).ok()
    }

    fn write(&self) -> Node<'static> {
        Node::text(humantime::format_duration(*self).to_string())
    }
}

/// What may be left out at a level and switched off at a stronger one: `"none"`.
impl<T: Value> Value for Option<T> {
    const SHAPE: Shape = Shape::Either(&T::SHAPE, &Shape::OneOf(&["none"]));

    fn read(node: &Node<'_>, at: &Path<'_>, findings: &mut Findings) -> Option<Self> {
        match &node.tree {
            Tree::Text(text) if text == "none" => Some(None),
            _ => T::read(node, at, findings).map(Some),
        }
    }

    fn write(&self) -> Node<'static> {
        self.as_ref().map_or_else(|| Node::text("none"), T::write)
    }
}

impl<T: Value> Value for Vec<T> {
    const SHAPE: Shape = Shape::List(&T::SHAPE);

    fn read(node: &Node<'_>, at: &Path<'_>, findings: &mut Findings) -> Option<Self> {
        let Tree::List(nodes) = &node.tree else { return expected("a list", node, at, findings) };
        // All are looked at, so that all that is wrong is found.
        let items = nodes.iter().enumerate().map(|(n, node)| T::read(node, &at.index(n), findings));
        items.collect::<Vec<_>>().into_iter().collect()
    }

    fn write(&self) -> Node<'static> {
        Node::list(self.iter().map(T::write))
    }
}

impl<N: Value + Ord + AsRef<str>, T: Value> Value for BTreeMap<N, T> {
    const SHAPE: Shape = Shape::Map(&T::SHAPE);

    fn read(node: &Node<'_>, at: &Path<'_>, findings: &mut Findings) -> Option<Self> {
        let entries = entries(node, at, findings)?.iter().map(|entry| {
            let at = at.key(&entry.key);
            let key = Node { span: entry.key_span, tree: Tree::Text(entry.key.clone()) };
            let name = N::read(&key, &at, findings);
            name.zip(T::read(&entry.node, &at, findings))
        });
        entries.collect::<Vec<_>>().into_iter().collect()
    }

    fn write(&self) -> Node<'static> {
        Node::table(self.iter().map(|(name, value)| (name.as_ref().to_owned(), value.write())))
    }

    fn overlay(&mut self, over: &Self) {
        self.extend(over.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
}

macro_rules! by_text {
    ($($type:ty: $what:literal, $example:literal, $pattern:literal;)*) => {$(
        impl Value for $type {
            const SHAPE: Shape = Shape::Unit($example, $pattern);

            fn read(node: &Node<'_>, at: &Path<'_>, findings: &mut Findings) -> Option<Self> {
                parsed(node, $what, at, findings)
            }

            fn write(&self) -> Node<'static> {
                Node::text(self.to_string())
            }
        }
    )*};
}

by_text! {
    ByteSize: "a number of bytes", "4 GiB", r"^\s*[0-9_.]+\s*([kMGTPE]B|[KMGTPE]iB|B)\s*$";
    ByteRate: "a rate", "50 MB/s", r"^\s*[0-9_.]+\s*([kMGTPE]B|[KMGTPE]iB|B)\s*/s\s*$";
}

macro_rules! names {
    ($($type:ty: $example:literal;)*) => {$(
        impl Value for $type {
            const SHAPE: Shape = Shape::Text($example);

            fn read(node: &Node<'_>, at: &Path<'_>, findings: &mut Findings) -> Option<Self> {
                let name = Self::from(text(node, "a name", at, findings)?);
                match name.check() {
                    Ok(()) => Some(name),
                    Err(error) => {
                        findings.error(node.span, at, format!("the name {name:?} cannot be used: {error}"));
                        None
                    }
                }
            }

            fn write(&self) -> Node<'static> {
                Node::text(self.as_str().to_owned())
            }
        }
    )*};
}

names! {
    CalendarName: "nights";
    DestinationName: "s3-backups";
    GroupName: "orders";
    HostName: "db-1";
    InstanceName: "orders-1";
    ResourceName: "memory";
    SignalName: "replication_lag";
    TechnologyName: "postgresql";
    TenantName: "team-a";
    VolumeName: "/var/lib/pgsql";
}

one_of!(
    Priority,
    [Priority::Low, Priority::Normal, Priority::High, Priority::Critical],
    ["low", "normal", "high", "critical"]
);
impl Value for WindowEnd {
    const SHAPE: Shape = Shape::OneOf(&["finish", "pause", "stop"]);

    fn read(node: &Node<'_>, at: &Path<'_>, findings: &mut Findings) -> Option<Self> {
        let ends = [Self::Finish, Self::Pause, Self::Stop];
        index_of(&["finish", "pause", "stop"], node, at, findings).map(|index| ends[index])
    }

    fn write(&self) -> Node<'static> {
        Node::text(match self {
            Self::Finish => "finish",
            Self::Pause => "pause",
            Self::Stop => "stop",
        })
    }
}

one_of!(BackupKind, BackupKind::ALL, ["full", "incremental", "differential", "log", "snapshot", "upload"]);

impl Value for String {
    const SHAPE: Shape = Shape::Text("replica");

    fn read(node: &Node<'_>, at: &Path<'_>, findings: &mut Findings) -> Option<Self> {
        // Whatever names a thing keeps to the same rule.
        GroupName::read(node, at, findings).map(|name| name.as_str().to_owned())
    }

    fn write(&self) -> Node<'static> {
        Node::text(self.clone())
    }
}
