//! Changing one thing about a link, or taking it away.

use std::os::fd::{AsFd, AsRawFd};

use cni_types::{IfName, MacAddr};
use netlink_packet_core::DefaultNla;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, Prop};
use nix::libc;
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use super::LinkId;
use crate::change::Change;
use crate::error::Op;
use crate::frame::wire;
use crate::ns::NetNs;

/// `linux/rtnetlink.h`; libc has no name for it.
const RTM_NEWLINKPROP: u16 = 108;
/// `linux/rtnetlink.h`; libc has no name for it.
const RTM_DELLINKPROP: u16 = 109;

/// Deletes a link, and with a veth its peer.
#[must_use]
pub fn delete_link(link: &LinkId) -> Change {
    let message = LinkUnspec::new_with_index(link.index).build();
    Change::new(
        Op::DeleteLink,
        link.to_string(),
        libc::RTM_DELLINK,
        0,
        &message,
    )
}

/// Puts a link into a group: a number that nothing but requests for groups look at. Each link is in
/// one; unless told, in 0.
#[must_use]
pub fn set_group(link: &LinkId, group: u32) -> Change {
    set(Op::SetGroup, link, |builder| {
        builder.append_extra_attribute(LinkAttribute::Group(group))
    })
}

/// Deletes all links of a group at once, and with each veth its peer, for little more than the cost
/// of one (`rtnl_group_dellink`). The kernel refuses it if one of them cannot be deleted, or if there
/// are none, and for group 0.
#[must_use]
pub fn delete_group(group: u32) -> Change {
    let message = LinkUnspec::new_with_index(0)
        .append_extra_attribute(LinkAttribute::Group(group))
        .build();
    let subject = format!("group {group}");
    Change::new(Op::DeleteLink, subject, libc::RTM_DELLINK, 0, &message)
}

/// Sets a link up: `ip link set dev LINK up`.
#[must_use]
pub fn set_up(link: &LinkId) -> Change {
    set(Op::SetUp, link, LinkMessageBuilder::up)
}

/// Sets a link down.
#[must_use]
pub fn set_down(link: &LinkId) -> Change {
    set(Op::SetDown, link, LinkMessageBuilder::down)
}

/// Makes a link take frames for any destination, or no more.
#[must_use]
pub fn set_promiscuous(link: &LinkId, on: bool) -> Change {
    set(Op::SetPromiscuous, link, |builder| builder.promiscuous(on))
}

/// Makes a link take frames for any multicast group, or no more.
#[must_use]
pub fn set_all_multicast(link: &LinkId, on: bool) -> Change {
    set(Op::SetAllMulticast, link, |builder| {
        builder.allmulticast(on)
    })
}

/// Sets a link's hardware address.
#[must_use]
pub fn set_mac(link: &LinkId, mac: MacAddr) -> Change {
    set(Op::SetMac, link, |builder| {
        builder.address(mac.bytes().to_vec())
    })
}

/// Sets a link's MTU in bytes.
#[must_use]
pub fn set_mtu(link: &LinkId, mtu: u32) -> Change {
    set(Op::SetMtu, link, |builder| builder.mtu(mtu))
}

/// Sets how many packets a link's transmit queue holds. Queueing disciplines that exist keep what
/// they have.
#[must_use]
pub fn set_tx_queue_len(link: &LinkId, packets: u32) -> Change {
    set(Op::SetTxQueueLen, link, |builder| {
        builder.txqueuelen(packets)
    })
}

/// Makes a link a port of a bridge, or of nothing.
#[must_use]
pub fn set_master(link: &LinkId, master: Option<u32>) -> Change {
    set(Op::SetMaster, link, |builder| {
        builder.controller(master.unwrap_or(0))
    })
}

/// Sets a link's alias, free text of at most 255 bytes. An empty one takes it away.
#[must_use]
pub fn set_alias(link: &LinkId, alias: &str) -> Change {
    set(Op::SetAlias, link, |builder| {
        builder.append_extra_attribute(alias_attribute(alias))
    })
}

/// The same for a link that was made in a group, which it leaves for group 0.
#[must_use]
pub fn set_alias_and_leave_group(link: &LinkId, alias: &str) -> Change {
    set(Op::SetAlias, link, |builder| {
        builder
            .append_extra_attribute(alias_attribute(alias))
            .append_extra_attribute(LinkAttribute::Group(0))
    })
}

/// Without its terminating zero: the kernel counts that as text.
fn alias_attribute(alias: &str) -> LinkAttribute {
    LinkAttribute::Other(DefaultNla::new(
        libc::IFLA_IFALIAS,
        alias.as_bytes().to_vec(),
    ))
}

/// Moves a link into another namespace and renames it there. The kernel sets it down and takes its
/// addresses and routes away; its index may change.
///
/// If the new name is taken ([`is_exists`](crate::NetlinkError::is_exists)), the link **has moved**
/// all the same, under its old name: the kernel does one after the other.
#[must_use]
pub fn move_link(link: &LinkId, ns: &NetNs, name: &IfName) -> Change {
    let message = LinkUnspec::new_with_index(link.index)
        .setns_by_fd(ns.as_fd().as_raw_fd())
        .name(name.to_string())
        .build();
    let subject = format!("{link} to {} as {name}", ns.path().display());
    Change::new(Op::MoveLink, subject, libc::RTM_SETLINK, 0, &message).holding(Some(ns.clone()))
}

/// Renames a link. Kernels before 6.2 want it to be down.
#[must_use]
pub fn rename_link(link: &LinkId, name: &IfName) -> Change {
    let message = LinkUnspec::new_with_index(link.index)
        .name(name.to_string())
        .build();
    let subject = format!("{link} to {name}");
    Change::new(Op::RenameLink, subject, libc::RTM_SETLINK, 0, &message)
}

/// Gives a link one more name, by which it can be found as well (Linux 5.5).
#[must_use]
pub fn add_alt_name(link: &LinkId, name: &IfName) -> Change {
    let flags = wire(libc::NLM_F_CREATE | libc::NLM_F_EXCL);
    alt_name(Op::AddAltName, RTM_NEWLINKPROP, flags, link, name)
}

/// Takes an alternative name away.
#[must_use]
pub fn delete_alt_name(link: &LinkId, name: &IfName) -> Change {
    alt_name(Op::DeleteAltName, RTM_DELLINKPROP, 0, link, name)
}

fn alt_name(op: Op, kind: u16, flags: u16, link: &LinkId, name: &IfName) -> Change {
    let names = vec![Prop::AltIfName(name.to_string())];
    let message = LinkUnspec::new_with_index(link.index)
        .append_extra_attribute(LinkAttribute::PropList(names))
        .build();
    Change::new(op, format!("{name} of {link}"), kind, flags, &message)
}

pub(super) fn set(
    op: Op,
    link: &LinkId,
    with: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
) -> Change {
    let message: LinkMessage = with(LinkUnspec::new_with_index(link.index)).build();
    Change::new(op, link.to_string(), libc::RTM_SETLINK, 0, &message)
}
