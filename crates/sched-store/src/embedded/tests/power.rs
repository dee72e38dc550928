//! Whatever the disk does, at whichever write or sync: what was acknowledged is there, and of the group in flight all or
//! nothing.

use sched_core::store::conformance::random_group;
use sched_core::store::{JobStore, StoreError};

use super::disk::{Disk, Fault};
use super::{Contents, apply, contents};

const GROUPS: u64 = 12;

/// Writes groups until one is refused. Returns the contents that were acknowledged, and those with the group in flight.
fn write(
    store: &mut impl JobStore,
    from: u64,
    kept: &Contents,
) -> (Contents, Option<(u64, Contents, StoreError)>) {
    let mut acknowledged = kept.clone();
    for seed in from..GROUPS {
        let group = random_group(seed);
        let mut next = acknowledged.clone();
        apply(&mut next, &group);
        match store.commit(&group) {
            Ok(()) => acknowledged = next,
            Err(error) => return (acknowledged, Some((seed, next, error))),
        }
    }
    (acknowledged, None)
}

/// A disk with a store that has written some groups, and what it holds.
fn begun() -> (Disk, Contents) {
    let disk = Disk::new(1);
    let mut store = disk.store();
    store.open().unwrap();
    let mut kept = contents(&mut store).unwrap();
    for seed in 1_000..1_004 {
        let group = random_group(seed);
        store.commit(&group).unwrap();
        apply(&mut kept, &group);
    }
    drop(store);
    (disk, kept)
}

fn operations_of_a_run(disk: &Disk, kept: &Contents) -> u64 {
    let disk = disk.copy(0);
    let mut store = disk.store();
    store.open().unwrap();
    contents(&mut store).unwrap();
    let (_, refused) = write(&mut store, 0, kept);
    assert!(refused.is_none());
    drop(store);
    disk.operations()
}

#[test]
fn power_may_fail_at_every_write_and_sync() {
    let (disk, kept) = begun();
    let operations = operations_of_a_run(&disk, &kept);
    assert!(operations > 100, "{operations} are too few to show anything");
    let (mut last, mut in_flight) = (0, 0);
    for at in 1..=operations {
        for seed in 0..2 {
            let disk = disk.copy(at * 31 + seed);
            disk.fail_at(at, Fault::Power);
            let mut store = disk.store();
            let (acknowledged, refused) = match store.open().and_then(|()| contents(&mut store)) {
                Ok(found) => {
                    assert!(found == kept, "operation {at}");
                    write(&mut store, 0, &kept)
                }
                // It failed while the file was opened.
                Err(_) => (kept.clone(), None),
            };
            drop(store);
            assert!(disk.is_off(), "operation {at} never came");
            disk.power_on();
            let mut store = disk.store();
            store.open().unwrap_or_else(|error| panic!("operation {at}, seed {seed}: {error}"));
            let found = contents(&mut store).unwrap();
            let next = refused.map(|(_, next, _)| next);
            assert!(
                found == acknowledged || Some(&found) == next.as_ref(),
                "operation {at}, seed {seed}: neither what was acknowledged nor what was in flight"
            );
            if found == acknowledged {
                last += 1
            } else {
                in_flight += 1
            }
            // And it goes on.
            let group = random_group(5_000 + at);
            store.commit(&group).unwrap();
            let mut expected = found;
            apply(&mut expected, &group);
            drop(store);
            let mut store = disk.store();
            store.open().unwrap();
            assert!(contents(&mut store).unwrap() == expected, "operation {at}");
        }
    }
    println!(
        "{operations} operations: {last} times what was acknowledged, {in_flight} times the group in flight"
    );
    assert!(last > 0 && in_flight > 0);
}

/// An operation fails, the process lives: the store is opened anew and takes what it had refused. Then the power fails.
fn survives(fault: Fault) {
    let (disk, kept) = begun();
    let operations = operations_of_a_run(&disk, &kept);
    let mut met = 0;
    for at in 1..=operations {
        let disk = disk.copy(at);
        let mut store = disk.store();
        store.open().unwrap();
        assert!(contents(&mut store).unwrap() == kept, "operation {at}");
        disk.fail_at(at, fault);
        let (acknowledged, refused) = write(&mut store, 0, &kept);
        let Some((seed, next, error)) = refused else { continue };
        met += 1;
        assert!(error.may_pass(), "{error}");
        if fault == Fault::Full {
            assert!(matches!(error, StoreError::Full { .. }), "{error}");
            assert!(store.open().is_err(), "there is still no room");
            disk.make_room();
        }
        // Nothing is written to a file that has met an error.
        let before = disk.operations();
        if fault == Fault::Error {
            assert!(store.commit(&random_group(seed)).is_err());
            assert_eq!(disk.operations(), before);
        }
        store.open().unwrap_or_else(|error| panic!("operation {at}: {error}"));
        let found = contents(&mut store).unwrap();
        assert!(found == acknowledged || found == next, "operation {at}");
        let (all, refused) = write(&mut store, seed, &acknowledged);
        assert!(refused.is_none(), "operation {at}: {refused:?}");
        // What was acknowledged after the error is on the disk, and not only in memory.
        disk.fail_at(1, Fault::Power);
        drop(store);
        disk.power_on();
        let mut store = disk.store();
        store.open().unwrap();
        assert!(contents(&mut store).unwrap() == all, "operation {at}");
    }
    println!("{met} of {operations}");
    assert!(met > 80, "only {met} of {operations}");
}

#[test]
fn an_error_of_any_write_or_sync_loses_nothing_that_was_acknowledged() {
    survives(Fault::Error);
}

#[test]
fn a_full_disk_loses_nothing_and_room_brings_the_store_back() {
    survives(Fault::Full);
}

#[test]
fn a_group_is_one_commit() {
    let (disk, kept) = begun();
    let mut store = disk.store();
    store.open().unwrap();
    contents(&mut store).unwrap();
    let before = disk.syncs();
    write(&mut store, 0, &kept);
    let each = (disk.syncs() - before) as f64 / GROUPS as f64;
    assert!((1.0..=2.0).contains(&each), "{each} syncs a group");
}
