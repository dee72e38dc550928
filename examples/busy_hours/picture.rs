//! The pictures, as SVG.

use std::fmt::Write;

use jiff::{SignedDuration, Timestamp};

use crate::replay::{Day, Method, Replay};
use crate::trace::{Trace, seconds};

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 16.0;
/// Days that are drawn one by one.
const LAST_DAYS: usize = 8;
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Moments to the width, values to a height.
struct Chart {
    from: Timestamp,
    until: Timestamp,
    top: f64,
    height: f64,
    high: f64,
}

impl Chart {
    fn x(&self, at: Timestamp) -> f64 {
        let whole = seconds(self.from, self.until).max(1) as f64;
        let part = (seconds(self.from, at) as f64 / whole).clamp(0.0, 1.0);
        LEFT + part * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        self.top + self.height * (1.0 - (value / self.high).clamp(0.0, 1.0))
    }

    fn point(&self, at: Timestamp, value: f64) -> String {
        format!("{:.1},{:.1}", self.x(at), self.y(value))
    }

    /// Lines at round values.
    fn grid(&self, svg: &mut String) {
        let step = round_step(self.high / 4.0);
        for n in 0..=(self.high / step) as u32 {
            let value = f64::from(n) * step;
            let y = self.y(value);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"end\" x=\"{}\" y=\"{:.1}\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                short(value)
            );
        }
    }
}

/// The last days with forecast, alarms and starts.
pub(crate) fn days(trace: &Trace, replay: &Replay) -> String {
    let first = replay.days.len().saturating_sub(LAST_DAYS);
    let days = &replay.days[first..];
    let (Some(from), Some(until)) = (days.first().map(|day| day.from), days.last().map(|day| day.until))
    else {
        return open(40.0, "No days");
    };
    let inside: Vec<_> = trace.samples.iter().filter(|(at, _)| (from..until).contains(at)).collect();
    let seen = inside.iter().map(|(_, load)| *load).fold(0.0, f64::max);
    let chart = Chart { from, until, top: 16.0, height: 240.0, high: positive(seen * 1.15) };
    let rows = chart.top + chart.height + 34.0;
    let height = rows + Method::EACH.len() as f64 * 18.0 + 12.0;
    let mut svg = open(height, "Load, forecast and starts of the last days");
    chart.grid(&mut svg);
    for alarm in replay.alarms.iter().filter(|alarm| alarm.until > from && alarm.from < until) {
        let (x, end) = (chart.x(alarm.from), chart.x(alarm.until));
        let _ = write!(
            svg,
            "<rect class=\"alarm\" x=\"{x:.1}\" y=\"{}\" width=\"{:.1}\" height=\"{}\"/>",
            chart.top,
            (end - x).max(1.5),
            chart.height
        );
    }
    for day in days {
        forecast(&mut svg, &chart, day);
    }
    for piece in inside.chunk_by(|one, other| seconds(one.0, other.0) <= 3 * trace.step_secs) {
        // A sample stands for the step that begins with it.
        let half = SignedDuration::from_millis(trace.step_secs * 500);
        let points: Vec<_> = piece
            .iter()
            .map(|(at, load)| chart.point(at.saturating_add(half).unwrap_or(*at), *load))
            .collect();
        let _ = write!(svg, "<polyline class=\"load\" points=\"{}\"/>", points.join(" "));
    }
    for day in days {
        midnight(&mut svg, &chart, replay, day, rows);
    }
    for (n, method) in Method::EACH.into_iter().enumerate() {
        let y = rows + n as f64 * 18.0;
        let _ = write!(
            svg,
            "<text class=\"end\" x=\"{}\" y=\"{:.1}\">{}</text>",
            LEFT - 6.0,
            y + 11.0,
            short_title(method)
        );
        for (start, load) in days.iter().filter_map(|day| day.starts[n]) {
            let end = backup_sched::core::wall_plus(start, crate::replay::HOUR * replay.hours);
            let (x, width) = (chart.x(start), chart.x(end) - chart.x(start));
            let at = start.to_zoned_datetime(replay.zone.clone());
            let _ = write!(
                svg,
                "<rect class=\"bar {}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"13\">\
                 <title>{}: load {}</title></rect>",
                method.class(),
                at.strftime("%a %H:%M"),
                short(load)
            );
        }
    }
    svg + "</svg>"
}

