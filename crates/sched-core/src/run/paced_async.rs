//! Readers and writers of tokio at the granted rate: [`AsyncPacedReader`], [`AsyncPacedWriter`]; and
//! [`RunContext::pace_async`]. They never block: who must wait sets a timer of the runtime, and is woken by orders and new
//! rates.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::{ADAPTER_CHUNK, Cancelled, Charge, RECHECK, RunContext, TOO_LARGE, cancelled};

/// What was charged and not yet let through.
struct Pace {
    ctx: RunContext,
    charged: Option<(Charge, u64)>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    fn new(ctx: RunContext) -> Self {
        Self { ctx, charged: None, timer: None }
    }

    /// The most that may be charged at once.
    fn most(&self) -> usize {
        usize::try_from(self.ctx.pacer.max_chunk())
            .map_or(ADAPTER_CHUNK, |chunk| chunk.clamp(1, ADAPTER_CHUNK))
    }

    fn charge(&mut self, bytes: u64) {
        self.charged = Some((self.ctx.pacer.charge(bytes), bytes));
    }

    /// Ready when the attempt may go on and everything charged was let through.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cancelled>> {
        ready!(self.ctx.control.poll_checkpoint(cx.waker()))?;
        while let Some((charge, bytes)) = self.charged {
            // Before the look, or news between the two would be missed.
            self.ctx.control.wake_on_news(cx.waker());
            let wait = self.ctx.pacer.wait(charge);
            if wait == Some(Duration::ZERO) {
                self.ctx.control.add_paced(bytes);
                (self.charged, self.timer) = (None, None);
                break;
            }
            let until = self.ctx.clock.mono() + wait.unwrap_or(RECHECK).min(RECHECK);
            let Some(real) = self.ctx.clock.sleep_for(until) else { return Poll::Pending };
            ready!(self.timer.insert(Box::pin(sleep(real))).as_mut().poll(cx));
        }
        Poll::Ready(Ok(()))
    }

    /// What was charged and is not to move.
    fn give_back(&mut self) {
        self.timer = None;
        if let Some((_, bytes)) = self.charged.take() {
            self.ctx.give_back(bytes);
        }
    }
}

/// [`RunContext::pace_async`] as it waits; dropped, it gives back what was charged and has not been let through.
struct Turn(Pace);

impl Turn {
    /// Ready with what may move of `bytes`: as [`RunContext::pace`], nothing when smaller chunks are called for.
    fn poll(&mut self, bytes: u64, cx: &mut Context<'_>) -> Poll<Result<u64, Cancelled>> {
        let Self(pace) = self;
        if pace.charged.is_none() {
            pace.charge(bytes);
        }
        match pace.poll(cx) {
            Poll::Ready(going_on) => Poll::Ready(going_on.map(|()| bytes)),
            Poll::Pending if bytes / TOO_LARGE > pace.ctx.pacer.max_chunk() => {
                pace.give_back();
                Poll::Ready(Ok(0))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

impl RunContext {
    /// As [`pace`](Self::pace), without blocking: waits by a timer of the runtime that polls it, which must have its time
    /// enabled. Dropped meanwhile, what has not been let through is given back; what has, counts as moved.
    ///
    /// # Errors
    /// When the attempt was cancelled.
    ///
    /// # Panics
    /// Outside a runtime of tokio, or where its time is not enabled.
    pub async fn pace_async(&self, bytes: u64) -> Result<(), Cancelled> {
        self.checkpoint_async().await?;
        let mut turn = Turn(Pace::new(self.clone()));
        let mut left = bytes;
        while left > 0 {
            let chunk = left.min(self.pacer.max_chunk().max(1));
            left -= poll_fn(|cx| turn.poll(chunk, cx)).await?;
        }
        Ok(())
    }
}

/// A reader at the granted rate; see [`RunContext::async_reader`]. Like any reader it knows only afterwards how much
/// there was, so a read waits for what the one before it took.
pub struct AsyncPacedReader<R> {
    inner: Pin<Box<R>>,
    pace: Pace,
}

impl<R> AsyncPacedReader<R> {
    pub(super) fn new(inner: R, ctx: RunContext) -> Self {
        Self { inner: Box::pin(inner), pace: Pace::new(ctx) }
    }
}

impl<R: AsyncRead> AsyncRead for AsyncPacedReader<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { inner, pace } = self.get_mut();
        ready!(pace.poll(cx)).map_err(cancelled)?;
        let most = buf.remaining().min(pace.most());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
        ready!(inner.as_mut().poll_read(cx, &mut part))?;
        let read = part.filled().len();
        buf.advance(read);
        if read > 0 {
            pace.charge(read as u64);
        }
        Poll::Ready(Ok(()))
    }
}

/// A writer at the granted rate; see [`RunContext::async_writer`].
pub struct AsyncPacedWriter<W> {
    inner: Pin<Box<W>>,
    pace: Pace,
    /// Let through and not yet written.
    paid: usize,
}

impl<W> AsyncPacedWriter<W> {
    pub(super) fn new(inner: W, ctx: RunContext) -> Self {
        Self { inner: Box::pin(inner), pace: Pace::new(ctx), paid: 0 }
    }
}

impl<W: AsyncWrite> AsyncWrite for AsyncPacedWriter<W> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self { inner, pace, paid } = self.get_mut();
        if *paid == 0 && !buf.is_empty() {
            if pace.charged.is_none() {
                pace.charge(buf.len().min(pace.most()) as u64);
            }
            let charged = pace.charged.map_or(0, |(_, bytes)| bytes);
            ready!(pace.poll(cx)).map_err(cancelled)?;
            *paid = usize::try_from(charged).unwrap_or(usize::MAX);
        }
        let most = buf.len().min(*paid);
        let written = ready!(inner.as_mut().poll_write(cx, &buf[..most]))?;
        *paid -= written.min(*paid);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().inner.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().inner.as_mut().poll_shutdown(cx)
    }
}

impl<R> Drop for AsyncPacedReader<R> {
    fn drop(&mut self) {
        // These bytes were read: they stay charged, and nobody waits for them.
        let last = self.pace.charged.map_or(0, |(_, bytes)| bytes);
        self.pace.ctx.control.add_paced(last);
    }
}

impl<W> Drop for AsyncPacedWriter<W> {
    fn drop(&mut self) {
        let charged = self.pace.charged.map_or(0, |(_, bytes)| bytes);
        let unused = charged + self.paid as u64;
        if unused > 0 {
            self.pace.ctx.give_back(unused);
        }
    }
}

impl<R> fmt::Debug for AsyncPacedReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncPacedReader").field("ctx", &self.pace.ctx).finish_non_exhaustive()
    }
}

impl<W> fmt::Debug for AsyncPacedWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncPacedWriter").field("ctx", &self.pace.ctx).finish_non_exhaustive()
    }
}
