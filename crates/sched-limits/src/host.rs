//! This host: CPU, memory, disks, network and, on Linux, pressure and the limits of the own control group.

use std::path::Path;
use std::time::Duration;

use sched_core::{HostName, Now};

use crate::probe::{CapacityProbe, ProbeError};
use crate::reading::Reading;
#[cfg(target_os = "linux")]
use linux::Source;
#[cfg(not(target_os = "linux"))]
use portable::Source;
use settings::Settings;

pub use settings::Volume;

#[cfg(target_os = "linux")]
pub(crate) mod cgroup;
#[cfg(target_os = "linux")]
mod cpu;
#[cfg(target_os = "linux")]
mod disk;
#[cfg(target_os = "linux")]
pub(crate) mod file;
#[cfg(all(target_os = "linux", test))]
mod fuzz;
#[cfg(target_os = "linux")]
pub(crate) mod group;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod network;
#[cfg(target_os = "linux")]
pub(crate) mod parse;
#[cfg(any(not(target_os = "linux"), test))]
mod portable;
#[cfg(target_os = "linux")]
mod psi;
mod settings;

/// Measures the machine that the scheduler runs on.
///
/// | signal | unit | capacity |
/// |---|---|---|
/// | `cpu` | share of all CPUs in use, those that were stolen included | 1 |
/// | `cpu.steal` | share of CPU time that the hypervisor gave to others | 1 |
/// | `cpu.run_delay` | tasks that waited for a CPU, where the kernel has scheduler statistics | |
/// | `memory` | bytes that are not available | total |
/// | `psi.cpu`, `psi.memory`, `psi.io` | share of time in which some task stalled (Linux 4.20 and later) | 1 |
/// | `disk` | bytes read and written a second | as configured |
/// | `disk.iops` | I/Os a second | as configured |
/// | `disk.slow` | share of I/Os over the latency target, estimated from their mean | 1 |
/// | `disk.queue` | I/Os under way, on average | |
/// | `network:<interface>` | bytes a second of the busier direction | speed of the link |
///
/// All concern the host. The four of the disk tell all physical disks together, and each [`Volume`] by itself. In a
/// control group that has limits (a container, a service), `cpu:cgroup`, `cpu.throttled:cgroup`, `memory:cgroup` and
/// `disk:cgroup` tell what the group uses of them; of nested groups the tightest counts. Version 2 adds the group's
/// own pressure, as `psi.memory:cgroup`. A threshold for `memory` applies to `memory:cgroup` too.
///
/// Rates cover the time since the previous sample, so the first one has none. A counter that was reset gives no rate
/// once, rather than none at all. The speed of disks, and mostly of a virtual machine's links, cannot be read: say it,
/// or these signals close nothing. Systems other than Linux tell `cpu`, `memory`, `disk` and `network` only.
#[derive(Debug)]
pub struct HostProbe {
    settings: Settings,
    /// Opened by the first sample, so that a system that refuses is a lost signal and no failed start.
    source: Option<Source>,
}

impl HostProbe {
    /// A probe whose readings concern the jobs on `host`; use the name that jobs give, `local` by default.
    pub fn new(host: impl Into<HostName>) -> Self {
        Self { settings: Settings::new(host.into()), source: None }
    }

    /// Says how fast the disks are together. Default: unknown.
    #[must_use]
    pub fn disk_bytes_per_sec(mut self, capacity: u64) -> Self {
        self.settings.disk_bytes_per_sec = Some(capacity as f64);
        self
    }

    /// Measures the disk below a volume by itself.
    #[must_use]
    pub fn volume(mut self, volume: Volume) -> Self {
        self.settings.volumes.push(volume);
        self
    }

    /// I/Os that take longer are slow. Default 20 ms.
    #[must_use]
    pub fn slow_from(mut self, latency: Duration) -> Self {
        self.settings.slow_from = latency;
        self
    }

    /// Says how fast each link is whose speed the system does not tell, in one direction. Default: unknown.
    #[must_use]
    pub fn network_bytes_per_sec(mut self, capacity: u64) -> Self {
        self.settings.network_bytes_per_sec = Some(capacity as f64);
        self
    }

    /// Watches an interface that is not physical too, or says how fast one is, in one direction, whatever the system
    /// tells.
    #[must_use]
    pub fn interface_bytes_per_sec(mut self, interface: impl Into<String>, capacity: u64) -> Self {
        self.settings.interfaces.insert(interface.into(), capacity as f64);
        self
    }

    /// What this system does not tell, with the reason: look at it once, to know what to configure.
    ///
    /// # Errors
    /// When nothing can be opened at all.
    pub fn missing(&mut self) -> Result<Vec<String>, ProbeError> {
        Ok(self.source()?.0.missing().cloned().collect())
    }

    fn source(&mut self) -> Result<(&mut Source, &Settings), ProbeError> {
        let source = match &mut self.source {
            Some(source) => source,
            none => none.insert(Source::open(Path::new("/"), &self.settings)?),
        };
        Ok((source, &self.settings))
    }
}

impl CapacityProbe for HostProbe {
    fn name(&self) -> &str {
        "host"
    }

    fn sample(&mut self, now: Now) -> Result<Vec<Reading>, ProbeError> {
        let (source, settings) = self.source()?;
        source.sample(now, settings)
    }
}

#[cfg(test)]
mod tests {
    use sched_core::{Clock, ManualClock, Scope};

    use super::*;
    use crate::conformance;

    #[test]
    fn the_first_sample_has_no_rates_and_later_ones_are_sane() {
        let clock = ManualClock::default();
        let mut probe = HostProbe::new("local").volume(Volume::at("/").named("root"));
        let first = probe.sample(clock.now()).unwrap();
        assert!(first.iter().any(|r| r.signal.as_str() == "memory"));
        assert!(!first.iter().any(|r| ["cpu", "disk"].contains(&r.signal.as_str())));
        for reading in &first {
            reading.check().unwrap();
            assert!(matches!(&reading.scope, Scope::Host(h) | Scope::Volume(h, _) if h.as_str() == "local"));
        }
        let memory = first.iter().find(|r| r.signal.as_str() == "memory").unwrap();
        assert!((0.0..=1.0).contains(&memory.utilization().unwrap()));
        println!("not told here: {:#?}", probe.missing().unwrap());
    }

    #[test]
    fn this_host_keeps_the_contract_of_probes() {
        conformance::check(HostProbe::new("local").volume(Volume::at("/"))).unwrap();
        let absurd = HostProbe::new("local").disk_bytes_per_sec(0).interface_bytes_per_sec("none", 0);
        conformance::check(absurd.volume(Volume::at("/nonexistent"))).unwrap_err();
    }
}
