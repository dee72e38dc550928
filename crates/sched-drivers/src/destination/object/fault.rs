//! What stores say, as errors of the system's kinds.

use std::error::Error as _;
use std::io::{self, ErrorKind};

use object_store::Error;

/// What stores write for a full disk or a used-up quota, also with a status that means something else.
const FULL: [&str; 4] = ["507 Insufficient Storage", "StorageFull", "QuotaExceeded", "InsufficientCapacity"];
/// What the clients write where [`Error`] has no code for it, as when listing.
const SAID: [(&str, ErrorKind); 4] = [
    ("status code: 401", ErrorKind::PermissionDenied),
    ("status code: 403", ErrorKind::PermissionDenied),
    ("status code: 404", ErrorKind::NotFound),
    ("timed out", ErrorKind::TimedOut),
];

/// Keeps the error as the source of what it becomes.
pub(super) fn of_store(error: Error) -> io::Error {
    io::Error::new(kind(&error), error)
}

fn kind(error: &Error) -> ErrorKind {
    match error {
        Error::NotFound { .. } => ErrorKind::NotFound,
        Error::AlreadyExists { .. } | Error::Precondition { .. } => ErrorKind::AlreadyExists,
        Error::NotSupported { .. } | Error::NotImplemented { .. } => ErrorKind::Unsupported,
        Error::InvalidPath { .. } => ErrorKind::InvalidInput,
        other => of_system(other).unwrap_or_else(|| of_text(other)),
    }
}

/// Of the system's own error, where there is one below.
fn of_system(error: &Error) -> Option<ErrorKind> {
    let mut source = error.source();
    while let Some(cause) = source {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        if kind.is_some_and(|kind| kind != ErrorKind::Other) {
            return kind;
        }
        source = cause.source();
    }
    None
}

fn of_text(error: &Error) -> ErrorKind {
    let text = error.to_string();
    if FULL.iter().any(|full| text.contains(full)) {
        return ErrorKind::StorageFull;
    }
    if matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. }) {
        return ErrorKind::PermissionDenied;
    }
    SAID.iter().find(|(said, _)| text.contains(said)).map_or(ErrorKind::Other, |(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
        of_store(Error::Generic { store: "test", source: source.into() })
    }

    #[test]
    fn kinds_are_told_and_sources_kept() {
        let error = generic(io::Error::from(ErrorKind::StorageFull));
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert!(error.get_ref().is_some_and(|source| source.is::<Error>()));
        let quota = "Server returned non-2xx status code: 403 Forbidden: <Code>QuotaExceeded</Code>";
        assert_eq!(generic(quota).kind(), ErrorKind::StorageFull);
        assert_eq!(generic("HTTP error: operation timed out").kind(), ErrorKind::TimedOut);
        let listing = "Server returned non-2xx status code: 404 Not Found: <Code>NoSuchBucket</Code>";
        assert_eq!(generic(listing).kind(), ErrorKind::NotFound);
        assert_eq!(generic("odd").kind(), ErrorKind::Other);
        let denied = Error::PermissionDenied { path: "x".into(), source: "no".into() };
        assert_eq!(of_store(denied).kind(), ErrorKind::PermissionDenied);
        let full = Error::PermissionDenied { path: "x".into(), source: quota.into() };
        assert_eq!(of_store(full).kind(), ErrorKind::StorageFull);
    }
}
