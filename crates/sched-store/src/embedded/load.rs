//! Reading jobs: one thread goes through the file and hands out entries, others make them of bytes.

use std::collections::{HashSet, VecDeque};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Scope};

use redb::{Range, ReadOnlyTable, ReadableTable, ReadableTableMetadata, StorageError};
use sched_core::store::{Entry, StoreError};

use super::fault::Place;
use super::value::{Numbered, Terms};

/// Jobs that are decoded together. Fewer are not worth a thread.
const PORTION: usize = 1_024;
/// Portions of each decoder that are not handed out yet.
const UNDER_WAY: usize = 2;
/// More threads would wait for the one that reads.
const MOST_DECODERS: usize = 4;

/// Values as they are in the file, one after the other.
#[derive(Default)]
struct Raw {
    bytes: Vec<u8>,
    /// The number of each job, and where its value ends.
    jobs: Vec<(u64, usize)>,
}

/// What became of a portion.
struct Decoded {
    entries: Vec<Entry>,
    /// The terms that they have.
    terms: HashSet<u64>,
}

impl Raw {
    fn decode(&self, place: &Place, known: &Numbered) -> Result<Decoded, StoreError> {
        let mut decoded = Decoded { entries: Vec::with_capacity(self.jobs.len()), terms: HashSet::new() };
        let mut begin = 0;
        for (job, end) in &self.jobs {
            let (entry, terms) = Terms::decode_job(place, known, *job, &self.bytes[begin..*end])?;
            decoded.entries.push(entry);
            decoded.terms.insert(terms);
            begin = *end;
        }
        Ok(decoded)
    }
}

/// A thread that decodes one portion after the other.
struct Decoder {
    raw: SyncSender<Raw>,
    decoded: Receiver<Result<Decoded, StoreError>>,
}

impl Decoder {
    fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        place: &'scope Place,
        known: &'scope Numbered,
    ) -> Result<Self, StoreError> {
        let (raw, given) = sync_channel::<Raw>(UNDER_WAY);
        let (done, decoded) = sync_channel(UNDER_WAY);
        let run = move || {
            for raw in given {
                // After an error of another one nobody takes this.
                if done.send(raw.decode(place, known)).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("backup-sched-load".into()).spawn_scoped(scope, run);
        thread.map_err(|error| place.io_error("read", &error))?;
        Ok(Self { raw, decoded })
    }

    fn give(&self, raw: Raw, place: &Place) -> Result<(), StoreError> {
        self.raw.send(raw).map_err(|_| gone(place))
    }

    fn take(&self, place: &Place) -> Result<Decoded, StoreError> {
        self.decoded.recv().unwrap_or_else(|_| Err(gone(place)))
    }
}

fn gone(place: &Place) -> StoreError {
    place.io("read", &"a thread that decodes has ended")
}

/// Goes through the table of jobs.
struct Rows<'t> {
    range: Range<'t, u64, &'static [u8]>,
    /// Bytes of keys and values so far.
    live: u64,
}

impl Rows<'_> {
    /// The next jobs; none after the last.
    fn next(&mut self, place: &Place) -> Result<Raw, StoreError> {
        let mut raw = Raw::default();
        for row in self.range.by_ref().take(PORTION) {
            let (key, value) = row.map_err(|error| place.failed("read", error.into()))?;
            raw.bytes.extend_from_slice(value.value());
            raw.jobs.push((key.value(), raw.bytes.len()));
        }
        self.live += (raw.bytes.len() + 8 * raw.jobs.len()) as u64;
        Ok(raw)
    }
}

/// Hands out all jobs in their order; returns how many bytes they take, and which terms are in use.
pub(super) fn jobs(
    table: &ReadOnlyTable<u64, &'static [u8]>,
    place: &Place,
    known: &Numbered,
    take: &mut dyn FnMut(Entry),
) -> Result<(u64, HashSet<u64>), StoreError> {
    let read = |error: StorageError| place.failed("read", error.into());
    let is_small = table.len().map_err(read)? <= PORTION as u64;
    let mut rows = Rows { range: table.iter().map_err(read)?, live: 0 };
    let mut used = HashSet::new();
    let mut hand_out = |decoded: Decoded| {
        used.extend(decoded.terms);
        decoded.entries.into_iter().for_each(&mut *take);
    };
    if is_small {
        hand_out(rows.next(place)?.decode(place, known)?);
    } else {
        thread::scope(|scope| decode(scope, &mut rows, place, known, &mut hand_out))?;
    }
    Ok((rows.live, used))
}

/// Portions go round the decoders, and come back in the same order.
fn decode<'scope>(
    scope: &'scope Scope<'scope, '_>,
    rows: &mut Rows<'_>,
    place: &'scope Place,
    known: &'scope Numbered,
    hand_out: &mut dyn FnMut(Decoded),
) -> Result<(), StoreError> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let decoders = (0..cores.min(MOST_DECODERS)).map(|_| Decoder::start(scope, place, known));
    let decoders = decoders.collect::<Result<Vec<_>, _>>()?;
    let mut under_way = VecDeque::new();
    for decoder in decoders.iter().cycle() {
        if under_way.len() == UNDER_WAY * decoders.len()
            && let Some(oldest) = under_way.pop_front()
        {
            hand_out(Decoder::take(oldest, place)?);
        }
        let raw = rows.next(place)?;
        if raw.jobs.is_empty() {
            break;
        }
        decoder.give(raw, place)?;
        under_way.push_back(decoder);
    }
    under_way.into_iter().try_for_each(|decoder| decoder.take(place).map(&mut *hand_out))
}
