//! What a script does with a backup: a plain file, written as it comes and synced at its end, as the tools do that write
//! files themselves. Else one that is overwritten before the kernel has written it would cost the disk nothing.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use sched_drivers::destination::{ArtifactWriter, BackupId, BackupSink, Destination, MANIFEST};

/// A directory without write-back on the way.
#[derive(Clone, Debug)]
pub(crate) struct Plain {
    directory: PathBuf,
}

impl Plain {
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    fn at(&self, file: &str) -> io::Result<PathBuf> {
        let path = self.directory.join(file);
        fs::create_dir_all(path.parent().unwrap_or(&self.directory))?;
        Ok(path)
    }
}

impl Destination for Plain {
    fn begin(&self, _: &BackupId) -> io::Result<Box<dyn BackupSink>> {
        Ok(Box::new(self.clone()))
    }
}

impl BackupSink for Plain {
    fn create(&mut self, file: &str) -> io::Result<Box<dyn ArtifactWriter>> {
        Ok(Box::new(PlainFile(BufWriter::with_capacity(128 << 10, File::create(self.at(file)?)?))))
    }

    fn path(&mut self, file: &str) -> io::Result<Option<PathBuf>> {
        self.at(file).map(Some)
    }

    fn complete(self: Box<Self>, manifest: &[u8]) -> io::Result<String> {
        fs::write(self.at(MANIFEST)?, manifest)?;
        Ok(self.directory.display().to_string())
    }

    fn abandon(self: Box<Self>) -> io::Result<()> {
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

struct PlainFile(BufWriter<File>);

impl Write for PlainFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl ArtifactWriter for PlainFile {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.0.flush()?;
        self.0.get_ref().sync_all()
    }
}
