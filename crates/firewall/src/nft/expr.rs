//! The expressions of a rule, as `nf_tables` executes them: load, compare, look up, decide.
//!
//! A typed subset: what our rules are made of. Whatever else a rule of somebody else holds reads as
//! [`Expr::Other`].

use super::attr::{Attributes, Writer, number};

/// What a packet is besides its bytes: `meta ...`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Meta {
    /// The name of the device it came in by, 16 bytes, padded with zeros.
    InputName,
    /// Its network protocol as `NFPROTO_*`, one byte. Tells v4 from v6 in an `inet` table.
    Protocol,
}

/// Where an offset into the packet counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Header {
    /// The Ethernet header.
    Link,
    /// The IP header.
    Network,
}

/// A 16-byte register. Two of them side by side make a concatenated key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Register {
    /// Where every single value goes.
    First,
    /// The second part of a concatenated key.
    Second,
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
    /// Keeps the bits of the first register that are set here.
    Mask(Vec<u8>),
    /// Goes on if the first register equals these bytes, or does not.
    Compare {
        /// Whether equal or different bytes are wanted.
        equal: bool,
        /// The bytes, in network byte order.
        bytes: Vec<u8>,
    },
    /// Goes on if the key that begins in the first register is in a set, or is not.
    Lookup {
        /// The set.
        set: String,
        /// Goes on if it is *not* in the set.
        inverted: bool,
    },
    /// Decides.
    Verdict(Verdict),
    /// Gives the packet the address of the interface it leaves by.
    Masquerade,
    /// What this crate never writes, by its name.
    Other(String),
}

impl Meta {
    /// `NFT_META_*`
    fn number(self) -> u32 {
        match self {
            Self::InputName => 6,
            Self::Protocol => 15,
        }
    }

    fn read(number: u32) -> Option<Self> {
        [Self::InputName, Self::Protocol]
            .into_iter()
            .find(|meta| meta.number() == number)
    }
}

impl Header {
    /// `NFT_PAYLOAD_*_HEADER`
    fn number(self) -> u32 {
        match self {
            Self::Link => 0,
            Self::Network => 1,
        }
    }

    fn read(number: u32) -> Option<Self> {
        [Self::Link, Self::Network]
            .into_iter()
            .find(|header| header.number() == number)
    }
}

impl Register {
    /// `NFT_REG_1`, `NFT_REG_2`
    fn number(self) -> u32 {
        match self {
            Self::First => 1,
            Self::Second => 2,
        }
    }

    fn read(number: u32) -> Option<Self> {
        [Self::First, Self::Second]
            .into_iter()
            .find(|register| register.number() == number)
    }
}

/// `NFT_REG_VERDICT`
const VERDICT_REGISTER: u32 = 0;

impl Verdict {
    /// `NF_*` and `NFT_*` verdicts; those that only `nf_tables` knows are negative.
    fn code(&self) -> i32 {
        match self {
            Self::Drop => 0,
            Self::Accept => 1,
            Self::Jump(_) => -3,
            Self::Goto(_) => -4,
            Self::Return => -5,
        }
    }

    fn chain(&self) -> Option<&str> {
        match self {
            Self::Jump(chain) | Self::Goto(chain) => Some(chain),
            Self::Drop | Self::Accept | Self::Return => None,
        }
    }

    fn write(&self, data: &mut Writer<'_>) {
        data.nested(number::DATA_VERDICT, |verdict| {
            verdict.i32(number::VERDICT_CODE, self.code());
            if let Some(chain) = self.chain() {
                verdict.text(number::VERDICT_CHAIN, chain);
            }
        });
    }

    fn read(data: Attributes<'_>) -> Option<Self> {
        let verdict = data.nested(number::DATA_VERDICT)?;
        let chain = || verdict.text(number::VERDICT_CHAIN);
        match verdict.i32(number::VERDICT_CODE)? {
            0 => Some(Self::Drop),
            1 => Some(Self::Accept),
            -3 => chain().map(Self::Jump),
            -4 => chain().map(Self::Goto),
            -5 => Some(Self::Return),
            _ => None,
        }
    }
}

