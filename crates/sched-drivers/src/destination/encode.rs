//! Names of instances as names of files.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

/// All but what every file system takes as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');
/// Longer names end in a digest: file systems take 255 bytes, of which an attempt's suffixes need some.
const LONGEST: usize = 180;

/// One component of a path that is never empty, hidden, or a way up; different for different names.
pub(crate) fn component(name: &str) -> String {
    let mut encoded = utf8_percent_encode(name, ENCODED).to_string();
    if encoded.starts_with('.') {
        encoded.replace_range(..1, "%2E");
    }
    // A folder of a destination must not look like something on its way.
    if encoded.len() > LONGEST || encoded.is_empty() {
        let digest = hex(&Sha256::digest(name.as_bytes()));
        encoded.truncate(LONGEST - 33);
        encoded = format!("{encoded}~{}", &digest[..32]);
    }
    encoded
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_component_stays_in_its_folder(name in ".{0,300}") {
            let component = component(&name);
            prop_assert!(!component.is_empty() && component.len() <= LONGEST);
            prop_assert!(component.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.%~".contains(&b)));
            prop_assert!(!component.starts_with('.'));
        }

        #[test]
        fn different_names_get_different_components(one in "[a%./é]{1,80}", other in "[a%./é]{1,80}") {
            prop_assert_eq!(one == other, component(&one) == component(&other));
        }
    }

    #[test]
    fn ordinary_names_stay_as_they_are() {
        assert_eq!(component("db-1.example.com"), "db-1.example.com");
        assert_eq!(component("../etc"), "%2E.%2Fetc");
    }
}
