//! All strategies on one fleet, each on the cores that there are.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use sched_sim::{Adaptive, Clockwork, Measures, Simulation, Strategy, Weeks, baselines, best};

use crate::inputs::Inputs;

/// A strategy and what it did.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) about: String,
    pub(crate) measures: Measures,
}

/// A strategy with one of its settings.
enum Entry {
    Scheduler,
    Baseline(Clockwork),
}

/// The scheduler first, then each baseline with the best of its settings.
pub(crate) fn race(inputs: &Inputs, days: u32) -> Vec<Contender> {
    let baselines = baselines();
    let mut entries = vec![Entry::Scheduler];
    let settings = baselines.iter().flat_map(|baseline| baseline.settings.iter().cloned());
    entries.extend(settings.map(Entry::Baseline));
    let mut done = run(inputs, days, &entries).into_iter();

    let about = "plans when each backup runs by the learned weeks, and paces it by what the foreground feels"
        .to_owned();
    let mut contenders: Vec<Contender> = done
        .next()
        .map(|measures| Contender { name: "this scheduler", about, measures })
        .into_iter()
        .collect();
    for baseline in baselines {
        let mut tried: Vec<Measures> = done.by_ref().take(baseline.settings.len()).collect();
        let Some(best) = best(&tried) else { continue };
        let setting = baseline.settings[best].name();
        let about = format!("{}; best of {}: {setting}", baseline.about, tried.len());
        contenders.push(Contender { name: baseline.name, about, measures: tried.swap_remove(best) });
    }
    contenders
}

/// What each entry does, in their order.
fn run(inputs: &Inputs, days: u32, entries: &[Entry]) -> Vec<Measures> {
    let links = inputs.fleet.links.len().max(1);
    let bar = ProgressBar::new((entries.len() * links) as u64);
    let style =
        ProgressStyle::with_template("{elapsed_precise} [{bar:40}] {percent:>3} %, {eta} left: {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    let results = Mutex::new(vec![None; entries.len()]);
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(entries.len());
    let work = || {
        while let Some((at, entry)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, entries.get(at)?)))
        {
            let measures = simulate(inputs, days, entry, &bar);
            if let Ok(mut results) = results.lock() {
                results[at] = Some(measures);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    bar.finish_and_clear();
    results.into_inner().into_iter().flatten().flatten().collect()
}

fn simulate(inputs: &Inputs, days: u32, entry: &Entry, bar: &ProgressBar) -> Measures {
    let simulation = Simulation::new(&inputs.fleet).terms(&inputs.terms).days(days);
    let mut progress = |_: usize, _: usize| bar.inc(1);
    match entry {
        Entry::Scheduler => {
            bar.set_message("this scheduler");
            let planned = || Adaptive::new(20).planned(&Weeks::own());
            simulation.run_by_link(|_| planned(), &mut progress)
        }
        Entry::Baseline(setting) => {
            bar.set_message(setting.name());
            simulation.run_by_link(|_| setting.clone(), &mut progress)
        }
    }
}
