//! A host as `sysinfo` tells it, on systems other than Linux.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use sched_core::{MonoTime, Now, Scope};
use sysinfo::{DiskRefreshKind, Disks, Networks, System};

use super::settings::{Settings, Volume};
use crate::counter::Counter;
use crate::probe::ProbeError;
use crate::reading::Reading;
use crate::signal;

#[derive(Debug)]
pub(super) struct Source {
    system: System,
    disks: Disks,
    networks: Networks,
    disk_bytes: BTreeMap<OsString, Counter>,
    network_bytes: BTreeMap<String, [Counter; 2]>,
    seen: bool,
    missing: Vec<String>,
}

impl Source {
    /// The root directory means nothing here.
    pub(super) fn open(_root: &Path, settings: &Settings) -> Result<Self, ProbeError> {
        let mut this = Self {
            system: System::new().map_err(ProbeError::unavailable)?,
            disks: Disks::new().map_err(ProbeError::unavailable)?,
            networks: Networks::new().map_err(ProbeError::unavailable)?,
            disk_bytes: BTreeMap::new(),
            network_bytes: BTreeMap::new(),
            seen: false,
            missing: Vec::new(),
        };
        this.refresh_disks();
        let unknown = settings.volumes.iter().filter(|volume| this.disk_of(&volume.path).is_none());
        let told =
            |v: &Volume| format!("disk of volume {}: {} lies on no known disk", v.name, v.path.display());
        this.missing = unknown.map(told).collect();
        Ok(this)
    }

    pub(super) fn missing(&self) -> impl Iterator<Item = &String> {
        self.missing.iter()
    }

    pub(super) fn sample(&mut self, now: Now, settings: &Settings) -> Result<Vec<Reading>, ProbeError> {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        let mut readings = Vec::with_capacity(8);
        let total = self.system.total_memory();
        if total > 0 {
            let used = total.saturating_sub(self.system.available_memory());
            readings.push(Reading::new(signal::MEMORY, used as f64, signal::BYTES).of(total as f64));
        }
        // The first look at a CPU has nothing to compare with.
        if std::mem::replace(&mut self.seen, true) {
            let share = f64::from(self.system.global_cpu_usage()) / 100.0;
            readings.push(Reading::share(signal::CPU, share.min(1.0)));
        }
        let disks = self.disk_rates(now.mono);
        if !disks.is_empty() {
            readings.push(rated(signal::DISK.into(), disks.values().sum(), settings.disk_bytes_per_sec));
        }
        readings.extend(self.network_rates(now.mono).into_iter().map(|(name, rate)| {
            let speed = settings.interfaces.get(&name).copied().or(settings.network_bytes_per_sec);
            rated(signal::on(signal::NETWORK, &name), rate, speed)
        }));
        let scope = Scope::Host(settings.host.clone());
        let mut readings: Vec<_> = readings.into_iter().map(|reading| reading.scope(scope.clone())).collect();
        for volume in &settings.volumes {
            let Some(rate) = self.disk_of(&volume.path).and_then(|disk| disks.get(&disk)) else { continue };
            let scope = Scope::Volume(settings.host.clone(), volume.name.clone());
            readings.push(rated(signal::DISK.into(), *rate, volume.bytes_per_sec).scope(scope));
        }
        Ok(readings)
    }

    fn refresh_disks(&mut self) {
        self.disks.refresh_specifics(true, DiskRefreshKind::nothing().with_io_usage());
    }

    /// The device on which a path lies: that of the longest mount point above it.
    fn disk_of(&self, path: &Path) -> Option<OsString> {
        let above = self.disks.iter().filter(|disk| path.starts_with(disk.mount_point()));
        let nearest = above.max_by_key(|disk| disk.mount_point().as_os_str().len());
        nearest.map(|disk| disk.name().to_owned())
    }

    /// Bytes a second of each device; one that is mounted twice is listed twice.
    fn disk_rates(&mut self, at: MonoTime) -> BTreeMap<OsString, f64> {
        self.refresh_disks();
        let bytes: BTreeMap<_, _> =
            self.disks.iter().map(|disk| (disk.name().to_owned(), disk.usage())).collect();
        let mut rates = BTreeMap::new();
        for (name, usage) in bytes {
            let bytes = usage.total_read_bytes.saturating_add(usage.total_written_bytes);
            let rate = self.disk_bytes.entry(name.clone()).or_default().per_sec(at, bytes);
            rates.extend(rate.map(|rate| (name, rate)));
        }
        rates
    }

    /// The busier direction of each interface.
    fn network_rates(&mut self, at: MonoTime) -> Vec<(String, f64)> {
        self.networks.refresh(true);
        let outside = self.networks.iter().filter(|(name, _)| *name != "lo" && *name != "lo0");
        let mut rates = Vec::new();
        for (name, link) in outside {
            let name = name.to_string_lossy().into_owned();
            let [received, sent] = self.network_bytes.entry(name.clone()).or_default();
            let received = received.per_sec(at, link.total_received());
            let sent = sent.per_sec(at, link.total_transmitted());
            rates.extend(received.zip(sent).map(|(received, sent)| (name.clone(), received.max(sent))));
        }
        rates
    }
}

fn rated(name: sched_core::SignalName, rate: f64, capacity: Option<f64>) -> Reading {
    let reading = Reading::new(name, rate, signal::BYTES_PER_SEC);
    match capacity {
        Some(capacity) => reading.of(capacity),
        None => reading,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sched_core::{Clock, ManualClock};

    use super::*;

    #[test]
    fn the_first_sample_has_no_rates_and_later_ones_are_sane() {
        let clock = ManualClock::default();
        let mut settings = Settings::new("db".into());
        settings.volumes.push(Volume::at("relative/nowhere"));
        let mut source = Source::open(Path::new("/"), &settings).unwrap();
        assert!(
            source.missing().all(|told| told.contains("lies on no known disk"))
                && source.missing().count() == 1
        );
        let first = source.sample(clock.now(), &settings).unwrap();
        assert_eq!(first.iter().map(|r| r.signal.as_str()).collect::<Vec<_>>(), ["memory"]);
        clock.advance(Duration::from_secs(1));
        let second = source.sample(clock.now(), &settings).unwrap();
        assert!(second.iter().any(|r| r.signal.as_str() == "cpu"));
        for reading in first.iter().chain(&second) {
            reading.check().unwrap();
            assert_eq!(reading.scope, Scope::Host("db".into()));
        }
    }
}
