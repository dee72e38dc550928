//! Loads in a byte: [`Scale`].

/// Nothing is known of a slot.
pub(super) const UNSEEN: u8 = 255;
/// The code of the largest load of a scale; 0 is no load at all.
const TOP: u8 = 254;
/// Bits of a float's mantissa that a byte has no room for: 4 of 23 remain, so neighbours differ by 3 to 6 %.
const DROPPED: u32 = 19;
/// Steps in an octave.
const OCTAVE: i16 = 16;
/// How far one value may raise a scale: four octaves. What lies higher still is cut off, so that one absurd value
/// cannot wipe out the difference between all others.
const RAISE: i16 = 4 * OCTAVE;

/// What the bytes of an instance stand for: floats without the last 19 bits of the mantissa, counted from a base.
///
/// 254 codes span almost 16 octaves, a ratio of 50,000. When a larger load comes, the base rises and all codes fall by
/// as much, which loses nothing but what lies below the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scale(pub(super) i16);

impl Scale {
    /// Bases that leave every code a finite float.
    pub(super) const BASES: std::ops::RangeInclusive<i16> = 0..=3800;

    pub(super) fn decode(self, code: u8) -> Option<f32> {
        match code {
            UNSEEN => None,
            0 => Some(0.0),
            _ => Some(f32::from_bits((u32::from(self.0.unsigned_abs()) + u32::from(code)) << DROPPED)),
        }
    }

    /// The code above or below a load, by chance, so that the expected value is the load: small changes are not lost in
    /// rounding. What lies outside the range becomes the nearest end of it.
    pub(super) fn encode(self, load: f32, dice: u32) -> u8 {
        if load <= 0.0 {
            return 0;
        }
        let code = ((load.to_bits() + (dice >> (32 - DROPPED))) >> DROPPED) as i32 - i32::from(self.0);
        code.clamp(1, i32::from(TOP)) as u8
    }

    /// By how many steps the base must change for a load to fit, where it is to be found at all.
    pub(super) fn lacks(self, load: f32) -> i16 {
        // A step of reserve, as rounding may go up.
        let code = ((load.to_bits() >> DROPPED) as i32 + 1) - i32::from(self.0);
        (code - i32::from(TOP)).clamp(0, i32::from(RAISE)) as i16
    }

    /// The scale on which this load has a code with room above and below.
    pub(super) fn around(load: f32) -> Self {
        let base = (load.to_bits() >> DROPPED) as i32 - 190;
        Self(base.clamp(0, i32::from(*Self::BASES.end())) as i16)
    }

    /// By how much to lower the base when no code is higher than this one: whole octaves, with two left above.
    pub(super) fn spare(highest: u8) -> i16 {
        let free = (i16::from(TOP) - i16::from(highest)) / OCTAVE - 2;
        if highest == 0 || free < 2 { 0 } else { free * OCTAVE }
    }

    /// The same scale with another base; what the shift of each code is.
    pub(super) fn shifted(self, by: i16) -> (Self, i16) {
        let base = (self.0 + by).clamp(*Self::BASES.start(), *Self::BASES.end());
        (Self(base), base - self.0)
    }
}

/// What becomes of a code when the base rises by so many steps.
pub(super) fn shift(code: u8, by: i16) -> u8 {
    match code {
        0 | UNSEEN => code,
        _ => (i16::from(code) - by).clamp(1, i16::from(TOP)) as u8,
    }
}

/// A float in two bytes, rounded by chance: three digits that count are lost in no sum that decays.
pub(super) fn half(value: f32, dice: u32) -> u16 {
    ((value.to_bits() + (dice >> 16)) >> 16) as u16
}

pub(super) fn whole(half: u16) -> f32 {
    f32::from_bits(u32::from(half) << 16)
}

/// A number that looks random and is the same for the same input: what is learned depends on nothing but the samples.
pub(super) fn dice(seed: u64) -> u32 {
    // The finalizer of splitmix64 (Steele, Lea and Flood, 2014).
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_load_comes_back_within_a_step(load in 1e-6..1e15_f32, seed in any::<u64>()) {
            let scale = Scale::around(load);
            let back = scale.decode(scale.encode(load, dice(seed))).unwrap();
            prop_assert!((back / load - 1.0).abs() < 0.0625, "{load} became {back}");
        }

        #[test]
        fn codes_survive_a_shift(code in 60..200_u8, by in -40..40_i16) {
            let scale = Scale(2000);
            let (moved, by) = scale.shifted(by);
            prop_assert_eq!(moved.decode(shift(code, by)), scale.decode(code));
        }
    }

    #[test]
    fn rounding_is_right_on_average() {
        let scale = Scale::around(10.0);
        let mean = |load: f32| {
            (0..20_000).filter_map(|n| scale.decode(scale.encode(load, dice(n)))).sum::<f32>() / 20_000.0
        };
        for load in [9.0, 9.77, 10.01, 31.3] {
            assert!((mean(load) / load - 1.0).abs() < 0.001, "{load}: {}", mean(load));
        }
        let halves = (0..20_000).map(|n| whole(half(9.771, dice(n)))).sum::<f32>() / 20_000.0;
        assert!((halves / 9.771 - 1.0).abs() < 0.001);
    }

    #[test]
    fn ends_of_the_range_hold() {
        let scale = Scale::around(1.0);
        assert_eq!(scale.encode(0.0, u32::MAX), 0);
        assert_eq!(scale.encode(1e-12, u32::MAX), 1);
        assert_eq!(scale.encode(1e15, 0), TOP);
        assert_eq!((scale.lacks(1.0), scale.lacks(1e15)), (0, RAISE));
        assert_eq!(scale.decode(UNSEEN), None);
        assert_eq!((shift(UNSEEN, 3), shift(0, -3), shift(2, 9)), (UNSEEN, 0, 1));
        let highest = Scale(*Scale::BASES.end()).decode(TOP).unwrap();
        assert!(highest.is_finite());
    }
}
