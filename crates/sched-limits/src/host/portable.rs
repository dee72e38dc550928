//! A host as `sysinfo` tells it, on systems other than Linux.

use std::collections::BTreeMap;
use std::path::Path;

use sched_core::{MonoTime, Now, Scope};
use sysinfo::{DiskRefreshKind, Disks, Networks, System};

use super::settings::Settings;
use crate::counter::Counter;
use crate::probe::ProbeError;
use crate::reading::Reading;
use crate::signal;

#[derive(Debug)]
pub(super) struct Source {
    system: System,
    disks: Disks,
    networks: Networks,
    disk_bytes: Counter,
    network_bytes: BTreeMap<String, [Counter; 2]>,
    seen: bool,
    missing: Vec<String>,
}

impl Source {
    /// The root directory means nothing here.
    pub(super) fn open(_root: &Path, settings: &Settings) -> Result<Self, ProbeError> {
        let volumes = settings.volumes.iter();
        Ok(Self {
            system: System::new().map_err(ProbeError::unavailable)?,
            disks: Disks::new().map_err(ProbeError::unavailable)?,
            networks: Networks::new().map_err(ProbeError::unavailable)?,
            disk_bytes: Counter::default(),
            network_bytes: BTreeMap::new(),
            seen: false,
            missing: volumes
                .map(|v| format!("disk of volume {}: only Linux tells disks apart", v.name))
                .collect(),
        })
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
        let disk = self.disk_rate(now.mono);
        readings.extend(disk.map(|rate| rated(signal::DISK.into(), rate, settings.disk_bytes_per_sec)));
        readings.extend(self.network_rates(now.mono).into_iter().map(|(name, rate)| {
            let speed = settings.interfaces.get(&name).copied().or(settings.network_bytes_per_sec);
            rated(signal::on(signal::NETWORK, &name), rate, speed)
        }));
        let scope = Scope::Host(settings.host.clone());
        Ok(readings.into_iter().map(|reading| reading.scope(scope.clone())).collect())
    }

    fn disk_rate(&mut self, at: MonoTime) -> Option<f64> {
        self.disks.refresh_specifics(true, DiskRefreshKind::nothing().with_io_usage());
        // A device that is mounted twice is listed twice.
        let by_device: BTreeMap<_, _> =
            self.disks.iter().map(|disk| (disk.name().to_owned(), disk.usage())).collect();
        let bytes =
            by_device.values().map(|usage| usage.total_read_bytes.saturating_add(usage.total_written_bytes));
        self.disk_bytes.per_sec(at, bytes.fold(0, u64::saturating_add))
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
    use crate::host::Volume;

    #[test]
    fn the_first_sample_has_no_rates_and_later_ones_are_sane() {
        let clock = ManualClock::default();
        let mut settings = Settings::new("db".into());
        settings.volumes.push(Volume::at("/data"));
        let mut source = Source::open(Path::new("/"), &settings).unwrap();
        assert_eq!(source.missing().count(), 1);
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
