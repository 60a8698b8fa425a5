//! Expressions on the wire.

use super::{Ct, Expr, Header, Meta, Register, Relation, Verdict};
use crate::nfnetlink::{Attributes, LIST_ENTRY, Writer};
use crate::nft::change::Family;
use crate::nft::number;

impl Meta {
    const ALL: [Self; 7] = [
        Self::LinkProtocol,
        Self::Mark,
        Self::InputIndex,
        Self::InputName,
        Self::OutputName,
        Self::Protocol,
        Self::Transport,
    ];

    /// `NFT_META_*`
    fn number(self) -> u32 {
        match self {
            Self::LinkProtocol => 1,
            Self::Mark => 3,
            Self::InputIndex => 4,
            Self::InputName => 6,
            Self::OutputName => 7,
            Self::Protocol => 15,
            Self::Transport => 16,
        }
    }

    fn read(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|meta| meta.number() == number)
    }
}

impl Ct {
    /// `NFT_CT_*`
    fn number(self) -> u32 {
        match self {
            Self::State => 0,
            Self::Status => 2,
        }
    }

    fn read(number: u32) -> Option<Self> {
        [Self::State, Self::Status]
            .into_iter()
            .find(|key| key.number() == number)
    }
}

impl Header {
    /// `NFT_PAYLOAD_*_HEADER`
    fn number(self) -> u32 {
        match self {
            Self::Link => 0,
            Self::Network => 1,
            Self::Transport => 2,
        }
    }

    fn read(number: u32) -> Option<Self> {
        [Self::Link, Self::Network, Self::Transport]
            .into_iter()
            .find(|header| header.number() == number)
    }
}

impl Register {
    /// Registers of 16 bytes begin every so many words.
    const QUARTER: u8 = 4;

    /// `NFT_REG_*` where one of 16 bytes begins, `NFT_REG32_*` elsewhere: what the kernel says back
    /// (`nft_dump_register`).
    fn number(self) -> u32 {
        const QUARTERS: u32 = 1;
        const WORDS: u32 = 8;
        if self.0.is_multiple_of(Self::QUARTER) {
            QUARTERS + u32::from(self.0 / Self::QUARTER)
        } else {
            WORDS + u32::from(self.0)
        }
    }

    fn read(number: u32) -> Option<Self> {
        (0..16)
            .map(Self)
            .find(|register| register.number() == number)
    }
}

impl Relation {
    /// `NFT_CMP_*`
    fn number(self) -> u32 {
        match self {
            Self::Equal => 0,
            Self::Different => 1,
            Self::AtMost => 3,
            Self::AtLeast => 5,
        }
    }

    fn read(number: u32) -> Option<Self> {
        [Self::Equal, Self::Different, Self::AtMost, Self::AtLeast]
            .into_iter()
            .find(|relation| relation.number() == number)
    }
}

