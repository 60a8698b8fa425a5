//! Making links, each with everything it is to have in one request.

use cni_types::{IfName, MacAddr};
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkMessage,
};
use nix::libc;
use rtnetlink::{LinkBridge, LinkMessageBuilder, LinkUnspec};
use std::os::fd::{AsFd, AsRawFd};

use super::{Link, LinkId};
use crate::batch::Reply;
use crate::change::Change;
use crate::error::{Cause, NetlinkError, Op};
use crate::frame::wire;
use crate::ns::NetNs;
use crate::socket::Socket;

/// Must not exist. The echo tells the index without another request (Linux 6.2 and later).
pub(super) const CREATE: u16 = wire(libc::NLM_F_CREATE | libc::NLM_F_EXCL | libc::NLM_F_ECHO);

/// A bridge to be made.
#[derive(Debug, Clone)]
pub struct CreateBridge {
    /// Its name.
    pub name: IfName,
    /// Its hardware address. One that is given stays; one that the kernel chose follows the ports.
    pub mac: Option<MacAddr>,
    /// Its MTU in bytes; without one it follows the ports.
    pub mtu: Option<u32>,
    /// Whether it sorts frames by VLAN.
    pub vlan_filtering: bool,
    /// Whether it is set up.
    pub up: bool,
}

impl CreateBridge {
    /// The request.
    #[must_use]
    pub fn change(&self) -> Change {
        let mut builder = LinkMessageBuilder::<LinkBridge>::new(self.name.as_str());
        if self.vlan_filtering {
            // Not sent otherwise: kernels without CONFIG_BRIDGE_VLAN_FILTERING refuse even "off".
            builder =
                builder.set_info_data(InfoData::Bridge(vec![InfoBridge::VlanFiltering(true)]));
        }
        let message = common(builder, self.mac, self.mtu, self.up).build();
        Change::new(
            Op::CreateBridge,
            self.name.to_string(),
            libc::RTM_NEWLINK,
            CREATE,
            &message,
        )
    }
}

/// One end of a veth pair.
#[derive(Debug, Clone)]
pub struct VethEnd {
    /// Its name.
    pub name: IfName,
    /// Its hardware address; the kernel chooses one at random.
    pub mac: Option<MacAddr>,
}

/// A veth pair to be made, both ends in their final namespaces: nothing is moved or renamed after.
#[derive(Debug, Clone)]
pub struct CreateVeth {
    /// The end in the namespace of the socket.
    pub host: VethEnd,
    /// Whether the host end is set up.
    pub host_up: bool,
    /// The other end. It comes down: the kernel's `veth_open` refuses an end that has no peer yet
    /// (ENOTCONN), and this end is made first.
    pub container: VethEnd,
    /// The namespace of the other end; `None` is that of the socket.
    pub netns: Option<NetNs>,
    /// The MTU of both ends in bytes.
    pub mtu: Option<u32>,
    /// How many queues each end has for each direction; the kernel gives it as many as there can be
    /// processors.
    pub queues: Option<u32>,
    /// The index of the bridge that the host end becomes a port of.
    pub master: Option<u32>,
    /// The group that the host end is in from the beginning, unlike its alias.
    pub group: Option<u32>,
}

impl CreateVeth {
    /// The request.
    #[must_use]
    pub fn change(&self) -> Change {
        let mut builder = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Veth)
            .name(self.host.name.to_string())
            .set_info_data(InfoData::Veth(InfoVeth::Peer(self.peer())));
        if let Some(master) = self.master {
            builder = builder.controller(master);
        }
        let builder = in_group(with_queues(builder, self.queues), self.group);
        let message = common(builder, self.host.mac, self.mtu, self.host_up).build();
        let subject = format!("{} and {}", self.host.name, self.container.name);
        Change::new(Op::CreateVeth, subject, libc::RTM_NEWLINK, CREATE, &message)
            .holding(self.netns.clone())
    }

    fn peer(&self) -> LinkMessage {
        let end = &self.container;
        let mut builder = LinkUnspec::new_with_name(end.name.as_str());
        if let Some(ns) = &self.netns {
            builder = builder.setns_by_fd(ns.as_fd().as_raw_fd());
        }
        common(with_queues(builder, self.queues), end.mac, self.mtu, false).build()
    }
}

/// The two ends of a new veth pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethPair {
    /// The end in the namespace of the socket.
    pub host: LinkId,
    /// The other end; its index is in its own namespace.
    pub container: LinkId,
}

