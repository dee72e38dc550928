//! Several schedulers, each a process of its own, on one real PostgreSQL.
#![cfg(unix)]

mod chaos;
mod child;
mod history;
mod inside;
mod learned;
mod peers;
mod rates;
mod recurring;
mod rig;
mod slots;
mod tools;