/// What was expected of a day at its midnight, and the band about it.
fn forecast(svg: &mut String, chart: &Chart, day: &Day) {
    let slots = || {
        let each = day.forecast.slots.iter().enumerate();
        each.map(|(n, slot)| {
            let middle = day.forecast.step.mul_f64(n as f64 + 0.5);
            let at = backup_sched::core::wall_plus(day.forecast.start, middle);
            (at, f64::from(slot.mean), f64::from(slot.spread))
        })
    };
    let upper: Vec<_> = slots().map(|(at, mean, spread)| chart.point(at, mean + spread)).collect();
    let lower: Vec<_> = slots().map(|(at, mean, spread)| chart.point(at, mean - spread)).collect();
    let line: Vec<_> = slots().map(|(at, mean, _)| chart.point(at, mean)).collect();
    let around: Vec<_> = upper.into_iter().chain(lower.into_iter().rev()).collect();
    let _ = write!(
        svg,
        "<polygon class=\"spread\" points=\"{}\"/><polyline class=\"expected\" points=\"{}\"/>",
        around.join(" "),
        line.join(" ")
    );
}

fn midnight(svg: &mut String, chart: &Chart, replay: &Replay, day: &Day, rows: f64) {
    let (x, middle) = (chart.x(day.from), (chart.x(day.from) + chart.x(day.until)) / 2.0);
    let bottom = rows + Method::EACH.len() as f64 * 18.0;
    let date = day.from.to_zoned_datetime(replay.zone.clone());
    let _ = write!(
        svg,
        "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{bottom:.1}\"/>\
         <text class=\"middle\" x=\"{middle:.1}\" y=\"{:.1}\">{}</text>",
        chart.top,
        rows - 12.0,
        date.strftime("%a %b %-d")
    );
}

/// A cell for each hour of the week.
pub(crate) fn week(replay: &Replay) -> String {
    let (cell, row, top) = ((WIDTH - LEFT - RIGHT) / 24.0, 26.0, 24.0);
    let mut svg = open(top + 7.0 * row + 12.0, "The load that is expected in each hour of the week");
    let high = positive(replay.week.iter().copied().fold(0.0, f32::max).into());
    for hour in 0..24 {
        let x = LEFT + (f64::from(hour) + 0.5) * cell;
        let _ = write!(svg, "<text class=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{hour}</text>", top - 8.0);
    }
    for (n, hours) in replay.week.chunks(24).enumerate() {
        let y = top + n as f64 * row;
        let name = WEEKDAYS.get(n).copied().unwrap_or_default();
        let _ = write!(
            svg,
            "<text class=\"end\" x=\"{}\" y=\"{:.1}\">{name}</text>",
            LEFT - 6.0,
            y + row / 2.0 + 4.0
        );
        for (hour, load) in hours.iter().enumerate() {
            let x = LEFT + hour as f64 * cell;
            let load = f64::from(*load);
            let _ = write!(
                svg,
                "<rect class=\"heat\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" \
                 fill-opacity=\"{:.3}\"><title>{name} {hour}:00: {}</title></rect>",
                cell - 1.5,
                row - 1.5,
                0.04 + 0.96 * load / high,
                short(load)
            );
        }
    }
    svg + "</svg>"
}