/// `NFT_REG_VERDICT`
const VERDICT_REGISTER: u32 = 0;
/// `NFT_FIB_RESULT_ADDRTYPE` and `NFTA_FIB_F_DADDR`: `fib daddr type`.
const FIB_ADDRESS_TYPE: u32 = 3;
const FIB_DESTINATION: u32 = 1 << 1;
/// `NFT_NAT_DNAT`
const DESTINATION: u32 = 1;

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
            Self::Meta(..) | Self::SetMeta(_) => "meta",
            Self::Ct(..) => "ct",
            Self::DestinationKind => "fib",
            Self::Payload { .. } => "payload",
            Self::Bitwise { .. } => "bitwise",
            Self::Compare { .. } => "cmp",
            Self::Lookup { .. } | Self::Map { .. } => "lookup",
            Self::Verdict(_) | Self::Immediate { .. } => "immediate",
            Self::Masquerade => "masq",
            Self::DestinationNat { .. } => "nat",
            Self::Counter => "counter",
            Self::Match { .. } => "match",
            Self::Other(name) => name,
        }
    }

    /// Writes the expression as the next entry of a rule's list.
    pub(in crate::nft) fn write(&self, list: &mut Writer<'_>) {
        list.nested(LIST_ENTRY, |entry| {
            entry
                .text(number::EXPR_NAME, self.name())
                .nested(number::EXPR_DATA, |data| {
                    self.write_data(data);
                });
        });
    }

    fn write_data<'a, 'b>(&self, data: &'a mut Writer<'b>) -> &'a mut Writer<'b> {
        let first = Register::FIRST.number();
        match self {
            Self::SetMeta(meta) => data
                .u32(number::META_KEY, meta.number())
                .u32(number::META_SOURCE, first),
            Self::Bitwise { mask, xor } => data
                .u32(number::BITWISE_SOURCE, first)
                .u32(number::BITWISE_DESTINATION, first)
                .u32(
                    number::BITWISE_LENGTH,
                    u32::try_from(mask.len()).unwrap_or_default(),
                )
                .data(number::BITWISE_MASK, mask)
                .data(number::BITWISE_XOR, xor),
            Self::Compare { relation, bytes } => data
                .u32(number::COMPARE_SOURCE, first)
                .u32(number::COMPARE_OPERATION, relation.number())
                .data(number::COMPARE_DATA, bytes),
            Self::Lookup { set, inverted } => data
                .text(number::LOOKUP_SET, set)
                .u32(number::LOOKUP_SOURCE, first)
                .u32(number::LOOKUP_FLAGS, u32::from(*inverted)),
            Self::Map { map } => data
                .text(number::LOOKUP_SET, map)
                .u32(number::LOOKUP_SOURCE, first)
                .u32(number::LOOKUP_DESTINATION, first),
            Self::Verdict(verdict) => data
                .u32(number::IMMEDIATE_DESTINATION, VERDICT_REGISTER)
                .nested(number::IMMEDIATE_DATA, |data| verdict.write(data)),
            Self::DestinationNat {
                family,
                address,
                port,
            } => data
                .u32(number::NAT_TYPE, DESTINATION)
                .u32(number::NAT_FAMILY, u32::from(family.number()))
                .u32(number::NAT_ADDRESS, address.number())
                .u32(number::NAT_PORT, port.number()),
            Self::Match {
                name,
                revision,
                info,
            } => data
                .text(number::MATCH_NAME, name)
                .u32(number::MATCH_REVISION, *revision)
                .bytes(number::MATCH_INFO, info),
            Self::Masquerade | Self::Counter | Self::Other(_) => data,
            _ => self.write_load(data),
        }
    }

    /// Those that only fill registers.
    fn write_load<'a, 'b>(&self, data: &'a mut Writer<'b>) -> &'a mut Writer<'b> {
        match self {
            Self::Meta(meta, register) => data
                .u32(number::META_KEY, meta.number())
                .u32(number::META_DESTINATION, register.number()),
            Self::Ct(key, register) => data
                .u32(number::CT_KEY, key.number())
                .u32(number::CT_DESTINATION, register.number()),
            Self::DestinationKind => data
                .u32(number::FIB_DESTINATION, Register::FIRST.number())
                .u32(number::FIB_RESULT, FIB_ADDRESS_TYPE)
                .u32(number::FIB_FLAGS, FIB_DESTINATION),
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
            Self::Immediate { register, bytes } => data
                .u32(number::IMMEDIATE_DESTINATION, register.number())
                .data(number::IMMEDIATE_DATA, bytes),
            _no_load => data,
        }
    }

    /// Reads one entry of a rule's list.
    pub(in crate::nft) fn read(entry: Attributes<'_>) -> Self {
        let name = entry.text(number::EXPR_NAME).unwrap_or_default();
        let data = entry.nested(number::EXPR_DATA).unwrap_or(Attributes(&[]));
        Self::read_data(&name, data).unwrap_or(Self::Other(name))
    }

    fn read_data(name: &str, data: Attributes<'_>) -> Option<Self> {
        let is_first = |kind| data.u32(kind) == Some(Register::FIRST.number());
        let register = |kind| Register::read(data.u32(kind)?);
        match name {
            "meta" => Self::read_meta(data),
            "ct" => Some(Self::Ct(
                Ct::read(data.u32(number::CT_KEY)?)?,
                register(number::CT_DESTINATION)?,
            )),
            "fib" => (is_first(number::FIB_DESTINATION)
                && data.u32(number::FIB_RESULT) == Some(FIB_ADDRESS_TYPE)
                && data.u32(number::FIB_FLAGS) == Some(FIB_DESTINATION))
            .then_some(Self::DestinationKind),
            "payload" => Some(Self::Payload {
                header: Header::read(data.u32(number::PAYLOAD_BASE)?)?,
                offset: data.u32(number::PAYLOAD_OFFSET)?,
                length: data.u32(number::PAYLOAD_LENGTH)?,
                register: register(number::PAYLOAD_DESTINATION)?,
            }),
            "bitwise" if is_first(number::BITWISE_SOURCE) => Some(Self::Bitwise {
                mask: data.data(number::BITWISE_MASK)?.to_vec(),
                xor: data.data(number::BITWISE_XOR)?.to_vec(),
            }),
            "cmp" if is_first(number::COMPARE_SOURCE) => Some(Self::Compare {
                relation: Relation::read(data.u32(number::COMPARE_OPERATION)?)?,
                bytes: data.data(number::COMPARE_DATA)?.to_vec(),
            }),
            "lookup" if is_first(number::LOOKUP_SOURCE) => Self::read_lookup(data),
            "immediate" => Self::read_immediate(data),
            "masq" => Some(Self::Masquerade),
            "counter" => Some(Self::Counter),
            "match" => Some(Self::Match {
                name: data.text(number::MATCH_NAME)?,
                revision: data.u32(number::MATCH_REVISION)?,
                info: data.bytes(number::MATCH_INFO)?.to_vec(),
            }),
            "nat" if data.u32(number::NAT_TYPE) == Some(DESTINATION) => {
                Some(Self::DestinationNat {
                    family: Family::read(data.u32(number::NAT_FAMILY)?)?,
                    address: register(number::NAT_ADDRESS)?,
                    port: register(number::NAT_PORT)?,
                })
            }
            _ => None,
        }
    }

    fn read_meta(data: Attributes<'_>) -> Option<Self> {
        let meta = Meta::read(data.u32(number::META_KEY)?)?;
        let Some(destination) = data.u32(number::META_DESTINATION) else {
            let source = data.u32(number::META_SOURCE)?;
            return (source == Register::FIRST.number()).then_some(Self::SetMeta(meta));
        };
        Some(Self::Meta(meta, Register::read(destination)?))
    }

    fn read_lookup(data: Attributes<'_>) -> Option<Self> {
        let set = data.text(number::LOOKUP_SET)?;
        let Some(destination) = data.u32(number::LOOKUP_DESTINATION) else {
            let inverted = data.u32(number::LOOKUP_FLAGS).unwrap_or_default() != 0;
            return Some(Self::Lookup { set, inverted });
        };
        (destination == Register::FIRST.number()).then_some(Self::Map { map: set })
    }

    fn read_immediate(data: Attributes<'_>) -> Option<Self> {
        let register = data.u32(number::IMMEDIATE_DESTINATION)?;
        if register == VERDICT_REGISTER {
            return Verdict::read(data.nested(number::IMMEDIATE_DATA)?).map(Self::Verdict);
        }
        Some(Self::Immediate {
            register: Register::read(register)?,
            bytes: data.data(number::IMMEDIATE_DATA)?.to_vec(),
        })
    }
}
