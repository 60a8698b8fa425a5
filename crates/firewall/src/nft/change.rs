//! Changes of the ruleset as values, and their form on the wire.

use std::fmt;

use nix::libc;

use super::attr::{Writer, number};
use super::expr::Expr;
use super::frame::{ACK, APPEND, CREATE, EXCLUSIVE, Outbox};
use super::userdata;
use super::view::BaseChain;

/// `NFNL_SUBSYS_NFTABLES`, in the high byte of every nf_tables message type.
pub(super) const SUBSYSTEM: u16 = 10;
/// `NFNL_MSG_BATCH_BEGIN` and `_END` of `linux/netfilter/nfnetlink.h`.
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

/// `enum nf_tables_msg_types` of `linux/netfilter/nf_tables.h`.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum Message {
    NewTable = 0,
    DeleteTable = 2,
    NewChain = 3,
    GetChain = 4,
    DeleteChain = 5,
    NewRule = 6,
    GetRule = 7,
    DeleteRule = 8,
    NewSet = 9,
    GetSet = 10,
    DeleteSet = 11,
    NewElement = 12,
    GetElement = 13,
    DeleteElement = 14,
    GetGeneration = 16,
}

impl Message {
    pub(super) fn kind(self) -> u16 {
        SUBSYSTEM << 8 | u16::from(self as u8)
    }
}

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

/// What the keys of a set are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyType {
    /// `ipv4_addr`
    Ipv4,
    /// `ipv6_addr`
    Ipv6,
    /// `ifname`
    Interface,
    /// `ifname . ether_addr`
    InterfaceAndMac,
}

impl KeyType {
    /// The number that `nft` stores for a type (`enum datatypes` in its `datatype.h`), six bits for
    /// each part of a concatenation. The kernel only keeps it for the next reader.
    fn number(self) -> u32 {
        const IPV4: u32 = 7;
        const IPV6: u32 = 8;
        const ETHER: u32 = 9;
        const INTERFACE: u32 = 41;
        match self {
            Self::Ipv4 => IPV4,
            Self::Ipv6 => IPV6,
            Self::Interface => INTERFACE,
            Self::InterfaceAndMac => INTERFACE << 6 | ETHER,
        }
    }

    /// The length of a key in bytes; every part is padded to a multiple of four.
    fn length(self) -> u32 {
        match self {
            Self::Ipv4 => 4,
            Self::Ipv6 | Self::Interface => 16,
            Self::InterfaceAndMac => 24,
        }
    }

