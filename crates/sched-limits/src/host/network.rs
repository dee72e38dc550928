//! Network interfaces: the busier direction against the speed of the link.

use std::collections::BTreeMap;
use std::path::Path;

use procfs_core::FromRead;
use procfs_core::net::InterfaceDeviceStatus;
use sched_core::MonoTime;

use super::file::{ProcFile, read_once};
use super::settings::Settings;
use crate::counter::Counter;
use crate::probe::ProbeError;
use crate::reading::Reading;
use crate::signal;

#[derive(Debug)]
pub(super) struct Network {
    counts: ProcFile,
    /// Speed of each interface that is watched, in bytes a second of one direction.
    links: BTreeMap<String, Option<f64>>,
    received: BTreeMap<String, Counter>,
    sent: BTreeMap<String, Counter>,
}

impl Network {
    /// Opens the counters, and finds the interfaces; adds what is not known of them to `missing`.
    pub(super) fn open(
        root: &Path,
        settings: &Settings,
        missing: &mut Vec<String>,
    ) -> Result<Self, ProbeError> {
        let counts = ProcFile::open(root.join("proc/net/dev"))?;
        let (links, received, sent) = Default::default();
        let mut this = Self { counts, links, received, sent };
        this.discover(root, settings, missing);
        Ok(this)
    }

    /// Finds the interfaces and their speeds again: links come, go and renegotiate.
    pub(super) fn discover(&mut self, root: &Path, settings: &Settings, missing: &mut Vec<String>) {
        let present: Vec<String> =
            self.counts.parse(interfaces).map(|all| all.into_keys().collect()).unwrap_or_default();
        let named = |name: &&String| settings.interfaces.contains_key(*name);
        let physical = |name: &&String| root.join("sys/class/net").join(name).join("device").exists();
        // Bridges, bonds and tunnels carry again what physical links carry. A container has none of these.
        let any_physical = present.iter().any(|name| physical(&name));
        let watched = present
            .iter()
            .filter(|name| named(name) || if any_physical { physical(name) } else { *name != "lo" });
        let speed = |name: &String| {
            settings
                .interfaces
                .get(name)
                .copied()
                .or_else(|| link_speed(root, name))
                .or(settings.network_bytes_per_sec)
        };
        self.links = watched.map(|name| (name.clone(), speed(name))).collect();
        self.received.retain(|name, _| self.links.contains_key(name));
        self.sent.retain(|name, _| self.links.contains_key(name));
        for name in settings.interfaces.keys().filter(|name| !present.contains(name)) {
            missing.push(format!("network:{name}: there is no such interface"));
        }
        for (name, _) in self.links.iter().filter(|(_, speed)| speed.is_none()) {
            missing
                .push(format!("capacity of network:{name}: the link does not tell its speed; configure it"));
        }
    }

    pub(super) fn sample(&mut self, at: MonoTime) -> Result<Vec<Reading>, ProbeError> {
        let counts = self.counts.parse(interfaces)?;
        let mut readings = Vec::with_capacity(self.links.len());
        for (name, speed) in &self.links {
            let Some((received, sent)) = counts.get(name) else { continue };
            let received = self.received.entry(name.clone()).or_default().per_sec(at, *received);
            let sent = self.sent.entry(name.clone()).or_default().per_sec(at, *sent);
            let (Some(received), Some(sent)) = (received, sent) else { continue };
            let reading =
                Reading::new(signal::on(signal::NETWORK, name), received.max(sent), signal::BYTES_PER_SEC);
            readings.push(match speed {
                Some(speed) => reading.of(*speed),
                None => reading,
            });
        }
        Ok(readings)
    }
}

/// Bytes received and sent, by interface.
pub(super) fn interfaces(text: &str) -> Result<BTreeMap<String, (u64, u64)>, String> {
    let all = InterfaceDeviceStatus::from_read(text.as_bytes()).map_err(|error| error.to_string())?;
    Ok(all.0.into_iter().map(|(name, counts)| (name, (counts.recv_bytes, counts.sent_bytes))).collect())
}

