//! Changes of the ruleset on the wire.

use super::change::{Change, Hook, Table, Transaction, Type};
use super::expr::Expr;
use super::{number, userdata};
use crate::nfnetlink::{ACK, APPEND, CREATE, EXCLUSIVE, LIST_ENTRY, Outbox, Writer};

/// `NFNL_SUBSYS_NFTABLES`, in the high byte of every `nf_tables` message type.
pub(super) const SUBSYSTEM: u16 = 10;
/// `NFNL_MSG_BATCH_BEGIN` and `_END` of `linux/netfilter/nfnetlink.h`.
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// `NFT_SET_MAP`
const MAP: u32 = 1 << 3;

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
            Self::AddChain { chain, hook, .. } => write_chain(table, chain, hook.as_ref(), body),
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
            Self::AddRule {
                chain,
                rule,
                comment,
                ..
            } => write_rule(table, chain, (rule, comment.as_deref()), body),
            Self::InsertRule { chain, rule, .. } => write_rule(table, chain, (rule, None), body),
            Self::AddSet { set, key, data, .. } => {
                write_set(table, set, (*key, *data), set_id, body);
            }
            Self::DeleteSet { set, .. } => {
                body.text(number::SET_TABLE, table)
                    .text(number::SET_NAME, set);
            }
            Self::CreateElement {
                set,
                key,
                data,
                comment,
                ..
            } => write_element(table, set, body, |element| {
                element.data(number::ELEMENT_KEY, key);
                if let Some(data) = data {
                    element.data(number::ELEMENT_DATA, data);
                }
                let userdata = userdata::comment_of(comment);
                element.bytes(number::ELEMENT_USERDATA, &userdata);
            }),
            Self::DeleteElement { set, key, .. } => write_element_key(table, set, key, body),
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

fn write_chain(table: &str, chain: &str, hook: Option<&Hook>, body: &mut Writer<'_>) {
    body.text(number::CHAIN_TABLE, table)
        .text(number::CHAIN_NAME, chain);
    if let Some(hook) = hook {
        body.text(number::CHAIN_TYPE, hook.kind)
            .nested(number::CHAIN_HOOK, |place| {
                place
                    .u32(number::HOOK_NUMBER, hook.number)
                    .i32(number::HOOK_PRIORITY, hook.priority);
            });
    }
}

fn write_rule(
    table: &str,
    chain: &str,
    (rule, comment): (&[Expr], Option<&str>),
    body: &mut Writer<'_>,
) {
    write_rule_place(table, chain, body).nested(number::RULE_EXPRESSIONS, |list| {
        for expr in rule {
            expr.write(list);
        }
    });
    if let Some(comment) = comment {
        body.bytes(number::RULE_USERDATA, &userdata::comment_of(comment));
    }
}

fn write_set(
    table: &str,
    set: &str,
    (key, data): (Type, Option<Type>),
    id: u32,
    body: &mut Writer<'_>,
) {
    let flags = if data.is_some() { MAP } else { 0 };
    body.text(number::SET_TABLE, table)
        .text(number::SET_NAME, set)
        .u32(number::SET_FLAGS, flags)
        .u32(number::SET_KEY_TYPE, key.number())
        .u32(number::SET_KEY_LENGTH, key.length());
    if let Some(data) = data {
        body.u32(number::SET_DATA_TYPE, data.number())
            .u32(number::SET_DATA_LENGTH, data.length());
    }
    body.u32(number::SET_ID, id);
    if let Some(order) = key.byte_order() {
        body.bytes(number::SET_USERDATA, &userdata::key_byte_order(order));
    }
}

/// A list of one element, by its key.
pub(super) fn write_element_key(table: &str, set: &str, key: &[u8], body: &mut Writer<'_>) {
    write_element(table, set, body, |element| {
        element.data(number::ELEMENT_KEY, key);
    });
}

