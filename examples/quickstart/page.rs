//! The picture: latency, running backups and granted rate over time, as SVG in a page without scripts.

use std::fmt::Write;
use std::time::Duration;

use backup_sched::Rate;
use backup_sched::core::MonoTime;

use crate::fleet::Database;
use crate::report::{Figures, backup_rows, ms, quantile, tail_rows};
use crate::rounds::{Phase, Seen};
use crate::traffic::Sample;

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 92.0;
const RIGHT: f64 = 20.0;
const BIN: Duration = Duration::from_millis(250);

/// A strip of the picture.
struct Panel {
    top: f64,
    height: f64,
}

/// Everything that is drawn.
pub(crate) struct Picture<'a> {
    pub(crate) samples: &'a [Sample],
    pub(crate) seen: &'a Seen,
    pub(crate) fleet: &'a [Database],
    pub(crate) figures: &'a Figures,
    /// A sentence about machine and load.
    pub(crate) about: &'a str,
}

impl Picture<'_> {
    pub(crate) fn html(&self) -> String {
        let (good, verdict) = self.figures.verdict();
        let class = if good { "good" } else { "bad" };
        let tails = html_table(&tail_rows(self.figures));
        let backups = html_table(&backup_rows(&self.seen.backups, self.fleet.len()));
        format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>backup-sched quickstart</title>\
             <style>{PAGE_STYLE}</style><h1>What backups cost the foreground</h1>\
             <p class=\"{class}\">{}.</p><p>{}</p>{}\
             <h2>Foreground latency</h2>{tails}<h2>Scheduled backups, last round</h2>{backups}</html>\n",
            escape(&verdict),
            escape(self.about),
            self.svg()
        )
    }

    pub(crate) fn svg(&self) -> String {
        let lanes = self.fleet.len() as f64;
        let latency = Panel { top: 78.0, height: 210.0 };
        let gantt = Panel { top: latency.top + latency.height + 34.0, height: lanes * 16.0 };
        let rate = Panel { top: gantt.top + gantt.height + 34.0, height: 80.0 };
        let height = rate.top + rate.height + 44.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
             aria-label=\"Foreground latency against running backups\"><style>{SVG_STYLE}</style>\
             <rect class=\"back\" width=\"{WIDTH}\" height=\"{height}\"/>"
        );
        self.draw_blocks(&mut svg, latency.top, rate.top + rate.height - latency.top);
        self.draw_legend(&mut svg);
        self.draw_latency(&mut svg, &latency);
        self.draw_copies(&mut svg, &gantt);
        self.draw_rate(&mut svg, &rate);
        self.draw_time(&mut svg, rate.top + rate.height);
        svg.push_str("</svg>");
        svg
    }

    fn start(&self) -> MonoTime {
        self.seen.blocks.first().map_or(MonoTime::ZERO, |(_, span)| span.from)
    }

    fn length(&self) -> f64 {
        let end = self.seen.blocks.last().map_or(MonoTime::ZERO, |(_, span)| span.to);
        end.since(self.start()).as_secs_f64().max(0.001)
    }

    fn x(&self, at: MonoTime) -> f64 {
        LEFT + at.since(self.start()).as_secs_f64() / self.length() * (WIDTH - LEFT - RIGHT)
    }

    fn draw_blocks(&self, svg: &mut String, top: f64, height: f64) {
        for (phase, span) in &self.seen.blocks {
            let (x, w) = (self.x(span.from), self.x(span.to) - self.x(span.from));
            let class = class(*phase);
            let _ = write!(
                svg,
                "<rect class=\"band {class}\" x=\"{x:.1}\" y=\"{top}\" width=\"{w:.1}\" height=\"{height}\"/>"
            );
        }
    }

    fn draw_legend(&self, svg: &mut String) {
        let _ = write!(
            svg,
            "<text class=\"head\" x=\"{LEFT}\" y=\"20\">Foreground latency against running backups; p99 over all blocks</text>"
        );
        for (n, phase) in Phase::EACH.into_iter().enumerate() {
            let x = LEFT + n as f64 * 270.0;
            let (class, p99) = (class(phase), ms(self.figures.tail(phase).p99));
            let _ = write!(
                svg,
                "<rect class=\"key {class}\" x=\"{x}\" y=\"32\" width=\"12\" height=\"12\"/>\
                 <text x=\"{}\" y=\"42\">{}: {p99:.1} ms</text>",
                x + 17.0,
                phase.title()
            );
        }
    }

    /// p99 of each bin, on a logarithmic scale: what matters is by how many times it grows.
    fn draw_latency(&self, svg: &mut String, panel: &Panel) {
        let points = self.bins();
        let values = || points.iter().map(|(_, v)| *v).filter(|v| *v > 0.0);
        let low = values().fold(f64::MAX, f64::min).min(1.0).log10().floor();
        let high = values().fold(1.0, f64::max).log10().ceil();
        let y = |v: f64| panel.top + panel.height * (high - v.log10()) / (high - low).max(1.0);
        let mut decade = low;
        while decade <= high {
            let v = 10_f64.powf(decade);
            // A decade, as short as it can be written.
            let label = format!("{} ms", (v * 1e3).round() / 1e3);
            axis(svg, y(v), &label);
            decade += 1.0;
        }
        title(svg, panel, "p99 of each quarter second");
        for (phase, span) in &self.seen.blocks {
            let inside = points.iter().filter(|(at, v)| span.from <= *at && *at < span.to && *v > 0.0);
            let line: Vec<_> = inside
                .map(|(at, v)| format!("{:.1},{:.1}", self.x(*at + BIN / 2).min(self.x(span.to)), y(*v)))
                .collect();
            let _ = write!(svg, "<polyline class=\"line {}\" points=\"{}\"/>", class(*phase), line.join(" "));
        }
    }

    /// Bins that lie wholly in a block, with their p99 in ms.
    fn bins(&self) -> Vec<(MonoTime, f64)> {
        let mut bins = Vec::new();
        for (_, span) in &self.seen.blocks {
            let mut from = span.from;
            while from < span.to {
                let first = self.samples.partition_point(|s| s.at < from);
                let last = self.samples.partition_point(|s| s.at < (from + BIN).min(span.to));
                let mut inside: Vec<_> = self.samples[first..last].iter().map(|s| s.latency).collect();
                inside.sort_unstable();
                bins.push((from, ms(quantile(&inside, 0.99))));
                from = from + BIN;
            }
        }
        bins
    }

    fn draw_copies(&self, svg: &mut String, panel: &Panel) {
        title(svg, panel, "Running backups");
        for (n, database) in self.fleet.iter().enumerate() {
            let y = panel.top + n as f64 * 16.0;
            let _ = write!(
                svg,
                "<text class=\"axis\" x=\"{}\" y=\"{:.1}\">{}</text>",
                LEFT - 6.0,
                y + 11.0,
                database.name
            );
            for (_, phase, span) in self.seen.copies.iter().filter(|(name, ..)| *name == database.name) {
                let (x, w) = (self.x(span.from), (self.x(span.to) - self.x(span.from)).max(1.0));
                let _ = write!(
                    svg,
                    "<rect class=\"bar {}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{w:.1}\" height=\"12\"/>",
                    class(*phase),
                    y + 1.0
                );
            }
        }
    }

    fn draw_rate(&self, svg: &mut String, panel: &Panel) {
        title(svg, panel, "Rate granted to scheduled backups together");
        let of = |rate: &Rate| match rate {
            Rate::BytesPerSec(rate) => *rate as f64 / 1e6,
            Rate::Unlimited => 0.0,
        };
        let high = self.seen.rates.iter().map(|(_, rate)| of(rate)).fold(1.0, f64::max);
        let y = |v: f64| panel.top + panel.height * (1.0 - v / high);
        axis(svg, y(0.0), "0 MB/s");
        axis(svg, y(high), &format!("{high:.0} MB/s"));
        for (_, span) in self.seen.blocks.iter().filter(|(phase, _)| *phase == Phase::Scheduled) {
            let inside = self.seen.rates.iter().filter(|(at, _)| span.from <= *at && *at < span.to);
            let line: Vec<_> =
                inside.map(|(at, rate)| format!("{:.1},{:.1}", self.x(*at), y(of(rate)))).collect();
            let _ = write!(svg, "<polyline class=\"line scheduled\" points=\"{}\"/>", line.join(" "));
        }
    }

    fn draw_time(&self, svg: &mut String, y: f64) {
        // More labels than a dozen run into each other.
        let steps = [5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0];
        let step = steps.into_iter().find(|step| self.length() / step <= 12.0).unwrap_or(3600.0);
        let mut t = 0.0;
        while t <= self.length() {
            let x = LEFT + t / self.length() * (WIDTH - LEFT - RIGHT);
            let _ = write!(svg, "<text class=\"time\" x=\"{x:.1}\" y=\"{:.1}\">{t:.0} s</text>", y + 16.0);
            t += step;
        }
        let _ = write!(
            svg,
            "<text class=\"time\" x=\"{:.1}\" y=\"{:.1}\">time; gaps between blocks settle and are not counted</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            y + 34.0
        );
    }
}

