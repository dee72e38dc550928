//! The tables, and the files that results are written to.

use std::collections::BTreeMap;

use sched_benches::{Row, write_json, write_results};
use sched_workload::LearnedWeek;
use serde::Serialize;

use crate::class::class;
use crate::compare::Scores;
use crate::peaks::Seen;
use crate::score::{Score, mean};
use crate::traces::Trace;

/// What peaks were seen, and at which multiple of the default thresholds.
pub(crate) struct Peaks {
    pub(crate) cases: usize,
    pub(crate) scale: f32,
    pub(crate) seen: Seen,
    pub(crate) small: Seen,
    pub(crate) normal: Seen,
}

/// What one does with a score.
type Figure = fn(&Score) -> f64;

pub(crate) struct Costs {
    pub(crate) update_ns: f64,
    pub(crate) forecast_day_ns: f64,
}

pub(crate) struct Report<'a> {
    pub(crate) traces: &'a [Trace],
    pub(crate) scores: &'a [Scores],
    pub(crate) peaks: Option<Peaks>,
    pub(crate) costs: Costs,
}

/// Methods in the order of the table, with the name of their row in the results where they have one.
const METHODS: [(&str, &str); 8] = [
    ("fixed", "fixed.regret_pct"),
    ("previous_day", "previous_day.regret_pct"),
    ("mean_7d", "mean_7d.regret_pct"),
    ("decayed_daily", "decayed_daily.regret_pct"),
    ("holt_winters", "holt_winters.regret_pct"),
    ("mstl_ets", "mstl_ets.regret_pct"),
    ("day_ahead", "regret_day_ahead_pct"),
    ("live", "regret_live_pct"),
];

/// A file's scores.
#[derive(Serialize)]
struct File<'a> {
    file: &'a str,
    class: &'a str,
    methods: BTreeMap<&'a str, Figures>,
}

#[derive(Serialize)]
struct Figures {
    choices: f64,
    regret_pct: f64,
    window_right_pct: f64,
    hit_pct: f64,
    capture_pct: f64,
}

