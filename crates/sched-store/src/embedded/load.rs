//! Reading jobs: one thread goes through the file and hands out entries, others make them of bytes.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Scope};

use redb::{Range, ReadOnlyTable, ReadableTable, ReadableTableMetadata};
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
    ) -> io::Result<Self> {
        let (raw, given) = sync_channel::<Raw>(UNDER_WAY);
        let (done, decoded) = sync_channel(UNDER_WAY);
        let run = move || {
            for raw in given {
                let decoded = catch_unwind(AssertUnwindSafe(|| raw.decode(place, known)));
                let decoded = decoded.unwrap_or_else(|panic| Err(place.panicked("read", &*panic)));
                // After an error of another one nobody takes this.
                if done.send(decoded).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("backup-sched-load".into()).spawn_scoped(scope, run)?;
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
    let is_small = table.len().map_err(|error| place.failed("read", error.into()))? <= PORTION as u64;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let decoders = if is_small { 0 } else { cores.min(MOST_DECODERS) };
    jobs_by(decoders, table, place, known, take)
}

/// The same with so many decoders, or as many as the system lets start: without any this thread decodes.
pub(super) fn jobs_by(
    decoders: usize,
    table: &ReadOnlyTable<u64, &'static [u8]>,
    place: &Place,
    known: &Numbered,
    take: &mut dyn FnMut(Entry),
) -> Result<(u64, HashSet<u64>), StoreError> {
    let range = table.iter().map_err(|error| place.failed("read", error.into()))?;
    let mut rows = Rows { range, live: 0 };
    let mut used = HashSet::new();
    let mut hand_out = |decoded: Decoded| {
        used.extend(decoded.terms);
        decoded.entries.into_iter().for_each(&mut *take);
    };
    thread::scope(|scope| {
        let started = (0..decoders).map_while(|_| Decoder::start(scope, place, known).ok());
        let started: Vec<Decoder> = started.collect();
        decode(&started, &mut rows, place, known, &mut hand_out)
    })?;
    Ok((rows.live, used))
}

/// Portions go round the decoders, and come back in the same order.
fn decode(
    decoders: &[Decoder],
    rows: &mut Rows<'_>,
    place: &Place,
    known: &Numbered,
    hand_out: &mut dyn FnMut(Decoded),
) -> Result<(), StoreError> {
    let mut turns = decoders.iter().cycle();
    let mut under_way = VecDeque::new();
    loop {
        if under_way.len() == UNDER_WAY * decoders.len()
            && let Some(oldest) = under_way.pop_front()
        {
            hand_out(Decoder::take(oldest, place)?);
        }
        let raw = rows.next(place)?;
        if raw.jobs.is_empty() {
            break;
        }
        if let Some(decoder) = turns.next() {
            decoder.give(raw, place)?;
            under_way.push_back(decoder);
        } else {
            hand_out(raw.decode(place, known)?);
        }
    }
    under_way.into_iter().try_for_each(|decoder| decoder.take(place).map(&mut *hand_out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoder_that_panics_says_so() {
        let (place, known) = (Place("here".into()), Numbered::new());
        let error = thread::scope(|scope| {
            let decoder = Decoder::start(scope, &place, &known).unwrap();
            decoder.give(Raw { bytes: Vec::new(), jobs: vec![(1, 9)] }, &place).unwrap();
            decoder.take(&place).err()
        });
        assert!(matches!(error, Some(StoreError::Corrupt { .. })), "{error:?}");
    }
}
