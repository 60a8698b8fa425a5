//! The expressions of a rule, as `nf_tables` executes them: load, compare, look up, decide.
//!
//! A typed subset: what our rules are made of. Whatever else a rule of somebody else holds reads as
//! [`Expr::Other`].

mod wire;

use super::change::Family;

/// What a packet is besides its bytes: `meta ...`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Meta {
    /// Its link protocol, `ETH_P_*`, two bytes: on a bridge, what tells IPv4 from IPv6.
    LinkProtocol,
    /// The packet mark, four bytes in the host's order.
    Mark,
    /// The index of the device it came in by, four bytes in the host's order.
    InputIndex,
    /// The name of the device it came in by, 16 bytes, padded with zeros.
    InputName,
    /// The name of the device it leaves by, likewise.
    OutputName,
    /// Its network protocol as `NFPROTO_*`, one byte. Tells v4 from v6 in an `inet` table.
    Protocol,
    /// Its transport protocol as `IPPROTO_*`, one byte.
    Transport,
}

/// What connection tracking knows about a packet's connection: `ct ...`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ct {
    /// `NF_CT_STATE_BIT`s, four bytes in the host's order.
    State,
    /// `IPS_*` bits, four bytes in the host's order.
    Status,
}

/// Where an offset into the packet counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Header {
    /// The Ethernet header.
    Link,
    /// The IP header.
    Network,
    /// The header of TCP, UDP or SCTP.
    Transport,
}

/// A place in the 64 bytes that a rule computes with, counted in words of four bytes. What lies side
/// by side makes a concatenated key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Register(u8);

/// How the first register has to relate to a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names say it")]
pub enum Relation {
    Equal,
    Different,
    AtMost,
    AtLeast,
}

/// How a rule ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// The packet goes on to the next hook.
    Accept,
    /// The packet is gone.
    Drop,
    /// Back to the caller; in a base chain, its policy.
    Return,
    /// Into another chain and back.
    Jump(String),
    /// Into another chain, not back.
    Goto(String),
}

/// One expression.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Expr {
    /// Loads what is known about the packet.
    Meta(Meta, Register),
    /// Changes it to what the first register holds.
    SetMeta(Meta),
    /// Loads what is known about the packet's connection.
    Ct(Ct, Register),
    /// Loads the kind of the destination address into the first register: `RTN_*`, four bytes in
    /// the host's order.
    DestinationKind,
    /// Loads bytes of the packet.
    Payload {
        /// From which header.
        header: Header,
        /// At which offset, in bytes.
        offset: u32,
        /// How many bytes.
        length: u32,
        /// Into which register.
        register: Register,
    },
    /// Loads a constant.
    Immediate {
        /// Into which register.
        register: Register,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Changes bits of the first register: `& mask`, then `^ xor`.
    Bitwise {
        /// The bits to keep.
        mask: Vec<u8>,
        /// The bits to flip afterwards.
        xor: Vec<u8>,
    },
    /// Goes on if the first register relates to these bytes as wanted.
    Compare {
        /// How.
        relation: Relation,
        /// The bytes, compared as a number in network byte order.
        bytes: Vec<u8>,
    },
    /// Goes on if the key that begins in the first register is in a set, or is not.
    Lookup {
        /// The set.
        set: String,
        /// Goes on if it is *not* in the set.
        inverted: bool,
    },
    /// Goes on if the key that begins in the first register is in a map, and replaces it with what
    /// the map has for it.
    Map {
        /// The map.
        map: String,
    },
    /// Decides.
    Verdict(Verdict),
    /// Gives the packet the address of the interface it leaves by.
    Masquerade,
    /// Gives packets of the family another destination.
    DestinationNat {
        /// [`Family::Ip`] or [`Family::Ip6`].
        family: Family,
        /// Where the address is.
        address: Register,
        /// Where the port is.
        port: Register,
    },
    /// Counts packets and bytes, from zero.
    Counter,
    /// A match of iptables, which this crate writes only as it has read it.
    Match {
        /// Its name.
        name: String,
        /// Which of the structures of that name `info` is.
        revision: u32,
        /// Its `struct xt_*_info`.
        info: Vec<u8>,
    },
    /// What this crate never writes, by its name.
    Other(String),
}

impl Register {
    /// Where every single value goes.
    pub const FIRST: Self = Self(0);

    /// The register that begins behind this many words.
    #[must_use]
    pub const fn word(words: u8) -> Self {
        Self(words)
    }
}

impl Expr {
    /// Keeps the bits of the first register that are set here.
    #[must_use]
    pub fn mask(mask: Vec<u8>) -> Self {
        let xor = vec![0; mask.len()];
        Self::Bitwise { mask, xor }
    }

    /// Goes on if the first register equals these bytes.
    #[must_use]
    pub fn equals(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Compare {
            relation: Relation::Equal,
            bytes: bytes.into(),
        }
    }

    /// Goes on if it does not.
    #[must_use]
    pub fn differs(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Compare {
            relation: Relation::Different,
            bytes: bytes.into(),
        }
    }

    /// Into another chain and back.
    #[must_use]
    pub fn jump(chain: &str) -> Self {
        Self::Verdict(Verdict::Jump(chain.to_owned()))
    }
}
