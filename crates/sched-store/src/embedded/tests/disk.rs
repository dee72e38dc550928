//! A disk that fails when it is told to, and loses what was not synced when its power fails.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::StorageBackend;

use super::super::file::Source;
use super::super::{EmbeddedStore, fault::Place, migrate};

/// What a disk writes as a whole.
const SECTOR: usize = 512;

/// What happens at an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The power fails before it.
    Power,
    /// It fails, and the disk works on.
    Error,
    /// There is no room, from then on until it is made.
    Full,
}

#[derive(Clone, Debug)]
pub(super) struct Disk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// What is on the disk for good.
    durable: Vec<u8>,
    /// What is read: with all that was written.
    current: Vec<u8>,
    /// What was written since the last sync.
    pending: Vec<(usize, Vec<u8>)>,
    /// Writes, syncs and changes of the length.
    operations: u64,
    syncs: u64,
    fault: Option<(u64, Fault)>,
    off: bool,
    full: bool,
    random: fastrand::Rng,
}

impl Disk {
    pub(super) fn new(seed: u64) -> Self {
        let state = State {
            durable: Vec::new(),
            current: Vec::new(),
            pending: Vec::new(),
            operations: 0,
            syncs: 0,
            fault: None,
            off: false,
            full: false,
            random: fastrand::Rng::with_seed(seed),
        };
        let disk = Self(Arc::new(Mutex::new(state)));
        let database = redb::Builder::new().create_with_backend(disk.clone()).unwrap();
        migrate::begin(&database, &Place("a disk".into())).unwrap();
        drop(database);
        disk
    }

    /// A disk with the same on it.
    pub(super) fn copy(&self, seed: u64) -> Self {
        let state = self.0.lock();
        Self(Arc::new(Mutex::new(State {
            durable: state.current.clone(),
            current: state.current.clone(),
            pending: Vec::new(),
            operations: 0,
            syncs: 0,
            fault: None,
            off: false,
            full: false,
            random: fastrand::Rng::with_seed(seed),
        })))
    }

    pub(super) fn store(&self) -> EmbeddedStore {
        let disk = self.clone();
        let open = move |builder: &redb::Builder| builder.create_with_backend(disk.clone());
        EmbeddedStore { source: Source::Other(Box::new(open)), suspect: false, open: None }
    }

    /// Has the operation of that number, counted from now, go wrong.
    pub(super) fn fail_at(&self, operation: u64, fault: Fault) {
        let mut state = self.0.lock();
        state.fault = Some((state.operations + operation, fault));
    }

    pub(super) fn make_room(&self) {
        self.0.lock().full = false;
    }

    pub(super) fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    pub(super) fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    pub(super) fn is_off(&self) -> bool {
        self.0.lock().off
    }

    /// The power comes back: of what was not synced some sectors are there and some are not.
    pub(super) fn power_on(&self) {
        let mut state = self.0.lock();
        state.lose_some();
        (state.off, state.fault) = (false, None);
    }
}

impl State {
    fn lose_some(&mut self) {
        let keep = self.random.u8(0..4);
        for (offset, data) in std::mem::take(&mut self.pending) {
            for (at, sector) in data.chunks(SECTOR).enumerate() {
                let begin = offset + at * SECTOR;
                let kept = match keep {
                    0 => false,
                    1 => true,
                    _ => self.random.bool(),
                };
                if kept {
                    let end = begin + sector.len();
                    if self.durable.len() < end {
                        self.durable.resize(end, 0);
                    }
                    self.durable[begin..end].copy_from_slice(sector);
                }
            }
        }
        // The length is of the file system, which has a journal of its own: it is one of those that there were.
        let len = self.durable.len().max(self.current.len());
        self.durable.resize(len, 0);
        self.current = self.durable.clone();
    }

    /// Counts an operation, which may go wrong.
    fn operate(&mut self) -> io::Result<()> {
        if self.off {
            return Err(io::Error::other("the power is off"));
        }
        self.operations += 1;
        match self.fault {
            Some((at, fault)) if at == self.operations => match fault {
                Fault::Power => {
                    self.off = true;
                    Err(io::Error::other("the power is off"))
                }
                Fault::Error => Err(io::Error::other("told to fail")),
                Fault::Full => {
                    self.full = true;
                    Err(io::ErrorKind::StorageFull.into())
                }
            },
            _ if self.full => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock();
        let from = offset as usize;
        let data = state.current.get(from..from + out.len());
        out.copy_from_slice(data.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.0.lock();
        state.operate()?;
        state.current.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        let synced = state.operate();
        if let Err(error) = synced {
            if !state.off {
                // As on Linux: what could not be written counts as written, and is not there when it is read again.
                state.lose_some();
            }
            return Err(error);
        }
        state.syncs += 1;
        let State { durable, current, pending, .. } = &mut *state;
        durable.resize(current.len(), 0);
        for (from, data) in pending.drain(..).filter(|(from, data)| from + data.len() <= current.len()) {
            durable[from..from + data.len()].copy_from_slice(&current[from..from + data.len()]);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock();
        if let Err(error) = state.operate() {
            if state.off && state.random.bool() {
                // It was on its way.
                state.pending.push((offset as usize, data.to_vec()));
                let (from, end) = (offset as usize, offset as usize + data.len());
                if state.current.len() < end {
                    state.current.resize(end, 0);
                }
                state.current[from..end].copy_from_slice(data);
            }
            return Err(error);
        }
        let (from, end) = (offset as usize, offset as usize + data.len());
        if state.current.len() < end {
            state.current.resize(end, 0);
        }
        state.current[from..end].copy_from_slice(data);
        state.pending.push((from, data.to_vec()));
        Ok(())
    }
}
