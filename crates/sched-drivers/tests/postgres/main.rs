//! PostgreSQL: real servers, real backups, restored and compared.

#![cfg(feature = "postgres")]

mod faults;
mod restores;
mod rig;
mod scheduled;
mod watching;
