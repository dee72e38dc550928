//! Stores: durable submissions beside what the bare engine below writes, and how long a restart takes.
//!
//! `cargo bench -p sched-benches --bench store`

mod embedded;

use sched_benches::write_results;

fn main() {
    let mut rows = vec![embedded::group_commit()];
    rows.push(embedded::reopen());
    println!("{}", write_results("store", &rows).display());
}