    fn byte_order(self) -> Option<userdata::ByteOrder> {
        match self {
            Self::Ipv4 | Self::Ipv6 => Some(userdata::ByteOrder::Big),
            Self::Interface => Some(userdata::ByteOrder::Host),
            Self::InterfaceAndMac => None,
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
    /// Makes a base chain; the same one that exists stays.
    AddChain {
        table: Table,
        chain: &'static str,
        hook: Hook,
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
    /// Makes a set; the same one that exists stays.
    AddSet {
        table: Table,
        set: String,
        key: KeyType,
    },
    /// Deletes a set with its elements. No rule may look it up any more.
    DeleteSet { table: Table, set: String },
    /// Makes an element, which must not exist.
    CreateElement {
        table: Table,
        set: String,
        key: Vec<u8>,
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
            Self::AddSet { table, set, .. } => write!(f, "add set {table} {set}"),
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

impl Transaction {
    /// Writes the batch. The last change alone asks for an acknowledgement; those that fail are
    /// answered anyway (`nfnetlink_rcv_batch`).
    pub(super) fn write(&self, outbox: &mut Outbox) {
        outbox.message(BATCH_BEGIN, 0, (0, SUBSYSTEM), |batch| {
            if let Some(generation) = self.generation {
                batch.u32(number::BATCH_GENERATION, generation);
            }
        });
        let last = self.changes.len().saturating_sub(1);
        for (at, change) in self.changes.iter().enumerate() {
            // Any number serves that is different for each set of a batch.
            let set_id = u32::try_from(at + 1).unwrap_or_default();
            change.write(outbox, if at == last { ACK } else { 0 }, set_id);
        }
        outbox.message(BATCH_END, 0, (0, SUBSYSTEM), |_no_attributes| {});
    }
}

impl Change {
    fn table(&self) -> Table {
        match self {
            Self::AddTable(table)
            | Self::DeleteTable(table)
            | Self::AddChain { table, .. }
            | Self::DeleteChain { table, .. }
            | Self::FlushChain { table, .. }
            | Self::AddRule { table, .. }
            | Self::InsertRule { table, .. }
            | Self::DeleteRule { table, .. }
            | Self::AddSet { table, .. }
            | Self::DeleteSet { table, .. }
            | Self::CreateElement { table, .. }
            | Self::DeleteElement { table, .. } => *table,
        }
    }

    fn message(&self) -> (Message, u16) {
        match self {
            Self::AddTable(_) => (Message::NewTable, CREATE),
            Self::DeleteTable(_) => (Message::DeleteTable, 0),
            Self::AddChain { .. } => (Message::NewChain, CREATE),
            Self::DeleteChain { .. } => (Message::DeleteChain, 0),
            Self::AddRule { .. } => (Message::NewRule, CREATE | APPEND),
            Self::InsertRule { .. } => (Message::NewRule, CREATE),
            Self::FlushChain { .. } | Self::DeleteRule { .. } => (Message::DeleteRule, 0),
            Self::AddSet { .. } => (Message::NewSet, CREATE),
            Self::DeleteSet { .. } => (Message::DeleteSet, 0),
            Self::CreateElement { .. } => (Message::NewElement, CREATE | EXCLUSIVE),
            Self::DeleteElement { .. } => (Message::DeleteElement, 0),
        }
    }

    fn write(&self, outbox: &mut Outbox, flags: u16, set_id: u32) {
        let (message, own_flags) = self.message();
        let table = self.table();
        outbox.message(
            message.kind(),
            own_flags | flags,
            (table.family.number(), 0),
            |body| self.write_attributes(table.name, body, set_id),
        );
    }

    fn write_attributes(&self, table: &str, body: &mut Writer<'_>, set_id: u32) {
        match self {
            Self::AddTable(_) | Self::DeleteTable(_) => {
                body.text(number::TABLE_NAME, table);
            }
            Self::AddChain { chain, hook, .. } => write_chain(table, chain, hook, body),
            Self::DeleteChain { chain, .. } => {
                body.text(number::CHAIN_TABLE, table)
                    .text(number::CHAIN_NAME, chain);
            }
            Self::FlushChain { chain, .. } => {
                write_rule_place(table, chain, body);
            }
            Self::DeleteRule { chain, handle, .. } => {
                write_rule_place(table, chain, body).u64(number::RULE_HANDLE, *handle);
            }
            Self::AddRule { chain, rule, .. } | Self::InsertRule { chain, rule, .. } => {
                write_rule_place(table, chain, body).nested(number::RULE_EXPRESSIONS, |list| {
                    for expr in rule {
                        expr.write(list);
                    }
                });
            }
            Self::AddSet { set, key, .. } => write_set(table, set, *key, set_id, body),
            Self::DeleteSet { set, .. } => {
                body.text(number::SET_TABLE, table)
                    .text(number::SET_NAME, set);
            }
            Self::CreateElement {
                set, key, comment, ..
            } => write_element(table, set, key, Some(comment), body),
            Self::DeleteElement { set, key, .. } => write_element(table, set, key, None, body),
        }
    }
}

fn write_rule_place<'a, 'b>(
    table: &str,
    chain: &str,
    body: &'a mut Writer<'b>,
) -> &'a mut Writer<'b> {
    body.text(number::RULE_TABLE, table)
        .text(number::RULE_CHAIN, chain)
}

fn write_chain(table: &str, chain: &str, hook: &Hook, body: &mut Writer<'_>) {
    body.text(number::CHAIN_TABLE, table)
        .text(number::CHAIN_NAME, chain)
        .text(number::CHAIN_TYPE, hook.kind)
        .nested(number::CHAIN_HOOK, |place| {
            place
                .u32(number::HOOK_NUMBER, hook.number)
                .i32(number::HOOK_PRIORITY, hook.priority);
        });
}

fn write_set(table: &str, set: &str, key: KeyType, id: u32, body: &mut Writer<'_>) {
    body.text(number::SET_TABLE, table)
        .text(number::SET_NAME, set)
        .u32(number::SET_FLAGS, 0)
        .u32(number::SET_KEY_TYPE, key.number())
        .u32(number::SET_KEY_LENGTH, key.length())
        .u32(number::SET_ID, id);
    if let Some(order) = key.byte_order() {
        body.bytes(number::SET_USERDATA, &userdata::key_byte_order(order));
    }
}

pub(super) fn write_element(
    table: &str,
    set: &str,
    key: &[u8],
    comment: Option<&str>,
    body: &mut Writer<'_>,
) {
    body.text(number::ELEMENTS_TABLE, table)
        .text(number::ELEMENTS_SET, set)
        .nested(number::ELEMENTS_LIST, |list| {
            list.nested(number::ENTRY, |element| {
                element.data(number::ELEMENT_KEY, key);
                if let Some(comment) = comment {
                    let userdata = userdata::element_comment(comment);
                    element.bytes(number::ELEMENT_USERDATA, &userdata);
                }
            });
        });
}

/// The hooks that our chains are called from.
impl Hook {
    /// Source NAT, after routing: `type nat hook postrouting priority srcnat`.
    pub const SOURCE_NAT: Self = Self {
        kind: "nat",
        #[expect(clippy::cast_sign_loss, reason = "a small positive constant")]
        number: libc::NF_INET_POST_ROUTING as u32,
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
