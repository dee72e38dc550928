//! A learned week as it is stored.

use serde::{Deserialize, Serialize};

use super::blend::Blend;
use super::code::{Scale, whole};
use super::tables::{CODES, Tables};
use super::{LearnedWeek, MAX_LOAD};

/// The form below.
const VERSION: u8 = 1;

/// What is written. Fields may be added with a default; a change of meaning needs another version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Stored {
    version: u8,
    sum: f64,
    count: u32,
    quarter: i32,
    day: u16,
    hour: u8,
    weekend: u8,
    counts: [u8; 7],
    fitting: u8,
    bursts: i8,
    scale: i16,
    level: f32,
    noise: f32,
    residual: f32,
    lead: f32,
    power: f32,
    errors: [f32; 4],
    hours: f32,
    lag_errors: [u16; 9],
    tables: Vec<u8>,
}

/// Why a stored week cannot be read. Nothing is lost but what was learned: begin with a new one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoredWeekError {
    /// Written in a form that is not known.
    #[error("version {0} of a learned week is not known; this is version 1")]
    Version(u8),
    /// A value that is never written.
    #[error("{field} of a learned week is out of its range")]
    Field {
        /// Its name.
        field: &'static str,
    },
}

impl From<LearnedWeek> for Stored {
    fn from(week: LearnedWeek) -> Self {
        Self {
            version: VERSION,
            sum: week.sum,
            count: week.count,
            quarter: week.quarter,
            day: week.day,
            hour: week.hour,
            weekend: week.weekend,
            counts: week.counts,
            fitting: week.fitting,
            bursts: week.bursts,
            scale: week.scale.0,
            level: week.level,
            noise: week.noise,
            residual: week.residual,
            lead: week.lead,
            power: week.power,
            errors: week.blend.errors,
            hours: week.blend.hours,
            lag_errors: week.blend.lag_errors,
            tables: week.tables.codes().collect(),
        }
    }
}

impl TryFrom<Stored> for LearnedWeek {
    type Error = StoredWeekError;

    fn try_from(stored: Stored) -> Result<Self, StoredWeekError> {
        if stored.version != VERSION {
            return Err(StoredWeekError::Version(stored.version));
        }
        stored.check()?;
        let mut tables = Tables::EMPTY;
        tables.codes_mut().zip(&stored.tables).for_each(|(code, stored)| *code = *stored);
        let blend = Blend { errors: stored.errors, hours: stored.hours, lag_errors: stored.lag_errors };
        Ok(Self {
            sum: stored.sum,
            count: stored.count,
            quarter: stored.quarter,
            day: stored.day,
            hour: stored.hour,
            weekend: stored.weekend,
            counts: stored.counts,
            fitting: stored.fitting,
            bursts: stored.bursts,
            scale: Scale(stored.scale),
            level: stored.level,
            noise: stored.noise,
            residual: stored.residual,
            lead: stored.lead,
            power: stored.power,
            blend,
            tables,
        })
    }
}

impl Stored {
    fn check(&self) -> Result<(), StoredWeekError> {
        let load = |value: f32| (0.0..=2.0 * MAX_LOAD as f32).contains(&value);
        let square = |value: f32| value.is_finite();
        let errors = |value: f32| (0.0..=1e20).contains(&value);
        let lags = self.lag_errors.iter().all(|sum| errors(whole(*sum)));
        let checks = [
            ("sum", (0.0..=MAX_LOAD * f64::from(u32::MAX)).contains(&self.sum)),
            ("hour", self.hour < 168),
            ("scale", Scale::BASES.contains(&self.scale)),
            ("level", load(self.level) || self.level == -1.0),
            ("noise", load(self.noise)),
            ("residual", load(self.residual.abs())),
            ("lead", square(self.lead)),
            ("power", square(self.power) && self.power >= 0.0),
            ("errors", self.errors.iter().all(|sum| errors(*sum))),
            ("hours", (0.0..1e6).contains(&self.hours)),
            ("lag_errors", lags),
            ("tables", self.tables.len() == CODES),
        ];
        let wrong = checks.into_iter().find(|(_, right)| !right);
        wrong.map_or(Ok(()), |(field, _)| Err(StoredWeekError::Field { field }))
    }
}
