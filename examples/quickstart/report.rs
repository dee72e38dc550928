//! Figures from samples, and how they are told: tables, a verdict, JSON.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::rounds::{Finished, Phase, Seen, Span};
use crate::traffic::Sample;

/// Full speed must inflate the tail by this much, or there is nothing to protect.
const CONTENTION: f64 = 1.3;
/// How many times nearer to no backup the scheduled tail is to be.
const CLAIM: f64 = 3.0;
/// Stands for "no excess at all" where a number is needed.
const NO_EXCESS: f64 = 1000.0;

/// Foreground latency in one phase, pooled over its blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tail {
    pub(crate) samples: usize,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) p999: Duration,
}

/// What the run shows.
pub(crate) struct Figures {
    tails: [Tail; 3],
    pub(crate) verified: usize,
    pub(crate) backups: usize,
    pub(crate) restarts: u32,
}

impl Figures {
    pub(crate) fn new(samples: &[Sample], seen: &Seen) -> Self {
        let tails = Phase::EACH.map(|phase| {
            let spans: Vec<Span> = seen.blocks.iter().filter(|b| b.0 == phase).map(|b| b.1).collect();
            tail(samples, &spans)
        });
        let restarts = seen.backups.iter().filter_map(|b| b.copy.as_ref()).map(|copy| copy.restarts).sum();
        let verified = seen.backups.iter().filter(|b| b.verified.is_ok()).count();
        Self { tails, verified, backups: seen.backups.len(), restarts }
    }

    pub(crate) fn tail(&self, phase: Phase) -> Tail {
        self.tails[phase as usize]
    }

    fn p99_ms(&self, phase: Phase) -> f64 {
        ms(self.tail(phase).p99)
    }

    /// How many times nearer to no backup the scheduled p99 is than the one at full speed; `None` when it has no
    /// excess at all.
    fn nearer(&self) -> Option<f64> {
        let excess = |phase| (self.p99_ms(phase) - self.p99_ms(Phase::None)).max(0.0);
        let (all, scheduled) = (excess(Phase::All), excess(Phase::Scheduled));
        (scheduled > 0.0).then(|| all / scheduled)
    }

    /// The same as one number, at most 1000.
    fn excess_ratio(&self) -> f64 {
        self.nearer().unwrap_or(NO_EXCESS).min(NO_EXCESS)
    }

    fn contended(&self) -> bool {
        self.p99_ms(Phase::All) >= CONTENTION * self.p99_ms(Phase::None)
    }

    /// Whether the run shows what it is meant to show, and in words.
    pub(crate) fn verdict(&self) -> (bool, String) {
        let whole = self.verified == self.backups && self.restarts == 0;
        let times = match self.nearer() {
            // Backups speed nobody up: what slowed the blocks without them was the machine.
            None if self.p99_ms(Phase::None) >= CONTENTION * self.p99_ms(Phase::Scheduled) => {
                "The machine was restless: the foreground's p99 was higher without a backup than beside scheduled ones, so what these add cannot be told"
                    .to_owned()
            }
            None => "Scheduled, the backups added nothing to the foreground's p99".to_owned(),
            // A run is too short to tell more.
            Some(n) if n > 100.0 => {
                "Scheduled, the backups added to the foreground's p99 less than a hundredth of what they add at full speed".to_owned()
            }
            Some(n) => format!(
                "Scheduled, the foreground's p99 is {n:.0} times nearer to no backup than at full speed"
            ),
        };
        let text = if !whole {
            format!("{} of {} backups verified, {} restarts", self.verified, self.backups, self.restarts)
        } else if !self.contended() {
            "no contention on this machine: full speed hardly slows the foreground, so nothing is proved"
                .into()
        } else {
            format!("{times}; {} of {} backups verified", self.verified, self.backups)
        };
        (whole && self.contended() && self.excess_ratio() >= CLAIM, text)
    }