fn class(phase: Phase) -> &'static str {
    match phase {
        Phase::None => "none",
        Phase::All => "all",
        Phase::Scheduled => "scheduled",
    }
}

fn axis(svg: &mut String, y: f64, label: &str) {
    let _ = write!(
        svg,
        "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
         <text class=\"axis\" x=\"{}\" y=\"{:.1}\">{label}</text>",
        WIDTH - RIGHT,
        LEFT - 6.0,
        y + 4.0
    );
}

fn title(svg: &mut String, panel: &Panel, text: &str) {
    let _ = write!(svg, "<text class=\"title\" x=\"{LEFT}\" y=\"{:.1}\">{text}</text>", panel.top - 6.0);
}

fn html_table(rows: &[Vec<String>]) -> String {
    let mut html = String::from("<table>");
    for (n, row) in rows.iter().enumerate() {
        let tag = if n == 0 { "th" } else { "td" };
        let cells: String = row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
        let _ = write!(html, "<tr>{cells}</tr>");
    }
    html + "</table>"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const SVG_STYLE: &str = "\
.back{fill:#fff}text{font:12px system-ui,sans-serif;fill:#333}.head{font-size:15px;font-weight:600}\
.title{font-weight:600}.axis{text-anchor:end}.time{text-anchor:middle}\
.grid{stroke:#8884;stroke-width:1}.line{fill:none;stroke-width:1.8}.band{opacity:.10}.bar{opacity:.85}\
.none{fill:#777;stroke:#777}.all{fill:#d1495b;stroke:#d1495b}.scheduled{fill:#2a7fb8;stroke:#2a7fb8}\
.band,.bar,.key{stroke:none}.line{fill:none}\
@media(prefers-color-scheme:dark){.back{fill:#16181c}text{fill:#ddd}.none{fill:#aaa;stroke:#aaa}\
.scheduled{fill:#5ab0e8;stroke:#5ab0e8}.all{fill:#f0697c;stroke:#f0697c}.band{opacity:.16}\
.band,.bar,.key{stroke:none}.line{fill:none}}";

const PAGE_STYLE: &str = "\
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:1040px;margin:2rem auto;padding:0 1rem}\
svg{width:100%;height:auto;border-radius:6px}table{border-collapse:collapse;margin:.5rem 0;display:block;overflow-x:auto}\
th,td{padding:.2rem .8rem;text-align:right;border-bottom:1px solid #8884}th:first-child,td:first-child{text-align:left}\
.good,.bad{font-size:1.1rem;font-weight:600;padding:.5rem .8rem;border-left:4px solid #2a9d5c;background:#2a9d5c22}\
.bad{border-color:#c90;background:#c902}";
