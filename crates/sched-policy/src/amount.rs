//! How much a run holds: [`Amount`].

use crate::config::node::{Node, Tree};
use crate::config::path::Path;
use crate::config::problem::Findings;
use crate::config::value::{Keys, Shape, Value, keys, read_table};

const GIB: u64 = 1 << 30;

/// How much of a resource a run holds, as a function of its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Whatever the size.
    pub base: u64,
    /// For each GiB, a part of one counted as a whole one. An unknown size counts as 0.
    pub per_gib: u64,
}

impl Amount {
    /// The amount for a backup of that size.
    pub fn of(self, size_bytes: Option<u64>) -> u64 {
        let gibs = size_bytes.unwrap_or(0).div_ceil(GIB);
        self.base.saturating_add(self.per_gib.saturating_mul(gibs))
    }
}

keys! {
    struct AmountKeys {
        /// Whatever the size. 0 unless said.
        base: u64,
        /// For each GiB of the backup. 0 unless said.
        per_gib: u64,
    }
}

impl Value for Amount {
    const SHAPE: Shape = Shape::Either(&u64::SHAPE, &Shape::Table(AmountKeys::FIELDS));

    fn read(node: &Node<'_>, at: &Path<'_>, findings: &mut Findings) -> Option<Self> {
        if !matches!(node.tree, Tree::Table(_)) {
            return u64::read(node, at, findings).map(|base| Self { base, per_gib: 0 });
        }
        let AmountKeys { base, per_gib } = read_table(node, at, findings)?;
        Some(Self { base: base.unwrap_or(0), per_gib: per_gib.unwrap_or(0) })
    }

    fn write(&self) -> Node<'static> {
        match *self {
            Self { base, per_gib: 0 } => base.write(),
            Self { base, per_gib } => {
                let base = (base > 0).then_some(base);
                Node::table(AmountKeys { base, per_gib: Some(per_gib) }.said())
            }
        }
    }
}
