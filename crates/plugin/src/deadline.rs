//! Points in time by which to give up.

use std::time::{Duration, Instant};

/// What is longer comes from a config, and may be more than a clock can be moved on.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// An absolute point in time. Unlike a duration it can be handed down without being used up anew
/// by each of the waits below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// `duration` from now; a year from now, if that is more than anybody can wait.
    #[must_use]
    pub fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration.min(LONGEST))
    }

    /// What is left; zero when it has passed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        self.remaining().is_zero()
    }

    /// The point itself, for interfaces of the standard library.
    #[must_use]
    pub const fn instant(&self) -> Instant {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_down_to_zero() {
        assert!(Deadline::after(Duration::ZERO).has_passed());
        let later = Deadline::after(Duration::from_secs(60));
        assert!(!later.has_passed() && later.remaining() <= Duration::from_secs(60));
    }

    #[test]
    fn no_duration_is_too_long() {
        let never = Deadline::after(Duration::MAX);
        assert!(never.remaining() > LONGEST / 2);
    }
}
