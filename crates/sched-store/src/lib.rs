//! Where what a scheduler must not forget is kept.

#[cfg(feature = "postgres")]
pub mod shared;
