//! The probes of this host see what really happens on it. Waiting is sampling: until a signal shows, or a deadline.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use backup_sched::limits::{ProcessProbe, Volume};
use backup_sched::{CapacityProbe, Clock, HostProbe, Reading, Scope, SystemClock};
use crossbeam_channel::after;

const LONG: Duration = Duration::from_secs(120);
const PERIOD: Duration = Duration::from_millis(250);

/// Samples until `seen` says that it has seen enough.
fn sample_until(
    probes: &mut [&mut dyn CapacityProbe],
    what: &str,
    mut seen: impl FnMut(&[Reading], f64) -> bool,
) {
    let start = SystemClock.now().mono;
    let mut last = start;
    loop {
        let now = SystemClock.now();
        let readings: Vec<_> = probes.iter_mut().flat_map(|probe| probe.sample(now).unwrap()).collect();
        for reading in &readings {
            reading.check().unwrap();
        }
        let passed = now.mono.since(std::mem::replace(&mut last, now.mono));
        if seen(&readings, passed.as_secs_f64()) {
            return;
        }
        assert!(now.mono.since(start) < LONG, "{what} was not seen; last: {readings:#?}");
        after(PERIOD).recv().unwrap();
    }
}

fn value(readings: &[Reading], signal: &str) -> Option<f64> {
    readings.iter().find(|reading| reading.signal.as_str() == signal).map(|reading| reading.value)
}

#[test]
fn a_busy_loop_is_seen_and_its_end_too() {
    let run = Arc::new(AtomicBool::new(true));
    let running = run.clone();
    let burner = thread::spawn(move || {
        while running.load(SeqCst) {
            std::hint::spin_loop();
        }
    });
    let cpus = thread::available_parallelism().unwrap().get() as f64;
    let mut host = HostProbe::new("local");
    let mut own = ProcessProbe::pid("own", std::process::id());
    sample_until(&mut [&mut host, &mut own], "a busy loop", |readings, _| {
        let (Some(host), Some(own)) = (value(readings, "cpu"), value(readings, "process.cpu:own")) else {
            return false;
        };
        // The two are read one after the other, and ticks are coarse: half of what the process used must be seen.
        own >= 0.2 && host >= 0.5 * own / cpus
    });
    run.store(false, SeqCst);
    burner.join().unwrap();
    sample_until(&mut [&mut own], "the end of a busy loop", |readings, _| {
        value(readings, "process.cpu:own").is_some_and(|own| own < 0.1)
    });
}

/// Writes a file past the page cache again and again, and counts the bytes.
fn write_with_dd(dir: &Path, run: Arc<AtomicBool>, written: Arc<AtomicU64>) {
    let file = dir.join("written-by-dd");
    while run.load(SeqCst) {
        let status = Command::new("dd")
            .args([
                "if=/dev/zero",
                "bs=1M",
                "count=32",
                "oflag=direct",
                "conv=notrunc,fdatasync",
                "status=none",
            ])
            .arg(format!("of={}", file.display()))
            .stdout(Stdio::null())
            .status()
            .expect("dd can be started");
        assert!(status.success(), "dd writes past the page cache: {status}");
        written.fetch_add(32 << 20, SeqCst);
    }
}

#[test]
#[ignore = "needs dd and a real disk under the target directory"]
fn a_dd_is_seen_by_the_disk_and_by_pressure() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut host = HostProbe::new("local").volume(Volume::at(dir.path()).named("target"));
    let missing = host.missing().unwrap();
    let scope = if missing.iter().any(|told| told.starts_with("disk of volume target")) {
        println!("the volume's device is not known here, all disks are watched: {missing:#?}");
        Scope::Host("local".into())
    } else {
        Scope::Volume("local".into(), "target".into())
    };
    let pressure = Path::new("/proc/pressure/io").exists();
    if !pressure {
        println!("this kernel has no /proc/pressure: only the disk is checked");
    }
    let (run, written) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let writer = {
        let (dir, run, written) = (dir.path().to_owned(), run.clone(), written.clone());
        thread::spawn(move || write_with_dd(&dir, run, written))
    };
    let mut most: BTreeMap<String, f64> = BTreeMap::new();
    let mut seen_bytes = 0.0;
    sample_until(&mut [&mut host], "a dd", |readings, passed| {
        for reading in readings.iter().filter(|r| r.scope == scope || r.signal.as_str() == "psi.io") {
            let most = most.entry(reading.signal.to_string()).or_default();
            *most = most.max(reading.value);
            if reading.signal.as_str() == "disk" {
                seen_bytes += reading.value * passed;
            }
        }
        let told = |signal: &str, least: f64| most.get(signal).is_some_and(|most| *most > least);
        let written = written.load(SeqCst) as f64;
        // What was written before the first sample is not seen, and one round may be under way.
        let bytes = written >= 4.0 * 33e6 && seen_bytes >= 0.6 * written;
        bytes && told("disk.iops", 1.0) && told("disk.queue", 0.01) && (!pressure || told("psi.io", 0.005))
    });
    run.store(false, SeqCst);
    writer.join().unwrap();
    println!("dd wrote {} bytes, {seen_bytes:.0} were seen; highest: {most:#?}", written.load(SeqCst));
}
