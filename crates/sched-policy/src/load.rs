//! Which load holds a start back: [`LoadLimit`].

use crate::config::node::Node;
use crate::config::path::Path;
use crate::config::problem::Findings;
use crate::config::value::{Keys, Shape, Value, keys, read_table};

/// From which value on a signal holds back a start that can wait, and below which it lets go.
///
/// In the unit of the signal; a share from 0 to 1 for one that tells how much there is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct LoadLimit {
    /// Above this nothing starts that can wait.
    pub close_above: f64,
    /// Below this it starts again.
    pub open_below: f64,
}

impl LoadLimit {
    /// A limit; `open_below` has to be less than `close_above`, which is looked at where a policy takes it.
    pub fn new(close_above: f64, open_below: f64) -> Self {
        Self { close_above, open_below }
    }
}

keys! {
    struct LoadLimitKeys {
        /// Above this nothing starts that can wait. Must be said.
        close_above: f64,
        /// Below this it starts again; less than `close_above`. Must be said.
        open_below: f64,
    }
}

impl Value for LoadLimit {
    const SHAPE: Shape = Shape::Table(LoadLimitKeys::FIELDS);

    fn read(node: &Node<'_>, at: &Path<'_>, findings: &mut Findings) -> Option<Self> {
        let LoadLimitKeys { close_above, open_below } = read_table(node, at, findings)?;
        let Some((close_above, open_below)) = close_above.zip(open_below) else {
            findings.error(node.span, at, "a limit needs `close_above` and `open_below`");
            return None;
        };
        if open_below >= close_above {
            let message = format!(
                "the thresholds are reversed: `open_below` ({open_below}) must be less than `close_above` \
                 ({close_above})"
            );
            findings.error(node.span, at, message);
            return None;
        }
        Some(Self { close_above, open_below })
    }

    fn write(&self) -> Node<'static> {
        let (close_above, open_below) = (Some(self.close_above), Some(self.open_below));
        Node::table(LoadLimitKeys { close_above, open_below }.said())
    }
}
