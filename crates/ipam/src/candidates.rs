//! The order in which the addresses of a set are offered.

use std::net::IpAddr;

use crate::addr::{predecessor, successor};
use crate::blocks::{Bitmap, Block};
use crate::range::{Range, RangeSet};

/// Every address of a range set once, gateways left out.
///
/// The walk begins after the address that was reserved last and wraps around, so that it comes to
/// that one last of all: an address that was just released is not given to somebody else while
/// neighbours, connection tracking and DNS still know its old owner. Where the last address is
/// unknown, or no longer in the set, it begins at the beginning.
#[derive(Debug, Clone)]
pub struct Candidates<'a> {
    set: &'a RangeSet,
    /// The address to look at next, and the index of its range; `None` when the turn is over.
    next: Option<(usize, IpAddr)>,
    /// Where the turn began.
    first: IpAddr,
}

impl<'a> Candidates<'a> {
    pub(crate) fn new(set: &'a RangeSet, last_reserved: Option<IpAddr>) -> Self {
        let after_last = last_reserved.and_then(|last| {
            let index = set.ranges().iter().position(|range| range.contains(last))?;
            step(set, index, last)
        });
        let beginning = || set.ranges().first().map(|range| (0, range.start()));
        let next = after_last.or_else(beginning);
        let first = next.map_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), |(_, addr)| {
            addr
        });
        Self { set, next, first }
    }

    /// Goes on to the next address that is free, which may be 256 taken ones away: `taken` is asked
    /// about as many at a time.
    ///
    /// # Errors
    /// Those of `taken`.
    pub fn next_free<E>(
        &mut self,
        mut taken: impl FnMut(Block) -> Result<Bitmap, E>,
    ) -> Result<Option<(IpAddr, &'a Range)>, E> {
        while let Some((index, addr)) = self.next {
            let Some(range) = self.set.ranges().get(index) else {
                break;
            };
            let (block, from) = Block::of(addr);
            let last = self.last_of_stretch(range, addr).min(block.addr(u8::MAX));
            let mut bitmap = taken(block)?;
            self.take_gateways(block, &mut bitmap);
            let free = bitmap.first_free(from, Block::of(last).1);
            let looked_at = free.map_or(last, |offset| block.addr(offset));
            self.next = self.after(index, looked_at);
            if free.is_some() {
                return Ok(Some((looked_at, range)));
            }
        }
        Ok(None)
    }

    /// The last address of a range that the walk comes to without leaving the range or meeting its
    /// own beginning.
    fn last_of_stretch(&self, range: &Range, addr: IpAddr) -> IpAddr {
        let ends_before = self.first > addr && range.contains(self.first);
        let before = predecessor(self.first).filter(|_| ends_before);
        before.unwrap_or(range.end())
    }

    fn take_gateways(&self, block: Block, bitmap: &mut Bitmap) {
        for range in self.set.ranges() {
            let (home, offset) = Block::of(range.gateway());
            if home == block {
                bitmap.set(offset, true);
            }
        }
    }

    fn after(&self, index: usize, addr: IpAddr) -> Option<(usize, IpAddr)> {
        step(self.set, index, addr).filter(|(_, next)| *next != self.first)
    }
}

/// What comes after `addr` of range `index`: within the range, or the start of the next range.
fn step(set: &RangeSet, index: usize, addr: IpAddr) -> Option<(usize, IpAddr)> {
    let ranges = set.ranges();
    let range = ranges.get(index)?;
    if addr != range.end() {
        return successor(addr).map(|next| (index, next));
    }
    let index = (index + 1) % ranges.len();
    ranges.get(index).map(|range| (index, range.start()))
}

