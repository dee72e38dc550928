//! Where what a scheduler must not forget is kept.

#[cfg(feature = "embedded")]
mod embedded;
#[cfg(feature = "postgres")]
pub mod shared;

#[cfg(feature = "embedded")]
pub use embedded::EmbeddedStore;
