//! Changes of the ruleset as values, and their form on the wire.

use std::fmt;

use nix::libc;

use super::expr::Expr;
use super::userdata::ByteOrder;
use super::view::BaseChain;

/// The family of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4 and IPv6 together.
    Inet,
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Frames that cross a bridge.
    Bridge,
}

impl Family {
    /// `NFPROTO_*`.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ip => 2,
            Self::Bridge => 7,
            Self::Ip6 => 10,
        }
    }

    pub(super) fn read(number: u32) -> Option<Self> {
        [Self::Inet, Self::Ip, Self::Ip6, Self::Bridge]
            .into_iter()
            .find(|family| u32::from(family.number()) == number)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Bridge => "bridge",
        })
    }
}

/// A table, by family and name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Table {
    /// Its family.
    pub family: Family,
    /// Its name.
    pub name: &'static str,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.family, self.name)
    }
}

/// Where the kernel calls a chain from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// `NF_INET_*` or `NF_BR_*`.
    pub number: u32,
    /// Lower comes first.
    pub priority: i32,
}

/// What the keys of a set, or the data of a map, are: one part, or several side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Type(pub &'static [Part]);

/// One part of a [`Type`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Part {
    /// `ipv4_addr`
    Ipv4,
    /// `ipv6_addr`
    Ipv6,
    /// `ether_addr`
    Ether,
    /// `inet_proto`, of the transport
    Protocol,
    /// `inet_service`
    Port,
    /// `ifname`
    Interface,
}

impl Part {
    /// The number that `nft` stores for a type (`enum datatypes` in its `datatype.h`). The kernel
    /// only keeps it for the next reader.
    fn number(self) -> u32 {
        match self {
            Self::Ipv4 => 7,
            Self::Ipv6 => 8,
            Self::Ether => 9,
            Self::Protocol => 12,
            Self::Port => 13,
            Self::Interface => 41,
        }
    }

    /// Bytes that it takes, padded to whole words in a concatenation.
    fn length(self) -> u32 {
        match self {
            Self::Protocol => 1,
            Self::Port => 2,
            Self::Ipv4 => 4,
            Self::Ether => 6,
            Self::Ipv6 | Self::Interface => 16,
        }
    }

    fn byte_order(self) -> ByteOrder {
        match self {
            Self::Interface => ByteOrder::Host,
            _ => ByteOrder::Big,
        }
    }
}

impl Type {
    /// Six bits for each part.
    pub(super) fn number(self) -> u32 {
        let parts = self.0.iter();
        parts.fold(0, |number, part| number << 6 | part.number())
    }

    /// Bytes.
    pub(super) fn length(self) -> u32 {
        match self.0 {
            [part] => part.length(),
            parts => parts
                .iter()
                .map(|part| part.length().next_multiple_of(4))
                .sum(),
        }
    }

    /// `None` for a concatenation.
    pub(super) fn byte_order(self) -> Option<ByteOrder> {
        match self.0 {
            [part] => Some(part.byte_order()),
            _ => None,
        }
    }
}

