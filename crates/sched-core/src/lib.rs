//! core (being built)
pub mod event;
pub mod gate;
pub mod name;
pub mod run;
pub mod spec;
pub mod time;
pub use event::*;
pub use gate::*;
pub use name::*;
pub use run::*;
pub use spec::*;
pub use time::*;
