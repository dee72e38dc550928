//! The kernel's texts, damaged: whatever comes out is sane, or an error that says what should be there.

use sched_fuzz::Target;

use super::cgroup::{Hierarchies, Membership};
use super::parse::{self, CpuTimes};
use super::{disk, network};

fn told<T>(result: Result<T, String>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(problem) => {
            assert!(!problem.is_empty() && problem.len() < 2_000, "{} bytes", problem.len());
            None
        }
    }
}

#[test]
fn texts_of_proc_and_sys_are_read_or_refused() {
    let read = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        if let Some(CpuTimes { total, busy, steal }) = told(parse::cpu_times(&text)) {
            assert!(busy <= total && steal <= total, "{busy} and {steal} of {total}");
        }
        if let Some(memory) = told(parse::memory(&text)) {
            assert!(memory.total > 0 && memory.available <= memory.total, "{memory:?}");
        }
        for cpus in [told(parse::cpu_max(&text)), told(parse::cfs_quota(&text, "100000"))] {
            let cpus = cpus.flatten().unwrap_or(1.0);
            assert!(cpus.is_finite() && cpus > 0.0, "{cpus}");
        }
        let limit = told(parse::memory_limit(&text)).flatten().unwrap_or(1);
        assert!(limit > 0, "no memory at all");
        told(parse::run_delay(&text));
        told(parse::stalled_micros(&text));
        told(parse::number(&text));
        told(parse::io_stat(&text));
        told(parse::blkio_bytes(&text));
        told(parse::process_times(&text));
        parse::keyed(&text, "usage_usec");
    };
    Target::new(env!("CARGO_MANIFEST_DIR"), "proc").run(read);
}

#[test]
fn tables_of_disks_links_and_groups_are_read_or_refused() {
    let read = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        disk::rows(&text);
        // The library's own words are told; how long they are is its own concern.
        let _ = network::interfaces(&text);
        let hierarchies = Hierarchies::parse(&text);
        if let Ok(own) = Membership::parse(&text) {
            for controller in ["memory", "cpu", "io", "blkio"] {
                hierarchies.chain(controller, &own);
            }
        }
    };
    Target::new(env!("CARGO_MANIFEST_DIR"), "tables").run(read);
}
