//! The keys from the root of a configuration to a value, kept on the stack: nothing is allocated unless a problem is
//! reported.

use std::fmt;

/// A key below a parent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    key: Key<'p>,
}

#[derive(Clone, Copy, Debug)]
enum Key<'p> {
    Name(&'p str),
    Index(usize),
}

impl<'p> Path<'p> {
    pub(crate) const ROOT: Path<'static> = Path { parent: None, key: Key::Name("") };

    pub(crate) fn key(&'p self, key: &'p str) -> Self {
        Self { parent: Some(self), key: Key::Name(key) }
    }

    pub(crate) fn index(&'p self, index: usize) -> Self {
        Self { parent: Some(self), key: Key::Index(index) }
    }
}

/// As TOML writes dotted keys: what is not plain is quoted.
impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return Ok(()) };
        parent.fmt(f)?;
        let dot = if parent.parent.is_some() { "." } else { "" };
        match self.key {
            Key::Index(index) => write!(f, "[{index}]"),
            Key::Name(key) if is_bare(key) => write!(f, "{dot}{key}"),
            Key::Name(key) => write!(f, "{dot}{key:?}"),
        }
    }
}

/// Whether TOML takes the key without quotes.
pub(crate) fn is_bare(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