/// One change of the ruleset.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are the words of nft(8)")]
pub enum Change {
    /// Makes a table; one that exists stays.
    AddTable(Table),
    /// Deletes a table with all that is in it.
    DeleteTable(Table),
    /// Makes a chain; the same one that exists stays. Without a hook only other chains call it.
    AddChain {
        table: Table,
        chain: &'static str,
        hook: Option<Hook>,
    },
    /// Deletes a chain. Its rules must have been flushed.
    DeleteChain { table: Table, chain: String },
    /// Deletes all rules of a chain.
    FlushChain { table: Table, chain: String },
    /// Makes one more rule at the end of a chain.
    AddRule {
        table: Table,
        chain: &'static str,
        rule: Vec<Expr>,
        comment: Option<String>,
    },
    /// Makes one more rule at the beginning of a chain.
    InsertRule {
        table: Table,
        chain: &'static str,
        rule: Vec<Expr>,
    },
    /// Deletes a rule.
    DeleteRule {
        table: Table,
        chain: String,
        handle: u64,
    },
    /// Makes a set, or a map if there is a type of its data; the same one that exists stays.
    AddSet {
        table: Table,
        set: String,
        key: Type,
        data: Option<Type>,
    },
    /// Deletes a set with its elements. No rule may look it up any more.
    DeleteSet { table: Table, set: String },
    /// Makes an element, which must not exist. Those of maps have data.
    CreateElement {
        table: Table,
        set: String,
        key: Vec<u8>,
        data: Option<Vec<u8>>,
        comment: String,
    },
    /// Deletes an element, which must exist.
    DeleteElement {
        table: Table,
        set: String,
        key: Vec<u8>,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddTable(table) => write!(f, "add table {table}"),
            Self::DeleteTable(table) => write!(f, "delete table {table}"),
            Self::AddChain { table, chain, .. } => write!(f, "add chain {table} {chain}"),
            Self::DeleteChain { table, chain } => write!(f, "delete chain {table} {chain}"),
            Self::FlushChain { table, chain } => write!(f, "flush chain {table} {chain}"),
            Self::AddRule { table, chain, .. } => write!(f, "add rule {table} {chain}"),
            Self::InsertRule { table, chain, .. } => write!(f, "insert rule {table} {chain}"),
            Self::DeleteRule {
                table,
                chain,
                handle,
            } => write!(f, "delete rule {table} {chain} handle {handle}"),
            Self::AddSet {
                table, set, data, ..
            } => {
                let kind = if data.is_some() { "map" } else { "set" };
                write!(f, "add {kind} {table} {set}")
            }
            Self::DeleteSet { table, set } => write!(f, "delete set {table} {set}"),
            Self::CreateElement { table, set, .. } => write!(f, "create element {table} {set}"),
            Self::DeleteElement { table, set, .. } => write!(f, "delete element {table} {set}"),
        }
    }
}

/// Changes that happen all at once or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    /// If given, the kernel refuses the transaction with ERESTART once the ruleset is no longer the
    /// one that had this generation: what was read stays true until it is changed.
    pub generation: Option<u32>,
    /// In this order.
    pub changes: Vec<Change>,
}

/// The hooks that our chains are called from.
impl Hook {
    /// Destination NAT of what comes in: `type nat hook prerouting priority dstnat`.
    pub const DESTINATION_NAT: Self = Self {
        kind: "nat",
        number: 0, // NF_INET_PRE_ROUTING of linux/netfilter.h
        priority: libc::NF_IP_PRI_NAT_DST,
    };
    /// Destination NAT of what the host itself sends: `type nat hook output priority -100`.
    pub const OUTPUT_NAT: Self = Self {
        kind: "nat",
        number: 3, // NF_INET_LOCAL_OUT
        priority: libc::NF_IP_PRI_NAT_DST,
    };
    /// The first look at what comes in: `type filter hook prerouting priority raw`.
    pub const INPUT: Self = Self {
        kind: "filter",
        number: 0, // NF_INET_PRE_ROUTING
        priority: libc::NF_IP_PRI_RAW,
    };
    /// What the host forwards: `type filter hook forward priority filter`.
    pub const FORWARD: Self = Self {
        kind: "filter",
        number: 2, // NF_INET_FORWARD
        priority: libc::NF_IP_PRI_FILTER,
    };
    /// What a bridge forwards between its ports: `type filter hook forward priority filter`, which
    /// is -200 for bridges.
    pub const BRIDGE_FORWARD: Self = Self {
        kind: "filter",
        number: 2, // NF_BR_FORWARD
        priority: -200,
    };
    /// Source NAT, after routing: `type nat hook postrouting priority srcnat`.
    pub const SOURCE_NAT: Self = Self {
        kind: "nat",
        number: 4, // NF_INET_POST_ROUTING
        priority: libc::NF_IP_PRI_NAT_SRC,
    };
    /// The first look at a frame that a bridge port received:
    /// `type filter hook prerouting priority dstnat`, which is -300 for bridges.
    pub const BRIDGE_INPUT: Self = Self {
        kind: "filter",
        number: 0, // NF_BR_PRE_ROUTING of linux/netfilter_bridge.h
        priority: -300,
    };

    /// Whether a chain is called from here.
    pub(crate) fn is_of(&self, chain: &BaseChain) -> bool {
        chain.kind == self.kind && chain.number == self.number && chain.priority == self.priority
    }
}
