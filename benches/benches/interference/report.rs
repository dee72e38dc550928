//! The page: frontier, latency over time, tables.

use std::fmt::Write;

use sched_benches::results_directory;

use crate::Failure;
use crate::blocks::{Comparison, Shot};
use crate::method::Method;
use crate::results::{FEWEST_ROUNDS, Outcome, table};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 50.0;
const TOP: f64 = 20.0;

/// Writes the page of one technology to `results/interference-NAME.html` in cargo's target directory.
pub(crate) fn write(outcome: &Outcome) -> Result<(), Failure> {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{name}: backups beside a foreground</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}}\
         pre{{overflow-x:auto}}svg{{width:100%;height:auto}}</style>\
         <h1>{name}: what backups cost the foreground</h1><p>{versions}; {capacity:.0} requests a second at most. \
         {machine}.</p>",
        name = outcome.technology,
        versions = outcome.versions,
        capacity = outcome.capacity,
        machine = machine(),
    );
    for (load, comparison) in &outcome.loads {
        write!(
            page,
            "<h2>At {load} % load: {:.0} requests a second</h2>{}<p>Each point is a method: how much its backups move, \
             and what the foreground's p99 becomes beside no backup, with the 95 % interval from five rounds on. Better is to the right \
             and down.</p>{}<p>p99 of each half second of the newest block.</p><pre>{}</pre>",
            comparison.per_second,
            frontier(comparison),
            courses(comparison),
            table(comparison)
        )?;
    }
    if let Some(burst) = outcome.burst {
        write!(
            page,
            "<h2>A step from 30 % to 80 % and back</h2><p>The p99 is back under 1.2 times that without a backup after \
             {:.0} s; freed capacity is used again after {:.0} s.</p>",
            burst.recovery.as_secs_f64(),
            burst.reuse.as_secs_f64()
        )?;
    }
    for account in outcome.ledger.iter().flatten() {
        let ledger = account
            .ledger
            .map_or("cannot tell".into(), |(value, low, high)| format!("{value:.2} ({low:.2}-{high:.2})"));
        write!(
            page,
            "<p>{}: p99 × {:.2} measured from outside, {ledger} by the scheduler's own account: {}.</p>",
            account.setting,
            account.outside,
            if account.agrees { "they agree" } else { "they do not agree" }
        )?;
    }
    page += "</html>\n";
    for (load, comparison) in &outcome.loads {
        let path = results_directory().join(format!("interference-{}-{load}.csv", outcome.technology));
        std::fs::write(path, every_half_second(comparison))?;
        let path = results_directory().join(format!("interference-{}-{load}.svg", outcome.technology));
        std::fs::write(path, frontier(comparison))?;
    }
    let path = results_directory().join(format!("interference-{}.html", outcome.technology));
    std::fs::write(&path, page)?;
    Ok(())
}

/// Everything in the order in which it was measured, for those who want to see more than the pictures show.
fn every_half_second(comparison: &Comparison) -> String {
    let mut rows = Vec::new();
    for measured in &comparison.methods {
        for shot in &measured.shots {
            let Shot { round, begun, rate, course, .. } = shot;
            let (name, rate) = (measured.method.name(), rate / 1e6);
            rows.extend(course.iter().enumerate().map(|(at, (p50, p99))| {
                (begun + 0.5 * at as f64, format!("{},{name},{rate:.2},{p50},{p99}", round + 1))
            }));
        }
    }
    rows.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut text = "second,round,method,block_mb_per_s,p50_us,p99_us\n".to_owned();
    rows.iter().for_each(|(second, row)| text += &format!("{second:.1},{row}\n"));
    text
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // With it the processor is shared out by sessions, and each process of PostgreSQL has one of its own: see sched(7).
    let autogroup = std::fs::read_to_string("/proc/sys/kernel/sched_autogroup_enabled").unwrap_or_default();
    let shared_by = if autogroup.trim() == "1" { "sessions" } else { "tasks" };
    format!("{cores} cores, shared out by {shared_by}, Linux {}", kernel.trim())
}

fn color(method: Method) -> &'static str {
    match method {
        Method::None => "#666",
        Method::Unthrottled => "#c0392b",
        Method::Nice => "#e67e22",
        Method::Fixed(_) => "#2980b9",
        Method::Told => "#27ae60",
        Method::KnowingNothing => "#8e44ad",
    }
}

/// Places on logarithmic axes.
struct Axes {
    x: (f64, f64),
    y: (f64, f64),
}

impl Axes {
    fn x(&self, value: f64) -> f64 {
        let (low, high) = self.x;
        LEFT + (WIDTH - LEFT - 20.0) * ((value.max(low) / low).ln() / (high / low).ln()).clamp(0.0, 1.0)
    }

    fn y(&self, value: f64) -> f64 {
        let (low, high) = self.y;
        let share = ((value.max(low) / low).ln() / (high / low).ln()).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share
    }
}

fn svg(label_x: &str, label_y: &str, content: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" font-family=\"sans-serif\" font-size=\"12\">\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>{content}\
         <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{label_x}</text>\
         <text x=\"14\" y=\"{}\" transform=\"rotate(-90 14 {})\" text-anchor=\"middle\">{label_y}</text></svg>",
        (WIDTH + LEFT) / 2.0,
        HEIGHT - 8.0,
        (HEIGHT - BOTTOM) / 2.0,
        (HEIGHT - BOTTOM) / 2.0
    )
}

/// The room that a line of text takes, and the longest name of a method.
const LINE: f64 = 14.0;
const LABEL: f64 = 130.0;

