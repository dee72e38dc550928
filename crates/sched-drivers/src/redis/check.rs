//! Whether a snapshot is whole: [`RdbCheck`].

use std::io::{self, Read};

use crc::{CRC_64_REDIS, Crc, Digest, Table};

use crate::DriverError;

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

/// `REDIS` and four digits, or `VALKEY` and three.
const MAGIC: usize = 9;
const FOOTER: usize = 8;
/// Comes before the footer.
const END: u8 = 0xff;
/// The first version with a footer.
const WITH_FOOTER: u32 = 5;

/// Passes a snapshot through and looks at its head, its end and its checksum.
pub(super) struct RdbCheck<R> {
    inner: R,
    digest: Digest<'static, u64, Table<16>>,
    head: Vec<u8>,
    /// The last bytes: the end's mark and the footer.
    tail: Vec<u8>,
    bytes: u64,
}

impl<R> RdbCheck<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, digest: CRC.digest(), head: Vec::new(), tail: Vec::new(), bytes: 0 }
    }

    fn see(&mut self, seen: &[u8]) {
        self.bytes += seen.len() as u64;
        let wanted = MAGIC.saturating_sub(self.head.len()).min(seen.len());
        self.head.extend_from_slice(&seen[..wanted]);
        // The footer is not part of what it sums up.
        self.tail.extend_from_slice(seen);
        let settled = self.tail.len().saturating_sub(FOOTER + 1);
        self.digest.update(&self.tail[..settled]);
        self.tail.drain(..settled);
    }

    /// After all was read: whether it is a whole snapshot. Gives the version of its format, such as `REDIS0010`.
    pub(super) fn verify(mut self, what: &str) -> Result<String, DriverError> {
        let bad = |problem: String| DriverError::Corrupt { what: what.into(), problem };
        let magic = String::from_utf8_lossy(&self.head).into_owned();
        let digits = magic.strip_prefix("REDIS").or_else(|| magic.strip_prefix("VALKEY"));
        let version = digits.and_then(|digits| digits.parse::<u32>().ok());
        let version =
            version.ok_or_else(|| bad(format!("it begins with {magic:?}, not with REDIS or VALKEY")))?;
        if version < WITH_FOOTER {
            return Err(bad(format!("its format {magic} has no checksum")));
        }
        let end = self.tail.split_off(self.tail.len().min(1));
        if self.tail != [END] || end.len() != FOOTER || self.bytes < (MAGIC + 1 + FOOTER) as u64 {
            return Err(bad(format!("its {} bytes do not end as they should: it was cut", self.bytes)));
        }
        self.digest.update(&self.tail);
        let told = end.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let sum = self.digest.finalize();
        // 0: the server was told to make no checksums (`rdbchecksum no`).
        if told != 0 && told != sum {
            return Err(bad(format!("its checksum is {sum:016x}, and it says {told:016x}")));
        }
        Ok(magic)
    }
}

impl<R: Read> Read for RdbCheck<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        self.see(&buf[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The snapshot of an empty server, with a checksum.
    fn snapshot() -> Vec<u8> {
        let mut bytes = b"REDIS0010\xfa\x09redis-ver\x067.0.15\xff".to_vec();
        let sum = CRC.checksum(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn verify(bytes: &[u8]) -> Result<String, DriverError> {
        let mut check = RdbCheck::new(bytes);
        // In small pieces, so that head and tail come apart.
        let mut piece = [0; 5];
        while check.read(&mut piece).unwrap() > 0 {}
        check.verify("it")
    }

    #[test]
    fn the_sum_is_the_one_that_redis_documents() {
        assert_eq!(CRC.checksum(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn a_whole_snapshot_passes_also_without_a_checksum() {
        assert_eq!(verify(&snapshot()).unwrap(), "REDIS0010");
        let mut without = snapshot();
        let length = without.len();
        without[length - 8..].fill(0);
        assert!(verify(&without).is_ok());
    }

    #[test]
    fn what_is_cut_changed_or_something_else_is_refused() {
        let good = snapshot();
        let refused = |bytes: &[u8], text: &str| {
            let error = verify(bytes).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        };
        let mut changed = good.clone();
        changed[14] ^= 1;
        refused(&changed, "checksum");
        refused(&good[..good.len() - 1], "cut");
        refused(&good[..9], "cut");
        refused(b"", "REDIS");
        refused(b"<html></html>", "REDIS");
    }
}
