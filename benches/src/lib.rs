//! What the benches share: the clock, medians, and the files that results are written to.

use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;

/// One figure beside that of a peer.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub name: &'static str,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What it is held against.
    pub peer: String,
    /// The peer's figure, in the same unit.
    pub peer_value: f64,
    /// `value / peer_value`.
    pub ratio: f64,
    /// How often it was measured.
    pub samples: usize,
}

impl Row {
    /// A row; the ratio is worked out.
    pub fn new(
        name: &'static str,
        (value, unit): (f64, &'static str),
        (peer, peer_value): (&str, f64),
        samples: usize,
    ) -> Self {
        Self { name, value, unit, peer: peer.to_owned(), peer_value, ratio: value / peer_value, samples }
    }
}

/// Writes rows to `results/NAME.json` in cargo's target directory, prints them, and returns the file's path.
///
/// # Panics
/// When the file cannot be written.
pub fn write_results(name: &str, rows: &[Row]) -> PathBuf {
    let path = write_json(name, rows);
    println!(
        "\n{:<26} {:>14} {:<6} {:>14}  {:<34} {:>7}",
        "name", "value", "unit", "peer's", "peer", "ratio"
    );
    for row in rows {
        let Row { name, value, unit, peer, peer_value, ratio, .. } = row;
        println!("{name:<26} {value:>14.2} {unit:<6} {peer_value:>14.2}  {peer:<34} {ratio:>7.3}");
    }
    path
}

/// Where results are written: `results` in cargo's target directory.
pub fn results_directory() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target")));
    target.join("results")
}

/// Writes what was found to `results/NAME.json` in cargo's target directory, and returns the file's path.
///
/// # Panics
/// When the file cannot be written.
pub fn write_json<T: Serialize + ?Sized>(name: &str, found: &T) -> PathBuf {
    let directory = results_directory();
    std::fs::create_dir_all(&directory).expect("the target directory can be written");
    let path = directory.join(format!("{name}.json"));
    let json = serde_json::to_string_pretty(found).expect("results are plain data");
    std::fs::write(&path, json + "\n").expect("the target directory can be written");
    path
}

/// The middle value.
///
/// # Panics
/// When there is none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Nanoseconds that `work` takes, and what it returns.
#[expect(clippy::disallowed_methods, reason = "a bench measures real time, here and nowhere else")]
pub fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let from = Instant::now();
    let result = work();
    (from.elapsed().as_nanos() as f64, result)
}

/// Whether only a quick run is wanted, as in CI: small sizes, same code.
pub fn quick() -> bool {
    std::env::var_os("BENCH_QUICK").is_some()
}
