//! What sampling the local host costs, in CPU time of the sampling thread.
#![cfg(target_os = "linux")]

use std::time::Duration;

use sched_core::ManualClock;
use sched_limits::{HostProbe, Sample, Volume};

/// Once a second, and so the cost of a second.
const BUDGET: Duration = Duration::from_micros(200);
/// Unoptimized code is several times slower, and no measure of anything.
const SLACK: u32 = if cfg!(debug_assertions) { 10 } else { 1 };

#[test]
fn sampling_this_host_once_a_second_costs_little() {
    let clock = ManualClock::default();
    let mut probe = HostProbe::new("local").volume(Volume::at("/"));
    let mut costs: Vec<Duration> = (0..301)
        .map(|_| {
            clock.advance(Duration::from_secs(1));
            Sample::take(&mut probe, &clock).unwrap().cost.cpu
        })
        .skip(1)
        .collect();
    let mean = costs.iter().sum::<Duration>() / 300;
    costs.sort();
    let (median, p99, most) = (costs[150], costs[297], costs[299]);
    println!(
        "CPU time a sample: median {median:?}, mean {mean:?}, p99 {p99:?}, most {most:?}; budget {BUDGET:?}"
    );
    // Searches for devices and groups, once a minute, are in the mean and not in the median.
    assert!(median <= BUDGET * SLACK, "median {median:?}");
    assert!(mean <= BUDGET * SLACK, "mean {mean:?}");
}
