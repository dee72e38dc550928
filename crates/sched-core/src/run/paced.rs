//! Readers and writers at the granted rate: [`PacedReader`], [`PacedWriter`].

use std::io::{self, Read, Write};

use super::{ADAPTER_CHUNK, RunContext, cancelled};

/// A reader at the granted rate; see [`RunContext::reader`].
#[derive(Debug)]
pub struct PacedReader<R> {
    inner: R,
    ctx: RunContext,
}

impl<R> PacedReader<R> {
    pub(super) fn new(inner: R, ctx: RunContext) -> Self {
        Self { inner, ctx }
    }
}

impl<R: Read> Read for PacedReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.ctx.checkpoint().map_err(cancelled)?;
        let most = buf.len().min(ADAPTER_CHUNK);
        let read = self.inner.read(&mut buf[..most])?;
        // Charged after the read: only then is it known how much the source had.
        self.ctx.pace(read as u64).map_err(cancelled)?;
        Ok(read)
    }
}

/// A writer at the granted rate; see [`RunContext::writer`].
#[derive(Debug)]
pub struct PacedWriter<W> {
    inner: W,
    ctx: RunContext,
}

impl<W> PacedWriter<W> {
    pub(super) fn new(inner: W, ctx: RunContext) -> Self {
        Self { inner, ctx }
    }

    /// The writer inside.
    pub fn into_inner(self) -> W {
        self.inner
    }
}

impl<W: Write> Write for PacedWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let most = buf.len().min(ADAPTER_CHUNK);
        self.ctx.pace(most as u64).map_err(cancelled)?;
        // Paced bytes must all move, or they would be charged again.
        self.inner.write_all(&buf[..most])?;
        Ok(most)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
