//! What goes wrong with a file, in the words of [`StoreError`].

use std::any::Any;
use std::fmt;
use std::io;

use sched_core::store::StoreError;

/// Where the store is, for its errors.
pub(super) struct Place(pub(super) String);

impl Place {
    /// What the library says.
    pub(super) fn failed(&self, what: &'static str, error: redb::Error) -> StoreError {
        match error {
            redb::Error::Io(error) => self.io_error(what, &error),
            redb::Error::Corrupted(problem) => self.corrupt("a page", problem),
            redb::Error::DatabaseAlreadyOpen => self.locked("the file is locked"),
            redb::Error::UpgradeRequired(_) | redb::Error::LockProtocolMismatch => {
                self.corrupt("its head", error.to_string())
            }
            redb::Error::TableTypeMismatch { .. }
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TableIsNotMultimap(_)
            | redb::Error::TableDoesNotExist(_) => self.corrupt("its tables", error.to_string()),
            other => self.io(what, &other),
        }
    }

    pub(super) fn io_error(&self, what: &'static str, error: &io::Error) -> StoreError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                StoreError::Full { place: self.0.clone(), error: error.to_string() }
            }
            // A file that is cut off, or is none of the library's.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
                self.corrupt("its head", error.to_string())
            }
            _ => self.io(what, error),
        }
    }

    pub(super) fn io(&self, what: &'static str, error: &dyn fmt::Display) -> StoreError {
        StoreError::Io { place: self.0.clone(), what, error: error.to_string() }
    }

    pub(super) fn locked(&self, error: &str) -> StoreError {
        StoreError::Locked { place: self.0.clone(), error: error.to_owned() }
    }

    pub(super) fn corrupt(&self, at: impl Into<String>, problem: impl Into<String>) -> StoreError {
        StoreError::Corrupt { place: self.0.clone(), at: at.into(), problem: problem.into() }
    }

    /// The library panicked, which it does at some kinds of damage.
    pub(super) fn panicked(&self, what: &'static str, panic: &(dyn Any + Send)) -> StoreError {
        let said = panic.downcast_ref::<&str>().copied();
        let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let said = said.unwrap_or("without a message");
        self.corrupt("a page", format!("it cannot be {what}: {said}"))
    }
}
