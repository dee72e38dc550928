//! A host as Linux tells it.

use std::path::{Path, PathBuf};

use sched_core::{MonoTime, Now, Scope};

use super::cgroup::{Hierarchies, Membership};
use super::cpu::{Cpu, RunDelay};
use super::disk::Disks;
use super::file::ProcFile;
use super::group::Groups;
use super::network::Network;
use super::parse;
use super::psi::Pressure;
use super::settings::Settings;
use crate::probe::ProbeError;
use crate::reading::Reading;
use crate::signal;

/// Disks, links and groups are looked for again after so many samples.
const DISCOVER_EVERY: u32 = 60;
/// What signals of the own control group are told to be measured on.
const GROUP: &str = "cgroup";
const PRESSURES: [(&str, &str); 3] =
    [(signal::PSI_CPU, "cpu"), (signal::PSI_MEMORY, "memory"), (signal::PSI_IO, "io")];

/// Every source that there is, on descriptors that are kept open.
#[derive(Debug)]
pub(super) struct Source {
    root: PathBuf,
    cpu: Option<Cpu>,
    run_delay: Option<RunDelay>,
    memory: Option<ProcFile>,
    pressures: Vec<Pressure>,
    disks: Option<Disks>,
    network: Option<Network>,
    groups: Option<Groups>,
    group_pressures: Vec<Pressure>,
    samples: u32,
    missing: Vec<String>,
    /// What could be opened and not be read or understood in the last sample.
    failed: Vec<String>,
}

impl Source {
    /// The files of the system whose root directory is `root`.
    pub(super) fn open(root: &Path, settings: &Settings) -> Result<Self, ProbeError> {
        let mut missing = Vec::new();
        let mut this = Self {
            root: root.to_owned(),
            cpu: note(&mut missing, "cpu", Cpu::open(root)),
            run_delay: note(&mut missing, "cpu.run_delay", RunDelay::open(root)),
            memory: note(&mut missing, "memory", ProcFile::open(root.join("proc/meminfo"))),
            pressures: Vec::new(),
            disks: None,
            network: None,
            groups: None,
            group_pressures: Vec::new(),
            samples: 0,
            missing: Vec::new(),
            failed: Vec::new(),
        };
        for (name, file) in PRESSURES {
            let opened = Pressure::open(name, &root.join("proc/pressure").join(file));
            this.pressures.extend(note(&mut missing, name, opened));
        }
        let disks = Disks::open(root, settings, &mut missing);
        this.disks = note(&mut missing, "disk", disks);
        let network = Network::open(root, settings, &mut missing);
        this.network = note(&mut missing, "network", network);
        this.missing = missing;
        this.discover_group();
        Ok(this)
    }

    pub(super) fn missing(&self) -> impl Iterator<Item = &String> {
        self.missing.iter().chain(&self.failed)
    }

    pub(super) fn sample(&mut self, now: Now, settings: &Settings) -> Result<Vec<Reading>, ProbeError> {
        self.samples = self.samples.wrapping_add(1);
        if self.samples.is_multiple_of(DISCOVER_EVERY) {
            self.discover(settings);
        }
        let at = now.mono;
        let mut sum = Sum::default();
        if let Some(cpu) = &mut self.cpu {
            sum.add("cpu", cpu.sample());
        }
        if let Some(run_delay) = &mut self.run_delay {
            sum.add("cpu.run_delay", run_delay.sample(at));
        }
        if let Some(file) = &mut self.memory {
            sum.add("memory", file.parse(parse::memory).map(|memory| [memory_reading(memory)]));
        }
        for pressure in self.pressures.iter_mut().chain(&mut self.group_pressures) {
            sum.add("psi", pressure.sample(at));
        }
        if let Some(disks) = &mut self.disks {
            sum.add("disk", disks.sample(at, settings.slow_from));
        }
        if let Some(network) = &mut self.network {
            sum.add("network", network.sample(at));
        }
        if let Some(groups) = &mut self.groups {
            group_readings(groups, at, &mut sum);
        }
        let Sum { mut readings, failed } = sum;
        for reading in &mut readings {
            // Volumes say themselves whom they concern.
            if reading.scope == Scope::Fleet {
                reading.scope = Scope::Host(settings.host.clone());
            }
        }
        self.failed = failed;
        match (readings.is_empty(), self.failed.is_empty()) {
            (true, false) => Err(ProbeError::unavailable(self.failed.join("; "))),
            _ => Ok(readings),
        }
    }

