//! Whether the scheduler's own account of what its backups cost agrees with what is measured from outside: [`check`].

use std::time::Duration;

use backup_sched::SystemClock;
use backup_sched::core::Clock;
use backup_sched::limits::FixedLaw;
use indicatif::ProgressBar;

use crate::Failure;
use crate::blocks::rest;
use crate::method::{Contender, Setting};
use crate::stats::{self, Block};
use crate::tech::Technology;
use crate::traffic::{Listener, Rate, Traffic};

/// How long each setting is watched.
const LENGTH: Duration = Duration::from_secs(300);
/// Of blocks with a backup.
const BLOCK: Duration = Duration::from_secs(15);
/// Of those without one in between.
const BESIDE: Duration = Duration::from_secs(5);
/// From this ratio on a harm is one.
const HARM: f64 = 1.3;

/// What both said of one setting.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) setting: &'static str,
    /// The p99 with backups over that without, measured from outside.
    pub(crate) outside: f64,
    /// What the ledger says of it, with its interval.
    pub(crate) ledger: Option<(f64, f64, f64)>,
    pub(crate) agrees: bool,
}

/// Both settings: as the scheduler steers, and as fast as it goes whatever becomes of the foreground.
pub(crate) fn check(
    technology: &dyn Technology,
    per_second: f64,
    setting: &Setting<'_>,
    progress: &ProgressBar,
) -> Result<Vec<Account>, Failure> {
    let steered = account(technology, per_second, setting, ("steered", None), progress)?;
    let harmful = account(technology, per_second, setting, ("harmful", Some(1.0)), progress)?;
    Ok(vec![steered, harmful])
}

fn account(
    technology: &dyn Technology,
    per_second: f64,
    setting: &Setting<'_>,
    (name, share): (&'static str, Option<f64>),
    progress: &ProgressBar,
) -> Result<Account, Failure> {
    let law = share.map(FixedLaw::new).transpose()?;
    let contender = Contender::accounted(setting, law)?;
    let rate = Rate::new(per_second);
    let (mut with, mut without) = (stats::empty(), stats::empty());
    let blocks = LENGTH.as_secs() / BLOCK.as_secs();
    for block in 0..blocks {
        progress.set_message(format!("{}: ledger, {name}, {block} of {blocks}", technology.name()));
        for backup in [true, false] {
            let listener = Listener::default();
            let traffic = Traffic::start(technology, &rate, &listener, 700 + block)?;
            rest(Duration::from_secs(1));
            if backup {
                listener.tell(contender.latency.clone(), 1.0);
                contender.run(true);
            }
            rest(if backup { BLOCK } else { BESIDE });
            let to = SystemClock.mono();
            listener.hush();
            contender.run(false);
            let into: &mut Block = if backup { &mut with } else { &mut without };
            for sample in traffic.stop()?.iter().filter(|sample| sample.due < to) {
                into.saturating_record(u64::try_from(sample.latency.as_micros()).unwrap_or(u64::MAX));
            }
        }
    }
    let outside = with.value_at_quantile(0.99) as f64 / without.value_at_quantile(0.99).max(1) as f64;
    let ledger = contender.ledger_p99();
    let agrees = match ledger {
        Some((_, low, _)) if outside >= HARM => low > 1.0,
        Some((_, low, high)) => low <= HARM && (low <= 1.0 || high <= HARM),
        None => false,
    };
    Ok(Account { setting: name, outside, ledger, agrees })
}
