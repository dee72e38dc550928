//! Whether limits of signals hold anything back.

use std::collections::BTreeSet;

use sched_core::{BackupKind, Priority, SignalName};

use super::check::Check;
use super::problem::Severity;
use crate::chain::ChainId;
use crate::policies::Policies;
use crate::profile::{Profile, kind_key};

/// Signals of the probes that come with the scheduler.
const PROBED: [&str; 8] =
    ["cpu", "memory", "disk", "network", "psi.cpu", "psi.memory", "psi.io", "cpu.steal"];
/// Names that differ by so many letters are hardly two.
const MISSPELT: usize = 2;
/// Shorter names are alike by chance.
const LONG_ENOUGH: usize = 6;

impl Check<'_, '_> {
    /// Limits that a level says and that hold nothing back: because of its jobs' class, or because the signal is probably
    /// known under another name. A level without a chain is a label, whose jobs may be of any class.
    pub(super) fn limits(
        &mut self,
        policies: &Policies,
        owner: [&str; 2],
        profile: &Profile,
        chain: Option<ChainId>,
    ) {
        let of_kinds = profile.kinds.iter().map(|(kind, values)| (Some(*kind), values));
        for (kind, values) in [(None, &profile.all)].into_iter().chain(of_kinds) {
            let limits = values.load.iter().flatten().filter(|(_, limit)| limit.is_some());
            for (signal, limit) in limits {
                let mut path = owner.to_vec();
                path.extend(kind.map(kind_key));
                path.extend(["load", signal.as_str()]);
                let class = chain
                    .map(|chain| policies.chains.effective(chain, kind.unwrap_or(BackupKind::Full)).priority);
                if let Some(class) = class.filter(|class| *class >= Priority::High) {
                    let message = format!("it holds nothing back: {class} backups start under any load");
                    self.add(Severity::Warning, &path, message);
                }
                if let Some(above) =
                    limit.map(|limit| limit.close_above).filter(|above| never_above(signal, *above))
                {
                    let mut message = format!(
                        "it holds nothing back: {signal} is a share from 0 to 1, so it is never above {above}"
                    );
                    // Above the whole it is most likely per cent; the whole itself is no hundredth of anything.
                    if above > 1.0 {
                        message.push_str(&format!("; did you mean {}?", above / 100.0));
                    }
                    self.add(Severity::Warning, &path, message);
                }
                if let Some(meant) = misspelt(policies, signal) {
                    let message = format!(
                        "did you mean {meant:?}? A signal that nobody measures under this name holds nothing back"
                    );
                    self.add(Severity::Warning, &path, message);
                }
            }
        }
    }
}

/// Whether a signal of the probes that come with the scheduler, which is a share of what there is, never reaches a limit.
fn never_above(signal: &SignalName, above: f64) -> bool {
    let of_all = signal.as_str().split(':').next().unwrap_or_default();
    PROBED.contains(&of_all) && above >= 1.0
}

/// A signal that is known and was probably meant.
fn misspelt(policies: &Policies, signal: &SignalName) -> Option<String> {
    let builtin = policies.technologies.values().filter_map(|known| known.builtin.as_ref());
    let limited = builtin.flat_map(|entry| entry.policy.all.load.iter().flatten());
    let known: BTreeSet<_> = limited.map(|(known, _)| known.as_str()).chain(PROBED).collect();
    let name = signal.as_str();
    if known.contains(name) || name.chars().count() < LONG_ENOUGH {
        return None;
    }
    let near = |known: &&&str| strsim::osa_distance(known, name) <= MISSPELT;
    known.iter().find(near).map(|meant| (*meant).to_owned())
}
