//! Network interfaces: what there is, and the requests that change one.

mod bridge;
mod conf;
mod create;
mod ifb;
mod port;
mod set;
pub(crate) mod vlan;

use std::fmt;

use cni_types::{IfName, MacAddr};
use netlink_packet_route::link::LinkFlags;
use nix::libc;

pub use self::bridge::BridgeInfo;
pub use self::conf::{Ipv4Conf, set_ipv4_conf, set_up_with};
pub use self::create::{CreateBridge, CreateLink, CreateVeth, LinkKind, VethEnd, VethPair};
pub use self::ifb::CreateIfb;
pub use self::port::{PortFlags, set_port};
pub use self::set::{
    add_alt_name, delete_alt_name, delete_group, delete_link, move_link, rename_link, set_alias,
    set_alias_and_leave_group, set_all_multicast, set_down, set_group, set_mac, set_master,
    set_mtu, set_promiscuous, set_tx_queue_len, set_up,
};
#[cfg(test)]
pub(crate) use self::vlan::parse as parse_vlans;
pub use self::vlan::{VlanRange, VlanSide, add_vlans, delete_vlans};
use crate::error::{NetlinkError, Op};
use crate::frame::{Attrs, Frame, text_of, u32_at};
use crate::socket::{Query, Socket};

/// Bytes of `struct ifinfomsg`.
const HEADER: usize = 16;
/// `RTEXT_FILTER_SKIP_STATS`: counters are most of a link's message and nobody here reads them.
const SKIP_STATS: u32 = 1 << 3;

const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_SLAVE_KIND: u16 = 4;
const INFO_SLAVE_DATA: u16 = 5;

/// Which link a request is about: the index for the kernel, the name for people.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LinkId {
    /// The interface index in its namespace.
    pub index: u32,
    /// The interface name.
    pub name: String,
}

