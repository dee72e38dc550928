//! Stores: durable submissions beside what the bare engine below writes, how long a restart takes, and several schedulers
//! on one PostgreSQL.
//!
//! `cargo bench -p sched-benches --bench store`; with `-- embedded` or `-- shared` one of the two alone, which is printed
//! and not written.

mod embedded;
mod shared;

use sched_benches::write_results;

fn main() {
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    match only.as_deref() {
        Some("embedded") => println!("{:#?}", [embedded::group_commit(), embedded::reopen()]),
        Some("shared") => println!("{:#?}", shared::rows()),
        _ => {
            let mut rows = vec![embedded::group_commit(), embedded::reopen()];
            rows.extend(shared::rows());
            println!("{}", write_results("store", &rows).display());
        }
    }
}
