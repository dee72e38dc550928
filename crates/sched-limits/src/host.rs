//! This host: CPU, memory, disk, network and, on Linux, pressure.

use std::collections::BTreeMap;

use sched_core::{HostName, MonoTime, Now, Scope};
use sysinfo::{DiskRefreshKind, Disks, Networks, System};

use crate::probe::{CapacityProbe, ProbeError};
use crate::reading::Reading;

#[cfg(target_os = "linux")]
mod psi;

/// Measures the machine that the scheduler runs on.
///
/// | signal | unit | capacity |
/// |---|---|---|
/// | `cpu` | share of all CPUs | 1 |
/// | `memory` | bytes that are not available | total |
/// | `disk` | bytes read and written a second, all disks | as configured |
/// | `network` | bytes in and out a second, loopback excluded | as configured |
/// | `psi.cpu`, `psi.memory`, `psi.io` | share of time in which some task stalled (Linux 4.20 and later) | 1 |
///
/// Rates cover the time since the previous sample, so the first one has none. The speed of disks and links cannot be
/// read reliably, least of all in a virtual machine: say it, or these two signals close nothing.
#[derive(Debug)]
pub struct HostProbe {
    host: HostName,
    /// Opened by the first sample, so that a system that refuses is a lost signal and no failed start.
    sources: Option<Sources>,
    disk_capacity: Option<f64>,
    network_capacity: Option<f64>,
    last: Option<Last>,
    #[cfg(target_os = "linux")]
    psi: psi::Pressure,
}

#[derive(Debug)]
struct Sources {
    system: System,
    disks: Disks,
    networks: Networks,
}

#[derive(Debug)]
struct Last {
    at: MonoTime,
    disk_bytes: u64,
    network_bytes: u64,
}

impl HostProbe {
    /// A probe whose readings concern the jobs on `host`; use the name that jobs give, `local` by default.
    pub fn new(host: impl Into<HostName>) -> Self {
        Self {
            host: host.into(),
            sources: None,
            disk_capacity: None,
            network_capacity: None,
            last: None,
            #[cfg(target_os = "linux")]
            psi: psi::Pressure::open(),
        }
    }

    /// Says how fast the disks are together.
    #[must_use]
    pub fn disk_bytes_per_sec(mut self, capacity: u64) -> Self {
        self.disk_capacity = Some(capacity as f64);
        self
    }

    /// Says how fast the network is, both directions together.
    #[must_use]
    pub fn network_bytes_per_sec(mut self, capacity: u64) -> Self {
        self.network_capacity = Some(capacity as f64);
        self
    }

    /// Signals that this system does not offer, with the reason.
    pub fn missing(&self) -> &[String] {
        #[cfg(target_os = "linux")]
        return self.psi.missing();
        #[cfg(not(target_os = "linux"))]
        return &[];
    }
}

impl Sources {
    fn open() -> Result<Self, ProbeError> {
        let system = System::new().map_err(ProbeError::unavailable)?;
        let disks = Disks::new().map_err(ProbeError::unavailable)?;
        let networks = Networks::new().map_err(ProbeError::unavailable)?;
        Ok(Self { system, disks, networks })
    }

    fn disk_bytes(&mut self) -> u64 {
        self.disks.refresh_specifics(true, DiskRefreshKind::nothing().with_io_usage());
        // A device that is mounted twice is listed twice.
        let by_device: BTreeMap<_, _> =
            self.disks.iter().map(|disk| (disk.name().to_owned(), disk.usage())).collect();
        by_device.values().map(|usage| usage.total_read_bytes + usage.total_written_bytes).sum()
    }

    fn network_bytes(&mut self) -> u64 {
        self.networks.refresh(true);
        let outside = self.networks.iter().filter(|(name, _)| *name != "lo" && *name != "lo0");
        outside.map(|(_, link)| link.total_received() + link.total_transmitted()).sum()
    }
}

impl CapacityProbe for HostProbe {
    fn name(&self) -> &str {
        "host"
    }

    fn sample(&mut self, now: Now) -> Result<Vec<Reading>, ProbeError> {
        let sources = match &mut self.sources {
            Some(sources) => sources,
            none => none.insert(Sources::open()?),
        };
        sources.system.refresh_cpu_usage();
        sources.system.refresh_memory();
        let (disk_bytes, network_bytes) = (sources.disk_bytes(), sources.network_bytes());
        let last = self.last.replace(Last { at: now.mono, disk_bytes, network_bytes });
        let mut readings = Vec::with_capacity(8);
        let total = sources.system.total_memory();
        if total > 0 {
            let used = total.saturating_sub(sources.system.available_memory());
            readings.push(Reading::new("memory", used as f64, "bytes").of(total as f64));
        }
        if let Some(last) = last {
            let seconds = now.mono.since(last.at).as_secs_f64();
            readings.push(Reading::share("cpu", f64::from(sources.system.global_cpu_usage()) / 100.0));
            let disk = per_second("disk", disk_bytes, last.disk_bytes, seconds, self.disk_capacity);
            let network =
                per_second("network", network_bytes, last.network_bytes, seconds, self.network_capacity);
            readings.extend(disk.into_iter().chain(network));
        }
        #[cfg(target_os = "linux")]
        readings.extend(self.psi.sample(now.mono));
        let scope = Scope::Host(self.host.clone());
        Ok(readings.into_iter().map(|reading| reading.scope(scope.clone())).collect())
    }
}

/// The rate of a counter; nothing when it went backwards, as it does when a device is replaced.
fn per_second(signal: &str, to: u64, from: u64, seconds: f64, capacity: Option<f64>) -> Option<Reading> {
    if seconds <= 0.0 {
        return None;
    }
    let rate = to.checked_sub(from)? as f64 / seconds;
    let reading = Reading::new(signal, rate, "bytes/s");
    Some(match capacity {
        Some(capacity) => reading.of(capacity),
        None => reading,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sched_core::{Clock, ManualClock};

    use super::*;

    #[test]
    fn the_first_sample_has_no_rates_and_later_ones_are_sane() {
        let clock = ManualClock::default();
        let mut probe = HostProbe::new("local").disk_bytes_per_sec(1_000_000_000);
        let first = probe.sample(clock.now()).unwrap();
        assert!(first.iter().any(|r| r.signal.as_str() == "memory"));
        assert!(!first.iter().any(|r| r.signal.as_str() == "cpu"));
        clock.advance(Duration::from_secs(1));
        let second = probe.sample(clock.now()).unwrap();
        assert!(second.iter().any(|r| r.signal.as_str() == "cpu"));
        for reading in first.iter().chain(&second) {
            reading.check().unwrap();
            assert_eq!(reading.scope, Scope::Host("local".into()));
        }
        let memory = second.iter().find(|r| r.signal.as_str() == "memory").unwrap();
        assert!((0.0..=1.0).contains(&memory.utilization().unwrap()));
    }

    #[test]
    fn a_counter_that_runs_backwards_gives_no_reading() {
        assert!(per_second("disk", 5, 9, 1.0, None).is_none());
        assert!(per_second("disk", 9, 5, 0.0, None).is_none());
        assert_eq!(per_second("disk", 9, 5, 2.0, None).unwrap().value, 2.0);
    }
}
