//! What kind of load a trace is.

use crate::rivals::hourly;
use crate::score::quantile;
use crate::traces::Trace;

/// The kind of a gridded trace, by its values; generated ones, `syn_…`, are a kind of their own.
pub(crate) fn class(trace: &Trace) -> &'static str {
    if trace.name.starts_with("syn_") {
        return "synthetic";
    }
    let day = trace.per_day();
    if trace.values.len() < 9 * day {
        return "short";
    }
    let hours = hourly(trace, trace.values.len());
    let (low, middle, high) = (quantile(&hours, 0.05), quantile(&hours, 0.5), quantile(&hours, 0.95));
    let repeats = |lag| autocorrelation(&hours, lag);
    if quantile(&trace.values, 0.995) > 6.0 * middle {
        "bursty"
    } else if high - low < 0.3 * middle {
        "stable"
    } else if repeats(168) > 0.4 && repeats(168) > repeats(24) + 0.1 {
        "weekly"
    } else if repeats(24) > 0.3 {
        "daily"
    } else {
        "no pattern"
    }
}

fn autocorrelation(values: &[f32], lag: usize) -> f32 {
    let mean = values.iter().sum::<f32>() / values.len() as f32;
    let power: f32 = values.iter().map(|v| (v - mean).powi(2)).sum();
    let common: f32 = values.iter().zip(values.iter().skip(lag)).map(|(a, b)| (a - mean) * (b - mean)).sum();
    if power > 0.0 && values.len() > lag {
        common / power * values.len() as f32 / (values.len() - lag) as f32
    } else {
        0.0
    }
}
