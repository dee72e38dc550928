//! What a host probe is told about its host.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use sched_core::{HostName, VolumeName};

/// Slower I/Os than this make a database's commits wait noticeably, on disks as well as on flash.
const SLOW_FROM: Duration = Duration::from_millis(20);

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) host: HostName,
    pub(super) disk_bytes_per_sec: Option<f64>,
    pub(super) network_bytes_per_sec: Option<f64>,
    pub(super) interfaces: BTreeMap<String, f64>,
    pub(super) volumes: Vec<Volume>,
    pub(super) slow_from: Duration,
}

impl Settings {
    pub(super) fn new(host: HostName) -> Self {
        Self {
            host,
            disk_bytes_per_sec: None,
            network_bytes_per_sec: None,
            interfaces: BTreeMap::new(),
            volumes: Vec::new(),
            slow_from: SLOW_FROM,
        }
    }
}

/// A volume of this host that jobs name, and the disk below it.
#[derive(Clone, Debug)]
pub struct Volume {
    pub(super) name: VolumeName,
    pub(super) path: PathBuf,
    pub(super) bytes_per_sec: Option<f64>,
    pub(super) iops: Option<f64>,
}

impl Volume {
    /// The volume that `path` lies on, under the name of the path.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { name: path.to_string_lossy().into_owned().into(), path, bytes_per_sec: None, iops: None }
    }

    /// Sets the name that jobs give.
    #[must_use]
    pub fn named(mut self, name: impl Into<VolumeName>) -> Self {
        self.name = name.into();
        self
    }

    /// Says how fast the disk is, reads and writes together. Default: unknown, and then its bandwidth closes nothing.
    #[must_use]
    pub fn bytes_per_sec(mut self, capacity: u64) -> Self {
        self.bytes_per_sec = Some(capacity as f64);
        self
    }

    /// Says how many I/Os a second the disk can do. Default: unknown.
    #[must_use]
    pub fn iops(mut self, capacity: u64) -> Self {
        self.iops = Some(capacity as f64);
        self
    }
}