impl Expr {
    fn name(&self) -> &str {
        match self {
            Self::Meta(..) => "meta",
            Self::Payload { .. } => "payload",
            Self::Mask(_) => "bitwise",
            Self::Compare { .. } => "cmp",
            Self::Lookup { .. } => "lookup",
            Self::Verdict(_) => "immediate",
            Self::Masquerade => "masq",
            Self::Other(name) => name,
        }
    }

    /// Writes the expression as the next entry of a rule's list.
    pub(super) fn write(&self, list: &mut Writer<'_>) {
        list.nested(number::ENTRY, |entry| {
            entry
                .text(number::EXPR_NAME, self.name())
                .nested(number::EXPR_DATA, |data| self.write_data(data));
        });
    }

    fn write_data(&self, data: &mut Writer<'_>) {
        let first = Register::First.number();
        match self {
            Self::Meta(meta, register) => data
                .u32(number::META_KEY, meta.number())
                .u32(number::META_DESTINATION, register.number()),
            Self::Payload {
                header,
                offset,
                length,
                register,
            } => data
                .u32(number::PAYLOAD_DESTINATION, register.number())
                .u32(number::PAYLOAD_BASE, header.number())
                .u32(number::PAYLOAD_OFFSET, *offset)
                .u32(number::PAYLOAD_LENGTH, *length),
            Self::Mask(mask) => data
                .u32(number::BITWISE_SOURCE, first)
                .u32(number::BITWISE_DESTINATION, first)
                .u32(
                    number::BITWISE_LENGTH,
                    u32::try_from(mask.len()).unwrap_or_default(),
                )
                .data(number::BITWISE_MASK, mask)
                .data(number::BITWISE_XOR, &vec![0; mask.len()]),
            Self::Compare { equal, bytes } => data
                .u32(number::COMPARE_SOURCE, first)
                .u32(number::COMPARE_OPERATION, u32::from(!equal))
                .data(number::COMPARE_DATA, bytes),
            Self::Lookup { set, inverted } => data
                .text(number::LOOKUP_SET, set)
                .u32(number::LOOKUP_SOURCE, first)
                .u32(number::LOOKUP_FLAGS, u32::from(*inverted)),
            Self::Verdict(verdict) => data
                .u32(number::IMMEDIATE_DESTINATION, VERDICT_REGISTER)
                .nested(number::IMMEDIATE_DATA, |data| verdict.write(data)),
            Self::Masquerade | Self::Other(_) => data,
        };
    }

    /// Reads one entry of a rule's list.
    pub(super) fn read(entry: Attributes<'_>) -> Self {
        let name = entry.text(number::EXPR_NAME).unwrap_or_default();
        let data = entry.nested(number::EXPR_DATA).unwrap_or(Attributes(&[]));
        Self::read_data(&name, data).unwrap_or(Self::Other(name))
    }

    fn read_data(name: &str, data: Attributes<'_>) -> Option<Self> {
        let is_first = |kind| data.u32(kind) == Some(Register::First.number());
        match name {
            "meta" => Some(Self::Meta(
                Meta::read(data.u32(number::META_KEY)?)?,
                Register::read(data.u32(number::META_DESTINATION)?)?,
            )),
            "payload" => Some(Self::Payload {
                header: Header::read(data.u32(number::PAYLOAD_BASE)?)?,
                offset: data.u32(number::PAYLOAD_OFFSET)?,
                length: data.u32(number::PAYLOAD_LENGTH)?,
                register: Register::read(data.u32(number::PAYLOAD_DESTINATION)?)?,
            }),
            "bitwise" if is_first(number::BITWISE_SOURCE) => {
                Some(Self::Mask(data.data(number::BITWISE_MASK)?.to_vec()))
            }
            "cmp" if is_first(number::COMPARE_SOURCE) => Some(Self::Compare {
                equal: match data.u32(number::COMPARE_OPERATION)? {
                    0 => true,
                    1 => false,
                    _ => return None,
                },
                bytes: data.data(number::COMPARE_DATA)?.to_vec(),
            }),
            "lookup" if is_first(number::LOOKUP_SOURCE) => Some(Self::Lookup {
                set: data.text(number::LOOKUP_SET)?,
                inverted: data.u32(number::LOOKUP_FLAGS).unwrap_or_default() != 0,
            }),
            "immediate" => Verdict::read(data.nested(number::IMMEDIATE_DATA)?).map(Self::Verdict),
            "masq" => Some(Self::Masquerade),
            _ => None,
        }
    }
}
