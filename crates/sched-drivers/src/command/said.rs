//! What a tool says on its standard error, bounded: [`Said`].

use std::collections::VecDeque;
use std::io::{self, Read};
use std::process::ChildStderr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

/// The last so many bytes are kept: errors come last.
const KEPT: usize = 8 << 10;
/// A process that left the tool's group may hold its standard error open; it is not waited for any longer.
const LINGER: Duration = Duration::from_secs(1);

/// Is told each line as it is said.
pub(super) type Listener = dyn Fn(&str) + Send + Sync;

/// Listens to a tool on a thread of its own, so that it never waits for its complaints to be read.
#[derive(Default)]
pub(super) struct Said {
    kept: Arc<Mutex<VecDeque<u8>>>,
    /// Closed when all has been heard.
    heard: Option<Receiver<()>>,
}

impl Said {
    pub(super) fn listen(stderr: Option<ChildStderr>, listener: Option<Arc<Listener>>) -> io::Result<Self> {
        let Some(mut stderr) = stderr else { return Ok(Self::default()) };
        let kept = Arc::new(Mutex::new(VecDeque::new()));
        let keeps = Arc::clone(&kept);
        let (hears, heard) = channel();
        let listen = move || {
            let _hears = hears;
            let (mut buffer, mut lines) = ([0; 4096], Lines::default());
            while let Ok(read @ 1..) = stderr.read(&mut buffer) {
                keep(&mut keeps.lock(), &buffer[..read]);
                if let Some(listener) = &listener {
                    lines.split(&buffer[..read], &**listener);
                }
            }
            if let Some(listener) = &listener {
                lines.end(&**listener);
            }
        };
        thread::Builder::new().name("backup-stderr".into()).spawn(listen)?;
        Ok(Self { kept, heard: Some(heard) })
    }

    /// All that was kept, once the tool's group is gone.
    pub(super) fn text(self) -> String {
        if let Some(heard) = self.heard {
            let _ = heard.recv_timeout(LINGER);
        }
        let kept: Vec<u8> = self.kept.lock().iter().copied().collect();
        String::from_utf8_lossy(&kept).trim().to_owned()
    }
}

fn keep(kept: &mut VecDeque<u8>, more: &[u8]) {
    kept.extend(more);
    let over = kept.len().saturating_sub(KEPT);
    kept.drain(..over);
}

/// What was said of a line that is not over yet.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn split(&mut self, more: &[u8], listener: &Listener) {
        for byte in more {
            // A line without an end is cut, so that it cannot fill the memory.
            if *byte == b'\n' || self.0.len() == KEPT {
                self.end(listener);
            }
            if *byte != b'\n' {
                self.0.push(*byte);
            }
        }
    }

    fn end(&mut self, listener: &Listener) {
        if !self.0.is_empty() {
            listener(String::from_utf8_lossy(&self.0).trim_end());
            self.0.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_whole_however_they_arrive() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        let listener = move |line: &str| hears.lock().push(line.to_owned());
        let mut lines = Lines::default();
        for part in ["one\r\ntw", "o\n\nthr", "ee"] {
            lines.split(part.as_bytes(), &listener);
        }
        assert_eq!(*heard.lock(), ["one", "two"]);
        lines.end(&listener);
        assert_eq!(*heard.lock(), ["one", "two", "three"]);
        lines.split(&vec![b'x'; KEPT + 1], &listener);
        assert_eq!(heard.lock()[3].len(), KEPT);
    }

    #[test]
    fn the_end_is_kept() {
        let mut kept = VecDeque::new();
        for _ in 0..1000 {
            keep(&mut kept, b"the same complaint once more\n");
        }
        keep(&mut kept, b"the last");
        assert_eq!(kept.len(), KEPT);
        assert!(kept.iter().copied().collect::<Vec<u8>>().ends_with(b"the last"));
    }
}
