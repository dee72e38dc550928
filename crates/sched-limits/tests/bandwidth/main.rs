//! The bandwidth tree in virtual time.

mod bounds;
mod shares;
mod sim;
mod surprises;
mod threads;
