//! Changing one thing about a link, or taking it away.

use cni_types::MacAddr;
use netlink_packet_core::DefaultNla;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use nix::libc;
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use super::LinkId;
use crate::change::Change;
use crate::error::Op;

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
        // Without its terminating zero: the kernel counts that as text.
        builder.append_extra_attribute(LinkAttribute::Other(DefaultNla::new(
            libc::IFLA_IFALIAS,
            alias.as_bytes().to_vec(),
        )))
    })
}

pub(super) fn set(
    op: Op,
    link: &LinkId,
    with: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
) -> Change {
    let message: LinkMessage = with(LinkUnspec::new_with_index(link.index)).build();
    Change::new(op, link.to_string(), libc::RTM_SETLINK, 0, &message)
}