/// In bytes a second; the kernel tells Mbit/s, −1 or an error where nobody knows, as in most virtual machines.
fn link_speed(root: &Path, name: &str) -> Option<f64> {
    let text = read_once(root.join("sys/class/net").join(name).join("speed")).ok()?;
    let mbit: i64 = text.trim().parse().ok()?;
    // Unknown is also told as the greatest number of 32 bits.
    (mbit > 0 && mbit < i64::from(i32::MAX)).then_some(mbit as f64 * 1e6 / 8.0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    const HEAD: &str = "Inter-|   Receive |  Transmit\n face |bytes packets\n";

    fn at(seconds: u64) -> MonoTime {
        MonoTime::from_nanos(seconds * 1_000_000_000)
    }

    fn counts(lines: &[(&str, u64, u64)]) -> String {
        let line = |(name, received, sent): &(&str, u64, u64)| {
            format!("  {name}: {received} 1 0 0 0 0 0 0 {sent} 1 0 0 0 0 0 0\n")
        };
        HEAD.to_owned() + &lines.iter().map(line).collect::<String>()
    }

    fn host(lines: &[(&str, u64, u64)], speeds: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("proc/net")).unwrap();
        fs::write(dir.path().join("proc/net/dev"), counts(lines)).unwrap();
        for (name, speed) in speeds {
            let link = dir.path().join("sys/class/net").join(name);
            fs::create_dir_all(link.join("device")).unwrap();
            fs::write(link.join("speed"), speed).unwrap();
        }
        dir
    }

    #[test]
    fn each_physical_link_is_held_against_its_speed() {
        let before = [("lo", 0, 0), ("eth0", 0, 0), ("eth1", 0, 0), ("docker0", 0, 0)];
        let dir = host(&before, &[("eth0", "1000\n"), ("eth1", "-1\n")]);
        let mut missing = Vec::new();
        let mut network = Network::open(dir.path(), &Settings::new("db".into()), &mut missing).unwrap();
        assert!(missing[0].contains("network:eth1") && missing.len() == 1, "{missing:?}");
        assert_eq!(network.sample(at(0)).unwrap(), []);
        let after = [("lo", 9, 9), ("eth0", 50_000_000, 125_000_000), ("eth1", 8, 4), ("docker0", 9, 9)];
        fs::write(dir.path().join("proc/net/dev"), counts(&after)).unwrap();
        let readings = network.sample(at(2)).unwrap();
        assert_eq!(
            readings,
            [
                Reading::new("network:eth0", 62_500_000.0, "bytes/s").of(125_000_000.0),
                Reading::new("network:eth1", 4.0, "bytes/s"),
            ]
        );
    }

    #[test]
    fn a_speed_can_be_configured_for_one_or_all() {
        let dir = host(&[("lo", 0, 0), ("eth0", 0, 0), ("tun0", 0, 0)], &[]);
        let mut settings = Settings::new("db".into());
        settings.network_bytes_per_sec = Some(1e6);
        settings.interfaces.insert("tun0".into(), 5e3);
        settings.interfaces.insert("gone".into(), 1.0);
        let mut missing = Vec::new();
        let network = Network::open(dir.path(), &settings, &mut missing).unwrap();
        assert_eq!(network.links, BTreeMap::from([("eth0".into(), Some(1e6)), ("tun0".into(), Some(5e3))]));
        assert_eq!(missing, ["network:gone: there is no such interface"]);
    }

    #[test]
    fn unknown_speeds_are_told_in_many_ways() {
        for (text, bytes) in
            [("-1", None), ("0", None), ("", None), ("4294967295", None), ("2147483647", None)]
        {
            let dir = host(&[], &[("eth0", text)]);
            assert_eq!(link_speed(dir.path(), "eth0"), bytes, "{text}");
        }
        let dir = host(&[], &[("eth0", "10000\n")]);
        assert_eq!(link_speed(dir.path(), "eth0"), Some(1.25e9));
        assert_eq!(link_speed(dir.path(), "eth9"), None);
    }

    #[test]
    fn a_counter_that_fell_gives_no_reading() {
        let dir = host(&[("eth0", 100, 100)], &[]);
        let mut network = Network::open(dir.path(), &Settings::new("db".into()), &mut Vec::new()).unwrap();
        network.sample(at(0)).unwrap();
        fs::write(dir.path().join("proc/net/dev"), counts(&[("eth0", 200, 50)])).unwrap();
        assert_eq!(network.sample(at(1)).unwrap(), []);
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_and_no_panic(text in "(\\PC|[a-z0-9: \\n]){0,200}") {
            let _ = interfaces(&text);
            let _ = interfaces(&format!("{HEAD}{text}"));
        }
    }
}
