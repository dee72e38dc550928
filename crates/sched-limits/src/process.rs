//! What a database itself uses: a process, or a control group.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sched_core::{Now, Scope};

use crate::counter::Counter;
use crate::host::cgroup::{Hierarchies, Membership};
use crate::host::file::{ProcFile, read_once};
use crate::host::group::{Groups, group_name};
use crate::host::parse;
use crate::probe::{CapacityProbe, ProbeError};
use crate::reading::Reading;
use crate::signal;

/// Measures what one process or control group uses. Linux only.
///
/// | signal | unit | capacity |
/// |---|---|---|
/// | `process.cpu:<name>` | CPUs | the control group's limit, if it has one |
/// | `process.memory:<name>` | bytes; of a group without what can be reclaimed at once | the limit, if there is one |
/// | `process.io:<name>` | bytes read from and written to disks a second | |
///
/// A server that has a process for each connection, such as PostgreSQL, is best told by its control group. The bytes of
/// another user's process are told to root only; then that signal is absent.
#[derive(Debug)]
pub struct ProcessProbe {
    name: String,
    target: Target,
    scope: Scope,
    period: Duration,
    root: PathBuf,
    open: Option<Open>,
    page_bytes: u64,
    ticks_per_sec: u64,
}

#[derive(Clone, Debug)]
enum Target {
    Pid(u32),
    PidFile(PathBuf),
    Group(PathBuf),
}

/// What is being read at present.
#[derive(Debug)]
enum Open {
    Process(Box<Process>),
    Group(Box<Groups>),
}

#[derive(Debug)]
struct Process {
    pid: u32,
    /// Since boot, in ticks: a later process of the same number has another.
    started: u64,
    stat: ProcFile,
    memory: ProcFile,
    io: Option<ProcFile>,
    cpu: Counter,
    bytes: Counter,
}

impl ProcessProbe {
    /// A probe of the process with this number; when that has ended, the probe fails for ever.
    pub fn pid(name: impl Into<String>, pid: u32) -> Self {
        Self::new(name.into(), Target::Pid(pid))
    }

    /// A probe of the process whose number is the first line of a file, such as `postmaster.pid`; the file is read
    /// again when the process has ended.
    pub fn pid_file(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self::new(name.into(), Target::PidFile(path.into()))
    }

    /// A probe of a control group, as `/proc/<pid>/cgroup` names it: `/system.slice/postgresql.service`.
    pub fn cgroup(name: impl Into<String>, group: impl AsRef<Path>) -> Self {
        Self::new(name.into(), Target::Group(group_name(group.as_ref())))
    }

    fn new(name: String, target: Target) -> Self {
        Self {
            name,
            target,
            scope: Scope::Fleet,
            period: Duration::from_secs(1),
            root: "/".into(),
            open: None,
            page_bytes: rustix::param::page_size() as u64,
            ticks_per_sec: rustix::param::clock_ticks_per_second(),
        }
    }

    /// Sets whom the readings concern, such as the instance or its host. Default: the whole fleet.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Sets how often it is asked. Default 1 s.
    #[must_use]
    pub fn period(mut self, period: Duration) -> Self {
        self.period = period;
        self
    }

    fn open(&self) -> Result<Open, ProbeError> {
        let pid = match &self.target {
            Target::Pid(pid) => *pid,
            Target::PidFile(path) => {
                let text = read_once(path)?;
                let first = text.lines().next().unwrap_or_default().trim();
                first.parse().map_err(|_| ProbeError::Parse {
                    what: path.display().to_string(),
                    problem: format!("its first line should be the number of a process; it is {first:?}"),
                })?
            }
            Target::Group(group) => {
                let found = Hierarchies::find(&self.root)?;
                let mut groups = Groups::open(&found, &Membership::Named(group.clone()));
                groups.keep_own();
                if groups.is_empty() {
                    let why =
                        format!("there is no control group {} that tells what it uses", group.display());
                    return Err(ProbeError::unavailable(why));
                }
                return Ok(Open::Group(Box::new(groups)));
            }
        };
        Ok(Open::Process(Box::new(Process::open(&self.root, pid)?)))
    }

    fn reading(&self, kind: &str, value: f64, unit: &'static str) -> Reading {
        Reading::new(signal::on(kind, &self.name), value, unit).scope(self.scope.clone())
    }

