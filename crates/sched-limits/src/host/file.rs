//! A file of the kernel, kept open and read again and again.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::probe::ProbeError;

/// No file that is read here comes near; a longer one is cut off.
const LONGEST: usize = 4 << 20;
const CHUNK: usize = 4096;

/// Reading from an open descriptor spares the way through the directories, which is half of the cost.
#[derive(Debug)]
pub(crate) struct ProcFile {
    path: PathBuf,
    file: File,
    bytes: Vec<u8>,
}

impl ProcFile {
    pub(crate) fn open(path: impl AsRef<Path>) -> Result<Self, ProbeError> {
        let path = path.as_ref().to_owned();
        match File::open(&path) {
            Ok(file) => Ok(Self { path, file, bytes: Vec::new() }),
            Err(source) => Err(io_error(&path, source)),
        }
    }

    /// What it holds now.
    pub(crate) fn read(&mut self) -> Result<Cow<'_, str>, ProbeError> {
        let mut filled = 0;
        loop {
            if self.bytes.len() < filled + CHUNK {
                self.bytes.resize(filled + CHUNK, 0);
            }
            match self.file.read_at(&mut self.bytes[filled..], filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(io_error(&self.path, source)),
            }
            if filled >= LONGEST {
                break;
            }
        }
        Ok(String::from_utf8_lossy(&self.bytes[..filled]))
    }

    /// What `parse` makes of it now.
    pub(crate) fn parse<T>(
        &mut self,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, ProbeError> {
        let parsed = parse(&self.read()?);
        parsed.map_err(|problem| ProbeError::Parse { what: self.path.display().to_string(), problem })
    }
}

/// What a small file holds, read once.
pub(crate) fn read_once(path: impl AsRef<Path>) -> Result<String, ProbeError> {
    ProcFile::open(path)?.read().map(Cow::into_owned)
}

fn io_error(path: &Path, source: io::Error) -> ProbeError {
    ProbeError::Io { what: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_file_is_read_anew_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("loadavg");
        let long = "x".repeat(3 * CHUNK + 7);
        std::fs::write(&path, &long).unwrap();
        let mut file = ProcFile::open(&path).unwrap();
        assert_eq!(file.read().unwrap(), long);
        std::fs::write(&path, "7\n").unwrap();
        assert_eq!(file.parse(crate::host::parse::number).unwrap(), 7);
        std::fs::write(&path, b"\xff").unwrap();
        let error = file.parse(crate::host::parse::number).unwrap_err().to_string();
        assert!(error.contains("loadavg: it should hold a number"), "{error}");
        assert!(ProcFile::open(dir.path().join("missing")).unwrap_err().to_string().contains("missing"));
    }
}
