//! What is published, and how: the words in which the caller says it.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::str::FromStr;

use cni_types::{IfName, IpCidr};

use super::Condition;

/// A transport protocol that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// `IPPROTO_*`
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// No protocol that ports can be mapped for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown protocol {0:?}")]
pub struct UnknownProtocol(String);

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    /// In any case, as iptables takes it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Tcp, Self::Udp, Self::Sctp]
            .into_iter()
            .find(|protocol| text.eq_ignore_ascii_case(&protocol.to_string()))
            .ok_or_else(|| UnknownProtocol(text.to_owned()))
    }
}

/// A port of the host and where it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mapping {
    /// The one address of the host that it is for. `None`: all, of both families; unspecified
    /// (`0.0.0.0`, `::`): all of one.
    pub host_ip: Option<IpAddr>,
    /// The host's port.
    pub host_port: NonZeroU16,
    /// The container's port.
    pub container_port: NonZeroU16,
    /// Of which protocol.
    pub protocol: Protocol,
}

impl Mapping {
    /// Whether the mapping is for packets of a family.
    #[must_use]
    pub fn is_for(&self, v6: bool) -> bool {
        self.host_ip.is_none_or(|address| address.is_ipv6() == v6)
    }

    /// The one address of the host that it is for.
    pub(crate) fn single_host(&self) -> Option<IpAddr> {
        self.host_ip.filter(|address| !address.is_unspecified())
    }
}

/// The bit of the packet mark that tells, on the way from the one hook to the other, that a packet
/// comes from the container's own subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MarkBit(u8);

impl MarkBit {
    /// `None` if there is no such bit: they are counted from 0 to 31.
    #[must_use]
    pub const fn new(bit: u8) -> Option<Self> {
        if bit < 32 { Some(Self(bit)) } else { None }
    }

    /// The number of the bit.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The mark that has this bit alone.
    #[must_use]
    pub const fn value(self) -> u32 {
        1 << self.0
    }
}

impl Default for MarkBit {
    /// The reference's: Kubernetes has 14 and 15, Calico 20 to 31.
    fn default() -> Self {
        Self(13)
    }
}

/// Which connections to a mapped port come to the container with the host's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masquerade {
    /// None.
    Never,
    /// Those whose answers would not find their way back otherwise: from the container's own subnet,
    /// and over loopback.
    Needed,
    /// All.
    Always,
}

/// What an attachment publishes, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The container's addresses with the prefix lengths of their subnets. The first one of each
    /// family is what ports are mapped to.
    pub addresses: Vec<IpCidr>,
    /// The mappings.
    pub mappings: Vec<Mapping>,
    /// Whose address the container sees.
    pub masquerade: Masquerade,
    /// How it is told, until then, who needs it.
    pub mark: MarkBit,
    /// The host's interface by which the container's IPv4 address is reached, if mapped ports are to
    /// be reached over loopback. The caller sets its `route_localnet`; packets from outside that
    /// claim to be for loopback, which the kernel lets through then, are dropped here.
    pub loopback: Option<IfName>,
    /// What else IPv4 packets have to be.
    pub condition_v4: Option<Condition>,
    /// What else IPv6 packets have to be.
    pub condition_v6: Option<Condition>,
}

impl Publication {
    /// Mappings that are masqueraded where needed, without loopback and without conditions.
    #[must_use]
    pub fn new(addresses: Vec<IpCidr>, mappings: Vec<Mapping>) -> Self {
        Self {
            addresses,
            mappings,
            masquerade: Masquerade::Needed,
            mark: MarkBit::default(),
            loopback: None,
            condition_v4: None,
            condition_v6: None,
        }
    }

    /// What ports of a family are mapped to.
    pub(crate) fn address(&self, v6: bool) -> Option<IpCidr> {
        let mut addresses = self.addresses.iter().copied();
        addresses.find(|address| address.is_ipv6() == v6)
    }

    pub(super) fn condition(&self, v6: bool) -> Option<&Condition> {
        if v6 {
            self.condition_v6.as_ref()
        } else {
            self.condition_v4.as_ref()
        }
    }
}
