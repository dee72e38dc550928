//! A rate of bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How fast bytes may move. Orders from slow to fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// Bytes in a second; 0 stops everything.
    BytesPerSec(u64),
    /// As fast as they come.
    Unlimited,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.pad("unlimited"),
            Self::BytesPerSec(rate) => {
                let rate = *rate as f64;
                let (value, unit) = match rate {
                    r if r >= 1e9 => (r / 1e9, "GB/s"),
                    r if r >= 1e6 => (r / 1e6, "MB/s"),
                    r if r >= 1e3 => (r / 1e3, "kB/s"),
                    r => (r, "B/s"),
                };
                f.pad(&format!("{value:.1} {unit}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_decimal_units_and_orders_by_speed() {
        assert_eq!(Rate::BytesPerSec(12_500_000).to_string(), "12.5 MB/s");
        assert_eq!(Rate::BytesPerSec(999).to_string(), "999.0 B/s");
        assert!(Rate::Unlimited > Rate::BytesPerSec(u64::MAX));
    }
}
