//! Ranges and range sets, validated by the reference's rules and in its words.
//!
//! A container gets one address from each set; a set is a pool made of one or more ranges.

use std::fmt;
use std::net::IpAddr;

use cni_types::IpCidr;

use crate::addr::{bits_of, predecessor, successor};
use crate::candidates::Candidates;

/// A range as a config has it, with what was left out still missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RangeSpec {
    /// The subnet that the addresses belong to.
    pub subnet: IpCidr,
    /// The first address to hand out.
    pub start: Option<IpAddr>,
    /// The last address to hand out.
    pub end: Option<IpAddr>,
    /// The gateway that containers are told; it may lie outside the subnet.
    pub gateway: Option<IpAddr>,
}

/// A run of addresses of one subnet. Making one is the only validation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    subnet: IpCidr,
    start: IpAddr,
    end: IpAddr,
    gateway: IpAddr,
}

/// The key of a range that an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeField {
    /// `subnet`.
    Subnet,
    /// `rangeStart`.
    Start,
    /// `rangeEnd`.
    End,
}

impl RangeField {
    /// The key as a config has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subnet => "subnet",
            Self::Start => "rangeStart",
            Self::End => "rangeEnd",
        }
    }
}

/// Why a range is refused. The texts are the reference's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// A single address has no room for a gateway and a container.
    #[error("Network {subnet} too small to allocate from")]
    TooSmall {
        /// The subnet as written.
        subnet: IpCidr,
    },
    /// The subnet is written with an address inside it.
    #[error(
        "Network has host bits set. For a subnet mask of length {} the network address is {}",
        subnet.prefix(), subnet.network()
    )]
    HostBits {
        /// The subnet as written.
        subnet: IpCidr,
    },
    /// The first address lies outside the subnet, or after the last one.
    #[error("RangeStart {start} not in network {subnet}")]
    Start {
        /// The first address.
        start: IpAddr,
        /// The subnet.
        subnet: IpCidr,
    },
    /// The last address lies outside the subnet, or before the first one.
    #[error("RangeEnd {end} not in network {subnet}")]
    End {
        /// The last address.
        end: IpAddr,
        /// The subnet.
        subnet: IpCidr,
    },
}

impl RangeError {
    /// The key that the error is about.
    #[must_use]
    pub const fn field(&self) -> RangeField {
        match self {
            Self::TooSmall { .. } | Self::HostBits { .. } => RangeField::Subnet,
            Self::Start { .. } => RangeField::Start,
            Self::End { .. } => RangeField::End,
        }
    }
}

/// Whether every address of the subnet is usable: the two of an RFC 3021 or RFC 6164 link.
fn is_point_to_point(subnet: &IpCidr) -> bool {
    subnet.prefix() + 1 == subnet.bits()
}

/// Without `rangeStart`: the address after the network's. The reference leaves the network
/// address out for IPv6 as well, where it is the routers' anycast address (RFC 4291, 2.6.1).
fn default_start(subnet: &IpCidr) -> IpAddr {
    let network = subnet.network();
    if is_point_to_point(subnet) {
        return network;
    }
    successor(network).unwrap_or(network)
}

/// Without `rangeEnd`: the last address, which for IPv4 is the one before the broadcast address.
fn default_end(subnet: &IpCidr) -> IpAddr {
    let last = subnet.broadcast();
    if subnet.is_ipv6() || is_point_to_point(subnet) {
        return last;
    }
    predecessor(last).unwrap_or(last)
}

impl Range {
    /// Validates a range and fills in what was left out: the gateway is the address after the
    /// network's, the range all that remains of the subnet without network and broadcast address.
    ///
    /// A /31 (RFC 3021) and a /127 (RFC 6164) have neither, so both their addresses count; the
    /// default gateway is still the higher one, which leaves the lower one to a container.
    ///
    /// # Errors
    /// As the reference: see [`RangeError`].
    pub fn new(spec: &RangeSpec) -> Result<Self, RangeError> {
        let subnet = spec.subnet;
        if subnet.prefix() >= subnet.bits() {
            return Err(RangeError::TooSmall { subnet });
        }
        if subnet.addr() != subnet.network() {
            return Err(RangeError::HostBits { subnet });
        }
        let gateway = spec.gateway.map(|addr| addr.to_canonical());
        let start = spec.start.map(|addr| addr.to_canonical());
        let end = spec.end.map(|addr| addr.to_canonical());
        let range = Self {
            subnet,
            start: start.unwrap_or_else(|| default_start(&subnet)),
            end: end.unwrap_or_else(|| default_end(&subnet)),
            gateway: gateway
                .or_else(|| successor(subnet.network()))
                .unwrap_or_else(|| subnet.network()),
        };
        range.check_bounds(spec)
    }

    /// In the reference's order, which decides the error where both bounds are wrong: a given
    /// start against the subnet and a given end, then a given end against the subnet and the
    /// start. The last case the reference takes, and hands out addresses of other subnets.
    fn check_bounds(self, given: &RangeSpec) -> Result<Self, RangeError> {
        let Self {
            subnet, start, end, ..
        } = self;
        let reversed = start > end;
        if given.start.is_some() && (!subnet.contains(start) || (given.end.is_some() && reversed)) {
            return Err(RangeError::Start { start, subnet });
        }
        if given.end.is_some() && (!subnet.contains(end) || reversed) {
            return Err(RangeError::End { end, subnet });
        }
        if reversed {
            return Err(RangeError::Start { start, subnet });
        }
        Ok(self)
    }

