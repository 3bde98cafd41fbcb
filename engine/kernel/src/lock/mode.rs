//! Lock modes, their compatibility and their least upper bounds (Gray et al. 1976).

use std::fmt;

/// How a resource is locked. The intention modes announce locks on parts of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    IntentionShared,
    IntentionExclusive,
    Shared,
    SharedIntentionExclusive,
    Exclusive,
}

impl Mode {
    pub const ALL: [Mode; 5] = [
        Mode::IntentionShared,
        Mode::IntentionExclusive,
        Mode::Shared,
        Mode::SharedIntentionExclusive,
        Mode::Exclusive,
    ];

    /// True where two transactions may hold these modes on one resource at once.
    pub fn is_compatible(self, other: Mode) -> bool {
        use Mode::*;
        match (self, other) {
            (Exclusive, _) | (_, Exclusive) => false,
            (IntentionShared, _) | (_, IntentionShared) => true,
            (IntentionExclusive, IntentionExclusive) | (Shared, Shared) => true,
            _ => false,
        }
    }

    /// The weakest mode that allows everything that either of the two allows.
    pub fn join(self, other: Mode) -> Mode {
        use Mode::*;
        match (self, other) {
            (Exclusive, _) | (_, Exclusive) => Exclusive,
            (IntentionExclusive, Shared) | (Shared, IntentionExclusive) => SharedIntentionExclusive,
            // Apart from the pair above the declaration order is the order of strength.
            _ => self.max(other),
        }
    }

    /// True where a holder of `self` needs nothing more to do what `other` allows.
    pub fn covers(self, other: Mode) -> bool {
        self.join(other) == self
    }

    pub fn name(self) -> &'static str {
        match self {
            Mode::IntentionShared => "intention_shared",
            Mode::IntentionExclusive => "intention_exclusive",
            Mode::Shared => "shared",
            Mode::SharedIntentionExclusive => "shared_intention_exclusive",
            Mode::Exclusive => "exclusive",
        }
    }

    /// The mode of that [`name`](Mode::name).
    pub fn named(name: &str) -> Option<Mode> {
        Mode::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Mode::{self, *};

    #[test]
    fn the_compatibility_matrix_is_that_of_gray() {
        // Rows and columns: IS, IX, S, SIX, X.
        let matrix = ["yyyyn", "yynnn", "ynynn", "ynnnn", "nnnnn"];
        for (row, a) in Mode::ALL.into_iter().enumerate() {
            for (column, b) in Mode::ALL.into_iter().enumerate() {
                let expected = matrix[row].as_bytes()[column] == b'y';
                assert_eq!(a.is_compatible(b), expected, "{a} with {b}");
            }
        }
    }

    #[test]
    fn a_join_conflicts_with_whatever_either_conflicts_with() {
        for a in Mode::ALL {
            for b in Mode::ALL {
                let join = a.join(b);
                assert_eq!(join, b.join(a));
                assert!(join.covers(a) && join.covers(b));
                for other in Mode::ALL {
                    let either = a.is_compatible(other) && b.is_compatible(other);
                    assert_eq!(join.is_compatible(other), either, "{a} and {b} against {other}");
                }
            }
        }
        assert_eq!(Shared.join(IntentionExclusive), SharedIntentionExclusive);
    }

    #[test]
    fn names_lead_back_to_their_modes() {
        for mode in Mode::ALL {
            assert_eq!(Mode::named(mode.name()), Some(mode));
        }
        assert_eq!(Mode::named("none"), None);
    }
}