impl Report<'_> {
    /// The mean over the files of a class that have a score, each counting the same.
    fn mean(&self, method: &str, in_class: Option<&str>, of: Figure) -> f64 {
        let files = self.traces.iter().zip(self.scores);
        let chosen = files.filter(|(trace, _)| in_class.is_none_or(|wanted| class(trace) == wanted));
        mean(chosen.filter_map(|(_, scores)| scores.get(method)).map(of))
    }

    /// The mean over half of the files, chosen by a hash of the name: one to choose a method on, one to confirm it.
    fn half(&self, method: &str, odd: bool) -> f64 {
        let is_odd = |name: &str| {
            let hash = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            name.bytes().fold(0xcbf2_9ce4_8422_2325, hash).count_ones() % 2 == 1
        };
        let files = self.traces.iter().zip(self.scores).filter(|(trace, _)| is_odd(&trace.name) == odd);
        mean(files.filter_map(|(_, scores)| scores.get(method)).map(Score::regret))
    }

    pub(crate) fn print(&self) {
        let mut classes: Vec<&str> = self.traces.iter().map(class).collect();
        classes.sort_unstable();
        classes.dedup();
        println!("Regret of the window chosen for the next day, % of the day's mean load");
        print!("{:<12} {:>5}", "class", "files");
        METHODS.iter().for_each(|(method, _)| print!(" {method:>13}"));
        println!();
        for in_class in classes.iter().copied().map(Some).chain([None]) {
            let count =
                self.traces.iter().filter(|t| in_class.is_none_or(|wanted| class(t) == wanted)).count();
            print!("{:<12} {count:>5}", in_class.unwrap_or("mean"));
            METHODS
                .iter()
                .for_each(|(method, _)| print!(" {:>13.1}", self.mean(method, in_class, Score::regret)));
            println!();
        }
        for (name, odd) in [("half A", false), ("half B", true)] {
            print!("{name:<18}");
            METHODS.iter().for_each(|(method, _)| print!(" {:>13.1}", self.half(method, odd)));
            println!();
        }
        let more: [(&str, Figure); 3] =
            [("window right", Score::right), ("hit", Score::hit), ("capture", Score::capture)];
        for (name, of) in more {
            print!("{name:<18}");
            METHODS.iter().for_each(|(method, _)| print!(" {:>13.1}", self.mean(method, None, of)));
            println!();
        }
        let cold = |method| self.mean(method, None, Score::regret);
        println!(
            "\ncold start, days 2 to 7: live {:.1}, day-ahead {:.1}, previous day {:.1}; best 4 h of a week {:.1}, as in \
             the previous {:.1}",
            cold("cold"),
            cold("cold_day_ahead"),
            cold("cold_previous_day"),
            cold("weekly"),
            cold("weekly_previous"),
        );
        if let Some(peaks) = &self.peaks {
            peaks.print();
        }
        let Costs { update_ns, forecast_day_ns } = self.costs;
        println!("a sample {update_ns:.0} ns, a forecast of a day {:.2} µs", forecast_day_ns / 1e3);
    }

    pub(crate) fn write(&self) {
        let previous = self.mean("previous_day", None, Score::regret);
        let mut rows = Vec::new();
        let mut row = |name, (value, unit), peer: (&str, f64)| {
            rows.push(Row::new(name, (value, unit), peer, self.traces.len()));
        };
        for (method, name) in METHODS {
            row(name, (self.mean(method, None, Score::regret), "%"), ("previous_day", previous));
        }
        let right = self.mean("previous_day", None, Score::right);
        row("window_right_pct", (self.mean("live", None, Score::right), "%"), ("previous_day", right));
        let cold = self.mean("cold_previous_day", None, Score::regret);
        row("cold_start_pct", (self.mean("cold", None, Score::regret), "%"), ("previous_day", cold));
        let previous_week = self.mean("weekly_previous", None, Score::regret);
        row("weekly_pct", (self.mean("weekly", None, Score::regret), "%"), ("previous week", previous_week));
        if let Some(Peaks { seen, .. }) = &self.peaks {
            row("peaks_10min_pct", (100.0 * seen.soon / seen.bursts, "%"), ("aim", 72.0));
            row("peaks_all_pct", (100.0 * seen.at_all / seen.bursts, "%"), ("aim", 88.0));
        }
        row("bytes_per_instance", (size_of::<LearnedWeek>() as f64, "bytes"), ("limit", 512.0));
        let (live, day) =
            (self.mean("live", None, Score::regret), self.mean("day_ahead", None, Score::regret));
        row("regret_live_over_previous_day", (live / previous, "ratio"), ("aim", 0.78));
        row("regret_day_ahead_over_previous_day", (day / previous, "ratio"), ("aim", 0.82));
        let mstl = self.mean("mstl_ets", None, Score::regret);
        row("regret_live_over_mstl_ets", (live / mstl, "ratio"), ("aim", 0.85));
        row("update_ns", (self.costs.update_ns, "ns"), ("aim", 50.0));
        row("forecast_day_us", (self.costs.forecast_day_ns / 1e3, "µs"), ("aim", 5.0));
        let files: Vec<File<'_>> = self.traces.iter().zip(self.scores).map(file).collect();
        println!("written to {}", write_json("backtest_files", &files).display());
        println!("written to {}", write_results("backtest", &rows).display());
    }
}

fn file<'a>((trace, scores): (&'a Trace, &'a Scores)) -> File<'a> {
    let figures = |score: &Score| Figures {
        choices: score.choices,
        regret_pct: score.regret(),
        window_right_pct: score.right(),
        hit_pct: score.hit(),
        capture_pct: score.capture(),
    };
    let methods = scores.iter().map(|(method, score)| (*method, figures(score))).collect();
    File { file: &trace.name, class: class(trace), methods }
}

impl Peaks {
    fn print(&self) {
        let Self { cases, scale, seen, small, normal } = self;
        let share = |part: f64, seen: &Seen| 100.0 * part / seen.bursts;
        println!(
            "peaks on {cases} files at {:.2} false alarms a day (thresholds × {scale:.2}): 1.0 × bursts {:.0} % within \
             10 min, {:.0} % at all; 0.5 × {:.0} / {:.0} %; {:.0} % of alarms last to the \
             end of the burst, and end {:.0} min after it",
            seen.alarms / seen.days,
            share(seen.soon, seen),
            share(seen.at_all, seen),
            share(small.soon, small),
            share(small.at_all, small),
            100.0 * seen.held / seen.at_all,
            5.0 * seen.clearing / seen.at_all,
        );
        println!(
            "peaks at the default thresholds: {:.2} false alarms a day, {:.0} % within 10 min, {:.0} % at all",
            normal.alarms / normal.days,
            share(normal.soon, normal),
            share(normal.at_all, normal),
        );
    }
}
