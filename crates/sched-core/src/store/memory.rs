//! A store for tests: [`MemoryStore`].

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{AUDIT_KEPT, Entry, JobStore, Key, StoreError};
use crate::spec::JobId;

/// A store that lasts as long as one of its clones: clones share what they keep, as two processes share a file. Faults can
/// be set, which the next calls meet.
///
/// ```
/// use sched_core::store::{JobStore, MemoryStore, StoreError};
///
/// let store = MemoryStore::new();
/// store.fail(Some(StoreError::Io { place: "memory".into(), what: "written", error: "unplugged".into() }));
/// assert!(store.clone().commit(&[]).is_err());
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    kept: Arc<Mutex<Kept>>,
    /// An error that a call of [`JobStore::commit`] met: it must be opened anew.
    stuck: Option<StoreError>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: BTreeMap<Key, Entry>,
    last_job: u64,
    groups: u64,
    fault: Option<StoreError>,
}

impl MemoryStore {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has every call fail from now on, with nothing done; `None`: no longer.
    pub fn fail(&self, fault: Option<StoreError>) {
        self.kept.lock().fault = fault;
    }

    /// Groups that were committed.
    pub fn groups(&self) -> u64 {
        self.kept.lock().groups
    }

    /// What is kept, in order of key.
    pub fn entries(&self) -> Vec<Entry> {
        self.kept.lock().entries.values().cloned().collect()
    }

    /// A store of its own with what is kept at this moment: what a crash now would leave.
    pub fn snapshot(&self) -> Self {
        let kept = self.kept.lock();
        let copy = Kept { entries: kept.entries.clone(), last_job: kept.last_job, groups: 0, fault: None };
        Self { kept: Arc::new(Mutex::new(copy)), stuck: None }
    }
}

impl JobStore for MemoryStore {
    fn place(&self) -> String {
        "memory".into()
    }

    fn open(&mut self) -> Result<(), StoreError> {
        match self.kept.lock().fault.clone() {
            Some(fault) => Err(fault),
            None => {
                self.stuck = None;
                Ok(())
            }
        }
    }

    fn load(&mut self, take: &mut dyn FnMut(Entry)) -> Result<JobId, StoreError> {
        let (entries, last_job) = {
            let kept = self.kept.lock();
            if let Some(fault) = kept.fault.clone() {
                return Err(fault);
            }
            (kept.entries.values().cloned().collect::<Vec<_>>(), kept.last_job)
        };
        entries.into_iter().for_each(take);
        Ok(JobId(last_job))
    }

    fn commit(&mut self, group: &[Entry]) -> Result<(), StoreError> {
        if let Some(error) = &self.stuck {
            return Err(error.clone());
        }
        let mut kept = self.kept.lock();
        if let Some(fault) = kept.fault.clone() {
            self.stuck = Some(fault.clone());
            return Err(fault);
        }
        kept.groups += 1;
        for entry in group {
            let key = entry.key();
            if let Key::Job(job) = key {
                kept.last_job = kept.last_job.max(job.0);
            }
            if entry.removes() {
                kept.entries.remove(&key);
            } else {
                kept.entries.insert(key, entry.clone());
            }
        }
        if let Some((Key::Audit(newest), _)) = kept.entries.last_key_value() {
            let first = Key::Audit(newest.saturating_sub(AUDIT_KEPT) + 1);
            // Audit entries come last in the order of keys.
            let kept_entries = kept.entries.split_off(&first);
            kept.entries.retain(|key, _| !matches!(key, Key::Audit(_)));
            kept.entries.extend(kept_entries);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    #[test]
    fn it_does_what_every_store_does() {
        let store = MemoryStore::new();
        conformance::check(|| Ok(store.clone())).unwrap();
    }
}
