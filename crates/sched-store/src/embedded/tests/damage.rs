//! Files that somebody or something has damaged: refused with a word of what is wrong, or read as they were. Never a panic,
//! and never taken for empty.

use std::fs;

use sched_core::store::conformance::random_group;
use sched_core::store::{JobStore, StoreError};

use super::super::EmbeddedStore;
use super::{Contents, apply, contents};

fn a_file() -> (tempfile::TempDir, std::path::PathBuf, Contents) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let mut store = EmbeddedStore::at(&path);
    store.open().unwrap();
    let mut kept = contents(&mut store).unwrap();
    for seed in 0..12 {
        let group = random_group(seed);
        store.commit(&group).unwrap();
        apply(&mut kept, &group);
    }
    (dir, path, kept)
}

fn read(path: &std::path::Path) -> Result<Contents, StoreError> {
    let mut store = EmbeddedStore::at(path);
    store.open()?;
    contents(&mut store)
}

#[test]
fn flipped_bits_are_refused_or_do_no_harm() {
    let (_dir, path, kept) = a_file();
    let good = fs::read(&path).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let (mut refused, mut right, mut older) = (0, 0, 0);
    for round in 0..600 {
        let mut bad = good.clone();
        // The head is small and matters most; the file is mostly air.
        let flips = random.usize(1..4);
        for _ in 0..flips {
            let at = match round % 3 {
                0 => random.usize(0..512),
                1 => random.usize(0..bad.len()),
                _ => loop {
                    let at = random.usize(0..bad.len());
                    if bad[at] != 0 {
                        break at;
                    }
                },
            };
            bad[at] ^= 1 << random.u8(0..8);
        }
        fs::write(&path, &bad).unwrap();
        match read(&path) {
            Ok(found) if found == kept => right += 1,
            Ok(found) => {
                assert!(!found.is_empty(), "round {round}: taken for empty");
                older += 1;
            }
            Err(StoreError::Corrupt { .. } | StoreError::Newer { .. }) => {
                refused += 1;
                assert_eq!(fs::read(&path).unwrap().len(), bad.len(), "round {round}: it was changed");
            }
            Err(other) => panic!("round {round}: {other}"),
        }
    }
    println!("{refused} refused, {right} right, {older} older");
    assert!(refused > 50 && right > 50);
    assert_eq!(older, 0, "what was acknowledged is gone, and nobody was told");
}

#[test]
fn files_that_are_cut_off_are_refused() {
    let (_dir, path, kept) = a_file();
    let good = fs::read(&path).unwrap();
    for len in [0, 1, 100, 320, 511, 512, 4_096, 8_192, good.len() / 2, good.len() - 4_096, good.len() - 1] {
        fs::write(&path, &good[..len]).unwrap();
        match read(&path) {
            Ok(found) => assert_eq!(found, kept, "cut to {len}"),
            Err(StoreError::Corrupt { .. }) => {
                assert_eq!(fs::read(&path).unwrap().len(), len, "it was changed");
            }
            Err(other) => panic!("cut to {len}: {other}"),
        }
    }
}