impl<'a> Iterator for Candidates<'a> {
    type Item = (IpAddr, &'a Range);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (index, addr) = self.next?;
            self.next = self.after(index, addr);
            if !self.set.is_gateway(addr) {
                return self.set.ranges().get(index).map(|range| (addr, range));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::range::RangeSpec;

    fn set(ranges: &[(&str, Option<&str>, Option<&str>)]) -> RangeSet {
        let addr = |text: &&str| text.parse().unwrap();
        let specs: Vec<RangeSpec> = ranges
            .iter()
            .map(|(subnet, start, end)| RangeSpec {
                subnet: subnet.parse().unwrap(),
                start: start.as_ref().map(addr),
                end: end.as_ref().map(addr),
                gateway: None,
            })
            .collect();
        RangeSet::new(&specs).unwrap()
    }

    fn walk(set: &RangeSet, last: Option<&str>) -> Vec<String> {
        set.candidates(last.map(|text| text.parse().unwrap()))
            .map(|(addr, _)| addr.to_string())
            .collect()
    }

    #[test]
    fn one_turn_beginning_after_the_last() {
        let set = set(&[("10.0.0.0/29", None, None)]);
        for (last, want) in [
            (None, [2, 3, 4, 5, 6]),
            (Some("10.0.0.1"), [2, 3, 4, 5, 6]),
            (Some("10.0.0.4"), [5, 6, 2, 3, 4]),
            (Some("10.0.0.6"), [2, 3, 4, 5, 6]),
            (Some("10.0.0.7"), [2, 3, 4, 5, 6]),
            (Some("10.9.9.9"), [2, 3, 4, 5, 6]),
            (Some("fd00::1"), [2, 3, 4, 5, 6]),
        ] {
            assert_eq!(
                walk(&set, last),
                want.map(|n| format!("10.0.0.{n}")),
                "{last:?}"
            );
        }
    }

    #[test]
    fn the_turn_goes_through_all_ranges_of_the_set() {
        let set = set(&[
            ("10.0.0.0/29", Some("10.0.0.5"), None),
            ("10.0.1.0/30", None, None),
        ]);
        assert_eq!(walk(&set, None), ["10.0.0.5", "10.0.0.6", "10.0.1.2"]);
        assert_eq!(
            walk(&set, Some("10.0.0.6")),
            ["10.0.1.2", "10.0.0.5", "10.0.0.6"]
        );
        assert_eq!(
            walk(&set, Some("10.0.1.2")),
            ["10.0.0.5", "10.0.0.6", "10.0.1.2"]
        );
    }

    #[test]
    fn each_address_carries_its_own_range() {
        let set = set(&[("10.0.0.0/30", None, None), ("10.0.1.0/30", None, None)]);
        let gateways: Vec<_> = set
            .candidates(None)
            .map(|(_, r)| r.gateway().to_string())
            .collect();
        assert_eq!(gateways, ["10.0.0.1", "10.0.1.1"]);
    }

    #[test]
    fn the_end_of_a_family_is_no_trap() {
        let top = set(&[(
            "255.255.255.248/29",
            Some("255.255.255.254"),
            Some("255.255.255.255"),
        )]);
        assert_eq!(walk(&top, None), ["255.255.255.254", "255.255.255.255"]);
        let all = set(&[("::/0", None, None)]);
        let end = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let next = all.candidates(Some(end.parse().unwrap())).next().unwrap().0;
        assert_eq!(next.to_string(), "::2");
        let all = set(&[("0.0.0.0/0", None, None)]);
        assert_eq!(
            all.candidates(None).next().unwrap().0.to_string(),
            "0.0.0.2"
        );
    }

    #[test]
    fn a_set_of_nothing_but_its_gateway_offers_nothing() {
        let set = set(&[("10.0.0.0/30", Some("10.0.0.1"), Some("10.0.0.1"))]);
        assert_eq!(walk(&set, None), [""; 0]);
        assert_eq!(walk(&set, Some("10.0.0.1")), [""; 0]);
        assert_eq!(set.capacity(), 0);
    }

    #[test]
    fn a_gateway_of_a_sister_range_is_nobodys_address() {
        let spec = |start: &str, end: &str, gateway: Option<&str>| RangeSpec {
            subnet: "10.0.0.0/24".parse().unwrap(),
            start: Some(start.parse().unwrap()),
            end: Some(end.parse().unwrap()),
            gateway: gateway.map(|text| text.parse().unwrap()),
        };
        let set = RangeSet::new(&[
            spec("10.0.0.10", "10.0.0.12", None),
            spec("10.0.0.20", "10.0.0.20", Some("10.0.0.11")),
        ])
        .unwrap();
        assert_eq!(walk(&set, None), ["10.0.0.10", "10.0.0.12", "10.0.0.20"]);
        assert_eq!(set.capacity(), 3);
    }

    /// A set of up to three ranges that may be longer than a block, or begin and end in its midst.
    fn ranges() -> impl Strategy<Value = RangeSet> {
        let offset = || 0_u32..1200;
        let range = (offset(), offset(), proptest::option::of(offset()));
        let ranges = proptest::collection::vec(range, 1..4);
        (any::<bool>(), ranges).prop_filter_map("ranges that overlap", |(is_v6, ranges)| {
            let subnet = if is_v6 { "fd00::/112" } else { "10.0.0.0/16" };
            let spec = |(a, b, gateway): (u32, u32, Option<u32>)| RangeSpec {
                subnet: subnet.parse().unwrap(),
                start: Some(inside(is_v6, a.min(b))),
                end: Some(inside(is_v6, a.max(b))),
                gateway: gateway.map(|gateway| inside(is_v6, gateway)),
            };
            RangeSet::new(&ranges.into_iter().map(spec).collect::<Vec<_>>()).ok()
        })
    }

    fn inside(is_v6: bool, offset: u32) -> IpAddr {
        if is_v6 {
            let network = "fd00::".parse::<Ipv6Addr>().unwrap().to_bits();
            return Ipv6Addr::from_bits(network + u128::from(offset)).into();
        }
        Ipv4Addr::from_bits((10 << 24) + offset).into()
    }

    proptest! {
        #[test]
        fn going_on_to_free_ones_is_walking_and_leaving_out_those_that_are_taken(
            set in ranges(), last in proptest::option::of(0_u32..1300),
            taken in proptest::collection::vec(0_u32..1200, 0..40), dense in any::<bool>(),
        ) {
            let addr = |offset| inside(set.is_ipv6(), offset);
            let listed: Vec<IpAddr> = taken.into_iter().map(addr).collect();
            let is_taken = |addr: IpAddr| listed.contains(&addr) != dense;
            let last = last.map(addr);
            let model: Vec<_> = set.candidates(last).filter(|(addr, _)| !is_taken(*addr)).collect();
            let mut walk = set.candidates(last);
            let mut walked = Vec::new();
            let asked = |block: Block| {
                let mut bitmap = Bitmap::default();
                for offset in 0..=u8::MAX {
                    bitmap.set(offset, is_taken(block.addr(offset)));
                }
                Ok::<_, std::convert::Infallible>(bitmap)
            };
            while let Some(found) = walk.next_free(asked).unwrap() {
                walked.push(found);
            }
            prop_assert_eq!(walked, model);
        }
    }

    #[test]
    fn point_to_point_links_offer_both_addresses_but_the_gateway() {
        for (subnet, last, want) in [
            ("10.0.0.0/31", None, "10.0.0.0"),
            ("10.0.0.0/31", Some("10.0.0.0"), "10.0.0.0"),
            ("fd00::/127", None, "fd00::"),
        ] {
            assert_eq!(walk(&set(&[(subnet, None, None)]), last), [want]);
        }
    }
}
