//! What is seen while it runs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use backup_sched::Status;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Progress bars, or plain lines where there is no terminal.
pub(crate) struct Progress {
    bars: MultiProgress,
    total: ProgressBar,
    jobs: RefCell<BTreeMap<String, ProgressBar>>,
}

impl Progress {
    pub(crate) fn new(blocks: u64) -> Self {
        let bars = MultiProgress::new();
        let total = bars.add(ProgressBar::new(blocks));
        total.set_style(style("{elapsed_precise} [{bar:30}] block {pos}/{len}: {msg}"));
        total.enable_steady_tick(Duration::from_millis(200));
        Self { bars, total, jobs: RefCell::default() }
    }

    pub(crate) fn say(&self, line: impl AsRef<str>) {
        if self.total.is_hidden() {
            println!("{}", line.as_ref());
        } else {
            // A terminal that cannot be written to is no reason to stop measuring.
            let _ = self.bars.println(line);
        }
    }

    pub(crate) fn block(&self, text: &'static str) {
        self.total.set_message(text);
    }

    pub(crate) fn block_done(&self) {
        self.total.inc(1);
    }

    pub(crate) fn show(&self, status: &Status) {
        let waiting = status.engine.waiting;
        self.total.set_message(format!("scheduled, {} together, {waiting} waiting", status.rate));
        let mut jobs = self.jobs.borrow_mut();
        for job in &status.running {
            let name = job.status.job.instance.to_string();
            let bar = jobs.entry(name).or_insert_with_key(|name| {
                let bar = self.bars.add(ProgressBar::new(1));
                bar.set_style(style("         [{bar:30}] {bytes}/{total_bytes} {msg}"));
                bar.set_message(name.clone());
                bar
            });
            bar.set_length(job.progress.total_bytes.unwrap_or(1));
            bar.set_position(job.progress.done_bytes);
        }
        let running: Vec<_> = status.running.iter().map(|job| job.status.job.instance.to_string()).collect();
        jobs.retain(|name, bar| {
            let keep = running.contains(name);
            if !keep {
                bar.finish_and_clear();
            }
            keep
        });
    }

    pub(crate) fn clear_jobs(&self) {
        self.jobs.borrow_mut().values().for_each(ProgressBar::finish_and_clear);
        self.jobs.borrow_mut().clear();
    }

    pub(crate) fn finish(&self) {
        self.clear_jobs();
        self.total.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
