//! What goes by in the stream of a base backup: [`BaseTar`], pure.

use serde::Deserialize;

use crate::DriverError;

const BLOCK: usize = 512;
/// A label holds ten short lines.
const LABEL_LIMIT: usize = 8 << 10;
/// The positions stand at the end of the manifest, before its checksum.
const TAIL: usize = 8 << 10;

/// A part of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The files of the server.
    Data,
    /// The WAL that makes them consistent.
    Wal,
}

/// Watches a base backup go by as a tar archive: which part it is at, and what it says of itself.
#[derive(Debug, Default)]
pub(super) struct BaseTar {
    header: Vec<u8>,
    /// Bytes of the present file that are still to come, and the filling after it.
    left: u64,
    filling: u64,
    at: Entry,
    begun: Option<Part>,
    label: Vec<u8>,
    manifest: Vec<u8>,
    whole: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Entry {
    #[default]
    Other,
    Label,
    Manifest,
}

/// Where a base backup begins and ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Positions {
    pub(super) start_lsn: String,
    pub(super) end_lsn: String,
    pub(super) timeline: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WalRange {
    timeline: u32,
    #[serde(rename = "Start-LSN")]
    start: String,
    #[serde(rename = "End-LSN")]
    end: String,
}

impl BaseTar {
    /// Takes what comes next; tells the parts that begin with it.
    pub(super) fn take(&mut self, mut bytes: &[u8], begins: &mut dyn FnMut(Part)) {
        if self.begun.is_none() && !bytes.is_empty() {
            self.begun = Some(Part::Data);
            begins(Part::Data);
        }
        while !bytes.is_empty() {
            bytes = if self.left > 0 {
                self.content(bytes)
            } else if self.filling > 0 {
                let skipped = bytes.len().min(usize::try_from(self.filling).unwrap_or(usize::MAX));
                self.filling -= skipped as u64;
                &bytes[skipped..]
            } else {
                let taken = bytes.len().min(BLOCK - self.header.len());
                self.header.extend_from_slice(&bytes[..taken]);
                if self.header.len() == BLOCK {
                    self.entry(begins);
                    self.header.clear();
                }
                &bytes[taken..]
            };
        }
    }

    fn content<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let taken = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let (content, rest) = bytes.split_at(taken);
        self.left -= taken as u64;
        match self.at {
            Entry::Label => {
                let room = LABEL_LIMIT.saturating_sub(self.label.len());
                self.label.extend_from_slice(&content[..taken.min(room)]);
            }
            Entry::Manifest => {
                self.manifest.extend_from_slice(content);
                let over = self.manifest.len().saturating_sub(TAIL);
                self.manifest.drain(..over);
                self.whole = self.left == 0;
            }
            Entry::Other => {}
        }
        rest
    }

    fn entry(&mut self, begins: &mut dyn FnMut(Part)) {
        let mut block = [0; BLOCK];
        block.copy_from_slice(&self.header);
        let header = tar::Header::from_byte_slice(&block);
        let name = header.path_bytes();
        // The end of the archive is two empty blocks: files of no name and no size.
        self.left = header.entry_size().unwrap_or_default();
        self.filling = self.left.wrapping_neg() % BLOCK as u64;
        self.at = match &*name {
            b"backup_label" => Entry::Label,
            b"backup_manifest" => Entry::Manifest,
            _ => Entry::Other,
        };
        let wal = name.starts_with(b"pg_wal/") && header.entry_type().is_file() && self.left > 0;
        if wal && self.begun != Some(Part::Wal) {
            self.begun = Some(Part::Wal);
            begins(Part::Wal);
        }
    }

    /// Where the backup begins and ends, once all of it went by.
    ///
    /// # Errors
    /// When it is not a whole base backup.
    pub(super) fn positions(&self, file: &str) -> Result<Positions, DriverError> {
        let corrupt = |problem: &str| DriverError::Corrupt { what: file.into(), problem: problem.into() };
        if self.label.is_empty() {
            return Err(corrupt("it holds no backup_label, without which it recovers to nothing"));
        }
        if !self.whole {
            return Err(corrupt("it ends before its backup_manifest does"));
        }
        let text = String::from_utf8_lossy(&self.manifest);
        let ranges = text.split_once("\"WAL-Ranges\":").and_then(|(_, after)| after.split_once(']'));
        let ranges: Vec<WalRange> = ranges
            .and_then(|(ranges, _)| serde_json::from_str(&format!("{ranges}]")).ok())
            .ok_or_else(|| corrupt("its backup_manifest names no range of WAL"))?;
        match (ranges.first(), ranges.last()) {
            (Some(first), Some(last)) => Ok(Positions {
                start_lsn: first.start.clone(),
                end_lsn: last.end.clone(),
                timeline: last.timeline,
            }),
            _ => Err(corrupt("its backup_manifest names an empty range of WAL")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MANIFEST: &str = r#"{ "PostgreSQL-Backup-Manifest-Version": 1, "Files": [],
"WAL-Ranges": [
{ "Timeline": 3, "Start-LSN": "0/2000028", "End-LSN": "0/2000100" }
],
"Manifest-Checksum": "ab"}"#;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, name, *content).unwrap();
        }
        archive.into_inner().unwrap()
    }

    fn whole() -> Vec<u8> {
        archive(&[
            ("backup_label", b"START WAL LOCATION: 0/2000028 (file 000000030000000000000002)\n"),
            ("base/1/1259", &[7; 20_000]),
            ("pg_wal/000000030000000000000002", &[1; 1_000]),
            ("backup_manifest", MANIFEST.as_bytes()),
        ])
    }

    proptest! {
        #[test]
        fn however_the_stream_is_cut_the_parts_and_positions_are_found(piece in 1_usize..5_000) {
            let (mut tar, mut parts) = (BaseTar::default(), Vec::new());
            for bytes in whole().chunks(piece) {
                tar.take(bytes, &mut |part| parts.push(part));
            }
            prop_assert_eq!(parts, [Part::Data, Part::Wal]);
            let positions = tar.positions("base.tar").unwrap();
            prop_assert_eq!((&*positions.start_lsn, &*positions.end_lsn), ("0/2000028", "0/2000100"));
            prop_assert_eq!(positions.timeline, 3);
        }

        #[test]
        fn a_stream_that_ends_early_is_no_backup(end in 0_usize..20_000) {
            let mut tar = BaseTar::default();
            tar.take(&whole()[..end], &mut |_| {});
            prop_assert!(tar.positions("base.tar").is_err());
        }

        #[test]
        fn nonsense_is_taken_and_refused(bytes in prop::collection::vec(any::<u8>(), 0..4_000)) {
            let mut tar = BaseTar::default();
            tar.take(&bytes, &mut |_| {});
            prop_assert!(tar.positions("base.tar").is_err());
        }
    }
}
