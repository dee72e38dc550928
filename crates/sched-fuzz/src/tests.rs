use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use super::*;

/// A parser of `key=NUMBER` lines that is wrong about numbers over a byte.
fn wrong_about_large_numbers(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for line in text.lines() {
        let number = line.split_once('=').and_then(|(_, value)| value.parse::<u64>().ok());
        assert!(number.unwrap_or(0) < 256, "a number is too large");
    }
}

fn corpus(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let corpus = dir.path().join("tests/corpus/lines");
    fs::create_dir_all(&corpus).unwrap();
    for (name, bytes) in files {
        fs::write(corpus.join(name), bytes).unwrap();
    }
    dir
}

fn target(dir: &tempfile::TempDir) -> Target {
    Target::new(dir.path().to_str().unwrap(), "lines").iterations(2_000)
}

fn kept(dir: &tempfile::TempDir) -> Vec<Vec<u8>> {
    files(&dir.path().join("tests/corpus/lines"))
}

#[test]
fn what_fails_is_found_made_short_and_tried_first_from_then_on() {
    let dir = corpus(&[("plain", b"first=12\nsecond=200\nthird=word\n")]);
    let failed = catch_unwind(|| target(&dir).run(wrong_about_large_numbers)).unwrap_err();
    let told = message(&*failed).to_owned();
    assert!(told.contains("a number is too large") && told.contains("FUZZ_SEED"), "{told}");
    assert_eq!(kept(&dir).len(), 2);
    let short = &kept(&dir)[0];
    assert!(short.len() <= 5 && short[0] == b'=', "{}", short.escape_ascii());
    // The next run needs no mutation to see it.
    let again = catch_unwind(|| target(&dir).iterations(0).run(wrong_about_large_numbers)).unwrap_err();
    assert!(message(&*again).contains("an input of the corpus"));
    assert_eq!(kept(&dir).len(), 2, "it is kept once");
}

#[test]
fn what_is_sound_is_given_the_corpus_and_as_many_mutations_as_it_can_afford() {
    let dir = corpus(&[("one", b"a=1\n"), ("two", b"b=2\n")]);
    let (given, different) = (Cell::new(0), RefCell::new(BTreeSet::new()));
    let check = |bytes: &[u8]| {
        given.set(given.get() + 1);
        different.borrow_mut().insert(bytes.to_vec());
    };
    assert_eq!(target(&dir).input("c=3\n").cost(4).run(check), 503);
    assert_eq!(given.get(), 503);
    let different = different.borrow();
    assert!(different.contains(&b"c=3\n"[..]) && different.contains(&b"b=2\n"[..]));
    assert!(different.len() > 300, "only {} of them differ", different.len());
}

#[test]
fn the_same_seed_makes_the_same_inputs_and_another_others() {
    let seeds = [b"the quick brown fox 12".to_vec()];
    let made = |seed| {
        let mut mutator = Mutator::new(&seeds, seed);
        (0..50).map(|_| mutator.next()).collect::<Vec<_>>()
    };
    assert_eq!(made(3), made(3));
    assert_ne!(made(3), made(4));
}

#[test]
fn a_corpus_that_is_not_there_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let failed = catch_unwind(|| target(&dir).run(|_| {})).unwrap_err();
    assert!(message(&*failed).contains("tests/corpus/lines"));
}

#[test]
fn no_change_of_an_empty_input_panics() {
    Mutator::new(&[Vec::new()], 1).next();
    let seeds = [Vec::new(), b"\n".to_vec()];
    let mut mutator = Mutator::new(&seeds, 1);
    assert!((0..5_000).map(|_| mutator.next()).any(|input| !input.is_empty()));
}
