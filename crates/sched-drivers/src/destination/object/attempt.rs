//! One attempt's folder: claimed, filled, completed or removed.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use object_store::path::Path;
use parking_lot::{RwLock, RwLockReadGuard};

use super::access::{Access, NotPut};
use super::below;
use super::upload::Upload;
use crate::destination::owner::Owner;
use crate::destination::{ArtifactWriter, BackupSink, MANIFEST, check_file_name};

/// Where the records of attempts are, beside the backups of their instance: one request tells all that are unfinished.
const CLAIMS: &str = ".attempts";

/// What a sink and its files share.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) access: Access,
    pub(super) part_bytes: usize,
    folder: Path,
    claim: Path,
    over: RwLock<bool>,
}

impl Attempt {
    /// Held while something is written: the end of the attempt waits for it, and nothing is written afterwards.
    pub(super) fn working(&self) -> io::Result<RwLockReadGuard<'_, bool>> {
        let over = self.over.read();
        if *over {
            return Err(io::Error::other(format!("the attempt at {} is over", self.folder)));
        }
        Ok(over)
    }
}

/// A backup on its way into its folder.
pub(super) struct ObjectSink {
    attempt: Arc<Attempt>,
    manifest: Path,
    /// All that may have been put, but for the manifest.
    files: BTreeSet<Path>,
    /// Whether a manifest of this attempt may have been put.
    manifest_sent: bool,
    over: bool,
}

impl ObjectSink {
    /// Takes a folder that nobody has.
    pub(super) fn claim(access: Access, instance: &Path, name: &str, part_bytes: usize) -> io::Result<Self> {
        let folder = below(instance, name)?;
        let claim = below(&below(instance, CLAIMS)?, name)?;
        let manifest = below(&folder, MANIFEST)?;
        access.put_new(&claim, &serde_json::to_vec(&Owner::new())?).map_err(|NotPut { error, taken }| {
            if taken { exists(&format!("an attempt at {folder}, by its record {claim},")) } else { error }
        })?;
        let attempt = Attempt { access, part_bytes, folder, claim, over: RwLock::new(false) };
        let mut sink = Self {
            attempt: Arc::new(attempt),
            manifest,
            files: BTreeSet::new(),
            manifest_sent: false,
            over: false,
        };
        let held = sink.attempt.access.list(&sink.attempt.folder, 1);
        if held.as_ref().is_ok_and(Vec::is_empty) {
            return Ok(sink);
        }
        // Nothing was put, so there is nothing to look at twice.
        sink.over = true;
        let _ = sink.attempt.access.delete(vec![sink.attempt.claim.clone()]);
        Err(held.err().unwrap_or_else(|| exists(sink.attempt.folder.as_ref())))
    }

    /// Removes what this attempt put. A manifest that is not its own makes a backup that is not its own.
    fn remove(&mut self) -> io::Result<()> {
        self.over = true;
        *self.attempt.over.write() = true;
        let access = &self.attempt.access;
        if self.manifest_sent {
            // First, so that there never is one without its files.
            access.delete(vec![self.manifest.clone()])?;
        } else if access.exists(&self.manifest)? {
            return Err(exists(self.attempt.folder.as_ref()));
        }
        access.delete(self.files.iter().cloned().collect())?;
        // Again, for one that was long on its way; the claim last, so that a sweep finds what is left.
        let rest = self.manifest_sent.then(|| self.manifest.clone());
        access.delete(rest.into_iter().chain([self.attempt.claim.clone()]).collect())
    }
}

impl BackupSink for ObjectSink {
    fn create(&mut self, file: &str) -> io::Result<Box<dyn ArtifactWriter>> {
        check_file_name(file)?;
        let path = below(&self.attempt.folder, file)?;
        if !self.files.insert(path.clone()) {
            return Err(exists(path.as_ref()));
        }
        Ok(Box::new(Upload::new(Arc::clone(&self.attempt), path)))
    }

    fn complete(mut self: Box<Self>, manifest: &[u8]) -> io::Result<String> {
        *self.attempt.over.write() = true;
        self.manifest_sent = true;
        if let Err(NotPut { error, taken }) = self.attempt.access.put_new(&self.manifest, manifest) {
            self.manifest_sent = !taken;
            return Err(error);
        }
        self.over = true;
        // One that stays is taken away by the next sweep, and does no harm.
        let _ = self.attempt.access.delete(vec![self.attempt.claim.clone()]);
        Ok(self.attempt.folder.to_string())
    }

    fn abandon(mut self: Box<Self>) -> io::Result<()> {
        self.remove()
    }
}

impl Drop for ObjectSink {
    fn drop(&mut self) {
        if !self.over {
            let _ = self.remove();
        }
    }
}

/// Removes what attempts left that ended without cleaning up. What cannot be removed must not keep the next backup from
/// being made.
pub(super) fn sweep(access: &Access, instance: &Path) -> io::Result<()> {
    let claims = below(instance, CLAIMS)?;
    for claim in access.list(&claims, usize::MAX)? {
        match remove_dead(access, instance, &claims, &claim) {
            // The next would hang as well.
            Err(error) if error.kind() == io::ErrorKind::TimedOut => break,
            _ => {}
        }
    }
    Ok(())
}

fn remove_dead(access: &Access, instance: &Path, claims: &Path, claim: &Path) -> io::Result<()> {
    let Some(name) = claim.filename().filter(|name| !name.starts_with('.')) else { return Ok(()) };
    let owner = serde_json::from_slice(&access.get(claim)?).ok();
    // Without a record that can be read it is not known whose it is.
    if *claim != below(claims, name)? || !owner.is_some_and(|owner: Owner| owner.is_dead()) {
        return Ok(());
    }
    let folder = below(instance, name)?;
    let manifest = below(&folder, MANIFEST)?;
    let held = access.list(&folder, usize::MAX)?;
    if !held.contains(&manifest) {
        access.delete(held)?;
        // One that was long on its way would be without its files.
        access.delete(vec![manifest])?;
    }
    access.delete(vec![claim.clone()])
}

fn exists(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, format!("{what} exists already"))
}
