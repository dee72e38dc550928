//! What the kernel's texts say. Pure, and bounded for any input.
//!
//! `procfs-core` reads the tables; the texts below are read here because it wants fields that some kernels lack, or
//! panics on lines that are cut off.

/// Times of all CPUs together, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CpuTimes {
    pub(crate) total: u64,
    /// Neither idle nor waiting for I/O.
    pub(crate) busy: u64,
    /// Taken by the hypervisor for others; a part of `busy`.
    pub(crate) steal: u64,
}

/// The first line of `/proc/stat`. Guests are counted in user time already.
pub(crate) fn cpu_times(text: &str) -> Result<CpuTimes, String> {
    let line = text.lines().next().unwrap_or_default();
    let mut fields = line.split_ascii_whitespace();
    if fields.next() != Some("cpu") {
        return Err(wrong("a line that starts with \"cpu\"", line));
    }
    let times: Vec<u64> = fields.take(8).map_while(|field| field.parse().ok()).collect();
    let [_, _, _, idle, ..] = times[..] else {
        return Err(wrong("at least four times of the CPU", line));
    };
    let total = times.iter().fold(0_u64, |sum, time| sum.saturating_add(*time));
    let waiting = times.get(4).copied().unwrap_or(0);
    let busy = total.saturating_sub(idle).saturating_sub(waiting);
    Ok(CpuTimes { total, busy, steal: times.get(7).copied().unwrap_or(0) })
}

/// `/proc/schedstat`: nanoseconds that tasks waited for a CPU, over all CPUs.
pub(crate) fn run_delay(text: &str) -> Result<u64, String> {
    let cpus = text.lines().filter(|line| line.starts_with("cpu"));
    let delays: Vec<u64> =
        cpus.filter_map(|line| line.split_ascii_whitespace().nth(8)?.parse().ok()).collect();
    if delays.is_empty() {
        return Err(wrong("a line of at least nine fields for each CPU", text));
    }
    Ok(delays.into_iter().fold(0, u64::saturating_add))
}

/// Bytes of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) total: u64,
    pub(crate) available: u64,
}

/// `/proc/meminfo`. Kernels before 3.14 do not estimate what is available.
pub(crate) fn memory(text: &str) -> Result<Memory, String> {
    let bytes = |key| keyed(text, key).map(|kib| kib.saturating_mul(1024));
    let total = bytes("MemTotal:").filter(|total| *total > 0).ok_or_else(|| wrong("MemTotal", text))?;
    let guessed = || Some(bytes("MemFree:")?.saturating_add(bytes("Cached:").unwrap_or(0)));
    let available = bytes("MemAvailable:").or_else(guessed).ok_or_else(|| wrong("MemAvailable", text))?;
    Ok(Memory { total, available: available.min(total) })
}

/// A file of `/proc/pressure`: microseconds in which some task stalled.
pub(crate) fn stalled_micros(text: &str) -> Result<u64, String> {
    let some = text.lines().find(|line| line.starts_with("some "));
    let total = some.and_then(|line| line.split_ascii_whitespace().find_map(|f| f.strip_prefix("total=")));
    total.and_then(|total| total.parse().ok()).ok_or_else(|| wrong("a line \"some … total=…\"", text))
}

/// The number after a key at the start of a line.
pub(crate) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        (fields.next() == Some(key)).then(|| fields.next()?.parse().ok()).flatten()
    })
}

/// A file with one number.
pub(crate) fn number(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_| wrong("a number", text))
}

/// A limit of memory; `None` when there is none, which version 1 writes as a number that no machine has.
pub(crate) fn memory_limit(text: &str) -> Result<Option<u64>, String> {
    if text.trim() == "max" {
        return Ok(None);
    }
    number(text).map(|limit| Some(limit).filter(|limit| (1..1 << 60).contains(limit)))
}

/// Version 2's `cpu.max`: how many CPUs may be used.
pub(crate) fn cpu_max(text: &str) -> Result<Option<f64>, String> {
    let mut fields = text.split_ascii_whitespace();
    match (fields.next(), fields.next().unwrap_or("100000")) {
        (Some("max"), _) => Ok(None),
        (Some(quota), period) => match (quota.parse::<u64>(), period.parse::<u64>()) {
            (Ok(quota), Ok(period)) if quota > 0 && period > 0 => Ok(Some(quota as f64 / period as f64)),
            _ => Err(wrong("a quota and a period", text)),
        },
        (None, _) => Err(wrong("a quota and a period", text)),
    }
}

/// Version 1's `cpu.cfs_quota_us` and `cpu.cfs_period_us`.
pub(crate) fn cfs_quota(quota: &str, period: &str) -> Result<Option<f64>, String> {
    let micros = quota.trim().parse::<i64>().map_err(|_| wrong("a number", quota))?;
    match number(period)? {
        0 => Err(wrong("a period over 0", period)),
        _ if micros <= 0 => Ok(None),
        period => Ok(Some(micros as f64 / period as f64)),
    }
}

/// Version 2's `io.stat`: bytes read and written, over all devices. A group that did no I/O has an empty one.
pub(crate) fn io_stat(text: &str) -> Result<u64, String> {
    let fields = text.split_ascii_whitespace();
    let bytes = fields.filter_map(|f| f.strip_prefix("rbytes=").or_else(|| f.strip_prefix("wbytes=")));
    bytes.map(number).try_fold(0_u64, |sum, bytes| Ok(sum.saturating_add(bytes?)))
}

/// Version 1's `blkio.throttle.io_service_bytes`: its last line has the sum of all devices.
pub(crate) fn blkio_bytes(text: &str) -> Result<u64, String> {
    keyed(text, "Total").ok_or_else(|| wrong("a line \"Total\"", text))
}

