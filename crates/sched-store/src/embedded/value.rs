//! Entries as bytes: JSON, with a number in the place of the terms that many jobs share.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable, StorageError, Table};
use sched_core::JobTerms;
use sched_core::store::{Entry, JobEntry, Key, StoreError};

use super::fault::Place;
use super::format::TERMS;

/// Terms that are remembered by where they are in memory; then all are forgotten.
const REMEMBERED: usize = 4_096;

/// The terms in the file, by number.
pub(super) type Numbered = HashMap<u64, Arc<JobTerms>>;

/// Which terms are in the file.
pub(super) struct Terms {
    by_text: HashMap<Vec<u8>, u64>,
    /// Held, so that nothing else comes to be where they are.
    by_place: HashMap<usize, (Arc<JobTerms>, u64)>,
    next: u64,
    unused: Vec<u64>,
    /// In the place of the terms of a job.
    none: Arc<JobTerms>,
}

impl Terms {
    pub(super) fn read(database: &Database, place: &Place) -> Result<Self, StoreError> {
        let read = |error: redb::Error| place.failed("read", error);
        let mut this = Self {
            by_text: HashMap::new(),
            by_place: HashMap::new(),
            next: 1,
            unused: Vec::new(),
            none: Arc::default(),
        };
        let transaction = database.begin_read().map_err(|error| read(error.into()))?;
        let table = transaction.open_table(TERMS).map_err(|error| read(error.into()))?;
        for row in table.iter().map_err(|error| read(error.into()))? {
            let (number, text) = row.map_err(|error| read(error.into()))?;
            this.by_text.insert(text.value().to_vec(), number.value());
            this.next = this.next.max(number.value().saturating_add(1));
        }
        Ok(this)
    }

    /// All terms, for whoever reads jobs.
    pub(super) fn numbered(&self, place: &Place) -> Result<Numbered, StoreError> {
        let read = |(text, number): (&Vec<u8>, &u64)| {
            let terms: JobTerms = serde_json::from_slice(text)
                .map_err(|error| place.corrupt(format!("terms {number}"), error.to_string()))?;
            Ok((*number, Arc::new(terms)))
        };
        self.by_text.iter().map(read).collect()
    }

    /// The number of terms, which are written when they are new.
    fn number_of(
        &mut self,
        place: &Place,
        terms: &Arc<JobTerms>,
        table: &mut Table<'_, u64, &[u8]>,
    ) -> Result<u64, StoreError> {
        let at = Arc::as_ptr(terms) as usize;
        if let Some((_, number)) = self.by_place.get(&at) {
            return Ok(*number);
        }
        let text = serde_json::to_vec(&**terms).map_err(|error| place.io("written", &error))?;
        let number = match self.by_text.get(&text) {
            Some(number) => *number,
            None => {
                let number = self.next;
                let insert = table.insert(number, &*text);
                insert.map_err(|error| place.failed("written", error.into()))?;
                self.next += 1;
                self.by_text.insert(text, number);
                number
            }
        };
        if self.by_place.len() >= REMEMBERED {
            self.by_place.clear();
        }
        self.by_place.insert(at, (Arc::clone(terms), number));
        Ok(number)
    }

    pub(super) fn encode_job(
        &mut self,
        place: &Place,
        job: &JobEntry,
        table: &mut Table<'_, u64, &[u8]>,
        buffer: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let number = self.number_of(place, &job.record.terms, table)?;
        buffer.extend_from_slice(&number.to_le_bytes());
        let mut job = job.clone();
        job.record.terms = Arc::clone(&self.none);
        serde_json::to_writer(buffer, &job).map_err(|error| place.io("written", &error))
    }

    /// A job, and the number of its terms.
    pub(super) fn decode_job(
        place: &Place,
        terms: &Numbered,
        id: u64,
        value: &[u8],
    ) -> Result<(Entry, u64), StoreError> {
        let wrong = |problem: String| place.corrupt(format!("job {id}"), problem);
        let Some((number, text)) = value.split_first_chunk() else {
            return Err(wrong("its value is cut off".into()));
        };
        let number = u64::from_le_bytes(*number);
        let mut job: JobEntry = serde_json::from_slice(text).map_err(|error| wrong(error.to_string()))?;
        if job.record.id.0 != id {
            return Err(wrong(format!("it says that it is {}", job.record.id)));
        }
        job.record.terms =
            terms.get(&number).cloned().ok_or_else(|| wrong(format!("there are no terms {number}")))?;
        Ok((Entry::Job(Box::new(job)), number))
    }

    /// Terms of which no job is left go with the next group.
    pub(super) fn forget_unused(&mut self, used: &HashSet<u64>) {
        self.unused.extend(self.by_text.values().copied().filter(|number| !used.contains(number)));
        self.by_text.retain(|_, number| used.contains(number));
        self.by_place.retain(|_, (_, number)| used.contains(number));
    }

    pub(super) fn remove_unused(&mut self, table: &mut Table<'_, u64, &[u8]>) -> Result<(), StorageError> {
        self.unused.drain(..).try_for_each(|number| table.remove(number).map(drop))
    }
}

pub(super) fn encode(place: &Place, entry: &Entry, buffer: &mut Vec<u8>) -> Result<(), StoreError> {
    serde_json::to_writer(buffer, entry).map_err(|error| place.io("written", &error))
}

/// What stands in `facts` under a key. A row about something else would take the place of what is known of that.
pub(super) fn decode_fact(place: &Place, key: &str, value: &[u8]) -> Result<Entry, StoreError> {
    let wrong = |problem: String| place.corrupt(key, problem);
    let entry = decode(value).map_err(wrong)?;
    if serde_json::from_str(key).ok() != Some(entry.key()) {
        return Err(wrong("it is about something else".into()));
    }
    // Such rows are removed, not written: whatever was here is lost.
    if entry.removes() {
        return Err(wrong("it says that nothing is there".into()));
    }
    Ok(entry)
}

/// An audit entry.
pub(super) fn decode_audit(place: &Place, number: u64, value: &[u8]) -> Result<Entry, StoreError> {
    let wrong = |problem: String| place.corrupt(format!("audit entry {number}"), problem);
    let entry = decode(value).map_err(wrong)?;
    if entry.key() != Key::Audit(number) {
        return Err(wrong("it is something else".into()));
    }
    Ok(entry)
}

fn decode(value: &[u8]) -> Result<Entry, String> {
    serde_json::from_slice(value).map_err(|error| error.to_string())
}
