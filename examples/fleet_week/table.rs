//! The comparison as a table in plain words, for the terminal and the page.

use sched_sim::Measures;

use crate::race::Contender;

const HOUR: f64 = 3600.0;

/// A line of the table: what is told, and it for each contender.
pub(crate) struct Line {
    pub(crate) what: &'static str,
    /// Whether less is better; `None` where neither is.
    pub(crate) less_is_better: Option<bool>,
    values: Vec<f64>,
    digits: usize,
}

/// Lines that belong together.
pub(crate) struct Group {
    pub(crate) title: &'static str,
    pub(crate) lines: Vec<Line>,
}

impl Line {
    pub(crate) fn cells(&self) -> Vec<String> {
        let cell = |value: &f64| {
            if value.is_finite() { number(*value, self.digits) } else { "never".to_owned() }
        };
        self.values.iter().map(cell).collect()
    }

    /// Which contenders have the best value, as shown.
    pub(crate) fn best(&self) -> Vec<bool> {
        let cells = self.cells();
        let Some(less) = self.less_is_better else { return vec![false; cells.len()] };
        let better = |a: &f64, b: &f64| if less { a.total_cmp(b) } else { b.total_cmp(a) };
        let best =
            self.values.iter().enumerate().min_by(|a, b| better(a.1, b.1)).map(|(at, _)| cells[at].clone());
        cells.iter().map(|cell| Some(cell) == best.as_ref()).collect()
    }
}

/// A number with thousands apart.
pub(crate) fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, rest) =
        text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut apart = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            apart.push(',');
        }
        apart.push(digit);
    }
    let rest = rest.map_or(String::new(), |rest| format!(".{rest}"));
    format!("{sign}{apart}{rest}")
}

/// The whole comparison. `lowest` are the lowest peaks of the links.
pub(crate) fn groups(contenders: &[Contender], lowest: &[f64]) -> Vec<Group> {
    let line = |what, less_is_better, digits, of: &dyn Fn(&Measures) -> f64| {
        let values = contenders.iter().map(|contender| of(&contender.measures)).collect();
        Line { what, less_is_better, values, digits }
    };
    let (less, more, neither) = (Some(true), Some(false), None);
    vec![
        Group {
            title: "Recovery points",
            lines: vec![
                line("replaced in time, %", more, 2, &Measures::rpo_hit_pct),
                line("replaced too late, or not at all", less, 0, &|m| (m.due - m.in_time) as f64),
                line("the latest was late by, hours", less, 1, &|m| m.longest_late_secs.max(0.0) / HOUR),
                line("every instance had a first backup after, hours", less, 1, &|m| {
                    m.makespan_secs.map_or(f64::INFINITY, |secs| secs / HOUR)
                }),
                line("slack shared between technologies (1: evenly)", more, 2, &Measures::fairness),
            ],
        },
        Group {
            title: "Foreground",
            lines: vec![
                line("hours in which a backup slowed its database's p99 by over a fifth", less, 0, &|m| {
                    m.harm_secs / HOUR
                }),
                line("foreground load while backups ran, %", less, 1, &|m| 100.0 * m.load_while_running),
                line("backup time in low-load moments, % of the possible", more, 1, &|m| {
                    100.0 * m.low_load_share()
                }),
            ],
        },
        Group {
            title: "Links",
            lines: vec![
                line("busiest hour over the mean hour, worst link", less, 2, &|m| m.peak_to_mean().1),
                line("busiest hour over the lowest that RPOs and windows allow, worst link", less, 2, &|m| {
                    m.peak_over(lowest).1
                }),
                line("moved, TB", neither, 1, &|m| m.bytes() / 1e12),
            ],
        },
        Group {
            title: "Backups",
            lines: vec![
                line("succeeded", neither, 0, &|m| m.succeeded as f64),
                line("attempts that failed", less, 0, &|m| m.failed as f64),
                line("of these, stopped by their time-out", less, 0, &|m| m.timed_out as f64),
                line("time that they ran, hours", neither, 0, &|m| m.backup_secs / HOUR),
                line("started later than asked for", neither, 0, &|m| m.deferred as f64),
                line("longest wait for a start, hours", less, 1, &|m| m.longest_wait_secs / HOUR),
                line("started against load or window, since time was up", neither, 0, &|m| {
                    m.overridden as f64
                }),
            ],
        },
    ]
}

/// For a terminal: who is who, and a column for each.
pub(crate) fn text(contenders: &[Contender], groups: &[Group]) -> String {
    let mut out = String::new();
    for (n, contender) in contenders.iter().enumerate() {
        out += &format!("  {}  {:17}  {}\n", letter(n), contender.name, contender.about);
    }
    let lines = || groups.iter().flat_map(|group| &group.lines);
    let width = lines().map(|line| line.what.chars().count()).max().unwrap_or(0);
    for group in groups {
        out += &format!("\n{:width$}", group.title, width = width + 2);
        (0..contenders.len()).for_each(|n| out += &format!("{:>11} ", letter(n)));
        for line in &group.lines {
            out += &format!("\n  {:width$}", line.what);
            for (cell, best) in line.cells().iter().zip(line.best()) {
                out += &format!("{cell:>11}{}", if best { '*' } else { ' ' });
            }
        }
        out.push('\n');
    }
    out + "\n  * the best of the line\n"
}

fn letter(n: usize) -> char {
    char::from(b'A' + (n % 26) as u8)
}

/// The scheduler beside the best of the others, in two sentences.
pub(crate) fn verdict(contenders: &[Contender]) -> String {
    let Some((ours, rivals)) = contenders.split_first() else { return String::new() };
    let measures: Vec<Measures> = rivals.iter().map(|rival| rival.measures.clone()).collect();
    let Some(rival) = sched_sim::best(&measures).map(|best| &rivals[best]) else { return String::new() };
    let (a, b) = (&ours.measures, &rival.measures);
    let missed = |m: &Measures| number((m.due - m.in_time) as f64, 0);
    let hours = |secs: f64| number(secs / HOUR, if secs < 100.0 * HOUR { 1 } else { 0 });
    format!(
        "This scheduler missed {} of {} recovery points and slowed databases for {} hours. The best of the others ({}) missed \
         {} of {} and slowed them for {} hours. Its backups ran for {:.2} times as long as theirs.",
        missed(a),
        number(a.due as f64, 0),
        hours(a.harm_secs),
        rival.name,
        missed(b),
        number(b.due as f64, 0),
        hours(b.harm_secs),
        a.backup_secs / b.backup_secs.max(1.0)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(number(1_234_567.891, 1), "1,234,567.9");
        assert_eq!(number(-1_234.0, 0), "-1,234");
        assert_eq!(number(12.0, 2), "12.00");
    }

    #[test]
    fn all_that_show_the_best_value_are_best() {
        let line = |less_is_better, values: &[f64]| Line {
            what: "",
            less_is_better,
            values: values.to_vec(),
            digits: 1,
        };
        assert_eq!(line(Some(true), &[2.0, 1.01, 1.04]).best(), [false, true, true]);
        assert_eq!(line(Some(false), &[2.0, 1.0, f64::INFINITY]).cells()[2], "never");
        assert_eq!(line(None, &[2.0]).best(), [false]);
    }
}