    fn of_process(&self, process: &mut Process, now: Now) -> Result<Vec<Reading>, ProbeError> {
        let gone = |error| ProbeError::unavailable(format!("process {} has ended: {error}", process.pid));
        let times = process.stat.parse(parse::process_times).map_err(gone)?;
        if times.started != process.started {
            return Err(gone(ProbeError::unavailable("another has its number")));
        }
        let pages = process.memory.parse(|text| {
            let resident = text.split_ascii_whitespace().nth(1).and_then(|field| field.parse::<u64>().ok());
            resident.ok_or_else(|| "it should hold a second number".to_owned())
        });
        let resident = pages.map_err(gone)?.saturating_mul(self.page_bytes);
        let cpus = process.cpu.per_sec(now.mono, times.cpu).map(|rate| rate / self.ticks_per_sec as f64);
        let bytes = process.io_bytes().and_then(|bytes| process.bytes.per_sec(now.mono, bytes));
        let memory = self.reading(signal::PROCESS_MEMORY, resident as f64, signal::BYTES);
        let cpu = cpus.map(|cpus| self.reading(signal::PROCESS_CPU, cpus, "cpus"));
        let io = bytes.map(|rate| self.reading(signal::PROCESS_IO, rate, signal::BYTES_PER_SEC));
        Ok([memory].into_iter().chain(cpu).chain(io).collect())
    }

    fn of_group(&self, groups: &mut Groups, now: Now) -> Result<Vec<Reading>, ProbeError> {
        let limited = |reading: Reading, limit: Option<f64>| match limit {
            Some(limit) => reading.of(limit),
            None => reading,
        };
        let mut readings = Vec::with_capacity(3);
        let cpu = groups.cpu.first_mut().map(|group| group.sample(now.mono)).transpose()?.flatten();
        if let Some(used) = cpu {
            readings.push(limited(self.reading(signal::PROCESS_CPU, used.cpus, "cpus"), used.limit));
        }
        if let Some(used) = groups.memory.first_mut().map(|group| group.sample()).transpose()? {
            let limit = used.limit.map(|limit| limit as f64);
            readings
                .push(limited(self.reading(signal::PROCESS_MEMORY, used.held as f64, signal::BYTES), limit));
        }
        if let Some(io) = &mut groups.io {
            let rate = io.sample(now.mono)?;
            readings.extend(rate.map(|rate| self.reading(signal::PROCESS_IO, rate, signal::BYTES_PER_SEC)));
        }
        Ok(readings)
    }
}

impl Process {
    fn open(root: &Path, pid: u32) -> Result<Self, ProbeError> {
        let dir = root.join("proc").join(pid.to_string());
        let mut stat = ProcFile::open(dir.join("stat"))?;
        let started = stat.parse(parse::process_times)?.started;
        Ok(Self {
            pid,
            started,
            stat,
            memory: ProcFile::open(dir.join("statm"))?,
            io: ProcFile::open(dir.join("io")).ok(),
            cpu: Counter::default(),
            bytes: Counter::default(),
        })
    }

    fn io_bytes(&mut self) -> Option<u64> {
        let text = self.io.as_mut()?.read().ok()?;
        Some(parse::keyed(&text, "read_bytes:")?.saturating_add(parse::keyed(&text, "write_bytes:")?))
    }
}

impl CapacityProbe for ProcessProbe {
    fn name(&self) -> &str {
        &self.name
    }

    fn period(&self) -> Duration {
        self.period
    }