fn frontier(comparison: &Comparison) -> String {
    let points: Vec<_> = comparison
        .methods
        .iter()
        .filter(|measured| measured.method != Method::None)
        .map(|measured| (measured.method, measured.rate() / 1e6, measured.p99))
        // Beside a foreground that was not served at all nothing can be shown.
        .filter(|(_, _, ratio)| ratio.low > 0.0 && ratio.high.is_finite())
        .collect();
    let rates = || points.iter().map(|(_, rate, _)| rate.max(0.01));
    let highest = points.iter().map(|(_, _, ratio)| ratio.high).fold(1.5, f64::max);
    let lowest = points.iter().map(|(_, _, ratio)| ratio.low).fold(0.9, f64::min);
    let axes = Axes {
        x: (rates().fold(f64::MAX, f64::min) / 1.5, rates().fold(0.0, f64::max) * 1.5),
        y: (lowest / 1.05, highest * 1.05),
    };
    let mut content = String::new();
    let right = WIDTH - 20.0;
    let mut ticks: Vec<f64> = Vec::new();
    for tick in [1.0, 10.0, 100.0, 3.0, 30.0, 0.5, 2.0, 5.0, 0.7, 1.5] {
        let y = axes.y(tick);
        let has_room = ticks.iter().all(|other| (other - y).abs() >= LINE);
        if tick > axes.y.0 && tick < axes.y.1 && has_room {
            ticks.push(y);
            let color = if tick == 1.0 { "#999" } else { "#eee" };
            let _ = write!(
                content,
                "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y}\" y2=\"{y}\" stroke=\"{color}\"/>\
                 <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{tick}</text>",
                LEFT - 6.0,
                y + 4.0
            );
        }
    }
    let y = axes.y(1.1);
    let _ = write!(
        content,
        "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y}\" y2=\"{y}\" stroke=\"#999\" stroke-dasharray=\"4 3\"/>\
         <text x=\"{}\" y=\"{}\" fill=\"#666\">1.1</text>",
        LEFT + 4.0,
        y - 4.0
    );
    for tick in [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0] {
        if tick > axes.x.0 && tick < axes.x.1 {
            let x = axes.x(tick);
            let y = HEIGHT - BOTTOM;
            let _ = write!(
                content,
                "<line x1=\"{x}\" x2=\"{x}\" y1=\"{y}\" y2=\"{}\" stroke=\"#999\"/>\
                 <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{tick}</text>",
                y + 5.0,
                y + 20.0
            );
        }
    }
    let mut labels: Vec<(f64, f64)> = Vec::new();
    for (method, rate, ratio) in &points {
        let (x, color) = (axes.x(rate.max(0.01)), color(*method));
        let (y, low, high) = (axes.y(ratio.value), axes.y(ratio.low), axes.y(ratio.high));
        // At the right edge the name stands on the left of its point.
        let (place, anchor) = if x + LABEL > WIDTH { (x - 8.0, "end") } else { (x + 8.0, "start") };
        // As near as there is room, within the picture.
        let free = |line: &f64| {
            let near = |other: &(f64, f64)| (place - other.0).abs() < LABEL && (line - other.1).abs() < LINE;
            (TOP..HEIGHT - BOTTOM).contains(line) && !labels.iter().any(near)
        };
        let mut lines = (0..20).flat_map(|n| [f64::from(n), -f64::from(n)]).map(|n| y - 6.0 + LINE * n);
        let label = (place, lines.find(free).unwrap_or(y - 6.0));
        labels.push(label);
        if comparison.none().blocks.len() >= FEWEST_ROUNDS {
            let _ = write!(
                content,
                "<line x1=\"{x}\" x2=\"{x}\" y1=\"{low}\" y2=\"{high}\" stroke=\"{color}\"/>"
            );
        }
        let _ = write!(
            content,
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"5\" fill=\"{color}\"><title>{} × {:.2}</title></circle>\
             <text x=\"{}\" y=\"{}\" fill=\"{color}\" text-anchor=\"{anchor}\">{}</text>",
            method.name(),
            ratio.value,
            label.0,
            label.1,
            method.name().replace('_', " ")
        );
    }
    svg("MB/s moved by backups", "p99 over no backup's", &content)
}

fn courses(comparison: &Comparison) -> String {
    let shown: Vec<_> =
        comparison.methods.iter().filter(|measured| !matches!(measured.method, Method::Fixed(_))).collect();
    let values = || shown.iter().flat_map(|measured| measured.newest()).map(|(_, p99)| p99 / 1e3);
    let axes = Axes {
        x: (1.0, 2.0),
        y: (values().fold(f64::MAX, f64::min).max(0.01) / 1.2, values().fold(0.1, f64::max) * 1.2),
    };
    let most = shown.iter().map(|measured| measured.newest().len()).max().unwrap_or(1).max(2);
    let mut content = String::new();
    for tick in [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0] {
        if tick > axes.y.0 && tick < axes.y.1 {
            let y = axes.y(tick);
            let _ = write!(
                content,
                "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\" stroke=\"#eee\"/>\
                 <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{tick}</text>",
                WIDTH - 20.0,
                LEFT - 6.0,
                y + 4.0
            );
        }
    }
    for (line, measured) in shown.iter().enumerate() {
        let color = color(measured.method);
        let step = (WIDTH - LEFT - 140.0) / (most - 1) as f64;
        let path: Vec<String> = measured
            .newest()
            .iter()
            .enumerate()
            .map(|(at, (_, p99))| format!("{:.1},{:.1}", LEFT + step * at as f64, axes.y(p99 / 1e3)))
            .collect();
        let _ = write!(
            content,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\"/>\
             <text x=\"{}\" y=\"{}\" fill=\"{color}\">{}</text>",
            path.join(" "),
            WIDTH - 125.0,
            TOP + 16.0 * (line + 1) as f64,
            measured.method.name().replace('_', " ")
        );
    }
    svg("time within a block", "ms", &content)
}
