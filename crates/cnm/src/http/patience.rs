//! Waiting for a server that is being started.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The first pause between two attempts; each is twice as long as the one before it.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// How long to wait, in all, for a server that is not there.
///
/// One budget for all calls to it, so that one that stays away costs it once and not with every
/// call. Beginning to listen is not an event that can be waited for, so this asks again and again.
#[derive(Debug)]
pub struct Patience {
    left: Mutex<Duration>,
}

/// How an attempt failed.
#[derive(Debug)]
pub enum Attempt<E> {
    /// There is nobody yet; nothing was sent.
    NotThere(E),
    /// For good.
    Failed(E),
}

impl Default for Patience {
    /// Three seconds: a driver starts again in less, and a runtime has more left to give.
    fn default() -> Self {
        Self::of(Duration::from_secs(3))
    }
}

impl Patience {
    /// So much.
    #[must_use]
    pub const fn of(total: Duration) -> Self {
        Self {
            left: Mutex::new(total),
        }
    }

    /// None: a server that is not there now is not there.
    #[must_use]
    pub const fn none() -> Self {
        Self::of(Duration::ZERO)
    }

    /// Attempts until there is somebody, patience is at its end, or the deadline is too near for
    /// another pause.
    ///
    /// # Errors
    /// The last attempt's.
    pub fn spend<T, E>(
        &self,
        deadline: Instant,
        mut attempt: impl FnMut() -> Result<T, Attempt<E>>,
    ) -> Result<T, E> {
        let mut pause = FIRST_PAUSE;
        loop {
            match attempt() {
                Ok(there) => return Ok(there),
                Err(Attempt::Failed(error)) => return Err(error),
                Err(Attempt::NotThere(error)) => {
                    let Some(next) = self.take(pause, deadline) else {
                        return Err(error);
                    };
                    wait(next);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Takes a pause, or what is left, out of the budget.
    fn take(&self, pause: Duration, deadline: Instant) -> Option<Duration> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = pause.min(*left);
        if pause.is_zero() || deadline.saturating_duration_since(Instant::now()) <= pause {
            return None;
        }
        *left -= pause;
        Some(pause)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "nothing tells when a server begins to listen"
)]
fn wait(pause: Duration) {
    std::thread::sleep(pause);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn absent(attempts: &mut u32) -> Result<(), Attempt<u32>> {
        *attempts += 1;
        Err(Attempt::NotThere(*attempts))
    }

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn the_last_attempt_is_told_and_the_budget_is_spent_once() {
        let patience = Patience::of(Duration::from_millis(30));
        let mut attempts = 0;
        // 5 + 10 + 15 ms of pauses lie between four attempts.
        assert_eq!(patience.spend(far(), || absent(&mut attempts)), Err(4));
        assert_eq!(patience.spend(far(), || absent(&mut attempts)), Err(5));
    }

    #[test]
    fn without_patience_or_time_there_is_one_attempt() {
        let mut attempts = 0;
        let none = Patience::none();
        assert_eq!(none.spend(far(), || absent(&mut attempts)), Err(1));
        let now = Instant::now();
        assert_eq!(
            Patience::default().spend(now, || absent(&mut attempts)),
            Err(2)
        );
    }

    #[test]
    fn a_server_that_comes_is_waited_for_and_one_that_fails_is_not() {
        let mut left = 3;
        let outcome = Patience::default().spend(far(), || {
            left -= 1;
            if left > 0 {
                Err(Attempt::NotThere(()))
            } else {
                Ok("there")
            }
        });
        assert_eq!(outcome, Ok("there"));
        let mut attempts = 0;
        let outcome: Result<(), _> = Patience::default().spend(far(), || {
            attempts += 1;
            Err(Attempt::Failed("refused"))
        });
        assert_eq!((outcome, attempts), (Err("refused"), 1));
    }
}
