//! Typed positions in the engine's tables, half the size of a pointer.

macro_rules! indices {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(super) struct $name(u32);

        #[allow(dead_code, reason = "not every table has entries that may be missing")]
        impl $name {
            /// No entry.
            pub(super) const NONE: Self = Self(u32::MAX);

            /// # Panics
            /// When a table has more than four thousand million entries, which no memory holds.
            pub(super) fn new(at: usize) -> Self {
                Self(u32::try_from(at).expect("tables are bounded by memory"))
            }

            pub(super) fn at(self) -> usize {
                self.0 as usize
            }

            pub(super) fn is_none(self) -> bool {
                self == Self::NONE
            }

            pub(super) fn some(self) -> Option<Self> {
                (!self.is_none()).then_some(self)
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::NONE
            }
        }
    )*};
}

indices! {
    /// A job.
    JobIx;
    /// What is backed up in one way: an instance and a kind.
    TargetIx;
    /// Whatever jobs share: a place, a technology, a destination, a group, an instance.
    DomainIx;
    /// A resource's name.
    ResourceIx;
    /// A vector of resource amounts.
    DemandIx;
    /// Jobs for which every shared gate stands alike.
    ClassIx;
    /// The jobs of one class at or below one place.
    BracketIx;
    /// Classes that compete by urgency alone.
    LaneIx;
    /// An attempt under way.
    ActiveIx;
    /// By which signals jobs are kept back, and from which values on.
    SensitivityIx;
}
