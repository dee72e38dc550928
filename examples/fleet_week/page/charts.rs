//! The pictures. What is drawn stretches with the page; words and numbers stand beside it as text, so they stay readable.

use std::fmt::Write;

use maud::{Markup, html};
use sched_sim::{Fleet, SLOT_SECS};

use crate::race::Contender;
use crate::table::number;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
/// Loads are looked at on so many hosts at most.
const HOSTS: usize = 5_000;

/// A panel: a title, a picture with labels to its left and below, and a word to the right of the title.
fn panel(title: &str, aside: &str, left: &[String], below: &[String], picture: Markup) -> Markup {
    html! {
        figure {
            figcaption { strong { (title) } span { (aside) } }
            div.chart {
                div.left { @for label in left { span { (label) } } }
                (picture)
                div.below { @for label in below { span { (label) } } }
            }
        }
    }
}

fn class(ours: bool) -> &'static str {
    if ours { "ours" } else { "theirs" }
}

/// How full the links are, hour by hour.
pub(super) fn link_use(fleet: &Fleet, contender: &Contender, lowest: &[f64], ours: bool) -> Markup {
    let carried: Vec<f64> = fleet.links.iter().map(|link| link.bytes_per_sec * 3600.0).collect();
    let all: f64 = carried.iter().sum::<f64>().max(1.0);
    let link_hours = &contender.measures.link_hours;
    let hours = link_hours.first().map_or(0, Vec::len);
    let mean = |hour: usize| link_hours.iter().map(|of| of[hour]).sum::<f64>() / all;
    let fullest =
        |hour: usize| link_hours.iter().zip(&carried).map(|(of, most)| of[hour] / most).fold(0.0, f64::max);
    // Steps: an hour is as wide as the next.
    let steps = |of: &dyn Fn(usize) -> f64| {
        (0..hours).fold(String::new(), |mut line, hour| {
            let y = 100.0 * (1.0 - of(hour).min(1.0));
            let _ = write!(line, "{hour},{y:.1} {},{y:.1} ", hour + 1);
            line
        })
    };
    let (area, line) = (format!("0,100 {}{hours},100", steps(&mean)), steps(&fullest));
    let lowest = 100.0 * (1.0 - (lowest.iter().sum::<f64>() / all).min(1.0));
    let days: Vec<String> = (0..hours.div_ceil(24)).map(|day| DAYS[day % 7].to_owned()).collect();
    let peak = (0..hours).map(fullest).fold(0.0, f64::max);
    let aside = format!("fullest {:.0} %", 100.0 * peak);
    let picture = html! {
        svg viewBox=(format!("0 0 {} 100", hours.max(1))) preserveAspectRatio="none" role="img"
            aria-label=(format!("Use of the links by hour, {}", contender.name)) {
            @for y in [0, 50, 100] { line.grid x1="0" x2=(hours) y1=(y) y2=(y) {} }
            @for day in 1..days.len() { line.grid x1=(24 * day) x2=(24 * day) y1="0" y2="100" {} }
            polygon.area.(class(ours)) points=(area) {}
            polyline.line.(class(ours)) points=(line) {}
            line.bound x1="0" x2=(hours) y1=(format!("{lowest:.1}")) y2=(format!("{lowest:.1}")) {}
        }
    };
    panel(contender.name, &aside, &["100 %", "50 %", "0"].map(String::from), &days, picture)
}

/// How much time was left, in tenths, after those that were late.
pub(super) fn slack(contender: &Contender, ours: bool) -> Markup {
    let measures = &contender.measures;
    let late = measures.due - measures.in_time;
    let counts: Vec<u64> = std::iter::once(late).chain(measures.slack_tenths).collect();
    let all = counts.iter().sum::<u64>().max(1) as f64;
    // A tenth or more of all, so that a flat picture stays flat.
    let most = counts.iter().copied().max().unwrap_or(1).max(1) as f64;
    let scale = (10.0 * most / all).ceil() / 10.0;
    let share = |count: u64| count as f64 / all;
    let picture = html! {
        svg viewBox="0 0 11 100" preserveAspectRatio="none" role="img"
            aria-label=(format!("Slack that was left, {}", contender.name)) {
            @for y in [0, 50, 100] { line.grid x1="0" x2="11" y1=(y) y2=(y) {} }
            @for (at, count) in counts.iter().enumerate() {
                @let high = 100.0 * share(*count) / scale;
                rect.bar.(if at == 0 { "late" } else { class(ours) })
                    x=(format!("{:.2}", at as f64 + 0.08)) width="0.84"
                    y=(format!("{:.1}", 100.0 - high)) height=(format!("{high:.1}")) {
                    title { (number(*count as f64, 0)) " backups, " (format!("{:.2} %", 100.0 * share(*count))) }
                }
            }
        }
    };
    let aside = format!("{:.2} % too late", 100.0 * share(late));
    let left = [format!("{:.0} %", 100.0 * scale), format!("{:.0} %", 50.0 * scale), "0".to_owned()];
    let below: Vec<String> =
        std::iter::once("late".to_owned()).chain((0..10).map(|tenth| format!("{}", 10 * tenth))).collect();
    panel(contender.name, &aside, &left, &below, picture)
}

/// A value for each hour of each day of the week.
pub(super) type Week = [[f64; 24]; 7];

/// The mean load of the hosts, without noise.
pub(super) fn foreground(fleet: &Fleet) -> Week {
    let stride = fleet.hosts.len().div_ceil(HOSTS).max(1);
    let hosts = || fleet.hosts.iter().step_by(stride);
    let count = hosts().count().max(1) as f64;
    let slots_of_hour = 3600 / SLOT_SECS;
    let mean = |hour: u32| {
        let slot = hour * slots_of_hour + slots_of_hour / 2;
        hosts().map(|host| host.mean_load(slot)).sum::<f64>() / count
    };
    std::array::from_fn(|day| std::array::from_fn(|hour| mean((24 * day + hour) as u32)))
}

/// Bytes moved on all links; of several weeks the mean.
pub(super) fn moved(contender: &Contender) -> Week {
    let mut week = [[(0.0, 0.0_f64); 24]; 7];
    let hours = contender.measures.link_hours.first().map_or(0, Vec::len);
    for hour in 0..hours {
        let cell = &mut week[hour / 24 % 7][hour % 24];
        cell.0 += contender.measures.link_hours.iter().map(|of| of[hour]).sum::<f64>();
        cell.1 += 1.0;
    }
    week.map(|day| day.map(|(bytes, weeks)| bytes / weeks.max(1.0)))
}

pub(super) fn heat(title: &str, class: &str, week: &Week, tell: impl Fn(f64) -> String) -> Markup {
    let most = week.iter().flatten().copied().fold(0.0, f64::max);
    let picture = html! {
        svg.heat viewBox="0 0 24 7" preserveAspectRatio="none" role="img" aria-label=(title) {
            @for (day, hours) in week.iter().enumerate() {
                @for (hour, value) in hours.iter().enumerate() {
                    rect.(class) x=(hour) y=(day) width="1.02" height="1.02"
                        fill-opacity=(format!("{:.3}", if most > 0.0 { value / most } else { 0.0 })) {
                        title { (DAYS[day]) " " (format!("{hour:02}:00")) ": " (tell(*value)) }
                    }
                }
            }
        }
    };
    let below: Vec<String> = (0..8).map(|at| format!("{:02}", 3 * at)).collect();
    panel(title, &format!("at most {}", tell(most)), &DAYS.map(String::from), &below, picture)
}
