//! How the pieces of a text become one tree, by the rules of TOML: a table may be continued, and defined once.

use super::node::{Entry, Node, Tree};
use super::path::Path;
use super::problem::Findings;

/// The entries of a table that stood in several pieces, by key; what is said twice is reported.
pub(crate) fn settled<'a>(
    mut entries: Vec<Entry<'a>>,
    text: &str,
    findings: &mut Findings,
) -> Vec<Entry<'a>> {
    // Stable: what stood first comes first.
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    let mut settled: Vec<Entry<'a>> = Vec::with_capacity(entries.len());
    for entry in entries {
        match settled.last_mut().filter(|last| last.key == entry.key) {
            Some(last) => join(last, entry, text, findings),
            None => settled.push(entry),
        }
    }
    settled
}

fn join<'a>(first: &mut Entry<'a>, later: Entry<'a>, text: &str, findings: &mut Findings) {
    let (first_headed, later_headed) = (is_headed(&first.node, text), is_headed(&later.node, text));
    let is_defined = is_inline(first.node.span.start, text) || first_headed && later_headed;
    match (&mut first.node.tree, later.node.tree) {
        (Tree::Table(entries), Tree::Table(more)) if !is_defined => {
            if later_headed {
                (first.node.span, first.key_span) = (later.node.span, later.key_span);
            }
            entries.extend(more);
            *entries = settled(std::mem::take(entries), text, findings);
        }
        (Tree::List(items), Tree::List(more)) if first_headed && later_headed => items.extend(more),
        // What continues a list of tables continues its last one.
        (Tree::List(items), Tree::Table(more)) if first_headed && !later_headed => {
            if let Some(Node { tree: Tree::Table(entries), .. }) = items.last_mut() {
                entries.extend(more);
                *entries = settled(std::mem::take(entries), text, findings);
            }
        }
        _ => findings.error(later.key_span, &Path::ROOT, "duplicate key"),
    }
}

/// Whether it was made by a header of its own, rather than by a longer one or a value.
fn is_headed(node: &Node<'_>, text: &str) -> bool {
    match &node.tree {
        Tree::Table(_) => text[node.span.start as usize..].starts_with('['),
        Tree::List(items) => {
            items.first().is_some_and(|item| matches!(item.tree, Tree::Table(_)) && is_headed(item, text))
        }
        _ => false,
    }
}

fn is_inline(start: u32, text: &str) -> bool {
    text[start as usize..].starts_with('{')
}