    fn discover(&mut self, settings: &Settings) {
        let mut unheard = Vec::new();
        if let Some(disks) = &mut self.disks {
            disks.discover(&self.root, settings, &mut unheard);
        }
        if let Some(network) = &mut self.network {
            network.discover(&self.root, settings, &mut unheard);
        }
        self.discover_group();
    }

    fn discover_group(&mut self) {
        let found = Hierarchies::find(&self.root)
            .and_then(|hierarchies| Ok(Groups::open(&hierarchies, &Membership::of(&self.root, "self")?)));
        let Ok(groups) = found else { return };
        if self.group_pressures.is_empty()
            && let Some(dir) = &groups.pressure
        {
            let open = |(name, file)| {
                Pressure::open(signal::on(name, GROUP), &dir.join(format!("{file}.pressure"))).ok()
            };
            self.group_pressures = PRESSURES.into_iter().filter_map(open).collect();
        }
        let groups = match self.groups.take() {
            Some(before) => groups.continuing(before),
            None => groups,
        };
        self.groups = Some(groups).filter(|groups| !groups.is_empty());
    }
}

/// Readings so far, and what could not be read.
#[derive(Default)]
struct Sum {
    readings: Vec<Reading>,
    failed: Vec<String>,
}

impl Sum {
    fn add<R: IntoIterator<Item = Reading>>(&mut self, what: &str, result: Result<R, ProbeError>) {
        match result {
            Ok(readings) => self.readings.extend(readings),
            Err(error) => self.failed.push(format!("{what}: {error}")),
        }
    }
}

fn note<T>(missing: &mut Vec<String>, signal: &str, opened: Result<T, ProbeError>) -> Option<T> {
    opened.map_err(|error| missing.push(format!("{signal}: {error}"))).ok()
}

fn memory_reading(memory: parse::Memory) -> Reading {
    let used = memory.total - memory.available;
    Reading::new(signal::MEMORY, used as f64, signal::BYTES).of(memory.total as f64)
}

