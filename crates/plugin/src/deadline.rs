//! Points in time by which to give up.

use std::time::{Duration, Instant};

/// An absolute point in time. Unlike a duration it can be handed down without being used up anew
/// by each of the waits below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

/// Ten years: no clock overflows, and nobody waits for it.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 86_400);

impl Deadline {
    /// `duration` from now, which may be as long as any number of a config says.
    #[must_use]
    pub fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration.min(FOR_EVER))
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
        assert!(!Deadline::after(Duration::MAX).has_passed());
    }
}
