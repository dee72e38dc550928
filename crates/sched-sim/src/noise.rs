//! Random numbers that depend on what they are for and not on when they are asked for.

/// A hash of two numbers (the finalizer of SplitMix64: Steele, Lea and Flood, 2014).
pub(crate) fn hash(seed: u64, of: u64) -> u64 {
    let mut z = seed ^ of.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Evenly from 0 to 1, 1 excluded.
pub(crate) fn unit(seed: u64, of: u64) -> f64 {
    (hash(seed, of) >> 11) as f64 / (1_u64 << 53) as f64
}

/// About a standard normal number: the sum of four even ones, so that no logarithm is paid for each slot.
pub(crate) fn normal(seed: u64, of: u64) -> f64 {
    let bits = hash(seed, of);
    let sum: f64 = (0..4).map(|part| f64::from((bits >> (16 * part)) as u16)).sum();
    // The sum of four even numbers of [0, 1) has mean 2 and variance 1/3.
    (sum / 65_536.0 - 2.0) * 3.0_f64.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1() {
        let all: Vec<f64> = (0..20_000).map(|of| normal(42, of)).collect();
        let mean = all.iter().sum::<f64>() / 20_000.0;
        let variance = all.iter().map(|x| x * x).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }
}
