//! Time zones by name: [`Zone`].

use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::nearest;

/// A time zone by its name in the IANA database, such as `Europe/Berlin`; `UTC` by default.
///
/// The machine's database is taken where there is one, so that new laws come with its updates, and else the one that was
/// built in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(TimeZone);

/// No time zone has that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no time zone {name:?}; {}",
    match nearest {
        Some(nearest) => format!("did you mean {nearest:?}?"),
        None => "write such as \"Europe/Berlin\"".to_owned(),
    }
)]
#[non_exhaustive]
pub struct UnknownZone {
    /// The name.
    pub name: String,
    /// The most similar known name, if one is similar.
    pub nearest: Option<String>,
}

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// Its name.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    pub(crate) fn time_zone(&self) -> &TimeZone {
        &self.0
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::UTC
    }
}

impl FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(name: &str) -> Result<Self, UnknownZone> {
        match TimeZone::get(name) {
            Ok(zone) if zone.iana_name().is_some() => Ok(Self(zone)),
            _ => Err(UnknownZone { name: name.to_owned(), nearest: nearest_name(name) }),
        }
    }
}

fn nearest_name(name: &str) -> Option<String> {
    let known: Vec<_> = jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect();
    let lower: Vec<_> = known.iter().map(|name| name.to_lowercase()).collect();
    let nearest = nearest::of(name, lower.iter().map(String::as_str))?;
    known.iter().find(|name| name.to_lowercase() == nearest).cloned()
}

crate::text::as_text!(Zone: UnknownZone);

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A time in which the clock of a zone is not set: its offset is the same all through.
#[derive(Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) offset: Offset,
    pub(crate) from: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
}

impl Segment {
    /// The one that contains `at`.
    pub(crate) fn of(zone: &TimeZone, at: Timestamp) -> Self {
        let after = at.saturating_add(SignedDuration::from_nanos(1)).unwrap_or(at);
        Self {
            offset: zone.to_offset(at),
            from: zone.preceding(after).next().map(|set| set.timestamp()),
            until: zone.following(at).next().map(|set| set.timestamp()),
        }
    }

    /// The one before a moment at which the clock is set, and its last moment.
    pub(crate) fn before(zone: &TimeZone, from: Timestamp) -> Option<(Self, Timestamp)> {
        let last = from.checked_sub(SignedDuration::from_nanos(1)).ok()?;
        Some((Self::of(zone, last), last))
    }

    /// What the clock shows.
    pub(crate) fn local(&self, at: Timestamp) -> DateTime {
        self.offset.to_datetime(at)
    }

    /// When the clock would show `local`, if it were never set. `None` beyond all time.
    pub(crate) fn moment(&self, local: DateTime) -> Option<Timestamp> {
        self.offset.to_timestamp(local).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_go_by_their_names() {
        let error = |name: &str| name.parse::<Zone>().unwrap_err().to_string();
        for name in ["UTC", "Europe/Berlin", "Pacific/Chatham"] {
            assert_eq!(name.parse::<Zone>().unwrap().to_string(), name);
        }
        assert_eq!(Zone::default(), "UTC".parse().unwrap());
        assert_eq!(
            error("Europe/Berln"),
            "there is no time zone \"Europe/Berln\"; did you mean \"Europe/Berlin\"?"
        );
        assert_eq!(error("+1"), "there is no time zone \"+1\"; write such as \"Europe/Berlin\"");
    }
}