/// The kinds of link that need a parent and little else.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkKind {
    /// A link that drops what it is given.
    Dummy,
}

/// A link of another kind to be made.
#[derive(Debug, Clone)]
pub struct CreateLink {
    /// Its name.
    pub name: IfName,
    /// Its kind.
    pub kind: LinkKind,
    /// Its hardware address; the kernel chooses one at random.
    pub mac: Option<MacAddr>,
    /// Its MTU in bytes.
    pub mtu: Option<u32>,
    /// Whether it is set up.
    pub up: bool,
}

impl CreateLink {
    /// The request.
    #[must_use]
    pub fn change(&self) -> Change {
        let kind = match self.kind {
            LinkKind::Dummy => InfoKind::Dummy,
        };
        let subject = format!("{} of kind {kind}", self.name);
        let builder =
            LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(kind).name(self.name.to_string());
        let message = common(builder, self.mac, self.mtu, self.up).build();
        Change::new(Op::CreateLink, subject, libc::RTM_NEWLINK, CREATE, &message)
    }
}

impl Socket {
    /// Makes a bridge.
    ///
    /// # Errors
    /// The kernel refuses it; [`is_exists`](NetlinkError::is_exists) if the name is taken.
    pub fn create_bridge(&self, bridge: &CreateBridge) -> Result<LinkId, NetlinkError> {
        let made = self.create(&bridge.change(), &bridge.name, bridge.mac)?;
        Ok(made.id())
    }

    /// Makes a veth pair.
    ///
    /// # Errors
    /// The kernel refuses it; [`is_exists`](NetlinkError::is_exists) if either name is taken. Then
    /// neither end was made.
    pub fn create_veth(&self, veth: &CreateVeth) -> Result<VethPair, NetlinkError> {
        let change = veth.change();
        let host = self.create(&change, &veth.host.name, veth.host.mac)?;
        let gone = || change.failed(Cause::refused(libc::ENODEV));
        let container = LinkId::new(host.peer.ok_or_else(gone)?, veth.container.name.as_str());
        Ok(VethPair {
            host: host.id(),
            container,
        })
    }

    /// Makes a link of another kind.
    ///
    /// # Errors
    /// The kernel refuses it; [`is_exists`](NetlinkError::is_exists) if the name is taken.
    pub fn create_link(&self, link: &CreateLink) -> Result<LinkId, NetlinkError> {
        let made = self.create(&link.change(), &link.name, link.mac)?;
        Ok(made.id())
    }

    /// The new link, out of the echo or, from an older kernel, by its name. Where the answer is lost, the link is
    /// looked for: one that has the hardware address that was asked for, and that nobody else draws, is ours.
    pub(super) fn create(
        &self,
        change: &Change,
        name: &IfName,
        mac: Option<MacAddr>,
    ) -> Result<Link, NetlinkError> {
        let gone = || change.failed(Cause::refused(libc::ENODEV));
        // A link that is there and not told of would be left behind.
        let find = || self.find_link(name).or_else(|_| self.find_link(name));
        match self.request(change) {
            Ok(Reply { echo: Some(link) }) if link.name == name.as_str() => Ok(link),
            Ok(_) => find()?.ok_or_else(gone),
            Err(error) if error.is_unheard() && mac.is_some() => {
                let found = find().ok().flatten();
                found.filter(|link| link.mac == mac).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }
}

fn with_queues<T>(builder: LinkMessageBuilder<T>, queues: Option<u32>) -> LinkMessageBuilder<T> {
    match queues {
        Some(queues) => builder
            .append_extra_attribute(LinkAttribute::NumTxQueues(queues))
            .append_extra_attribute(LinkAttribute::NumRxQueues(queues)),
        None => builder,
    }
}

pub(super) fn in_group<T>(
    builder: LinkMessageBuilder<T>,
    group: Option<u32>,
) -> LinkMessageBuilder<T> {
    match group {
        Some(group) => builder.append_extra_attribute(LinkAttribute::Group(group)),
        None => builder,
    }
}

pub(super) fn common<T>(
    mut builder: LinkMessageBuilder<T>,
    mac: Option<MacAddr>,
    mtu: Option<u32>,
    up: bool,
) -> LinkMessageBuilder<T> {
    if let Some(mac) = mac {
        builder = builder.address(mac.bytes().to_vec());
    }
    if let Some(mtu) = mtu {
        builder = builder.mtu(mtu);
    }
    if up { builder.up() } else { builder }
}