fn write_element(
    table: &str,
    set: &str,
    body: &mut Writer<'_>,
    element: impl FnOnce(&mut Writer<'_>),
) {
    body.text(number::ELEMENTS_TABLE, table)
        .text(number::ELEMENTS_SET, set)
        .nested(number::ELEMENTS_LIST, |list| {
            list.nested(LIST_ENTRY, element);
        });
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;

    use super::*;
    use crate::nfnetlink::Frames;
    use crate::nft::expr::{Ct, Header, Meta, Register, Relation, Verdict};
    use crate::nft::{Family, view};
    use crate::registry::{Layout, Observed};
    use crate::{forward, masquerade, portmap, spoofcheck};

    /// A message a line: type, sequence number, payload.
    fn dump(transaction: &Transaction) -> String {
        let mut outbox = Outbox::new(1);
        transaction.write(&mut outbox);
        let mut text = String::new();
        for frame in Frames(&outbox.bytes) {
            let frame = frame.unwrap();
            write!(text, "{:#06x} {} ", frame.kind, frame.seq).unwrap();
            for byte in frame.payload {
                write!(text, "{byte:02x}").unwrap();
            }
            text.push('\n');
        }
        text
    }

    fn attachment() -> cni_types::Attachment {
        cni_types::Attachment {
            network: "net".parse().unwrap(),
            container_id: "c1".parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
        }
    }

    /// The first ADD of an attachment to an empty ruleset of generation 7.
    fn first(table: Table, layout: &Layout) -> Transaction {
        let observed = Observed {
            generation: 7,
            rules: Vec::new(),
            elements: vec![None; layout.places.len()],
        };
        let comment = crate::owner::comment(&attachment());
        layout.plan(table, &observed, &comment)
    }

    /// These bytes made the rulesets that the tests against the kernel compare with.
    #[cfg(target_endian = "little")]
    #[test]
    fn the_first_masquerade_is_these_bytes() {
        let addresses = ["10.1.0.5/20", "fd00:1::5/64"].map(|text| text.parse().unwrap());
        let plan = first(masquerade::TABLE, &masquerade::layout(&addresses));
        golden("masquerade.txt", &dump(&plan));
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn the_first_spoof_check_is_these_bytes() {
        let binding = spoofcheck::Binding {
            host_ifname: "veth1".parse().unwrap(),
            mac: "02:00:00:00:00:01".parse().unwrap(),
        };
        let plan = first(spoofcheck::TABLE, &spoofcheck::layout(&binding));
        golden("spoofcheck.txt", &dump(&plan));
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn the_first_port_mapping_is_these_bytes() {
        let addresses = ["10.1.0.5/20", "fd00:1::5/64"].map(|text| text.parse().unwrap());
        let mapping = |host_ip: Option<&str>, protocol| portmap::Mapping {
            host_ip: host_ip.map(|address| address.parse().unwrap()),
            host_port: 8080.try_into().unwrap(),
            container_port: 80.try_into().unwrap(),
            protocol,
        };
        let mappings = vec![
            mapping(None, portmap::Protocol::Tcp),
            mapping(Some("192.0.2.1"), portmap::Protocol::Udp),
        ];
        let publication = portmap::Publication {
            loopback: Some("cni0".parse().unwrap()),
            ..portmap::Publication::new(addresses.to_vec(), mappings)
        };
        let layout = portmap::layout(&publication).unwrap();
        golden("portmap.txt", &dump(&first(portmap::TABLE, &layout)));
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn the_first_ingress_policy_is_these_bytes() {
        let forwarding = forward::Forwarding {
            addresses: ["10.1.0.5", "fd00:1::5"]
                .map(|text| text.parse().unwrap())
                .to_vec(),
            ingress: Some(forward::Ingress {
                policy: forward::Policy::Isolated,
                bridge: "cni0".parse().unwrap(),
            }),
            keeper: forward::Keeper::Firewalld,
            fast_paths: cni_types::FastPaths::Never,
        };
        let layout = forward::layout(&forwarding);
        golden("forward.txt", &dump(&first(forward::TABLE, &layout)));
    }

    /// Compares with a file of `testdata`; `UPDATE_GOLDEN=1` writes it.
    fn golden(name: &str, text: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/nft/testdata")
            .join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "{name}");
    }

    #[test]
    fn the_last_change_alone_asks_for_an_acknowledgement() {
        let transaction = Transaction {
            generation: None,
            changes: vec![Change::AddTable(masquerade::TABLE); 3],
        };
        let mut outbox = Outbox::new(1);
        transaction.write(&mut outbox);
        let acks: Vec<bool> = Frames(&outbox.bytes)
            .map(|frame| frame.unwrap().flags & ACK != 0)
            .collect();
        assert_eq!(acks, [false, false, false, true, false]);
    }

    #[test]
    fn rules_are_read_back_as_they_were_written() {
        let rule = vec![
            Expr::Meta(Meta::Protocol, Register::FIRST),
            Expr::Meta(Meta::Mark, Register::word(3)),
            Expr::SetMeta(Meta::Mark),
            Expr::Ct(Ct::Status, Register::FIRST),
            Expr::DestinationKind,
            Expr::Payload {
                header: Header::Link,
                offset: 6,
                length: 6,
                register: Register::word(4),
            },
            Expr::Immediate {
                register: Register::word(1),
                bytes: vec![0, 80],
            },
            Expr::mask(vec![255, 240, 0, 0]),
            Expr::Bitwise {
                mask: vec![255; 4],
                xor: vec![0, 0, 32, 0],
            },
            Expr::equals([10, 1, 0, 0]),
            Expr::differs([10, 1, 0, 0]),
            Expr::Compare {
                relation: Relation::AtLeast,
                bytes: vec![4, 0],
            },
            Expr::Compare {
                relation: Relation::AtMost,
                bytes: vec![8, 0],
            },
            Expr::Lookup {
                set: "bindings".to_owned(),
                inverted: true,
            },
            Expr::Map {
                map: "ports".to_owned(),
            },
            Expr::DestinationNat {
                family: Family::Ip6,
                address: Register::FIRST,
                port: Register::word(4),
            },
            Expr::Other("limit".to_owned()),
            Expr::Counter,
            Expr::Masquerade,
            Expr::Verdict(Verdict::Accept),
            Expr::Verdict(Verdict::Return),
            Expr::jump("there"),
            Expr::Verdict(Verdict::Goto("there".to_owned())),
            Expr::Verdict(Verdict::Drop),
        ];
        assert_read_back(&rule);
    }

    #[test]
    fn what_others_write_is_read() {
        assert_read_back(&[
            Expr::Meta(Meta::LinkProtocol, Register::FIRST),
            Expr::Ct(Ct::State, Register::FIRST),
            Expr::Match {
                name: "comment".to_owned(),
                revision: 0,
                info: b"why\0".to_vec(),
            },
        ]);
    }

    fn assert_read_back(rule: &[Expr]) {
        let mut bytes = Vec::new();
        Writer(&mut bytes).u64(number::RULE_HANDLE, 9);
        write_rule("t", "c", (rule, Some("why")), &mut Writer(&mut bytes));
        let read = view::rule(&bytes).unwrap();
        assert_eq!(read.expressions, rule);
        assert_eq!(read.comment.as_deref(), Some("why"));
    }
}
