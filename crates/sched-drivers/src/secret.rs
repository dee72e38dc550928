//! Passwords: never printed, handed to tools through files that nobody else can read.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use secrecy::{ExposeSecret, SecretString};

/// A file that holds a secret for as long as this lives, readable by this user alone.
///
/// On Linux it has no name: tools open it through `/proc` while this process lives, and nothing of it is left even
/// after a `kill -9`. Elsewhere it is a file of mode 0600 that is deleted when this is dropped.
///
/// ```
/// use sched_drivers::secret::{SecretFile, SecretString};
///
/// let line = SecretString::from("localhost:5432:*:backup:geheim");
/// let file = SecretFile::new(&line)?;
/// assert_eq!(std::fs::read_to_string(file.path())?, "localhost:5432:*:backup:geheim");
/// assert!(!format!("{file:?}").contains("geheim"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct SecretFile {
    path: PathBuf,
    _kept: Kept,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held open, or deleted, with the secret")]
enum Kept {
    Nameless(File),
    Named(tempfile::NamedTempFile),
}

impl SecretFile {
    /// Writes a secret where only this user can read it.
    ///
    /// # Errors
    /// When no temporary file can be made or written.
    pub fn new(secret: &SecretString) -> io::Result<Self> {
        let bytes = secret.expose_secret().as_bytes();
        #[cfg(target_os = "linux")]
        {
            use std::os::fd::AsRawFd;
            let mut file = tempfile::tempfile()?;
            file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
            file.write_all(bytes)?;
            let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
            // Where /proc is hidden a name must do.
            if File::open(&path).is_ok() {
                return Ok(Self { path, _kept: Kept::Nameless(file) });
            }
        }
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(bytes)?;
        Ok(Self { path: file.path().to_owned(), _kept: Kept::Named(file) })
    }

    /// Where tools of the same user can read it.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn nobody_else_can_read_it_and_nothing_stays() {
        let file = SecretFile::new(&SecretString::from("geheim")).unwrap();
        let metadata = std::fs::metadata(file.path()).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert!(metadata.is_file(), "libpq reads passwords from plain files only");
        let path = file.path().to_owned();
        drop(file);
        assert!(!path.exists());
    }
}