/// What the own group uses of what it may; without a limit the machine's own signals say it all.
fn group_readings(groups: &mut Groups, at: MonoTime, sum: &mut Sum) {
    let cpu = groups.tightest_cpu(at).map(|tightest| {
        let throttled = tightest.and_then(|(_, used)| used.throttled);
        let reading = |kind| move |share: f64| Reading::share(signal::on(kind, GROUP), share.min(1.0));
        let share = tightest.map(|(share, _)| share).map(reading(signal::CPU));
        share.into_iter().chain(throttled.map(reading(signal::CPU_THROTTLED)))
    });
    sum.add("cpu:cgroup", cpu);
    let memory = groups.tightest_memory().map(|tightest| {
        let (used, limit) = tightest.and_then(|(_, used)| Some((used.held, used.limit?)))?;
        let name = signal::on(signal::MEMORY, GROUP);
        Some(Reading::new(name, used as f64, signal::BYTES).of(limit as f64))
    });
    sum.add("memory:cgroup", memory);
    if let Some(io) = &mut groups.io {
        let name = signal::on(signal::DISK, GROUP);
        let rate = io.sample(at);
        sum.add(
            "disk:cgroup",
            rate.map(|rate| rate.map(|rate| Reading::new(name, rate, signal::BYTES_PER_SEC))),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::time::Duration;

    use proptest::prelude::*;
    use sched_core::{Clock, ManualClock};

    use super::*;

    /// A system made of files.
    struct System {
        dir: tempfile::TempDir,
        clock: ManualClock,
        source: Option<Source>,
        settings: Settings,
    }

    impl System {
        fn new(files: &[(&str, &str)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let settings = Settings::new("db".into());
            let this = Self { dir, clock: ManualClock::default(), source: None, settings };
            this.write(files);
            this
        }

        fn write(&self, files: &[(&str, &str)]) {
            for (path, text) in files {
                let path = self.dir.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
        }

        /// The readings of the next second.
        fn sample(&mut self) -> BTreeMap<String, Reading> {
            self.clock.advance(Duration::from_secs(1));
            let source = match &mut self.source {
                Some(source) => source,
                none => none.insert(Source::open(self.dir.path(), &self.settings).unwrap()),
            };
            let readings = source.sample(self.clock.now(), &self.settings).unwrap_or_default();
            readings.into_iter().map(|reading| (reading.signal.to_string(), reading)).collect()
        }
    }

    const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    const V1: &str = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      33 31 0:30 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct\n\
                      34 31 0:31 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

    #[test]
    fn a_container_of_version_2_is_held_against_its_own_limits() {
        let g = "sys/fs/cgroup/box/";
        let file = |name: &str| format!("{g}{name}");
        let mut system = System::new(&[
            ("proc/self/mountinfo", V2),
            ("proc/self/cgroup", "0::/box\n"),
            (&file("cpu.stat"), "usage_usec 1000000\nnr_periods 10\nnr_throttled 0\n"),
            (&file("cpu.max"), "50000 100000\n"),
            (&file("memory.current"), "900\n"),
            (&file("memory.stat"), "anon 500\ninactive_file 300\nactive_file 80\nslab_reclaimable 20\n"),
            (&file("memory.max"), "1000\n"),
            (&file("io.stat"), "8:0 rbytes=100 wbytes=0\n"),
            (&file("cgroup.type"), "domain\n"),
            (&file("memory.pressure"), "some avg10=0 avg60=0 avg300=0 total=0\n"),
        ]);
        let first = system.sample();
        let memory = &first["memory:cgroup"];
        assert_eq!((memory.value, memory.capacity), (500.0, Some(1000.0)));
        assert_eq!(memory.scope, Scope::Host("db".into()));
        system.write(&[
            (&file("cpu.stat"), "usage_usec 1400000\nnr_periods 20\nnr_throttled 5\n"),
            (&file("io.stat"), "8:0 rbytes=100 wbytes=4096\n"),
            (&file("memory.pressure"), "some avg10=0 avg60=0 avg300=0 total=250000\n"),
        ]);
        let second = system.sample();
        let value = |name: &str| (second[name].value * 1e6).round() / 1e6;
        assert_eq!(value("cpu:cgroup"), 0.8, "0.4 of half a CPU");
        assert_eq!(value("cpu.throttled:cgroup"), 0.5);
        assert_eq!(value("disk:cgroup"), 4096.0);
        assert_eq!(value("psi.memory:cgroup"), 0.25);
    }

    #[test]
    fn the_tightest_limit_of_all_levels_counts() {
        let mut system = System::new(&[
            ("proc/self/mountinfo", V2),
            ("proc/self/cgroup", "0::/slice/box\n"),
            ("sys/fs/cgroup/slice/box/memory.current", "100\n"),
            ("sys/fs/cgroup/slice/box/memory.max", "max\n"),
            ("sys/fs/cgroup/slice/memory.current", "800\n"),
            ("sys/fs/cgroup/slice/memory.max", "1000\n"),
        ]);
        assert_eq!(system.sample()["memory:cgroup"].utilization(), Some(0.8));
        system.write(&[("sys/fs/cgroup/slice/box/memory.max", "110\n")]);
        assert_eq!(system.sample()["memory:cgroup"].capacity, Some(110.0), "a limit may be set later");
    }

    #[test]
    fn a_container_of_version_1_is_held_against_its_own_limits() {
        let mut system = System::new(&[
            ("proc/self/mountinfo", V1),
            ("proc/self/cgroup", "4:memory:/box\n3:blkio:/\n2:cpuacct:/box\n1:cpu:/box\n"),
            ("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "200000\n"),
            ("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu/box/cpu.stat", "nr_periods 0\nnr_throttled 0\n"),
            ("sys/fs/cgroup/cpuacct/box/cpuacct.usage", "0\n"),
            ("sys/fs/cgroup/blkio/blkio.throttle.io_service_bytes", "Total 0\n"),
            ("sys/fs/cgroup/memory/box/memory.usage_in_bytes", "700\n"),
            ("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "1000\n"),
            ("sys/fs/cgroup/memory/box/memory.stat", "total_inactive_file 150\ntotal_active_file 50\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "5000\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert_eq!(system.sample()["memory:cgroup"].utilization(), Some(0.5));
        system.write(&[
            ("sys/fs/cgroup/cpuacct/box/cpuacct.usage", "500000000\n"),
            ("sys/fs/cgroup/blkio/blkio.throttle.io_service_bytes", "8:0 Read 7\nTotal 7\n"),
        ]);
        let second = system.sample();
        assert_eq!(second["cpu:cgroup"].value, 0.25);
        assert_eq!(second["disk:cgroup"].value, 7.0);
        system.write(&[("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "-1\n")]);
        assert!(!system.sample().contains_key("cpu:cgroup"), "the limit was lifted");
    }

    #[test]
    fn a_hybrid_takes_each_controller_from_where_it_is() {
        let unified = V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified");
        let mut system = System::new(&[
            ("proc/self/mountinfo", &format!("{V1}{unified}")),
            ("proc/self/cgroup", "4:memory:/box\n0::/scope\n"),
            ("sys/fs/cgroup/memory/box/memory.usage_in_bytes", "700\n"),
            ("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "1000\n"),
            ("sys/fs/cgroup/unified/scope/cgroup.type", "domain\n"),
            ("sys/fs/cgroup/unified/scope/io.pressure", "some avg10=0 avg60=0 avg300=0 total=0\n"),
        ]);
        assert_eq!(system.sample()["memory:cgroup"].value, 700.0);
        assert_eq!(system.sample()["psi.io:cgroup"].value, 0.0);
    }

    #[test]
    fn what_a_kernel_does_not_have_is_absent_and_said() {
        let mut system = System::new(&[("proc/meminfo", "MemTotal: 10 kB\nMemAvailable: 5 kB\n")]);
        let readings = system.sample();
        assert_eq!(readings.keys().collect::<Vec<_>>(), ["memory"]);
        let missing: Vec<_> = system.source.as_ref().unwrap().missing().cloned().collect();
        for signal in ["cpu", "cpu.run_delay", "psi.cpu", "psi.memory", "psi.io", "disk", "network"] {
            assert!(missing.iter().any(|m| m.starts_with(&format!("{signal}: cannot read"))), "{missing:?}");
        }
    }

    #[test]
    fn garbage_in_one_file_spoils_its_own_signal_alone() {
        let mut system = System::new(&[
            ("proc/meminfo", "MemTotal: 10 kB\nMemAvailable: 5 kB\n"),
            ("proc/stat", "cpu 1 2 3 4\n"),
        ]);
        system.sample();
        system.write(&[("proc/stat", "\u{1}\u{2}")]);
        assert_eq!(system.sample().keys().collect::<Vec<_>>(), ["memory"]);
        let source = system.source.as_ref().unwrap();
        assert!(source.missing().any(|m| m.contains("proc/stat: it should hold a line")), "{source:?}");
        system.write(&[("proc/stat", "cpu 2 2 3 5\n")]);
        assert_eq!(system.sample()["cpu"].value, 0.5, "over both seconds");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn garbage_everywhere_gives_only_what_can_be_believed(texts in prop::collection::vec("(\\PC|[a-z0-9:=. \\n-]){0,120}", 14)) {
            let paths = [
                "proc/stat", "proc/schedstat", "proc/meminfo", "proc/pressure/cpu", "proc/pressure/io",
                "proc/diskstats", "proc/net/dev", "proc/self/cgroup", "sys/fs/cgroup/cpu.stat",
                "sys/fs/cgroup/cpu.max", "sys/fs/cgroup/memory.current", "sys/fs/cgroup/memory.max",
                "sys/fs/cgroup/memory.stat", "sys/fs/cgroup/io.stat",
            ];
            let files: Vec<_> = paths.into_iter().zip(texts.iter().map(String::as_str)).collect();
            let mut system = System::new(&files);
            system.write(&[("proc/self/mountinfo", V2)]);
            for _ in 0..3 {
                for reading in system.sample().values() {
                    prop_assert!(reading.check().is_ok(), "{:?}", reading);
                }
                system.write(&[("proc/self/cgroup", "0::/\n")]);
            }
        }
    }
}
