//! The token bucket filter, `tc-tbf(8)`.

use netlink_packet_core::DefaultNla;
use netlink_packet_route::tc::TcOption;

use crate::frame::{Attrs, u32_at};

const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;

/// Bytes of `struct tc_tbf_qopt`: two `struct tc_ratespec` and three numbers.
const PARMS: usize = 36;
/// Where the rate stands in it, in bytes per second, as far as 32 bits hold it.
const RATE: usize = 8;
const LIMIT: usize = 24;
const BUFFER: usize = 28;

/// What a token bucket filter is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tbf {
    /// Bytes per second.
    pub rate: u64,
    /// How many bytes may wait; what comes on top is dropped.
    pub limit: u32,
    /// How much may be sent at once, as the time it takes at the rate, in
    /// [ticks](super::Psched::ticks).
    pub buffer: u32,
}

impl Tbf {
    /// As `TCA_OPTIONS` of a request.
    pub(super) fn options(&self) -> Vec<TcOption> {
        let mut parms = [0; PARMS];
        let low_rate = u32::try_from(self.rate);
        // The kernel takes the 64 bits wherever they are given.
        let numbers = [
            (RATE, low_rate.unwrap_or(u32::MAX)),
            (LIMIT, self.limit),
            (BUFFER, self.buffer),
        ];
        for (at, number) in numbers {
            if let Some(slot) = parms.get_mut(at..at + 4) {
                slot.copy_from_slice(&number.to_ne_bytes());
            }
        }
        let wide = low_rate
            .is_err()
            .then(|| option(TCA_TBF_RATE64, &self.rate.to_ne_bytes()));
        [Some(option(TCA_TBF_PARMS, &parms)), wide]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Reads `TCA_OPTIONS` of the kernel.
    pub(super) fn parse(options: &[u8]) -> Option<Self> {
        let (mut tbf, mut wide) = (None, None);
        for (kind, value) in Attrs::new(options) {
            match kind {
                TCA_TBF_PARMS => {
                    tbf = Some(Self {
                        rate: u64::from(u32_at(value, RATE)?),
                        limit: u32_at(value, LIMIT)?,
                        buffer: u32_at(value, BUFFER)?,
                    });
                }
                TCA_TBF_RATE64 => {
                    wide = value.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
                }
                _ => {}
            }
        }
        let tbf = tbf?;
        Some(Self {
            rate: wide.unwrap_or(tbf.rate),
            ..tbf
        })
    }
}

fn option(kind: u16, value: &[u8]) -> TcOption {
    TcOption::Other(DefaultNla::new(kind, value.to_vec()))
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable as _;

    use super::*;

    #[test]
    fn rates_beyond_32_bits_are_sent_and_read() {
        for rate in [1, 4_294_967_295, 4_294_967_296, 5_000_000_000] {
            let tbf = Tbf {
                rate,
                limit: 7,
                buffer: 9,
            };
            let options = tbf.options();
            let mut bytes = vec![0; options.as_slice().buffer_len()];
            options.as_slice().emit(&mut bytes);
            assert_eq!(Tbf::parse(&bytes), Some(tbf));
            assert_eq!(options.len() == 2, rate > u64::from(u32::MAX));
        }
    }

    #[test]
    fn parameters_that_are_too_short_are_none() {
        assert_eq!(Tbf::parse(&[]), None);
        assert_eq!(Tbf::parse(&[8, 0, 1, 0, 0, 0, 0, 0]), None);
    }
}
