//! The attempts that a domain counts, each at a position that does not change.

use super::index::ActiveIx;

/// A list of attempts. Nobody is moved when another leaves: with thousands under way, a moved entry would be one more
/// far place in memory to tell its new position.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// None where somebody has left.
    seats: Vec<ActiveIx>,
    free: Vec<u32>,
}

impl Roster {
    /// Adds an attempt; returns its position.
    pub(super) fn add(&mut self, active: ActiveIx) -> u32 {
        if let Some(free) = self.free.pop() {
            self.seats[free as usize] = active;
            return free;
        }
        self.seats.push(active);
        self.seats.len() as u32 - 1
    }

    /// Takes out the attempt at a position.
    pub(super) fn remove(&mut self, position: u32) {
        if position as usize + 1 == self.seats.len() {
            self.seats.pop();
        } else {
            self.seats[position as usize] = ActiveIx::NONE;
            self.free.push(position);
        }
        if self.is_empty() {
            self.seats.clear();
            self.free.clear();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.seats.len() - self.free.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = ActiveIx> + '_ {
        self.seats.iter().copied().filter(|active| !active.is_none())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_list_of_who_is_in(steps in prop::collection::vec(any::<(bool, u8)>(), 0..200)) {
            let mut roster = Roster::default();
            let mut model: Vec<(u32, ActiveIx)> = Vec::new();
            for (n, (add, pick)) in steps.into_iter().enumerate() {
                if add || model.is_empty() {
                    let active = ActiveIx::new(n);
                    let position = roster.add(active);
                    prop_assert!(model.iter().all(|(taken, _)| *taken != position));
                    model.push((position, active));
                } else {
                    let (position, _) = model.swap_remove(usize::from(pick) % model.len());
                    roster.remove(position);
                }
                model.sort();
                prop_assert_eq!(roster.len(), model.len());
                prop_assert_eq!(roster.is_empty(), model.is_empty());
                let listed: Vec<_> = roster.iter().collect();
                let expected: Vec<_> = model.iter().map(|(_, active)| *active).collect();
                prop_assert_eq!(listed, expected);
            }
        }
    }
}
