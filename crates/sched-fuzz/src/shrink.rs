//! The same failure with less.

/// Tries that shrinking may take.
const MOST_TRIES: usize = 1_000;

/// A shorter input that still fails.
pub(crate) fn shrink(input: &[u8], fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut small = input.to_vec();
    let mut tries = 0;
    let mut piece = small.len().div_ceil(2);
    while piece > 0 {
        let mut at = 0;
        let before = small.len();
        while at < small.len() {
            if tries == MOST_TRIES {
                return small;
            }
            tries += 1;
            let less = [&small[..at], &small[(at + piece).min(small.len())..]].concat();
            if fails(&less) {
                small = less;
            } else {
                at += piece;
            }
        }
        // What could not go before may be able to once something else is gone.
        if piece > 1 || small.len() == before {
            piece /= 2;
        }
    }
    small
}
