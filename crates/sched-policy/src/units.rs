//! Bytes with units, as people write them: [`ByteSize`], [`ByteRate`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Units in the order in which they are tried for writing: the largest that divides a number is taken.
const UNITS: [(&str, u64); 13] = [
    ("EiB", 1 << 60),
    ("EB", 1_000_000_000_000_000_000),
    ("PiB", 1 << 50),
    ("PB", 1_000_000_000_000_000),
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// Why a text is not a number of bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnitError {
    /// There is no number at the start.
    #[error("it has no number; write such as \"{example}\"")]
    NoNumber {
        /// What would be right.
        example: &'static str,
    },
    /// No unit follows the number.
    #[error("it has no unit; write such as \"{example}\"")]
    NoUnit {
        /// What would be right.
        example: &'static str,
    },
    /// The unit is not one of those known; their case counts, since `Mb` would mean bits.
    #[error(
        "there is no unit {found:?}; write one of B, kB, MB, GB, TB, KiB, MiB, GiB, TiB, such as \"{example}\""
    )]
    UnknownUnit {
        /// The unit found.
        found: String,
        /// What would be right.
        example: &'static str,
    },
    /// The number is none, or above 2⁶⁴ − 1 bytes.
    #[error("it is not a number of bytes below 16 EiB")]
    OutOfRange,
    /// A rate does not end in `/s`.
    #[error("a rate is a number of bytes a second; write such as \"{example}\"")]
    NotARate {
        /// What would be right.
        example: &'static str,
    },
}

/// A number of bytes, written with its unit: `4 GiB`, `1.5 TB`. Powers of 1,000 (`kB`) and of 1,024 (`KiB`) are told
/// apart, and the unit is never left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ByteSize(pub u64);

/// A number of bytes a second, written with its unit: `50 MB/s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ByteRate(pub u64);

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        bytes(text, "4 GiB").map(Self)
    }
}

impl FromStr for ByteRate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        const EXAMPLE: &str = "50 MB/s";
        let size = text.trim_end().strip_suffix("/s").ok_or(UnitError::NotARate { example: EXAMPLE })?;
        bytes(size, EXAMPLE).map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, unit): &&(&str, u64)| self.0 >= *unit && self.0.is_multiple_of(*unit);
        let (name, unit) = UNITS.iter().find(fits).unwrap_or(&("B", 1));
        f.pad(&format!("{} {name}", self.0 / unit))
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/s", ByteSize(self.0)))
    }
}

crate::text::as_text!(ByteSize: UnitError, ByteRate: UnitError);

/// The fraction is worked out in whole numbers; a part of a byte is left out.
fn bytes(text: &str, example: &'static str) -> Result<u64, UnitError> {
    let text = text.trim();
    let is_number = |c: char| c.is_ascii_digit() || c == '.' || c == '_';
    let (number, unit) = text.split_at(text.find(|c| !is_number(c)).unwrap_or(text.len()));
    let (unit, number) = (unit.trim(), number.replace('_', ""));
    if number.is_empty() {
        return Err(UnitError::NoNumber { example });
    }
    if unit.is_empty() {
        return Err(UnitError::NoUnit { example });
    }
    let known = UNITS.iter().find(|(name, _)| *name == unit);
    let (_, scale) = known.ok_or_else(|| UnitError::UnknownUnit { found: unit.to_owned(), example })?;
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, "0"));
    let tenths = u32::try_from(fraction.len()).ok().and_then(|digits| 10_u128.checked_pow(digits));
    let parse = |digits: &str| digits.parse::<u128>().map_err(|_| UnitError::OutOfRange);
    let (whole, fraction, tenths) = (parse(whole)?, parse(fraction)?, tenths.ok_or(UnitError::OutOfRange)?);
    let scale = u128::from(*scale);
    let part = fraction.checked_mul(scale).ok_or(UnitError::OutOfRange)? / tenths;
    let total = whole.checked_mul(scale).and_then(|bytes| bytes.checked_add(part));
    total.and_then(|bytes| u64::try_from(bytes).ok()).ok_or(UnitError::OutOfRange)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_are_exact_and_never_left_out() {
        let size = |text: &str| text.parse::<ByteSize>();
        assert_eq!(size("4 GiB"), Ok(ByteSize(4 << 30)));
        assert_eq!(size("4GB"), Ok(ByteSize(4_000_000_000)));
        assert_eq!(size("1.5 KiB"), Ok(ByteSize(1536)));
        assert_eq!(size("1_000 B"), Ok(ByteSize(1000)));
        assert_eq!(size("0 B"), Ok(ByteSize(0)));
        assert_eq!(size("4"), Err(UnitError::NoUnit { example: "4 GiB" }));
        assert_eq!(size("GiB"), Err(UnitError::NoNumber { example: "4 GiB" }));
        assert!(matches!(size("4 Mb"), Err(UnitError::UnknownUnit { .. })));
        assert_eq!(size("1.9 TiB"), Ok(ByteSize(2_089_072_092_774)));
        for absurd in ["16 EiB", "1.2.3 GB", ". GB", "99999999999999999999999999999999999999999 B"] {
            assert_eq!(size(absurd), Err(UnitError::OutOfRange), "{absurd}");
        }
        assert_eq!("50 MB/s".parse(), Ok(ByteRate(50_000_000)));
        assert!(matches!("50 MB".parse::<ByteRate>(), Err(UnitError::NotARate { .. })));
    }

    #[test]
    fn they_are_written_in_the_largest_unit_that_divides_them() {
        for text in ["0 B", "1 kB", "1 KiB", "50 MB", "1536 KiB", "3 TiB", "1001 B"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
        assert_eq!(ByteRate(32_000).to_string(), "32 kB/s");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(bytes in prop_oneof![any::<u64>(), 0_u64..5000, (0_u64..64).prop_map(|n| 1 << n)]) {
            prop_assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
            prop_assert_eq!(ByteRate(bytes).to_string().parse(), Ok(ByteRate(bytes)));
        }

        #[test]
        fn nothing_panics(text in ".{0,40}") {
            let _ = text.parse::<ByteSize>();
            let _ = text.parse::<ByteRate>();
        }
    }
}
