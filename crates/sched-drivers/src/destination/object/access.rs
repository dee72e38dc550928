//! Requests of one attempt, none of which takes longer than it may: [`Access`].

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use super::fault;
use crate::reactor::Reactor;

/// What a request to a store that has hung once is given.
const ONCE_HUNG: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Access {
    pub(super) store: Arc<dyn ObjectStore>,
    reactor: Arc<Reactor>,
    limit: Duration,
    hung: AtomicBool,
}

/// Why something was not put where nothing was to be.
pub(super) struct NotPut {
    pub(super) error: io::Error,
    /// Something else is there for certain. Else it may yet have been put.
    pub(super) taken: bool,
}

impl Access {
    pub(super) fn new(store: Arc<dyn ObjectStore>, reactor: Arc<Reactor>, limit: Duration) -> Self {
        Self { store, reactor, limit, hung: AtomicBool::new(false) }
    }

    /// Waits for a request.
    pub(super) fn wait<T>(
        &self,
        what: impl FnOnce() -> String,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> io::Result<T> {
        self.within(what, work)?.map_err(fault::of_store)
    }

    fn within<T>(&self, what: impl FnOnce() -> String, work: impl Future<Output = T>) -> io::Result<T> {
        let limit = if self.hung.load(Relaxed) { self.limit.min(ONCE_HUNG) } else { self.limit };
        self.reactor.within(limit, work).ok_or_else(|| {
            self.hung.store(true, Relaxed);
            let problem = format!("{} took longer than {limit:?}", what());
            io::Error::new(io::ErrorKind::TimedOut, problem)
        })
    }

    pub(super) fn put(&self, path: &Path, bytes: Vec<u8>) -> io::Result<()> {
        self.wait(|| format!("putting {path}"), self.store.put(path, bytes.into())).map(drop)
    }

    /// Puts an object unless there is one.
    pub(super) fn put_new(&self, path: &Path, bytes: &[u8]) -> Result<(), NotPut> {
        let payload = PutPayload::from(bytes.to_vec());
        let put = self.store.put_opts(path, payload, PutMode::Create.into());
        let Err(error) = self.wait(|| format!("putting {path}"), put) else { return Ok(()) };
        // An answer can be lost, and the store's client tries again: what is there may be what was put.
        match self.get(path) {
            Ok(there) if there == bytes => Ok(()),
            Ok(_) => Err(NotPut { error, taken: true }),
            Err(_) => Err(NotPut { taken: error.kind() == io::ErrorKind::AlreadyExists, error }),
        }
    }

    pub(super) fn get(&self, path: &Path) -> io::Result<Vec<u8>> {
        let get = async { self.store.get(path).await?.bytes().await };
        self.wait(|| format!("reading {path}"), get).map(|bytes| bytes.to_vec())
    }

    pub(super) fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.wait(|| format!("looking for {path}"), self.store.head(path)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What is in a folder, up to so many.
    pub(super) fn list(&self, folder: &Path, most: usize) -> io::Result<Vec<Path>> {
        let mut objects = self.store.list(Some(folder));
        let mut found = Vec::new();
        while found.len() < most {
            match self.within(|| format!("listing {folder}"), objects.next())? {
                Some(object) => found.push(object.map_err(fault::of_store)?.location),
                None => break,
            }
        }
        Ok(found)
    }

    /// Deletes objects; those that are not there are as good as deleted. Goes on after an error, not after a time-out.
    pub(super) fn delete(&self, paths: Vec<Path>) -> io::Result<()> {
        let mut deleted = self.store.delete_stream(stream::iter(paths.into_iter().map(Ok)).boxed());
        let mut first = Ok(());
        while let Some(outcome) = self.within(|| "deleting".to_owned(), deleted.next())? {
            match outcome.map_err(fault::of_store) {
                Err(error) if error.kind() != io::ErrorKind::NotFound && first.is_ok() => first = Err(error),
                _ => {}
            }
        }
        first
    }
}