    /// The subnet.
    #[must_use]
    pub const fn subnet(&self) -> IpCidr {
        self.subnet
    }

    /// The first address to hand out.
    #[must_use]
    pub const fn start(&self) -> IpAddr {
        self.start
    }

    /// The last address to hand out.
    #[must_use]
    pub const fn end(&self) -> IpAddr {
        self.end
    }

    /// The gateway.
    #[must_use]
    pub const fn gateway(&self) -> IpAddr {
        self.gateway
    }

    /// Whether `addr` is between the first and the last address, the gateway included.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        addr.is_ipv6() == self.start.is_ipv6() && (self.start..=self.end).contains(&addr)
    }

    /// Whether the two have an address in common. Two parts of one subnet do not.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.start) || other.contains(self.start)
    }

    /// How many addresses there are, the gateway included; all of `::/0` counts one less.
    #[must_use]
    pub fn size(&self) -> u128 {
        (bits_of(self.end) - bits_of(self.start)).saturating_add(1)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

/// Ranges of one family that do not overlap: a pool. Making one is the only validation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeSet(Vec<Range>);

/// Why a range set is refused. The texts are the reference's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeSetError {
    /// There is no range.
    #[error("empty range set")]
    Empty,
    /// One of the ranges is refused; the text is its error's.
    #[error("{error}")]
    Range {
        /// Which range of the set, from 0.
        index: usize,
        /// Why.
        error: RangeError,
    },
    /// IPv4 and IPv6 in one set.
    #[error("mixed address families")]
    MixedFamilies {
        /// The first range of the other family, from 0.
        index: usize,
    },
    /// Two ranges share addresses.
    #[error("subnets {} and {} overlap", ranges.0, ranges.1)]
    Overlap {
        /// The earlier one and the later one.
        ranges: Box<(Range, Range)>,
        /// Which range of the set the later one is, from 0.
        index: usize,
    },
}

impl RangeSetError {
    /// Which range of the set is wrong, and which key of it, where there is just one.
    #[must_use]
    pub const fn place(&self) -> Option<(usize, RangeField)> {
        match self {
            Self::Empty => None,
            Self::Range { index, error } => Some((*index, error.field())),
            Self::MixedFamilies { index } | Self::Overlap { index, .. } => {
                Some((*index, RangeField::Subnet))
            }
        }
    }
}

impl RangeSet {
    /// Validates the ranges, each for itself and then together.
    ///
    /// # Errors
    /// As the reference: see [`RangeSetError`].
    pub fn new(specs: &[RangeSpec]) -> Result<Self, RangeSetError> {
        let mut ranges: Vec<Range> = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            let range = Range::new(spec).map_err(|error| RangeSetError::Range { index, error })?;
            if ranges
                .first()
                .is_some_and(|first| first.start.is_ipv6() != range.start.is_ipv6())
            {
                return Err(RangeSetError::MixedFamilies { index });
            }
            ranges.push(range);
        }
        if ranges.is_empty() {
            return Err(RangeSetError::Empty);
        }
        let mut later = ranges.iter().enumerate();
        while let Some((_, first)) = later.next() {
            if let Some((index, second)) = later.clone().find(|(_, other)| first.overlaps(other)) {
                let ranges = Box::new((*first, *second));
                return Err(RangeSetError::Overlap { ranges, index });
            }
        }
        Ok(Self(ranges))
    }

    /// The ranges, at least one.
    #[must_use]
    pub fn ranges(&self) -> &[Range] {
        &self.0
    }

    /// Whether this is a set of IPv6 addresses.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        self.0.first().is_some_and(|range| range.start.is_ipv6())
    }

    /// The range that `addr` is in.
    #[must_use]
    pub fn range_of(&self, addr: IpAddr) -> Option<&Range> {
        self.0.iter().find(|range| range.contains(addr))
    }

    /// Whether one of the ranges holds `addr`.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.range_of(addr).is_some()
    }

    /// Whether `addr` is the gateway of any of the ranges, and so nobody's to have.
    #[must_use]
    pub fn is_gateway(&self, addr: IpAddr) -> bool {
        self.0.iter().any(|range| range.gateway == addr)
    }

    /// Whether the two have an address in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0
            .iter()
            .any(|mine| other.0.iter().any(|theirs| mine.overlaps(theirs)))
    }

    /// How many addresses can be handed out: all but the gateways.
    #[must_use]
    pub fn capacity(&self) -> u128 {
        let all = self
            .0
            .iter()
            .fold(0_u128, |sum, range| sum.saturating_add(range.size()));
        let mut gateways: Vec<IpAddr> = self.0.iter().map(Range::gateway).collect();
        gateways.sort_unstable();
        gateways.dedup();
        let inside = gateways.iter().filter(|addr| self.contains(**addr)).count();
        all - inside as u128
    }

    /// The addresses in the order in which they are offered: see [`Candidates`].
    #[must_use]
    pub fn candidates(&self, last_reserved: Option<IpAddr>) -> Candidates<'_> {
        Candidates::new(self, last_reserved)
    }
}

/// As the reference prints a set: `10.0.0.1-10.0.0.6,10.0.1.1-10.0.1.6`.
impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{range}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
