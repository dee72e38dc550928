//! What a backup is, and whether what was written is what its manifest says.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sched_drivers::backup::{Completed, StoredFile};
use sha2::{Digest, Sha256};

use crate::Failure;

/// Files of which each is printed; of more only their number is.
const FILES: usize = 6;

/// Prints what was made, and reads it again.
pub(crate) fn tell(made: &Completed, checked: &str) -> Result<(), Failure> {
    let manifest = &made.manifest;
    println!("\nWritten by {}:\n  {}", manifest.tool, made.location);
    for file in manifest.files.iter().take(FILES) {
        println!("  {:>10}  {}…  {}", amount(file.bytes), &file.sha256[..16], file.name);
    }
    if let Some(more @ 1..) = manifest.files.len().checked_sub(FILES) {
        println!("  and {more} more files");
    }
    println!("\nWhat a restore needs to know:");
    for (name, value) in manifest.facts.iter().take(2 * FILES) {
        println!("  {name} = {value}");
    }
    println!("\nVerified:\n  {checked}");
    for file in &manifest.files {
        verify(Path::new(&made.location), file)?;
    }
    println!(
        "  {} of {} files read again: each has the SHA-256 of the manifest",
        manifest.files.len(),
        manifest.files.len()
    );
    Ok(())
}

fn verify(folder: &Path, file: &StoredFile) -> Result<(), Failure> {
    let mut stored = File::open(folder.join(&file.name))?;
    let (mut digest, mut part, mut bytes) = (Sha256::new(), vec![0; 128 << 10], 0);
    loop {
        match stored.read(&mut part) {
            Ok(0) => break,
            Ok(read) => {
                digest.update(&part[..read]);
                bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let found: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if (bytes, found.as_str()) == (file.bytes, file.sha256.as_str()) {
        return Ok(());
    }
    Err(format!("{} is not what was written: {bytes} bytes, SHA-256 {found}", file.name).into())
}

/// Bytes as people read them.
pub(crate) fn amount(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

pub(crate) fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_changed_is_found() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "abc").unwrap();
        let stored = |bytes, sha256: &str| {
            let text = format!("{{\"name\":\"a\",\"bytes\":{bytes},\"sha256\":\"{sha256}\"}}");
            serde_json::from_str::<StoredFile>(&text).unwrap()
        };
        let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        verify(folder.path(), &stored(3, right)).unwrap();
        assert!(verify(folder.path(), &stored(4, right)).is_err());
        std::fs::write(folder.path().join("a"), "abd").unwrap();
        assert!(verify(folder.path(), &stored(3, right)).is_err());
        assert!(verify(Path::new("/nowhere"), &stored(3, right)).is_err());
    }
}
