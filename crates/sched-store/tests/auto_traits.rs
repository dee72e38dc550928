//! What hosts hand between their threads stays so: nothing that comes into these types may cost them `Send`, `Sync` or
//! `Debug`. Compiling is the test.

#![cfg(any(feature = "embedded", feature = "postgres"))]

use std::fmt::Debug;

fn sent<T: Send + Debug>() {}

#[test]
fn stores_go_to_the_thread_that_writes() {
    #[cfg(feature = "embedded")]
    sent::<sched_store::EmbeddedStore>();
    #[cfg(feature = "postgres")]
    {
        fn shared<T: Send + Sync + Debug>() {}
        sent::<sched_store::shared::SharedStore>();
        shared::<sched_store::shared::SharedConfig>();
        shared::<sched_store::shared::SharedError>();
        shared::<sched_store::shared::FleetStatus>();
    }
}
