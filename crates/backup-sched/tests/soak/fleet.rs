//! What is backed up, under which policies, and how: executors whose attempts go wrong in every way.

use std::sync::Arc;
use std::time::Duration;

use backup_sched::core::RunPhase;
use backup_sched::{BackupKind, Executor, JobSpec, Policies, Priority, RunContext, RunError, Scope};
use crossbeam_channel::never;

use crate::faults::{Chaos, Dice, Fault, panic_quietly, pass};
use crate::ledger::Ledger;

/// Technologies with an executor: one recurs, one may stand still and is cancelled for others, one is neither.
pub(crate) const TECHNOLOGIES: [&str; 3] = ["sqlite", "cassandra", "redis"];
/// The technology of tools that make their backups themselves.
pub(crate) const TOOLS: &str = "postgresql";
/// Instances of each technology. There are no others: what is learned of each is kept for good.
const INSTANCES: usize = 8;
/// Hosts, a quarter of the instances on each.
pub(crate) const HOSTS: usize = 4;
/// What an attempt moves, in so many parts.
const BYTES: u64 = 64 << 10;
const PARTS: u64 = 4;

/// Policies of which every other says something else; what recurs does so every second or two.
pub(crate) fn policies(variant: usize, recurs: bool) -> Policies {
    let schedule = if recurs { "rpo" } else { "none" };
    let (rpo, most) = (3 + variant % 2, 2 + variant % 2);
    let mut file = format!(
        "[technologies.sqlite]\nschedule = '{schedule}'\nrpo = '{rpo}s'\nmax_per_destination = {most}\n\
         [technologies.cassandra]\npausable = true\ncancellable = true\nmax_per_host = {most}\n\
         [technologies.redis]\nmax_per_host = 'none'\nfloor = '{most} MB/s'\n\
         [labels.all]\ntimeout = '{timeout}ms'\nretry_attempts = 3\nretry_base = '1ms'\nretry_cap = '20ms'\n\
         expected_duration = '20ms'\n",
        timeout = 250 + 50 * (variant % 2),
    );
    for technology in TECHNOLOGIES.into_iter().chain([TOOLS]) {
        for n in 0..INSTANCES {
            file += &format!(
                "[instances.{technology}-{n}]\ntechnology = '{technology}'\nhost = 'host-{}'\n\
                 destination = 'vault'\nlabels = ['all']\n",
                n % HOSTS
            );
        }
    }
    match Policies::builtin().with_toml("soak.toml", &file) {
        Ok(policies) => policies,
        Err(problems) => panic!("{problems}"),
    }
}

/// A request for a backup of an instance of a technology.
pub(crate) fn request(dice: &mut Dice, technology: &str) -> JobSpec {
    let spec = JobSpec::new(format!("{technology}-{}", dice.below(INSTANCES)), technology);
    let kinds = [BackupKind::Full, BackupKind::Full, BackupKind::Full, BackupKind::Log];
    let spec = spec.kind(kinds[dice.below(kinds.len())]);
    match dice.below(3) {
        0 => spec,
        _ => spec.priority(Priority::ALL[dice.below(Priority::ALL.len())]),
    }
}

/// Makes backups that are none.
pub(crate) struct Backup {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) chaos: Arc<Chaos>,
}

impl Executor for Backup {
    fn run(&self, ctx: &RunContext) -> Result<(), RunError> {
        let mut dice = self.chaos.dice((ctx.job().0, ctx.attempt()));
        let _inside = self.ledger.begins(ctx);
        make(ctx, &self.chaos, &mut dice)
    }
}

/// An attempt, of an executor or a tool.
pub(crate) fn make(ctx: &RunContext, chaos: &Chaos, dice: &mut Dice) -> Result<(), RunError> {
    let calm = never();
    ctx.phase(RunPhase::new("copy").floor(1 << 20));
    for part in 1..=PARTS {
        ctx.pace(BYTES / PARTS)?;
        ctx.progress(part * BYTES / PARTS, BYTES);
        pass(&calm, dice.millis(0..4));
        if part == PARTS / 2 {
            ctx.phase(RunPhase::new("upload").pausable());
            go_wrong(ctx, chaos, dice)?;
        }
    }
    Ok(())
}

fn go_wrong(ctx: &RunContext, chaos: &Chaos, dice: &mut Dice) -> Result<(), RunError> {
    let calm = never();
    if chaos.strikes(dice, Fault::Retryable, 10) {
        return Err(RunError::Retryable("not now".into()));
    }
    if chaos.strikes(dice, Fault::Permanent, 2) {
        return Err(RunError::Permanent("not ever".into()));
    }
    if chaos.strikes(dice, Fault::Unavailable, 3) {
        let what = Scope::Destination("vault".into());
        return Err(RunError::Unavailable { what, error: "it does not answer".into() });
    }
    if chaos.strikes(dice, Fault::Panic, 5) {
        panic_quietly();
    }
    if chaos.strikes(dice, Fault::Deaf, 3) {
        pass(&calm, dice.millis(20..300));
    }
    if chaos.strikes(dice, Fault::Endless, 1) {
        loop {
            ctx.checkpoint()?;
            pass(&calm, Duration::from_millis(2));
        }
    }
    Ok(())
}
