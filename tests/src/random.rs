//! Random choices that can be made again: whoever knows the seed gets the same ones.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Pseudo-random numbers (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Those of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One of another sequence for each `stream`, as each thread needs.
    #[must_use]
    pub fn stream(seed: u64, stream: u64) -> Self {
        Self(Self::new(seed ^ stream.rotate_left(32)).number())
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() % u64::try_from(limit).unwrap()).unwrap()
    }

    /// True so often in a hundred times.
    pub fn percent(&mut self, of_hundred: usize) -> bool {
        self.below(100) < of_hundred
    }

    /// A time shorter than `limit`.
    pub fn shorter_than(&mut self, limit: Duration) -> Duration {
        let micros = usize::try_from(limit.as_micros()).unwrap();
        Duration::from_micros(u64::try_from(self.below(micros)).unwrap())
    }
}

/// The seed in the environment variable, or else a new one. It is said aloud, for a failure to be tried again.
pub fn seed(variable: &str) -> u64 {
    let given = std::env::var(variable).ok();
    let seed = given.map_or_else(from_the_clock, |text| text.parse().unwrap());
    eprintln!("{variable}={seed}");
    seed
}

fn from_the_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Random::new(u64::from(now.subsec_nanos()) ^ now.as_secs()).number() >> 32
}

/// A number in the environment variable, e.g. how long a test goes on.
pub fn number(variable: &str, default: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|error| panic!("{variable}={text}: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_tells_all_that_follows() {
        let of = |seed| {
            let mut random = Random::new(seed);
            [random.number(), random.number(), random.number()]
        };
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
        assert_ne!(Random::stream(7, 0).number(), Random::stream(7, 1).number());
    }

    #[test]
    fn every_number_below_the_limit_comes() {
        let mut random = Random::new(1);
        let mut seen = [0; 5];
        for _ in 0..500 {
            seen[random.below(5)] += 1;
        }
        assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
    }
}