    fn sample(&mut self, now: Now) -> Result<Vec<Reading>, ProbeError> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open()?,
        };
        let readings = match &mut open {
            Open::Process(process) => self.of_process(process, now)?,
            Open::Group(groups) => self.of_group(groups, now)?,
        };
        // After an error everything is opened anew: the server may have been started again.
        self.open = Some(open);
        Ok(readings)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sched_core::{Clock, ManualClock};

    use super::*;
    use crate::conformance;

    fn values(readings: &[Reading]) -> Vec<(&str, f64)> {
        readings.iter().map(|reading| (reading.signal.as_str(), reading.value)).collect()
    }

    /// A process made of files.
    fn write(root: &Path, pid: u32, started: u64, ticks: u64, bytes: u64) {
        let dir = root.join("proc").join(pid.to_string());
        fs::create_dir_all(&dir).unwrap();
        let stat = format!("{pid} (my db) S 1 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 {started} 0 0");
        fs::write(dir.join("stat"), stat).unwrap();
        fs::write(dir.join("statm"), "900 10 5 1 0 5 0\n").unwrap();
        fs::write(dir.join("io"), format!("rchar: 9\nread_bytes: {bytes}\nwrite_bytes: 0\n")).unwrap();
    }

    #[test]
    fn a_process_is_measured_and_its_successor_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::default();
        let pid_file = dir.path().join("db.pid");
        fs::write(&pid_file, "7\n/var/lib\n").unwrap();
        write(dir.path(), 7, 100, 0, 0);
        let mut probe = ProcessProbe::pid_file("orders", &pid_file);
        (probe.root, probe.page_bytes, probe.ticks_per_sec) = (dir.path().into(), 4096, 100);
        assert_eq!(values(&probe.sample(clock.now()).unwrap()), [("process.memory:orders", 40960.0)]);
        clock.advance(Duration::from_secs(2));
        write(dir.path(), 7, 100, 300, 5000);
        let all =
            [("process.memory:orders", 40960.0), ("process.cpu:orders", 1.5), ("process.io:orders", 2500.0)];
        assert_eq!(values(&probe.sample(clock.now()).unwrap()), all);
        clock.advance(Duration::from_secs(1));
        write(dir.path(), 7, 900, 400, 9000);
        let error = probe.sample(clock.now()).unwrap_err().to_string();
        assert!(error.contains("process 7 has ended"), "{error}");
        assert_eq!(probe.sample(clock.now()).unwrap().len(), 1, "the successor starts anew");
        fs::write(&pid_file, "seven").unwrap();
        fs::remove_dir_all(dir.path().join("proc/7")).unwrap();
        fs::create_dir_all(dir.path().join("proc/7")).unwrap();
        probe.open = None;
        assert!(probe.sample(clock.now()).unwrap_err().to_string().contains("it is \"seven\""));
    }

    #[test]
    fn a_group_is_measured_against_its_limits() {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::default();
        let group = dir.path().join("sys/fs/cgroup/system.slice/db.service");
        fs::create_dir_all(&group).unwrap();
        fs::create_dir_all(dir.path().join("proc/self")).unwrap();
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        fs::write(dir.path().join("proc/self/mountinfo"), mounts).unwrap();
        fs::write(dir.path().join("sys/fs/cgroup/cpu.stat"), "usage_usec 7777\n").unwrap();
        fs::write(group.join("cpu.stat"), "usage_usec 0\n").unwrap();
        fs::write(group.join("cpu.max"), "200000 100000\n").unwrap();
        fs::write(group.join("memory.current"), "600\n").unwrap();
        let mut probe = ProcessProbe::cgroup("db", "system.slice/db.service").scope(Scope::Host("h".into()));
        probe.root = dir.path().into();
        assert_eq!(values(&probe.sample(clock.now()).unwrap()), [("process.memory:db", 600.0)]);
        clock.advance(Duration::from_secs(1));
        fs::write(group.join("cpu.stat"), "usage_usec 500000\n").unwrap();
        let readings = probe.sample(clock.now()).unwrap();
        assert_eq!(values(&readings), [("process.cpu:db", 0.5), ("process.memory:db", 600.0)]);
        assert_eq!(readings[0].capacity, Some(2.0));
        assert_eq!(readings[0].scope, Scope::Host("h".into()));
        let mut none = ProcessProbe::cgroup("none", "/sys/fs/cgroup/none.slice");
        none.root = dir.path().into();
        let error = none.sample(clock.now()).unwrap_err().to_string();
        assert!(error.contains("there is no control group /none.slice"), "{error}");
    }

    #[test]
    fn this_process_keeps_the_contract_and_a_dead_one_says_so() {
        conformance::check(ProcessProbe::pid("self", std::process::id())).unwrap();
        let dead = ProcessProbe::pid("dead", u32::MAX).sample(ManualClock::default().now()).unwrap_err();
        assert!(dead.to_string().contains("/proc/4294967295/stat"), "{dead}");
    }
}
