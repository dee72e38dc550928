//! Files and processes: [`FileSink`], [`ProcessIo`].

mod process;
mod sink;

pub use process::ProcessIo;
pub use sink::{FileSink, WriteBack};