/// A point for each judged day and method.
pub(crate) fn choices(trace: &Trace, replay: &Replay) -> String {
    let judged: Vec<_> = replay.days.iter().filter(|day| day.judged).collect();
    let (Some(first), Some(last)) = (judged.first(), judged.last()) else {
        return open(40.0, "No day could be judged");
    };
    let multiples = |day: &Day| {
        let mean = positive(trace.mean(day.from, day.until).unwrap_or_default());
        day.starts.map(|start| start.map(|(_, load)| load / mean))
    };
    let high = judged.iter().flat_map(|day| multiples(day)).flatten().fold(1.1, f64::max);
    let chart =
        Chart { from: first.from, until: last.until, top: 34.0, height: 200.0, high: (high * 1.05).min(4.0) };
    let mut svg = open(chart.top + chart.height + 34.0, "Load that each method's backups met, by day");
    chart.grid(&mut svg);
    let _ = write!(
        svg,
        "<line class=\"mean\" x1=\"{LEFT}\" x2=\"{0}\" y1=\"{1:.1}\" y2=\"{1:.1}\"/>",
        WIDTH - RIGHT,
        chart.y(1.0)
    );
    for (n, method) in Method::EACH.into_iter().enumerate() {
        let (class, x) = (method.class(), LEFT + n as f64 * 225.0);
        let _ = write!(
            svg,
            "<circle class=\"dot {class}\" cx=\"{:.1}\" cy=\"14\" r=\"5\"/><text x=\"{:.1}\" y=\"18\">{}</text>",
            x + 5.0,
            x + 15.0,
            method.title()
        );
        let points: Vec<_> = judged
            .iter()
            .filter_map(|day| {
                let middle = day.from + (day.until - day.from) / 2;
                Some((middle, multiples(day)[n]?))
            })
            .collect();
        let line: Vec<_> = points.iter().map(|(at, value)| chart.point(*at, *value)).collect();
        let _ = write!(svg, "<polyline class=\"line {class}\" points=\"{}\"/>", line.join(" "));
        for (at, value) in points {
            let (x, y) = (chart.x(at), chart.y(value));
            let _ = write!(
                svg,
                "<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.2\"><title>{}: {value:.2}</title></circle>",
                at.to_zoned_datetime(replay.zone.clone()).strftime("%a %b %-d")
            );
        }
    }
    for day in judged.iter().step_by(judged.len().div_ceil(10).max(1)) {
        let date = day.from.to_zoned_datetime(replay.zone.clone());
        let _ = write!(
            svg,
            "<text class=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            (chart.x(day.from) + chart.x(day.until)) / 2.0,
            chart.top + chart.height + 20.0,
            date.strftime("%b %-d")
        );
    }
    svg + "</svg>"
}

fn short_title(method: Method) -> &'static str {
    match method {
        Method::Planned => "planned",
        Method::FixedHour => "02:00",
        Method::PreviousDay => "day before",
        Method::Hindsight => "best",
    }
}

fn open(height: f64, label: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"{label}\"><style>{STYLE}</style><rect class=\"back\" width=\"{WIDTH}\" height=\"{height}\"/>"
    )
}

/// A scale needs something to be high.
fn positive(value: f64) -> f64 {
    if value > 0.0 { value } else { 1.0 }
}

/// The next of 1, 2, 5, 10 … from a value on.
fn round_step(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * decade).find(|step| *step >= value).unwrap_or(value)
}

/// A value with as many figures as can be told apart.
pub(crate) fn short(value: f64) -> String {
    match value {
        v if v >= 10_000.0 => format!("{:.0} k", v / 1000.0),
        v if v >= 1000.0 => format!("{:.1} k", v / 1000.0),
        v if v >= 10.0 || v == 0.0 => format!("{v:.0}"),
        v if v >= 1.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

const STYLE: &str = "\
.back{fill:#fff}text{font:12px system-ui,sans-serif;fill:#333}.end{text-anchor:end}.middle{text-anchor:middle}\
.grid{stroke:#8883;stroke-width:1}.mean{stroke:#888;stroke-width:1;stroke-dasharray:4 4}\
.load{fill:none;stroke:#333;stroke-width:1.4}.expected{fill:none;stroke:#2a7fb8;stroke-width:1.4;stroke-dasharray:5 3}\
.spread{fill:#2a7fb8;opacity:.16}.alarm{fill:#d1495b;opacity:.22}.heat{fill:#c2571a}.line{fill:none;stroke-width:1.2;opacity:.6}\
.planned{fill:#2a7fb8;stroke:#2a7fb8}.fixed{fill:#d1495b;stroke:#d1495b}.previous{fill:#d99a2b;stroke:#d99a2b}\
.best{fill:#777;stroke:#777}.bar,.dot{stroke:none}.line{fill:none}\
@media(prefers-color-scheme:dark){.back{fill:#16181c}text{fill:#ddd}.load{stroke:#ddd}.heat{fill:#f08a3c}}";
