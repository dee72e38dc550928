//! The stream of a snapshot, checked while it is read: [`SnapshotStream`].

use std::io::{self, BufRead, BufReader, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::gateway::number;
use crate::DriverError;

/// The last bytes of a snapshot are the digest of the rest.
const DIGEST: usize = 32;
/// The database consists of pages of at least this size.
const PAGE: u64 = 512;
/// A server sends pieces of 32 KiB; a line much longer than that comes from something else.
const LONGEST_LINE: u64 = 8 << 20;

/// Reads the bytes of a snapshot, digest included, out of the gateway's stream of JSON objects, one a line.
pub(super) struct SnapshotStream<R> {
    lines: BufReader<R>,
    line: Vec<u8>,
    piece: Vec<u8>,
    taken: usize,
    /// The size of the database, as the first piece says.
    database: u64,
    received: u64,
    digest: Sha256,
    /// The last bytes that came, which may be the digest.
    tail: Vec<u8>,
    ended: bool,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(default, borrow)]
    result: Option<Piece<'a>>,
    #[serde(default)]
    error: Option<Said>,
}

#[derive(Deserialize)]
struct Piece<'a> {
    #[serde(default, deserialize_with = "number")]
    remaining_bytes: u64,
    #[serde(default, borrow)]
    blob: std::borrow::Cow<'a, str>,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    message: String,
}

impl<R: Read> SnapshotStream<R> {
    /// Reads the first piece, which tells the size.
    pub(super) fn begin(from: R) -> io::Result<Self> {
        let mut stream = Self {
            lines: BufReader::with_capacity(64 << 10, from),
            line: Vec::new(),
            piece: Vec::new(),
            taken: 0,
            database: 0,
            received: 0,
            digest: Sha256::new(),
            tail: Vec::new(),
            ended: false,
        };
        let remaining = stream.next_piece()?;
        stream.database = remaining.saturating_add(stream.piece.len() as u64);
        Ok(stream)
    }

    /// All bytes that are to come: the database and its digest.
    pub(super) fn total_bytes(&self) -> u64 {
        self.database.saturating_add(DIGEST as u64)
    }

    /// Reads the next piece; returns how many bytes of the database the server has left.
    fn next_piece(&mut self) -> io::Result<u64> {
        self.line.clear();
        self.piece.clear();
        self.taken = 0;
        let read = self.lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut self.line)?;
        if read == 0 {
            self.ended = true;
            return Ok(0);
        }
        let wrong = |problem: String| io::Error::new(io::ErrorKind::InvalidData, problem);
        let line: Line<'_> = serde_json::from_slice(&self.line)
            .map_err(|error| wrong(format!("a piece of the snapshot is no JSON object: {error}")))?;
        if let Some(said) = line.error {
            return Err(io::Error::other(format!("the server gave up: {}", said.message)));
        }
        let piece = line.result.ok_or_else(|| wrong("a piece of the snapshot holds nothing".into()))?;
        STANDARD
            .decode_vec(piece.blob.as_bytes(), &mut self.piece)
            .map_err(|error| wrong(format!("a piece of the snapshot is not base64: {error}")))?;
        self.received += self.piece.len() as u64;
        let remaining = piece.remaining_bytes;
        self.digest_but_tail();
        Ok(remaining)
    }

    /// Digests all that came but the last bytes.
    fn digest_but_tail(&mut self) {
        self.tail.extend_from_slice(&self.piece);
        let settled = self.tail.len().saturating_sub(DIGEST);
        self.digest.update(&self.tail[..settled]);
        self.tail.drain(..settled);
    }

    /// After all was read: whether it is the whole database, as the server digested it.
    pub(super) fn verify(self, what: &str) -> Result<(), DriverError> {
        let bad = |problem: String| DriverError::Corrupt { what: what.into(), problem };
        let total = self.total_bytes();
        if self.received != total {
            return Err(bad(format!("{} bytes came of {total}", self.received)));
        }
        if self.database == 0 || !self.database.is_multiple_of(PAGE) {
            return Err(bad(format!("{} bytes are no whole pages of {PAGE}", self.database)));
        }
        if self.digest.finalize()[..] != self.tail[..] {
            return Err(bad("the SHA-256 digest at its end is not that of the rest".into()));
        }
        Ok(())
    }
}

impl<R: Read> Read for SnapshotStream<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.piece.len() && !self.ended {
            self.next_piece()?;
        }
        let left = &self.piece[self.taken..];
        let count = left.len().min(buf.len());
        buf[..count].copy_from_slice(&left[..count]);
        self.taken += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a snapshot of `pages` pages, as a server writes them.
    fn lines(pages: usize) -> Vec<String> {
        let database: Vec<u8> = (0..pages * 4096).map(|at| (at % 251) as u8).collect();
        let mut left = database.len();
        let mut lines: Vec<String> = database
            .chunks(5000)
            .map(|blob| {
                left -= blob.len();
                let blob = STANDARD.encode(blob);
                format!(r#"{{"result":{{"remaining_bytes":"{left}","blob":"{blob}"}}}}"#)
            })
            .collect();
        lines.push(format!(r#"{{"result":{{"blob":"{}"}}}}"#, STANDARD.encode(Sha256::digest(&database))));
        lines
    }

    fn read(lines: &[String]) -> Result<Vec<u8>, DriverError> {
        let source = |source| DriverError::Source { what: "it".into(), source };
        let text = lines.join("\n");
        let mut stream = SnapshotStream::begin(text.as_bytes()).map_err(source)?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all).map_err(source)?;
        stream.verify("it")?;
        Ok(all)
    }

    #[test]
    fn the_bytes_come_out_with_their_digest() {
        let text = lines(3).join("\n");
        let stream = SnapshotStream::begin(text.as_bytes()).unwrap();
        assert_eq!(stream.total_bytes(), 3 * 4096 + 32);
        let all = read(&lines(3)).unwrap();
        assert_eq!(all.len(), 3 * 4096 + 32);
        assert_eq!(Sha256::digest(&all[..3 * 4096])[..], all[3 * 4096..]);
    }

    #[test]
    fn what_is_short_changed_or_ended_early_is_refused() {
        let refused = |lines: &[String], problem: &str| {
            let error = read(lines).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        };
        let good = lines(3);
        refused(&good[..good.len() - 1], "bytes came of");
        refused(&[&good[..1], &good[2..]].concat(), "bytes came of");
        let mut changed = good.clone();
        let blob = changed[1].rfind("\"}}").unwrap() - 9;
        let other = if changed[1].as_bytes()[blob] == b'A' { "B" } else { "A" };
        changed[1].replace_range(blob..=blob, other);
        refused(&changed, "digest");
        refused(&[good[0].clone(), r#"{"error":{"message":"leader changed"}}"#.into()], "leader changed");
        refused(&[good[0].clone(), "<html>".into()], "no JSON object");
        refused(&[good[0].clone(), r#"{"result":{"blob":"%%"}}"#.into()], "base64");
        refused(&[String::new()], "bytes came of");
    }
}
