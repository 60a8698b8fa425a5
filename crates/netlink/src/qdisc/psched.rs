//! The packet scheduler's clock. Traffic control tells times in its ticks.

use std::fs;
use std::io;

use crate::ns::OsError;

/// Where the kernel tells how long a tick is.
const FILE: &str = "/proc/net/psched";

/// How long a tick of the packet scheduler is: 64 ns in every kernel since 2.6.31, which says so all
/// the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Psched {
    /// As many ticks ...
    ticks: u64,
    /// ... are as many microseconds.
    micros: u64,
}

/// The clock could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PschedError {
    /// The kernel does not tell.
    #[error("failed to read {FILE}")]
    Read(#[source] OsError),
    /// It tells something else.
    #[error("failed to read {FILE}: {0:?} is no clock")]
    Malformed(String),
}

impl PschedError {
    /// What the person who reads the error can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Read(error) if error.0.kind() == io::ErrorKind::NotFound => Some(
                "does this kernel have traffic control (CONFIG_NET_SCHED), and is /proc mounted?",
            ),
            _ => None,
        }
    }
}

impl Psched {
    /// Asks the kernel.
    ///
    /// # Errors
    /// It does not tell.
    pub fn read() -> Result<Self, PschedError> {
        let text = fs::read_to_string(FILE).map_err(|error| PschedError::Read(OsError(error)))?;
        Self::parse(&text).ok_or(PschedError::Malformed(text))
    }

    /// Four hexadecimal numbers: nanoseconds of a microsecond and of a tick, the clock's resolution
    /// and the timer's. Read as iproute2's `tc_core_init` and the reference plugins do.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let mut number = || {
            u64::from_str_radix(words.next()?, 16)
                .ok()
                .filter(|n| *n > 0)
        };
        let (micro, tick, resolution) = (number()?, number()?, number()?);
        // Old kernels with a clock of nanoseconds told the first number wrongly.
        let micro = if resolution == 1_000_000_000 {
            tick
        } else {
            micro
        };
        Some(Self {
            ticks: micro.checked_mul(resolution)?,
            micros: tick.checked_mul(1_000_000)?,
        })
    }

    /// How many ticks have passed after `micros` microseconds, rounded down.
    #[must_use]
    pub fn ticks(self, micros: u64) -> u64 {
        let ticks = u128::from(micros) * u128::from(self.ticks) / u128::from(self.micros);
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_64_nanoseconds() {
        let clock = Psched::parse("000003e8 00000040 000f4240 3b9aca00\n").unwrap();
        assert_eq!(clock.ticks(1_000_000), 15_625_000);
        assert_eq!(clock.ticks(1), 15, "rounded down");
        assert_eq!(clock.ticks(0), 0);
        assert!(clock.ticks(u64::MAX) > u64::MAX / 2, "no overflow");
    }

    #[test]
    fn a_clock_of_nanoseconds() {
        let clock = Psched::parse("00000001 000003e8 3b9aca00 3b9aca00").unwrap();
        assert_eq!(clock.ticks(1), 1000);
    }

    #[test]
    fn what_is_no_clock_is_refused() {
        for text in [
            "",
            "3e8",
            "3e8 40",
            "3e8 0 f4240",
            "x y z",
            "ffffffffffffffff 1 ffffffff",
        ] {
            assert_eq!(Psched::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn this_kernel_has_one() {
        assert_ne!(Psched::read().unwrap().ticks(1_000_000), 0);
    }
}
