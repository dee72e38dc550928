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

/// Listens to a tool on a thread of its own, so that it never waits for its complaints to be read.
#[derive(Default)]
pub(super) struct Said {
    kept: Arc<Mutex<VecDeque<u8>>>,
    /// Closed when all has been heard.
    heard: Option<Receiver<()>>,
}

impl Said {
    pub(super) fn listen(stderr: Option<ChildStderr>) -> io::Result<Self> {
        let Some(mut stderr) = stderr else { return Ok(Self::default()) };
        let kept = Arc::new(Mutex::new(VecDeque::new()));
        let keeps = Arc::clone(&kept);
        let (hears, heard) = channel();
        let listen = move || {
            let _hears = hears;
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stderr.read(&mut buffer) {
                keep(&mut keeps.lock(), &buffer[..read]);
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

#[cfg(test)]
mod tests {
    use super::*;

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
