//! A capacity probe of your own: backups wait while the volume they are written to is nearly full.
//!
//! `cargo run --release --example custom_probe`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use backup_sched::limits::Threshold;
use backup_sched::{
    CapacityProbe, Event, EventKind, Now, Priority, ProbeError, Reading, RunContext, Scheduler, Thresholds,
};

const TOTAL: u64 = 1_000;

/// Reads how full the backup volume is. Yours would ask the file system, a NAS or an object store's quota.
struct BackupVolume {
    used: Arc<AtomicU64>,
}

impl CapacityProbe for BackupVolume {
    fn name(&self) -> &str {
        "backup-volume"
    }
    fn period(&self) -> Duration {
        Duration::from_millis(100)
    }
    fn sample(&mut self, _now: Now) -> Result<Vec<Reading>, ProbeError> {
        let used = self.used.load(Relaxed) as f64;
        Ok(vec![Reading::new("backup-volume", used, "GB").of(TOTAL as f64)])
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let used = Arc::new(AtomicU64::new(600));
    let scheduler = Scheduler::builder()
        .executor("postgresql", |ctx: &RunContext| Ok(ctx.pace(4096)?))
        .probe(BackupVolume { used: used.clone() })
        .thresholds(Thresholds::default().with("backup-volume", Threshold::new(0.95, 0.90)?))
        .start()?;
    let events = scheduler.subscribe(100)?;
    println!("The volume fills up: it is 97 % full.");
    used.store(970, Relaxed);
    let is_closed = |e: &Arc<Event>| matches!(e.kind, EventKind::CapacityChanged { .. });
    events.iter().find(is_closed);

    let handle = scheduler.schedule_backup("orders", "postgresql", Priority::High)?;
    println!("{}\n", handle.explain()?);
    println!("Old backups are removed: the volume is 60 % full.");
    used.store(600, Relaxed);
    let done = handle.wait();
    println!("{} {} after waiting {:.1} s", done.job.instance, done.state, done.waited.as_secs_f64());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use backup_sched::limits::conformance;

    #[test]
    fn the_probe_keeps_the_contract() {
        let used = Arc::new(AtomicU64::new(970));
        conformance::check(BackupVolume { used }).unwrap();
    }
}
