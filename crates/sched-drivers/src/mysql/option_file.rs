//! What MySQL's tools are told in a file instead of arguments: [`OptionFile`], pure.

use secrecy::{ExposeSecret, SecretString};

use crate::DriverError;

/// A longer line is cut by the tools, and what is cut off becomes an option of its own.
const LONGEST_LINE: usize = 4000;

/// The text of an option file, of which nobody sees the values.
pub(super) struct OptionFile {
    text: SecretString,
}

impl OptionFile {
    /// A file with the group that all tools read.
    pub(super) fn client() -> Self {
        Self { text: SecretString::from("[client]\n") }
    }

    /// Sets an option.
    pub(super) fn set(self, name: &str, value: &str) -> Result<Self, DriverError> {
        let value = quote(value).ok_or_else(|| DriverError::Setting {
            what: name.into(),
            problem: "it cannot stand in an option file; right is a text without NUL of at most 2000 bytes"
                .into(),
        })?;
        let text = format!("{}{name}={value}\n", self.text.expose_secret());
        Ok(Self { text: SecretString::from(text) })
    }

    pub(super) fn text(&self) -> &SecretString {
        &self.text
    }
}

/// A value so that the tools read exactly that: in quotes `#` begins no comment and spaces stay; a backslash, a quote
/// or the end of a line must be escaped.
fn quote(value: &str) -> Option<String> {
    let mut quoted = String::from("\"");
    for char in value.chars() {
        match char {
            '\0' => return None,
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{8}' => quoted.push_str("\\b"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    (quoted.len() <= LONGEST_LINE).then_some(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_mean_something_is_quoted() {
        assert_eq!(quote(r#"p"a\s#s '"#).unwrap(), r#""p\"a\\s#s '""#);
        assert_eq!(quote("a\nuser=root\r\t").unwrap(), r#""a\nuser=root\r\t""#);
        assert_eq!(quote("").unwrap(), r#""""#);
        assert_eq!((quote("a\0"), quote(&"x".repeat(5000))), (None, None));
    }

    #[test]
    fn a_file_has_a_group_and_a_line_for_each() {
        let file = OptionFile::client().set("user", "b").unwrap().set("ssl", "1").unwrap();
        assert_eq!(file.text().expose_secret(), "[client]\nuser=\"b\"\nssl=\"1\"\n");
    }
}
