//! A store that fails, hangs and loses answers when it is told to, and counts what it is asked.

use std::collections::HashMap;
use std::fmt;
use std::future::pending;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use parking_lot::Mutex;

/// What a store is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ask {
    Put,
    Begin,
    Part,
    Finish,
    Abort,
    Get,
    List,
    Delete,
}

/// What it does instead of answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Says that it is full.
    Full,
    /// Answers nothing and does nothing.
    Hang,
    /// Does it and answers nothing.
    LoseAnswer,
}

type Rule = Box<dyn Fn(Ask, &str, usize) -> Option<Fault> + Send>;

struct State {
    rule: Rule,
    asked: HashMap<Ask, usize>,
    largest_part: usize,
}

#[derive(Clone)]
pub(crate) struct Faulty {
    inner: Arc<dyn ObjectStore>,
    state: Arc<Mutex<State>>,
}

impl Faulty {
    /// Around another store, with no fault at first.
    pub(crate) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        let state = State { rule: Box::new(|_, _, _| None), asked: HashMap::new(), largest_part: 0 };
        Self { inner, state: Arc::new(Mutex::new(state)) }
    }

    /// From now on `rule` says what is wrong: with what is asked, of which object, for the how manieth time from 1.
    pub(crate) fn rule(&self, rule: impl Fn(Ask, &str, usize) -> Option<Fault> + Send + 'static) {
        self.state.lock().rule = Box::new(rule);
    }

    pub(crate) fn heal(&self) {
        self.rule(|_, _, _| None);
    }

    pub(crate) fn asked(&self, ask: Ask) -> usize {
        self.state.lock().asked.get(&ask).copied().unwrap_or_default()
    }

    pub(crate) fn largest_part(&self) -> usize {
        self.state.lock().largest_part
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

/// Does it, or what the rule says.
async fn through<T>(
    state: &Mutex<State>,
    ask: Ask,
    path: &str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let fault = {
        let mut state = state.lock();
        let count = state.asked.entry(ask).or_default();
        *count += 1;
        let count = *count;
        (state.rule)(ask, path, count)
    };
    match fault {
        None => work.await,
        Some(Fault::Full) => {
            let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
            Err(Error::Generic { store: "Faulty", source: Box::new(source) })
        }
        Some(Fault::Hang) => pending().await,
        Some(Fault::LoseAnswer) => {
            let _ = work.await;
            pending().await
        }
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let work = self.inner.put_opts(location, payload, opts);
        through(&self.state, Ask::Put, location.as_ref(), work).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let work = self.inner.put_multipart_opts(location, opts);
        let inner = through(&self.state, Ask::Begin, location.as_ref(), work).await?;
        Ok(Box::new(FaultyUpload { inner, path: location.to_string(), state: Arc::clone(&self.state) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let work = self.inner.get_opts(location, options);
        through(&self.state, Ask::Get, location.as_ref(), work).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let faulty = self.clone();
        let delete = move |location: Result<Path>| {
            let faulty = faulty.clone();
            async move {
                let location = location?;
                let one = stream::iter([Ok(location.clone())]).boxed();
                let mut deleted = faulty.inner.delete_stream(one);
                let work = deleted.next().map(|outcome| outcome.unwrap());
                through(&faulty.state, Ask::Delete, location.as_ref(), work).await
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let state = Arc::clone(&self.state);
        let path = prefix.map(ToString::to_string).unwrap_or_default();
        let inner = self.inner.list(prefix);
        let begun = async move { through(&state, Ask::List, &path, async { Ok(inner) }).await };
        stream::once(begun)
            .flat_map(|begun| match begun {
                Ok(inner) => inner,
                Err(error) => stream::iter([Err(error)]).boxed(),
            })
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    path: String,
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for FaultyUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyUpload")
    }
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (state, path) = (Arc::clone(&self.state), self.path.clone());
        {
            let mut state = state.lock();
            state.largest_part = state.largest_part.max(data.content_length());
        }
        let work = self.inner.put_part(data);
        async move { through(&state, Ask::Part, &path, work).await }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        through(&self.state, Ask::Finish, &self.path, self.inner.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        through(&self.state, Ask::Abort, &self.path, self.inner.abort()).await
    }
}
