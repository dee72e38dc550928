//! Names and units of the signals that the probes of this crate measure.
//!
//! A name may carry what it was measured on after a colon, as in `network:eth0`. A threshold for the part before the
//! colon applies to all of them that have none of their own.

use sched_core::SignalName;

/// Share of all CPUs in use; with `:cgroup`, of what the own control group may use.
pub const CPU: &str = "cpu";
/// Share of CPU time that the hypervisor gave to others.
pub const CPU_STEAL: &str = "cpu.steal";
/// Mean number of runnable tasks that waited for a CPU.
pub const CPU_RUN_DELAY: &str = "cpu.run_delay";
/// Share of the control group's periods in which it was throttled.
pub const CPU_THROTTLED: &str = "cpu.throttled";
/// Bytes that are not available to new work.
pub const MEMORY: &str = "memory";
/// Share of time in which some task waited for a CPU.
pub const PSI_CPU: &str = "psi.cpu";
/// Share of time in which some task stalled on memory.
pub const PSI_MEMORY: &str = "psi.memory";
/// Share of time in which some task stalled on I/O.
pub const PSI_IO: &str = "psi.io";
/// Bytes read and written a second.
pub const DISK: &str = "disk";
/// I/Os completed a second.
pub const DISK_IOPS: &str = "disk.iops";
/// Share of I/Os that took longer than the latency target.
pub const DISK_SLOW: &str = "disk.slow";
/// Mean number of I/Os under way.
pub const DISK_QUEUE: &str = "disk.queue";
/// Bytes a second of the busier direction.
pub const NETWORK: &str = "network";
/// CPUs that a process or control group used.
pub const PROCESS_CPU: &str = "process.cpu";
/// Bytes of memory that a process or control group holds and that cannot be reclaimed.
pub const PROCESS_MEMORY: &str = "process.memory";
/// Bytes a second that a process or control group read from and wrote to disks.
pub const PROCESS_IO: &str = "process.io";

/// The unit of shares, from 0 to 1.
pub const SHARE: &str = "share";
/// The unit of amounts of data.
pub const BYTES: &str = "bytes";
/// The unit of data rates.
pub const BYTES_PER_SEC: &str = "bytes/s";
/// The unit of operation rates.
pub const OPS_PER_SEC: &str = "ops/s";

const UNITS: [(&str, &str); 16] = [
    (CPU, SHARE),
    (CPU_STEAL, SHARE),
    (CPU_RUN_DELAY, "tasks"),
    (CPU_THROTTLED, SHARE),
    (MEMORY, BYTES),
    (PSI_CPU, SHARE),
    (PSI_MEMORY, SHARE),
    (PSI_IO, SHARE),
    (DISK, BYTES_PER_SEC),
    (DISK_IOPS, OPS_PER_SEC),
    (DISK_SLOW, SHARE),
    (DISK_QUEUE, "ios"),
    (NETWORK, BYTES_PER_SEC),
    (PROCESS_CPU, "cpus"),
    (PROCESS_MEMORY, BYTES),
    (PROCESS_IO, BYTES_PER_SEC),
];

/// The name without what it was measured on: `network` for `network:eth0`.
pub fn kind(signal: &SignalName) -> &str {
    let name = signal.as_str();
    name.split_once(':').map_or(name, |(kind, _)| kind)
}

/// `kind` measured on one of several: `network:eth0`.
pub fn on(kind: &str, what: &str) -> SignalName {
    format!("{kind}:{what}").into()
}

/// The unit that a signal of this name must have; `None` when the name is not one of this module's.
pub fn unit(signal: &SignalName) -> Option<&'static str> {
    let kind = kind(signal);
    UNITS.iter().find(|(known, _)| *known == kind).map(|(_, unit)| *unit)
}

/// Whether readings of `signal` may be in `found`. Memory may also be a share, as remote sources often tell it.
pub(crate) fn accepts(signal: &SignalName, found: &str) -> Result<(), &'static str> {
    match unit(signal) {
        Some(unit) if unit != found && found != SHARE => Err(unit),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_signal_was_measured_on_does_not_change_its_unit() {
        assert_eq!(unit(&on(NETWORK, "eth0")), Some(BYTES_PER_SEC));
        assert_eq!(kind(&on(CPU, "cgroup:a")), CPU);
        assert_eq!(unit(&"fuel".into()), None);
        assert_eq!(accepts(&"cpu".into(), "%"), Err(SHARE));
        assert_eq!(accepts(&"memory".into(), SHARE), Ok(()));
        assert_eq!(accepts(&"fuel".into(), "litres"), Ok(()));
    }
}
