//! What a store in a file holds, an entry a line, as JSON. The scheduler that uses the file must have ended, or this looks
//! into a copy. It opens the file as a scheduler does: what a crash left is finished, a file of a former version is migrated,
//! and one that is mostly empty is compacted; entries stay as they are.
//!
//! `cargo run -p sched-store --features embedded --example store_dump -- FILE`

use std::io::{self, BufWriter, Write};

use sched_core::store::JobStore;
use sched_store::EmbeddedStore;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("which file? store_dump FILE")?;
    let mut store = EmbeddedStore::existing(path);
    store.open()?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut wrong = Ok(());
    let last_job = store.load(&mut |entry| {
        let line = serde_json::to_string(&entry).map_err(io::Error::from);
        let written = line.and_then(|line| writeln!(out, "{line}"));
        if wrong.is_ok() {
            wrong = written;
        }
    })?;
    wrong?;
    writeln!(out, "{{\"last_job\":{}}}", last_job.0)?;
    out.flush()?;
    Ok(())
}