    /// Rows for machines.
    pub(crate) fn rows(&self) -> Value {
        let none = self.p99_ms(Phase::None);
        let row = |name: &str, value: f64, unit: &str, peer: Option<(&str, f64)>, samples: usize| {
            let ratio = peer.map(|(_, peer)| value / peer);
            json!({
                "name": name, "value": value, "unit": unit, "peer": peer.map(|p| p.0),
                "peer_value": peer.map(|p| p.1), "ratio": ratio, "samples": samples,
            })
        };
        let p99 = |name, phase| {
            let peer = (phase != Phase::None).then_some(("p99_none_ms", none));
            row(name, self.p99_ms(phase), "ms", peer, self.tail(phase).samples)
        };
        let all = self.tail(Phase::All).samples + self.tail(Phase::Scheduled).samples;
        json!([
            p99("p99_none_ms", Phase::None),
            p99("p99_all_ms", Phase::All),
            p99("p99_scheduled_ms", Phase::Scheduled),
            row("excess_ratio", self.excess_ratio(), "ratio", Some(("claim", CLAIM)), all),
            row(
                "verified",
                self.verified as f64,
                "backups",
                Some(("made", self.backups as f64)),
                self.backups
            ),
        ])
    }

    pub(crate) fn write_json(&self, path: &Path) -> std::io::Result<()> {
        std::fs::write(path, format!("{:#}\n", self.rows()))
    }
}

fn tail(samples: &[Sample], spans: &[Span]) -> Tail {
    let within = |s: &&Sample| spans.iter().any(|span| span.from <= s.at && s.at < span.to);
    let mut latencies: Vec<Duration> = samples.iter().filter(within).map(|s| s.latency).collect();
    latencies.sort_unstable();
    let at = |q| quantile(&latencies, q);
    Tail { samples: latencies.len(), p50: at(0.5), p99: at(0.99), p999: at(0.999) }
}

/// The value that a share `q` of sorted values stays within; zero for none.
pub(crate) fn quantile(sorted: &[Duration], q: f64) -> Duration {
    let rank = (sorted.len() as f64 * q).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

pub(crate) fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

/// One line of text a row, columns padded to their widest cell.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|cell| cell.chars().count()).max();
    let widths: Vec<_> = (0..columns).map(|c| width(c).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate();
        let line: Vec<_> = cells
            .map(
                |(n, (cell, width))| {
                    if n == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                },
            )
            .collect();
        let _ = writeln!(text, "  {}", line.join("  "));
    }
    text
}

pub(crate) fn tail_rows(figures: &Figures) -> Vec<Vec<String>> {
    let head = ["foreground, ms", "p50", "p99", "p99.9", "requests"].map(String::from).to_vec();
    let row = |phase: Phase| {
        let t = figures.tail(phase);
        let number = |d| format!("{:.2}", ms(d));
        vec![phase.title().into(), number(t.p50), number(t.p99), number(t.p999), t.samples.to_string()]
    };
    std::iter::once(head).chain(Phase::EACH.map(row)).collect()
}

/// One row a backup of the last `count`.
pub(crate) fn backup_rows(backups: &[Finished], count: usize) -> Vec<Vec<String>> {
    let head =
        ["backup", "class", "MB", "waited, s", "ran, s", "attempts", "deferrals", "restarts", "verified"];
    let row = |b: &Finished| {
        let status = &b.status;
        let restarts = b.copy.as_ref().map_or("-".into(), |copy| copy.restarts.to_string());
        vec![
            status.job.instance.to_string(),
            status.job.priority.to_string(),
            format!("{:.1}", status.bytes as f64 / 1e6),
            format!("{:.2}", status.waited.as_secs_f64()),
            format!("{:.2}", status.ran.as_secs_f64()),
            status.job.attempt.to_string(),
            status.deferrals.to_string(),
            restarts,
            b.verified.as_ref().map_or_else(Clone::clone, |()| "yes".into()),
        ]
    };
    let newest = &backups[backups.len().saturating_sub(count)..];
    std::iter::once(head.map(String::from).to_vec()).chain(newest.iter().map(row)).collect()
}
