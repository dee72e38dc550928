//! An existing backup tool under the scheduler: `tar` of a directory, through a pipe that is read at the granted rate.
//! The tool keeps its own loop; it only asks for leave. A slow reader slows the tool, because the pipe fills up.
//!
//! `cargo run --release --example existing_tool -- [DIRECTORY]` (default: this project's crates)

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use backup_sched::{HostProbe, JobSpec, Permit, Priority, Scheduler};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let source = std::env::args_os().nth(1).map_or(default, PathBuf::from);
    let target = std::env::temp_dir().join(format!("existing-tool-{}.tar", std::process::id()));
    let scheduler =
        Scheduler::builder().max_running(1).rate_ceiling(2_000_000).probe(HostProbe::new("local")).start()?;

    let spec = JobSpec::new("my-directory", "generic").priority(Priority::High);
    let permit = scheduler.acquire_within(spec, Duration::from_secs(60))?;
    println!("admitted as {}; at most 2 MB/s", permit.job());
    let result = tar(&source, &target, &permit);
    let done = match &result {
        Ok(()) => permit.finish(),
        Err(error) => permit.fail(error),
    };
    // Only an example: a real tool keeps its archive.
    let _ = std::fs::remove_file(&target);
    println!("{}: {} bytes in {:.2} s", done.state, done.bytes, done.ran.as_secs_f64());
    if let Some(error) = done.error {
        return Err(error.into());
    }
    Ok(())
}

/// Runs `tar`, without a shell, and writes what it says at the pace of the permit.
fn tar(source: &Path, target: &Path, permit: &Permit) -> io::Result<()> {
    let mut child = Command::new("tar")
        .arg("--create")
        .arg("--directory")
        .arg(source)
        .arg(".")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().ok_or_else(|| io::Error::other("tar has no output"))?;
    let copied = File::create(target).and_then(|mut file| {
        io::copy(&mut permit.reader(stdout), &mut file)?;
        file.sync_all()
    });
    if copied.is_err() {
        // Cancelled, or the disk is full: the tool must not go on without a reader. It may have ended already.
        let _ = child.kill();
    }
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(4096).read_to_string(&mut said)?;
    }
    let status = child.wait()?;
    copied?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("tar: {status}: {}", said.trim()))) }
}
