//! How far instances are spread: [`Jitter`].

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The widest spread of instances.
pub(crate) const LONGEST_JITTER: Duration = Duration::from_secs(366 * 24 * 3600);

/// How far instances are spread after the time that is meant: `"auto"` or `"30min"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Jitter {
    /// Over the whole interval where there is one, since nobody said when in it; else not at all.
    #[default]
    Auto,
    /// Over this time, of which at most 366 days count.
    Within(Duration),
}

/// A text that says nothing about a spread.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is neither \"auto\" nor a duration such as \"30min\"")]
#[non_exhaustive]
pub struct JitterError {
    /// What was found.
    pub found: String,
}

impl FromStr for Jitter {
    type Err = JitterError;

    fn from_str(text: &str) -> Result<Self, JitterError> {
        match text.trim() {
            "auto" => Ok(Self::Auto),
            within => {
                let within = humantime::parse_duration(within);
                within.map(Self::Within).map_err(|_| JitterError { found: text.to_owned() })
            }
        }
    }
}

impl fmt::Display for Jitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Within(spread) => f.pad(&humantime::format_duration(*spread).to_string()),
        }
    }
}

crate::text::as_text!(Jitter: JitterError);
