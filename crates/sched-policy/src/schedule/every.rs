//! How often: [`Every`].

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cron::{Cron, CronError};

/// The shortest interval: what must be backed up more often streams its log.
const SHORTEST: Duration = Duration::from_secs(60);
/// The longest interval.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// How often an instance is backed up: `"rpo"`, `"6h"` (or `"every 6h"`), or `"0 2 * * *"`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Every {
    /// As often as the recovery point objective demands; the scheduler picks the moment.
    #[default]
    Rpo,
    /// Once in every interval, from a minute to a year long. Intervals are counted from 1970 in UTC, so that a restart
    /// shifts nothing.
    Interval(Duration),
    /// At the times of a cron expression.
    Cron(Cron),
}

/// Why a text does not say how often.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EveryError {
    /// It is none of the three.
    #[error(
        "{found:?} is neither \"rpo\", nor an interval such as \"6h\", nor a cron expression such as \"0 2 * * *\": {why}"
    )]
    Unknown {
        /// What was found.
        found: String,
        /// What is wrong with it as an interval.
        why: String,
    },
    /// The interval is too short or too long.
    #[error("an interval is from 1 minute to 366 days long, not {}", humantime::format_duration(*found))]
    OutOfRange {
        /// What was found.
        found: Duration,
    },
    /// It looks like a cron expression and is none.
    #[error(transparent)]
    Cron(#[from] CronError),
}

impl FromStr for Every {
    type Err = EveryError;

    fn from_str(text: &str) -> Result<Self, EveryError> {
        let trimmed = text.trim();
        if trimmed.eq_ignore_ascii_case("rpo") {
            return Ok(Self::Rpo);
        }
        // The parts of a duration have units; the first field of a cron expression never has letters.
        let mut fields = trimmed.split_whitespace();
        let digits_only = fields.next().is_some_and(|first| !first.contains(|c: char| c.is_alphabetic()));
        if trimmed.starts_with('@') || (digits_only && fields.next().is_some()) {
            return Ok(Self::Cron(text.parse()?));
        }
        match humantime::parse_duration(trimmed.strip_prefix("every ").unwrap_or(trimmed)) {
            Ok(interval) if (SHORTEST..=LONGEST).contains(&interval) => Ok(Self::Interval(interval)),
            Ok(found) => Err(EveryError::OutOfRange { found }),
            Err(why) => Err(EveryError::Unknown { found: text.to_owned(), why: why.to_string() }),
        }
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rpo => f.pad("rpo"),
            Self::Interval(interval) => f.pad(&humantime::format_duration(*interval).to_string()),
            Self::Cron(cron) => cron.fmt(f),
        }
    }
}

crate::text::as_text!(Every: EveryError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_ways_to_say_how_often_are_told_apart() {
        let every = |text: &str| text.parse::<Every>();
        assert_eq!(every("rpo"), Ok(Every::Rpo));
        assert_eq!(every("6h"), Ok(Every::Interval(Duration::from_secs(6 * 3600))));
        assert_eq!(every("every 6h"), every("6h"));
        assert_eq!(every("1h 30min"), Ok(Every::Interval(Duration::from_secs(5400))));
        for text in ["0 2 * * *", "@daily", "*/15 0-6 * * MON-FRI", "1h 30m", "rpo"] {
            assert_eq!(every(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_says_nothing_is_refused() {
        let error = |text: &str| text.parse::<Every>().unwrap_err().to_string();
        assert_eq!(
            error("rop"),
            "\"rop\" is neither \"rpo\", nor an interval such as \"6h\", nor a cron expression such as \
             \"0 2 * * *\": expected number at 0"
        );
        assert!(error("6").starts_with("\"6\" is neither"), "{}", error("6"));
        assert_eq!(error("10s"), "an interval is from 1 minute to 366 days long, not 10s");
        assert_eq!(error("0 25 * * *"), "at 3: \"25\" is no hour; write 0-23, with * , - /");
        assert_eq!(
            error("0 2 * *"),
            "a cron expression has 5 fields (minute, hour, day, month, weekday), as in \"0 2 * * *\"; found 4"
        );
    }
}
