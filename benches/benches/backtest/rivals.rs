//! The methods that the learned week is held against. Each sees the whole history at every forecast.

use augurs_core::{Fit, Predict};
use augurs_ets::AutoETS;
use augurs_mstl::MSTLModel;

use crate::traces::Trace;

/// What a method expects of `count` steps from `from` on, which it knows nothing of.
pub(crate) type Rival = fn(&Trace, from: usize, count: usize) -> Vec<f32>;

/// Rivals that cost little, by name.
pub(crate) const CHEAP: [(&str, Rival); 5] = [
    ("fixed", fixed),
    ("previous_day", previous_day),
    ("mean_7d", mean_7d),
    ("decayed_daily", decayed_daily),
    ("holt_winters", holt_winters),
];

/// Nothing at 02:00, more the further from it.
fn fixed(trace: &Trace, from: usize, count: usize) -> Vec<f32> {
    let day = trace.per_day();
    let two = trace.hours(2);
    (from..from + count).map(|at| if at < two { 0.0 } else { ((at - two) % day) as f32 }).collect()
}

/// A value as it was known then: the last that is not missing at this time of day.
fn known(trace: &Trace, at: usize) -> f32 {
    let day = trace.per_day();
    let found = (0..=at / day).map(|back| trace.values[at - back * day]).find(|v| v.is_finite());
    found.unwrap_or(0.0)
}

fn previous_day(trace: &Trace, from: usize, count: usize) -> Vec<f32> {
    let day = trace.per_day();
    (0..count).map(|ahead| known(trace, from - day + ahead % day)).collect()
}

fn mean_7d(trace: &Trace, from: usize, count: usize) -> Vec<f32> {
    let day = trace.per_day();
    let days = (from / day).clamp(1, 7);
    let mean = |ahead| {
        (1..=days).map(|back| known(trace, from - back * day + ahead % day)).sum::<f32>() / days as f32
    };
    (0..count).map(mean).collect()
}

/// Exponential mean of each step of the day, α = .2.
fn decayed_daily(trace: &Trace, from: usize, count: usize) -> Vec<f32> {
    let day = trace.per_day();
    let days = (from / day).clamp(1, 28);
    let mean = |ahead| {
        let mut mean = known(trace, from - days * day + ahead % day);
        for (n, back) in (1..days).rev().enumerate() {
            mean +=
                (1.0 / (n as f32 + 2.0)).max(0.2) * (known(trace, from - back * day + ahead % day) - mean);
        }
        mean
    };
    (0..count).map(mean).collect()
}

/// Hourly means of up to four weeks before `from`, the last hour last.
pub(crate) fn hourly(trace: &Trace, from: usize) -> Vec<f32> {
    let hour = trace.hours(1);
    let hours = (from / hour).min(28 * 24);
    let value = |back: usize| {
        (from - back * hour..from - (back - 1) * hour).map(|at| known(trace, at)).sum::<f32>() / hour as f32
    };
    (1..=hours).rev().map(value).collect()
}

/// Additive, no trend, season of 24 h; its two rates are those of the least squared error on the history.
fn holt_winters(trace: &Trace, from: usize, count: usize) -> Vec<f32> {
    let history = hourly(trace, from);
    let rates = [0.05, 0.2, 0.5].into_iter().flat_map(|level| [0.1, 0.25, 0.5].map(|season| (level, season)));
    let fits = rates.map(|(level, season)| HoltWinters::fit(&history, level, season));
    let best = fits.min_by(|a, b| a.error.total_cmp(&b.error)).expect("there are rates");
    let hour = trace.hours(1);
    (0..count).map(|ahead| best.level + best.season[(history.len() + ahead / hour) % 24]).collect()
}

struct HoltWinters {
    level: f32,
    season: [f32; 24],
    error: f32,
}

impl HoltWinters {
    fn fit(history: &[f32], level_rate: f32, season_rate: f32) -> Self {
        let first = &history[..24.min(history.len())];
        let level = first.iter().sum::<f32>() / first.len() as f32;
        let mut fit = Self { level, season: [0.0; 24], error: 0.0 };
        for (at, value) in first.iter().enumerate() {
            fit.season[at] = value - level;
        }
        for (at, value) in history.iter().enumerate().skip(24) {
            let season = &mut fit.season[at % 24];
            let error = value - fit.level - *season;
            fit.error += error * error;
            fit.level += level_rate * error;
            *season += season_rate * (1.0 - level_rate) * error;
        }
        fit
    }
}

/// MSTL with a non-seasonal ETS for the trend (augurs), on hours: seasons of a day, and of a week once there are two.
/// The previous day where it finds no fit.
pub(crate) fn mstl_ets(trace: &Trace, from: usize, count: usize) -> Vec<f32> {
    let history: Vec<f64> = hourly(trace, from).into_iter().map(f64::from).collect();
    let periods = if history.len() >= 2 * 168 { vec![24, 168] } else { vec![24] };
    let hour = trace.hours(1);
    let trend = AutoETS::non_seasonal().into_trend_model();
    let fit = MSTLModel::new(periods, trend).fit(&history);
    match fit.ok().and_then(|fit| fit.predict(count / hour, None).ok()) {
        Some(forecast) => (0..count).map(|ahead| forecast.point[ahead / hour] as f32).collect(),
        None => previous_day(trace, from, count),
    }
}