impl LinkId {
    /// A link known by index and name.
    pub fn new(index: u32, name: impl Into<String>) -> Self {
        Self {
            index,
            name: name.into(),
        }
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The operational state of RFC 2863, as in `IFLA_OPERSTATE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the words of RFC 2863")]
pub enum OperState {
    Unknown,
    NotPresent,
    Down,
    LowerLayerDown,
    Testing,
    Dormant,
    Up,
}

impl From<u8> for OperState {
    fn from(value: u8) -> Self {
        match value {
            1 => Self::NotPresent,
            2 => Self::Down,
            3 => Self::LowerLayerDown,
            4 => Self::Testing,
            5 => Self::Dormant,
            6 => Self::Up,
            _ => Self::Unknown,
        }
    }
}

/// What a link has as a port of a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgePort {
    /// Its flags.
    pub flags: PortFlags,
    /// The spanning tree state: 0 disabled, 1 listening, 2 learning, 3 forwarding, 4 blocking.
    pub state: u8,
}

/// A network interface, as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The interface index in its namespace.
    pub index: u32,
    /// The interface name.
    pub name: String,
    /// `bridge`, `veth`, ...; `None` for hardware and for `lo`.
    pub kind: Option<String>,
    /// The hardware address, if it is one of Ethernet.
    pub mac: Option<MacAddr>,
    /// The MTU in bytes.
    pub mtu: u32,
    /// How many packets its transmit queue holds.
    pub tx_queue_len: u32,
    /// The index of the bridge, bond or VRF that it belongs to.
    pub master: Option<u32>,
    /// The index of the peer (veth) or parent (VLAN, macvlan), in the namespace
    /// [`peer_netns`](Self::peer_netns).
    pub peer: Option<u32>,
    /// The id, relative to this namespace, of the namespace that [`peer`](Self::peer) is in; `None`
    /// is this one.
    pub peer_netns: Option<i32>,
    /// `IFF_*`.
    pub flags: u32,
    /// The operational state.
    pub operstate: OperState,
    /// The alias, free text.
    pub alias: Option<String>,
    /// The group that it is in; 0 unless told.
    pub group: u32,
    /// More names, by which the kernel finds it as well.
    pub alt_names: Vec<String>,
    /// Set for a bridge port.
    pub port: Option<BridgePort>,
    /// Set for a bridge.
    pub bridge: Option<BridgeInfo>,
}

impl Link {
    /// Index and name.
    #[must_use]
    pub fn id(&self) -> LinkId {
        LinkId::new(self.index, self.name.as_str())
    }

    /// Whether it is administratively up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.flags & LinkFlags::Up.bits() != 0
    }

    /// Whether it was asked to take frames for any destination.
    #[must_use]
    pub fn is_promiscuous(&self) -> bool {
        self.flags & LinkFlags::Promisc.bits() != 0
    }

    /// Whether it was asked to take frames for any multicast group.
    #[must_use]
    pub fn is_all_multicast(&self) -> bool {
        self.flags & LinkFlags::Allmulti.bits() != 0
    }

    /// Whether it is the loopback interface.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.flags & LinkFlags::Loopback.bits() != 0
    }

    /// Whether it is of this kind.
    #[must_use]
    pub fn is_kind(&self, kind: &str) -> bool {
        self.kind.as_deref() == Some(kind)
    }

    /// Reads an `RTM_NEWLINK`; anything else gives `None`.
    pub(crate) fn parse(frame: Frame<'_>) -> Option<Self> {
        if frame.kind != libc::RTM_NEWLINK {
            return None;
        }
        let mut link = Self::from_header(frame.payload)?;
        for (kind, value) in Attrs::new(frame.payload.get(HEADER..)?) {
            link.take(kind, value);
        }
        Some(link)
    }

    fn from_header(payload: &[u8]) -> Option<Self> {
        Some(Self {
            index: u32_at(payload, 4)?,
            flags: u32_at(payload, 8)?,
            name: String::new(),
            kind: None,
            mac: None,
            mtu: 0,
            tx_queue_len: 0,
            master: None,
            peer: None,
            peer_netns: None,
            operstate: OperState::Unknown,
            alias: None,
            group: 0,
            alt_names: Vec::new(),
            port: None,
            bridge: None,
        })
    }

    fn take(&mut self, kind: u16, value: &[u8]) {
        match kind {
            libc::IFLA_IFNAME => self.name = text_of(value),
            libc::IFLA_ADDRESS => {
                self.mac = <[u8; 6]>::try_from(value).ok().map(MacAddr::new);
            }
            libc::IFLA_MTU => self.mtu = u32_at(value, 0).unwrap_or(0),
            libc::IFLA_TXQLEN => self.tx_queue_len = u32_at(value, 0).unwrap_or(0),
            libc::IFLA_MASTER => self.master = u32_at(value, 0).filter(|index| *index != 0),
            // 0 for a veth whose peer is going away; its own index for what has no parent.
            libc::IFLA_LINK => {
                self.peer = u32_at(value, 0).filter(|index| *index != 0);
            }
            libc::IFLA_LINK_NETNSID => self.peer_netns = u32_at(value, 0).map(u32::cast_signed),
            libc::IFLA_OPERSTATE => {
                self.operstate = value.first().copied().unwrap_or(0).into();
            }
            libc::IFLA_IFALIAS => self.alias = Some(text_of(value)),
            libc::IFLA_GROUP => self.group = u32_at(value, 0).unwrap_or(0),
            libc::IFLA_PROP_LIST => {
                let names = Attrs::new(value).filter(|(kind, _)| *kind == libc::IFLA_ALT_IFNAME);
                self.alt_names = names.map(|(_, name)| text_of(name)).collect();
            }
            libc::IFLA_LINKINFO => self.take_info(value),
            _ => {}
        }
    }

    fn take_info(&mut self, info: &[u8]) {
        let mut port_of = None;
        // The kernel writes each kind in front of its data.
        for (kind, value) in Attrs::new(info) {
            match kind {
                INFO_KIND => self.kind = Some(text_of(value)),
                INFO_DATA if self.is_kind("bridge") => self.bridge = Some(bridge::parse(value)),
                INFO_SLAVE_KIND => port_of = Some(text_of(value)),
                INFO_SLAVE_DATA if port_of.as_deref() == Some("bridge") => {
                    self.port = Some(port::parse(value));
                }
                _ => {}
            }
        }
    }
}

/// `struct ifinfomsg` and attributes of a request for links.
pub(crate) fn get_body(family: u8, index: u32, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = vec![0; HEADER];
    if let Some(slot) = body.first_mut() {
        *slot = family;
    }
    if let Some(slot) = body.get_mut(4..8) {
        slot.copy_from_slice(&index.to_ne_bytes());
    }
    for (kind, value) in attributes {
        let len = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        body.extend_from_slice(&len.to_ne_bytes());
        body.extend_from_slice(&kind.to_ne_bytes());
        body.extend_from_slice(value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    body
}

impl Socket {
    /// The link of that name; `None` if there is none.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn find_link(&self, name: &IfName) -> Result<Option<Link>, NetlinkError> {
        let mut text = name.as_str().as_bytes().to_vec();
        text.push(0);
        self.find(name, 0, &[(libc::IFLA_IFNAME, &text)])
    }

    /// The link that has `name` as its name or as an alternative one; `None` if there is none.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn find_link_by_any_name(&self, name: &IfName) -> Result<Option<Link>, NetlinkError> {
        if let Some(link) = self.find_link(name)? {
            return Ok(Some(link));
        }
        let mut text = name.as_str().as_bytes().to_vec();
        text.push(0);
        match self.find(name, 0, &[(libc::IFLA_ALT_IFNAME, &text)]) {
            // Kernels before 5.5 know no such attribute.
            Err(error) if error.errno() == Some(nix::errno::Errno::EINVAL) => Ok(None),
            found => found,
        }
    }

    /// The link with that index; `None` if there is none.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn find_link_by_index(&self, index: u32) -> Result<Option<Link>, NetlinkError> {
        self.find(&format_args!("with index {index}"), index, &[])
    }

    fn find(
        &self,
        subject: &dyn fmt::Display,
        index: u32,
        by: &[(u16, &[u8])],
    ) -> Result<Option<Link>, NetlinkError> {
        let mask = SKIP_STATS.to_ne_bytes();
        let attributes = [by, &[(libc::IFLA_EXT_MASK, &mask)]].concat();
        let query = Query {
            op: Op::FindLink,
            subject,
            kind: libc::RTM_GETLINK,
            body: &get_body(0, index, &attributes),
        };
        match self.get(&query, Link::parse) {
            Err(error) if error.is_gone() => Ok(None),
            other => other,
        }
    }

    /// All links of the namespace.
    ///
    /// # Errors
    /// The kernel does not answer, or the links kept changing.
    pub fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        self.list(&"of the namespace", &[], |_link| true)
    }

    /// The ports of a bridge.
    ///
    /// # Errors
    /// The kernel does not answer, or the links kept changing.
    pub fn bridge_ports(&self, bridge: &LinkId) -> Result<Vec<Link>, NetlinkError> {
        let master = bridge.index.to_ne_bytes();
        self.list(
            &format_args!("of bridge {bridge}"),
            &[(libc::IFLA_MASTER, &master)],
            // Kernels before 4.20 do not filter.
            |link| link.master == Some(bridge.index),
        )
    }

    /// The links of one kind.
    ///
    /// # Errors
    /// The kernel does not answer, or the links kept changing.
    pub fn links_of_kind(&self, kind: &str) -> Result<Vec<Link>, NetlinkError> {
        let info = get_body(0, 0, &[(INFO_KIND, kind.as_bytes())]).split_off(HEADER);
        self.list(
            &format_args!("of kind {kind}"),
            &[(libc::IFLA_LINKINFO, &info)],
            // Kernels before 4.6 do not filter.
            |link| link.is_kind(kind),
        )
    }

    fn list(
        &self,
        subject: &dyn fmt::Display,
        by: &[(u16, &[u8])],
        keep: impl Fn(&Link) -> bool,
    ) -> Result<Vec<Link>, NetlinkError> {
        let mask = SKIP_STATS.to_ne_bytes();
        let attributes = [by, &[(libc::IFLA_EXT_MASK, &mask)]].concat();
        let query = Query {
            op: Op::ListLinks,
            subject,
            kind: libc::RTM_GETLINK,
            body: &get_body(0, 0, &attributes),
        };
        self.dump(&query, |frame, all| {
            all.extend(Link::parse(frame).filter(&keep));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A port of a bridge, as Linux 6.18 shows it, cut down to the attributes that are read and
    /// one that is not known.
    fn port_message() -> Vec<u8> {
        let attr = |kind: u16, value: &[u8]| get_body(0, 0, &[(kind, value)]).split_off(HEADER);
        let port = [attr(1, &[3]), attr(4, &[1]), attr(33, &[0])].concat();
        let info = [
            attr(INFO_KIND, b"veth\0"),
            attr(INFO_SLAVE_KIND, b"bridge\0"),
            attr(INFO_SLAVE_DATA | 0x8000, &port),
        ];
        let parts: [(u16, &[u8]); 10] = [
            (libc::IFLA_IFNAME, b"veth0\0"),
            (4711, &[1]),
            (libc::IFLA_MTU, &1500_u32.to_ne_bytes()),
            (libc::IFLA_TXQLEN, &1000_u32.to_ne_bytes()),
            (libc::IFLA_MASTER, &2_u32.to_ne_bytes()),
            (libc::IFLA_LINK, &5_u32.to_ne_bytes()),
            (libc::IFLA_LINK_NETNSID, &0_u32.to_ne_bytes()),
            (libc::IFLA_OPERSTATE, &[6]),
            (libc::IFLA_ADDRESS, &[2, 0, 0, 0, 0, 1]),
            (libc::IFLA_LINKINFO | 0x8000, &info.concat()),
        ];
        get_body(0, 7, &parts)
    }

    #[test]
    fn a_link_is_read() {
        let payload = port_message();
        let frame = Frame {
            kind: libc::RTM_NEWLINK,
            flags: 0,
            seq: 1,
            payload: &payload,
        };
        let link = Link::parse(frame).unwrap();
        assert_eq!(link.id(), LinkId::new(7, "veth0"));
        assert_eq!((link.mtu, link.tx_queue_len), (1500, 1000));
        assert_eq!(link.master, Some(2));
        assert_eq!((link.peer, link.peer_netns), (Some(5), Some(0)));
        assert_eq!(link.operstate, OperState::Up);
        assert_eq!(link.mac, Some(MacAddr::new([2, 0, 0, 0, 0, 1])));
        assert!(link.is_kind("veth") && !link.is_up() && link.bridge.is_none());
        let flags = PortFlags {
            hairpin: true,
            isolated: false,
        };
        assert_eq!(link.port, Some(BridgePort { flags, state: 3 }));
        let deleted = Frame {
            kind: libc::RTM_DELLINK,
            ..frame
        };
        assert_eq!(Link::parse(deleted), None);
    }

    #[test]
    fn changes_say_what_they_do() {
        let eth0 = LinkId::new(3, "eth0");
        for (change, text) in [
            (set_up(&eth0), "set up link eth0"),
            (set_master(&eth0, Some(2)), "set master of eth0"),
            (
                set_port(&eth0, Some(true), None),
                "set bridge port flags of eth0",
            ),
            (delete_link(&eth0), "delete link eth0"),
        ] {
            assert_eq!(change.to_string(), text);
        }
    }
}
