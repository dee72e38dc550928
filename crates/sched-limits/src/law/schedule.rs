//! Shares by the time of day: [`Plan`] and [`ScheduleLaw`].

use jiff::Timestamp;
use jiff::civil::{Time, Weekday};
use jiff::tz::Offset;
use sched_core::{Now, Reason};
use serde::{Deserialize, Serialize};

use super::{ControlLaw, LawError, Observation, Share, within};

/// From a time of the day on, a share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlanEntry {
    /// From when, in the plan's offset.
    pub from: Time,
    /// The share from then on, from 0 to 1.
    pub share: f64,
    /// On which days, 1 for Monday to 7 for Sunday; empty means all.
    #[serde(default)]
    pub days: Vec<i8>,
}

impl PlanEntry {
    /// A share from 0 to 1, from a time on, on every day.
    pub fn new(from: Time, share: f64) -> Self {
        Self { from, share, days: Vec::new() }
    }

    /// Sets on which days, 1 for Monday to 7 for Sunday; none means all.
    #[must_use]
    pub fn on(mut self, days: impl IntoIterator<Item = i8>) -> Self {
        self.days = days.into_iter().collect();
        self
    }
}

/// A week of shares, as data. Each entry holds until the next one; the last one of the week goes on into the first
/// day.
///
/// ```
/// use sched_limits::Plan;
///
/// let plan: Plan = serde_json::from_str(r#"{"entries": [
///     {"from": "01:00:00", "share": 1.0},
///     {"from": "07:00:00", "share": 0.2},
///     {"from": "09:00:00", "share": 0.0, "days": [1, 2, 3, 4, 5]}
/// ]}"#).unwrap();
/// plan.check().unwrap();
/// assert_eq!(plan.share_at("2026-01-05T10:00:00Z".parse().unwrap()), 0.0);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plan {
    /// Entries in any order, at least one.
    pub entries: Vec<PlanEntry>,
    /// Hours east of UTC that the entries' times are told in, from −25 to 25. Default 0.
    #[serde(default)]
    pub utc_offset_hours: i8,
}

impl Plan {
    /// A plan of these entries, whose times are told in UTC.
    pub fn new(entries: impl IntoIterator<Item = PlanEntry>) -> Self {
        Self { entries: entries.into_iter().collect(), utc_offset_hours: 0 }
    }

    /// A plan for every day, in UTC.
    pub fn daily(entries: impl IntoIterator<Item = (Time, f64)>) -> Self {
        Self::new(entries.into_iter().map(|(from, share)| PlanEntry::new(from, share)))
    }

    /// Sets how many hours east of UTC the entries' times are told in.
    #[must_use]
    pub fn utc_offset_hours(mut self, hours: i8) -> Self {
        self.utc_offset_hours = hours;
        self
    }

    /// Whether the plan makes sense.
    ///
    /// # Errors
    /// The first field that does not, with what would be right.
    pub fn check(&self) -> Result<(), LawError> {
        if self.entries.is_empty() {
            return Err(LawError { field: "entries", value: 0.0, right: "at least one" });
        }
        within("utc_offset_hours", self.utc_offset_hours.into(), (-25.0, 25.0), "from -25 to 25")?;
        for entry in &self.entries {
            within("share", entry.share, (0.0, 1.0), "from 0 to 1")?;
            for &day in &entry.days {
                within("days", day.into(), (1.0, 7.0), "from 1 for Monday to 7 for Sunday")?;
            }
        }
        Ok(())
    }

    /// The share at a moment; 0 when the plan is empty.
    pub fn share_at(&self, wall: Timestamp) -> f64 {
        let offset = Offset::from_hours(self.utc_offset_hours).unwrap_or(Offset::UTC);
        let local = offset.to_datetime(wall);
        let today = local.date().weekday();
        // Seconds since an entry last began, if it ever does.
        let begun = |entry: &PlanEntry| {
            let days_ago = (0..=7).find(|&days| {
                let day = back(today, days);
                (entry.days.is_empty() || entry.days.contains(&day))
                    && (days > 0 || entry.from <= local.time())
            })?;
            let within = seconds(local.time()) - seconds(entry.from);
            Some(i64::from(days_ago) * 86_400 + within)
        };
        let entries = self.entries.iter().filter_map(|entry| Some((begun(entry)?, entry.share)));
        entries.min_by_key(|(begun, _)| *begun).map_or(0.0, |(_, share)| share)
    }
}

/// The day of the week some days ago, 1 for Monday.
fn back(today: Weekday, days: i8) -> i8 {
    (today.to_monday_zero_offset() - days).rem_euclid(7) + 1
}

fn seconds(time: Time) -> i64 {
    i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60 + i64::from(time.second())
}

/// The share that a plan says, whatever the machine does: for what is known beforehand.
#[derive(Clone, Debug)]
pub struct ScheduleLaw {
    plan: Plan,
}

impl ScheduleLaw {
    /// A law that follows `plan`.
    ///
    /// # Errors
    /// When the plan makes no sense.
    pub fn new(plan: Plan) -> Result<Self, LawError> {
        plan.check()?;
        Ok(Self { plan })
    }
}

impl ControlLaw for ScheduleLaw {
    fn step(&mut self, now: Now, _: Option<Observation>) -> Share {
        let share = self.plan.share_at(now.wall).clamp(0.0, 1.0);
        Share::new(
            share,
            Reason::new(format!("schedule: {:.1} % of the ceiling at this hour", share * 100.0)),
        )
    }
}
