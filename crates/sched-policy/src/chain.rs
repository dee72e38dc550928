//! What counts in the end, worked out once for all who have the same levels: [`Chains`].

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use sched_core::BackupKind;

use crate::profile::Profile;
use crate::values::{Effective, Values};

const KINDS: usize = BackupKind::ALL.len();

/// Which chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ChainId(usize);

impl ChainId {
    pub(crate) fn at(self) -> usize {
        self.0
    }
}

/// The profiles of all levels that concern somebody, weakest first, and what follows from them.
#[derive(Clone, Debug)]
struct Chain {
    profiles: Box<[Arc<Profile>]>,
    effective: [OnceLock<Arc<Effective>>; KINDS],
}

/// All chains. Whoever has the same levels has the same chain, and those whose own levels say the same do too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chains {
    chains: Vec<Chain>,
    /// By the addresses of the profiles, which the chains keep alive.
    known: HashMap<Box<[usize]>, ChainId>,
}

impl Chains {
    /// The chain of these profiles, weakest first.
    pub(crate) fn intern(&mut self, profiles: Vec<Arc<Profile>>) -> ChainId {
        let key: Box<[usize]> = profiles.iter().map(|profile| Arc::as_ptr(profile).addr()).collect();
        *self.known.entry(key).or_insert_with(|| {
            self.chains.push(Chain { profiles: profiles.into(), effective: Default::default() });
            ChainId(self.chains.len() - 1)
        })
    }

    /// What counts for backups of a kind.
    pub(crate) fn effective(&self, id: ChainId, kind: BackupKind) -> &Arc<Effective> {
        let chain = &self.chains[id.0];
        chain.effective[kind_index(kind)].get_or_init(|| Arc::new(chain.work_out(kind)))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.chains.len()
    }
}

impl Chain {
    /// What is said of the kind by anybody goes before what is said of all kinds; of either, stronger levels go first.
    fn work_out(&self, kind: BackupKind) -> Effective {
        let mut values = Values::default();
        for profile in &self.profiles {
            values.overlay(&profile.all);
        }
        for own in self.profiles.iter().filter_map(|profile| profile.kinds.get(&kind)) {
            values.overlay(own);
        }
        values.into()
    }
}

fn kind_index(kind: BackupKind) -> usize {
    BackupKind::ALL.iter().position(|known| *known == kind).unwrap_or(0)
}