/// CPU time and age of a process, from `/proc/<pid>/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessTimes {
    /// User and system time, in ticks.
    pub(crate) cpu: u64,
    /// When it started, in ticks since boot: tells a process from a later one of the same id.
    pub(crate) started: u64,
}

/// `/proc/<pid>/stat`. The name in the second field may hold blanks and parentheses.
pub(crate) fn process_times(text: &str) -> Result<ProcessTimes, String> {
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = |n: usize| rest.split_ascii_whitespace().nth(n).and_then(|field| field.parse::<u64>().ok());
    match (field(11), field(12), field(19)) {
        (Some(user), Some(system), Some(started)) => {
            Ok(ProcessTimes { cpu: user.saturating_add(system), started })
        }
        _ => Err(wrong("the times of a process", text)),
    }
}

fn wrong(right: &str, found: &str) -> String {
    let start: String = found.lines().next().unwrap_or_default().chars().take(80).collect();
    format!("it should hold {right}; it starts with {start:?}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cpu_times_of_new_and_old_kernels() {
        let new = "cpu  10 20 30 400 50 6 7 80 9 0\ncpu0 1 2 3 4\nintr 5\n";
        assert_eq!(cpu_times(new), Ok(CpuTimes { total: 603, busy: 153, steal: 80 }));
        let old = "cpu  10 20 30 400\n";
        assert_eq!(cpu_times(old), Ok(CpuTimes { total: 460, busy: 60, steal: 0 }));
        assert!(cpu_times("cpu 1 2 three 4 5").unwrap_err().contains("four times"));
        assert!(cpu_times("").is_err());
    }

    #[test]
    fn run_delay_sums_the_cpus() {
        let text = "version 17\ntimestamp 42\n\
                    cpu0 0 0 0 0 0 0 9000 500 70\ndomain0 MC 3 1 2\n\
                    cpu1 0 0 0 0 0 0 8000 300 60\n";
        assert_eq!(run_delay(text), Ok(800));
        assert!(run_delay("version 17\ncpu0 0 0\n").is_err());
    }

    #[test]
    fn memory_with_and_without_an_estimate() {
        let new = "MemTotal:       1000 kB\nMemFree:  100 kB\nMemAvailable:    600 kB\n";
        assert_eq!(memory(new), Ok(Memory { total: 1000 << 10, available: 600 << 10 }));
        let old = "MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 5 kB\nCached: 200 kB\n";
        assert_eq!(memory(old), Ok(Memory { total: 1000 << 10, available: 300 << 10 }));
        let more_than_all = "MemTotal: 10 kB\nMemAvailable: 11 kB\n";
        assert_eq!(memory(more_than_all).unwrap().available, 10 << 10);
        assert!(memory("MemTotal: 0 kB\nMemAvailable: 0 kB").is_err());
        assert!(memory("MemTotal: 5 kB").unwrap_err().contains("MemAvailable"));
    }

    #[test]
    fn pressure_is_the_total_of_some() {
        let text = "some avg10=7.21 avg60=6.72 avg300=3.40 total=56331525\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=12\n";
        assert_eq!(stalled_micros(text), Ok(56_331_525));
        for bad in ["", "some", "full total=3", "some total=-1", "some avg10=1"] {
            assert!(stalled_micros(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_of_both_versions() {
        assert_eq!(cpu_max("max 100000\n"), Ok(None));
        assert_eq!(cpu_max("150000 100000\n"), Ok(Some(1.5)));
        assert_eq!(cpu_max("50000"), Ok(Some(0.5)));
        assert!(cpu_max("").is_err() && cpu_max("0 100000").is_err() && cpu_max("1 0").is_err());
        assert_eq!(cfs_quota("-1\n", "100000\n"), Ok(None));
        assert_eq!(cfs_quota("25000\n", "100000\n"), Ok(Some(0.25)));
        assert!(cfs_quota("x", "100000").is_err() && cfs_quota("1", "0").is_err());
        assert_eq!(memory_limit("max\n"), Ok(None));
        assert_eq!(memory_limit("9223372036854771712\n"), Ok(None));
        assert_eq!(memory_limit("1073741824\n"), Ok(Some(1 << 30)));
        assert!(memory_limit("-1").is_err());
    }

    #[test]
    fn bytes_of_groups() {
        let two = "254:0 rbytes=100 wbytes=20 rios=1 wios=1 dbytes=9 dios=0\n8:0 rbytes=3 wbytes=0\n";
        assert_eq!(io_stat(two), Ok(123));
        assert_eq!(io_stat(""), Ok(0));
        assert!(io_stat("8:0 rbytes=x").is_err());
        assert_eq!(blkio_bytes("8:0 Read 1\n8:0 Write 2\n8:0 Total 3\nTotal 3\n"), Ok(3));
        assert!(blkio_bytes("").is_err());
    }

    #[test]
    fn a_process_with_an_odd_name() {
        let text = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 2 3 4 70 30 0 0 20 0 1 0 5555 1000 10\n";
        assert_eq!(process_times(text), Ok(ProcessTimes { cpu: 100, started: 5555 }));
        for bad in ["", ")", ") (", "1 (x", "1 (x) S 1 2"] {
            assert!(process_times(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_and_no_panic(text in "(cpu|some|Total|[a-z0-9:=. \\n-]|\\PC){0,60}") {
            let _ = (cpu_times(&text), run_delay(&text), memory(&text), stalled_micros(&text));
            let _ = (number(&text), memory_limit(&text), cpu_max(&text), cfs_quota(&text, &text));
            let _ = (io_stat(&text), blkio_bytes(&text), process_times(&text), keyed(&text, ""));
        }
    }
}
