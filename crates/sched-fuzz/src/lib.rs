//! Parsers against inputs that somebody or something has damaged: a committed corpus and mutations of it, inside
//! `cargo test`, on stable. For the tests of this workspace; not published.
//!
//! A [`Target`] gives a check every file of its corpus as it is, and then mutations of them. An input that makes the check
//! panic is made as short as it can be and kept beside the corpus as `failed-…`: it is tried first from then on, and is
//! committed with what mends it.
//!
//! The environment says how long it goes on, and where it begins:
//!
//! | variable | what it is | default |
//! |---|---|---|
//! | `FUZZ_ITERATIONS` | mutations of each target; a target whose inputs [cost](Target::cost) more makes fewer | 1,000 |
//! | `FUZZ_SEED` | the seed of chance: the same seed makes the same inputs | 1 |

#![warn(missing_docs)]

mod mutate;
mod shrink;

use std::any::Any;
use std::fs;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use mutate::Mutator;

const ITERATIONS: u64 = 1_000;
const SEED: u64 = 1;
/// What is shown of an input that fails, in bytes.
const SHOWN: usize = 400;

/// Something that is given inputs.
#[derive(Clone, Debug)]
pub struct Target {
    name: String,
    corpus: PathBuf,
    seeds: Vec<Vec<u8>>,
    iterations: u64,
    cost: u64,
    seed: u64,
}

impl Target {
    /// A target whose corpus are the files of `tests/corpus/NAME` below the crate's directory, which is
    /// `env!("CARGO_MANIFEST_DIR")`.
    ///
    /// # Panics
    /// When a variable of the environment is no number.
    pub fn new(crate_directory: &str, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            corpus: Path::new(crate_directory).join("tests/corpus").join(name),
            seeds: Vec::new(),
            iterations: variable("FUZZ_ITERATIONS").unwrap_or(ITERATIONS),
            cost: 1,
            seed: variable("FUZZ_SEED").unwrap_or(SEED),
        }
    }

    /// Adds an input that has its place elsewhere, or is made by code.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.seeds.push(bytes.into());
        self
    }

    /// Says how many times as long as others an input takes: so many times fewer are tried. Default and least: 1.
    #[must_use]
    pub fn cost(mut self, times: u64) -> Self {
        self.cost = times.max(1);
        self
    }

    /// Sets how many mutations are tried, whatever the environment says.
    #[must_use]
    pub fn iterations(mut self, iterations: u64) -> Self {
        self.iterations = iterations;
        self
    }

    /// Gives all inputs to `check`, which panics when something is wrong. Returns how many there were.
    ///
    /// # Panics
    /// With the first input that makes `check` panic, or when there is no corpus.
    pub fn run(mut self, check: impl Fn(&[u8])) -> u64 {
        self.seeds.extend(files(&self.corpus));
        assert!(!self.seeds.is_empty(), "{}: no input is in {}", self.name, self.corpus.display());
        for seed in &self.seeds {
            self.try_one(seed, "an input of the corpus", &check);
        }
        let mut mutator = Mutator::new(&self.seeds, self.seed ^ hash(self.name.as_bytes()));
        let rounds = self.iterations / self.cost;
        for round in 0..rounds {
            let input = mutator.next();
            self.try_one(&input, &format!("round {round} of FUZZ_SEED={}", self.seed), &check);
        }
        self.seeds.len() as u64 + rounds
    }

    fn try_one(&self, input: &[u8], which: &str, check: &impl Fn(&[u8])) {
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(input))) else { return };
        // A thousand tries are to say nothing.
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let small = shrink::shrink(input, |input| catch_unwind(AssertUnwindSafe(|| check(input))).is_err());
        panic::set_hook(hook);
        let kept = match self.keep(&small) {
            Ok(path) => format!("kept as {}", path.display()),
            Err(error) => format!("not kept: {error}"),
        };
        let shown = small[..small.len().min(SHOWN)].escape_ascii();
        panic!(
            "{}: {which} fails: {}\nmade {} bytes of {}, {kept}:\n{shown}",
            self.name,
            message(&*panic),
            small.len(),
            input.len()
        );
    }

    /// Beside the corpus, under a name that the same input has again.
    fn keep(&self, input: &[u8]) -> std::io::Result<PathBuf> {
        fs::create_dir_all(&self.corpus)?;
        let path = self.corpus.join(format!("failed-{:016x}", hash(input)));
        fs::write(&path, input)?;
        Ok(path)
    }
}

/// The files of a directory in the order of their names: what failed before comes first.
fn files(directory: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    let failed =
        |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("failed-"));
    paths.sort_by_key(|path| (!failed(path), path.clone()));
    paths.into_iter().filter(|path| path.is_file()).filter_map(|path| fs::read(path).ok()).collect()
}

fn variable(name: &str) -> Option<u64> {
    let told = std::env::var(name).ok().filter(|told| !told.is_empty())?;
    Some(told.parse().unwrap_or_else(|_| panic!("{name}={told:?} should be a whole number")))
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text")
}

#[cfg(test)]
mod tests;
