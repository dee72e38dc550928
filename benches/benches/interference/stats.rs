//! Quantiles over blocks, and how sure they are: [`pooled`], [`Ratio`].

use hdrhistogram::Histogram;

/// Latencies of one block, in µs.
pub(crate) type Block = Histogram<u64>;

/// A histogram with an error of a thousandth.
pub(crate) fn empty() -> Block {
    Histogram::new_with_bounds(1, 600_000_000, 3).unwrap_or_else(|_| unreachable!("constant bounds"))
}

/// Resamples of the bootstrap.
const RESAMPLES: usize = 2000;

/// A quantile of all blocks together over that of others, with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Ratio {
    /// Of nothing.
    pub(crate) const NONE: Self = Self { value: f64::NAN, low: f64::NAN, high: f64::NAN };

    pub(crate) fn width(self) -> f64 {
        self.high - self.low
    }
}

/// Several blocks as one.
pub(crate) fn together<'a>(blocks: impl IntoIterator<Item = &'a Block>) -> Block {
    let mut all = empty();
    for block in blocks {
        all.add(block).unwrap_or_else(|_| unreachable!("the bounds are the same"));
    }
    all
}

/// The quantile of all blocks together.
pub(crate) fn pooled<'a>(blocks: impl IntoIterator<Item = &'a Block>, quantile: f64) -> f64 {
    together(blocks).value_at_quantile(quantile) as f64
}

/// The quantile of `ours` over that of `others`, block `n` of both from the same round. Rounds are drawn again and again,
/// with replacement: what differs from round to round counts as much as it should, and what a round's blocks have in
/// common cancels out.
pub(crate) fn ratio(ours: &[Block], others: &[Block], quantile: f64, seed: u64) -> Ratio {
    let rounds = ours.len().min(others.len());
    let value = pooled(&ours[..rounds], quantile) / pooled(&others[..rounds], quantile);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut resampled: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn: Vec<usize> = (0..rounds).map(|_| rng.usize(..rounds)).collect();
            let pool = |of: &[Block]| pooled(drawn.iter().map(|round| &of[*round]), quantile);
            pool(ours) / pool(others)
        })
        .collect();
    resampled.sort_by(f64::total_cmp);
    let at = |share: f64| resampled[((RESAMPLES - 1) as f64 * share).round() as usize];
    Ratio { value, low: at(0.025), high: at(0.975) }
}

/// The median over rounds of the ratio of a quantile within the round.
pub(crate) fn paired(ours: &[Block], others: &[Block], quantile: f64) -> f64 {
    let mut ratios: Vec<f64> = ours
        .iter()
        .zip(others)
        .map(|(ours, others)| {
            ours.value_at_quantile(quantile) as f64 / others.value_at_quantile(quantile).max(1) as f64
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
}
