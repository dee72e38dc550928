//! The host probe respects the limits of a real control group that the test process moves into. The only test of its
//! process, as all its threads move.
#![cfg(target_os = "linux")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use backup_sched::{CapacityProbe, Clock, HostProbe, Reading, SystemClock};
use crossbeam_channel::after;

const LONG: Duration = Duration::from_secs(120);
const LIMIT: usize = 512 << 20;
const HELD: usize = 128 << 20;
const ROOT: &str = "/sys/fs/cgroup";

/// A group with half a CPU and half a gibibyte, in which this process is until it is dropped.
struct Group {
    /// Each directory made, and where this process was before in that hierarchy.
    dirs: Vec<(PathBuf, PathBuf)>,
}

impl Group {
    fn enter() -> io::Result<Self> {
        let name = format!("backup-sched-test-{}", std::process::id());
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let unified = Path::new(ROOT).join("cgroup.controllers").exists();
        let mut this = Self { dirs: Vec::new() };
        let settings: &[(&str, &[(&str, String)])] = if unified {
            fs::write(Path::new(ROOT).join("cgroup.subtree_control"), "+cpu +memory")?;
            &[("", &[("cpu.max", "50000 100000".into()), ("memory.max", LIMIT.to_string())])]
        } else {
            &[
                ("cpu", &[("cpu.cfs_period_us", "100000".into()), ("cpu.cfs_quota_us", "50000".into())]),
                ("cpuacct", &[]),
                ("memory", &[("memory.limit_in_bytes", LIMIT.to_string())]),
            ]
        };
        for (controller, limits) in settings {
            let root = Path::new(ROOT).join(controller);
            let was = own.lines().find_map(|line| {
                let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                controllers.split(',').any(|c| c == *controller).then(|| path.trim_start_matches('/'))
            });
            let dir = root.join(&name);
            fs::create_dir(&dir)?;
            this.dirs.push((dir.clone(), root.join(was.unwrap_or(""))));
            for (file, value) in *limits {
                fs::write(dir.join(file), value)?;
            }
            fs::write(dir.join("cgroup.procs"), std::process::id().to_string())?;
        }
        Ok(this)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for (dir, before) in &self.dirs {
            fs::write(before.join("cgroup.procs"), std::process::id().to_string()).ok();
            fs::remove_dir(dir).ok();
        }
    }
}

/// Samples until a signal is as wanted, and returns its reading.
fn sample_until(probe: &mut HostProbe, signal: &str, wanted: impl Fn(&Reading) -> bool) -> Reading {
    let start = SystemClock.now().mono;
    loop {
        let now = SystemClock.now();
        let readings = probe.sample(now).unwrap();
        if let Some(found) = readings.iter().find(|r| r.signal.as_str() == signal && wanted(r)) {
            return found.clone();
        }
        assert!(now.mono.since(start) < LONG, "{signal} is not as wanted; last: {readings:#?}");
        after(Duration::from_millis(250)).recv().unwrap();
    }
}

#[test]
#[ignore = "needs root and control groups that can be made"]
fn the_limits_of_the_own_group_are_respected() {
    let group = match Group::enter() {
        Ok(group) => group,
        Err(error) => return println!("no control group can be made here, nothing was checked: {error}"),
    };
    let mut probe = HostProbe::new("local");
    let empty = sample_until(&mut probe, "memory:cgroup", |_| true);
    assert_eq!(empty.capacity, Some(LIMIT as f64));

    let held = vec![7_u8; HELD];
    let full = sample_until(&mut probe, "memory:cgroup", |r| r.value >= empty.value + 0.9 * HELD as f64);
    drop(std::hint::black_box(held));
    let freed = sample_until(&mut probe, "memory:cgroup", |r| r.value <= empty.value + 0.1 * HELD as f64);

    let run = Arc::new(AtomicBool::new(true));
    let running = run.clone();
    let burner = thread::spawn(move || {
        while running.load(SeqCst) {
            std::hint::spin_loop();
        }
    });
    let busy = sample_until(&mut probe, "cpu:cgroup", |r| r.value > 0.6);
    let throttled = sample_until(&mut probe, "cpu.throttled:cgroup", |r| r.value > 0.2);
    run.store(false, SeqCst);
    burner.join().unwrap();
    let calm = sample_until(&mut probe, "cpu:cgroup", |r| r.value < 0.2);
    let shares = [empty, full, freed, busy, throttled, calm].map(|r| (r.signal.clone(), r.utilization()));
    println!("empty, full, freed; busy, throttled, calm: {shares:?}");
    drop(group);
}
