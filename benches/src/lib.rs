//! Benchmarks of `backup-sched`. Run one with `cargo bench -p sched-benches --bench NAME`.
