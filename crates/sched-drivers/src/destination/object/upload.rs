//! A file on its way into an object: [`Upload`].

use std::io::{self, Write};
use std::mem;
use std::sync::Arc;

use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt};

use super::attempt::Attempt;
use crate::destination::ArtifactWriter;

/// As many as S3 takes.
const MOST_PARTS: usize = 10_000;

/// Gathers a part and sends it once there is more; what fits into one is put as it is when it is finished. Dropped
/// before that, it aborts what it began.
pub(super) struct Upload {
    attempt: Arc<Attempt>,
    path: Path,
    part: Vec<u8>,
    sent: usize,
    parts: Option<Box<dyn MultipartUpload>>,
    /// A part that was not sent is missing.
    broken: bool,
}

impl Upload {
    pub(super) fn new(attempt: Arc<Attempt>, path: Path) -> Self {
        Self { attempt, path, part: Vec::new(), sent: 0, parts: None, broken: false }
    }

    fn send(&mut self) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other(format!("an earlier part of {} was not sent", self.path)));
        }
        let sent = self.try_send();
        self.broken = sent.is_err();
        sent
    }

    fn try_send(&mut self) -> io::Result<()> {
        let attempt = Arc::clone(&self.attempt);
        let _working = attempt.working()?;
        if self.sent == MOST_PARTS {
            let problem = format!(
                "{} is larger than {MOST_PARTS} parts of {} bytes; larger parts would do (`part_bytes`)",
                self.path, attempt.part_bytes
            );
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
        }
        let (access, path) = (&attempt.access, &self.path);
        let parts = match &mut self.parts {
            Some(parts) => parts,
            none => {
                let begun = access.wait(|| format!("beginning {path}"), access.store.put_multipart(path));
                none.insert(begun?)
            }
        };
        // Its room is the request's; the next part gets room of its own when there is more.
        let part = mem::take(&mut self.part);
        access.wait(|| format!("sending a part of {path}"), parts.put_part(part.into()))?;
        self.sent += 1;
        Ok(())
    }
}

impl Write for Upload {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let most = self.attempt.part_bytes;
        if self.broken || self.part.len() == most {
            self.send()?;
        }
        if self.sent > 0 {
            self.part.reserve_exact(most - self.part.len());
        }
        let taken = buf.len().min(most - self.part.len());
        self.part.extend_from_slice(&buf[..taken]);
        Ok(taken)
    }

    /// Nothing: an object is there as a whole or not at all.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ArtifactWriter for Upload {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        if self.broken || self.parts.is_some() {
            self.send()?;
        }
        let attempt = Arc::clone(&self.attempt);
        let _working = attempt.working()?;
        let path = &self.path;
        match &mut self.parts {
            None => attempt.access.put(path, mem::take(&mut self.part)),
            Some(parts) => {
                attempt.access.wait(|| format!("finishing {path}"), parts.complete())?;
                self.parts = None;
                Ok(())
            }
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(mut parts) = self.parts.take() {
            // What cannot be aborted is left to the bucket's lifecycle rule.
            let _ = self.attempt.access.wait(|| format!("aborting {}", self.path), parts.abort());
        }
    }
}
