//! What is wanted, in the kernel's terms. Pure.

use cni_netlink::{Psched, Tbf};

use crate::config::Limit;

/// For how long packets may wait for a token, in microseconds. More than can be sent in that time,
/// and in a burst, is dropped.
const LATENCY_MICROS: u128 = 25_000;

/// A limit as the parameters of a token bucket, the same as the reference's.
///
/// What 32 bits cannot hold is as much as they can. A burst of 275 seconds or more is such a thing,
/// and no rarity: runtimes ask for one of 2^31 bits, whatever the rate.
pub(crate) fn bucket(limit: &Limit, clock: Psched) -> Tbf {
    let ticks = clock.ticks(limit.burst_micros());
    Tbf {
        rate: limit.rate,
        limit: u32::try_from(waiting(limit)).unwrap_or(u32::MAX),
        buffer: u32::try_from(ticks).unwrap_or(u32::MAX),
    }
}

/// The same as the reference sets it: what 32 bits cannot hold loses its higher bits.
fn references_bucket(limit: &Limit, clock: Psched) -> Tbf {
    let micros = low(limit.burst_micros().into());
    let ticks = clock.ticks(u64::from(micros));
    Tbf {
        rate: limit.rate,
        limit: low(waiting(limit)),
        buffer: low(ticks.into()),
    }
}

/// How many bytes may wait.
fn waiting(limit: &Limit) -> u128 {
    u128::from(limit.rate) * LATENCY_MICROS / 1_000_000 + u128::from(limit.burst)
}

/// The lower 32 bits.
fn low(number: u128) -> u32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Where a token bucket differs from what the limit asks for, in the reference's words. What the
/// reference has set is as good: the attachment may be older than an upgrade.
pub(crate) fn differences(limit: &Limit, clock: Psched, found: &Tbf) -> Vec<String> {
    let (ours, theirs) = (bucket(limit, clock), references_bucket(limit, clock));
    let compare = |what: &str, unit: &str, is: u64, ours: u64, theirs: u64| {
        (is != ours && is != theirs)
            .then(|| format!("{what} doesn't match: it is {is} {unit}, and should be {ours}"))
    };
    let number = |of: fn(&Tbf) -> u32| [found, &ours, &theirs].map(|tbf| u64::from(of(tbf)));
    let [limit_is, limit_ours, limit_theirs] = number(|tbf| tbf.limit);
    let [buffer_is, buffer_ours, buffer_theirs] = number(|tbf| tbf.buffer);
    [
        compare(
            "Rate",
            "bytes per second",
            found.rate,
            ours.rate,
            theirs.rate,
        ),
        compare("Limit", "bytes", limit_is, limit_ours, limit_theirs),
        compare("Buffer", "ticks", buffer_is, buffer_ours, buffer_theirs),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Psched {
        Psched::parse("000003e8 00000040 000f4240 3b9aca00").unwrap()
    }

    const fn limit(rate: u64, burst: u32) -> Limit {
        Limit { rate, burst }
    }

    fn tbf(limit: &Limit) -> (u64, u32, u32) {
        let Tbf {
            rate,
            limit,
            buffer,
        } = bucket(limit, clock());
        (rate, limit, buffer)
    }

    /// The numbers are those that the reference 1.1.1 sends, recorded with strace.
    #[test]
    fn the_parameters_are_the_references() {
        for (rate, burst, expected) in [
            (1_000_000, 1_000_000, (1_000_000, 1_025_000, 15_625_000)),
            (2_000_000, 100_000, (2_000_000, 150_000, 781_250)),
        ] {
            let limit = limit(rate, burst);
            assert_eq!(tbf(&limit), expected);
            assert_eq!(bucket(&limit, clock()), references_bucket(&limit, clock()));
        }
    }

    #[test]
    fn numbers_are_rounded_down() {
        // 333,333.3 microseconds, which are 5,208,328.1 ticks; 75 bytes wait besides the burst.
        assert_eq!(tbf(&limit(3000, 1000)), (3000, 1075, 5_208_328));
        // No byte in 25 ms.
        assert_eq!(tbf(&limit(39, 39)), (39, 39, 15_625_000));
        // A microsecond is 15.6 ticks.
        assert_eq!(tbf(&limit(1_000_000, 1)), (1_000_000, 25_001, 15));
    }

    /// 2^31 - 1 bits, as containerd asks for, at 1 Mbit/s: 2,147 seconds, of which the clock has 275.
    #[test]
    fn a_burst_of_hours_is_as_long_as_can_be() {
        let long = limit(125_000, 268_435_455);
        assert_eq!(tbf(&long), (125_000, 268_438_580, u32::MAX));
        // tc shows it as a burst of 27,917,286 bytes.
        let theirs = references_bucket(&long, clock());
        assert_eq!((theirs.limit, theirs.buffer), (268_438_580, 3_489_660_803));
        for found in [bucket(&long, clock()), theirs] {
            assert_eq!(differences(&long, clock(), &found), Vec::<String>::new());
        }
        let huge = limit(u64::MAX / 8, u32::MAX - 1);
        assert_eq!(bucket(&huge, clock()).limit, u32::MAX);
    }

    #[test]
    fn every_difference_is_told() {
        let wanted = limit(1_000_000, 1_000_000);
        let found = bucket(&limit(2_000_000, 500_000), clock());
        assert_eq!(
            differences(&wanted, clock(), &found),
            [
                "Rate doesn't match: it is 2000000 bytes per second, and should be 1000000",
                "Limit doesn't match: it is 550000 bytes, and should be 1025000",
                "Buffer doesn't match: it is 3906250 ticks, and should be 15625000",
            ]
        );
    }
}
