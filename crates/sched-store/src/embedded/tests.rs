//! The store on good disks and bad ones.

mod damage;
mod disk;
mod files;
mod fuzz;
mod load;
mod power;

use std::collections::BTreeMap;

use sched_core::store::{Entry, JobStore, Key};

/// What a store keeps.
type Contents = BTreeMap<Key, Entry>;

fn apply(contents: &mut Contents, group: &[Entry]) {
    for entry in group {
        match entry.removes() {
            true => drop(contents.remove(&entry.key())),
            false => drop(contents.insert(entry.key(), entry.clone())),
        }
    }
}

fn contents(store: &mut impl JobStore) -> Result<Contents, sched_core::store::StoreError> {
    let mut contents = Contents::new();
    store.load(&mut |entry| drop(contents.insert(entry.key(), entry)))?;
    Ok(contents)
}
