//! Several schedulers on one real PostgreSQL.

mod fencing;
mod odd;
mod rig;
