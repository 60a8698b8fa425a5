//! IP addresses of interfaces.

use std::fmt;
use std::net::IpAddr;

use cni_types::IpCidr;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use nix::libc;
use rtnetlink::AddressMessageBuilder;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::change::Change;
use crate::error::{NetlinkError, Op};
use crate::frame::{Attrs, Frame, ip_of, text_of, u32_at, wire};
use crate::link::LinkId;
use crate::socket::{Query, Socket};

/// Bytes of `struct ifaddrmsg`.
const HEADER: usize = 8;

/// What duplicate address detection does with a new IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dad {
    /// The address is usable at once (`IFA_F_NODAD`).
    Skip,
    /// The address is tentative until the kernel has asked the link for its owner.
    Perform,
}

/// An IP address of an interface, as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The interface index.
    pub index: u32,
    /// Address and prefix length.
    pub cidr: IpCidr,
    /// The other end, of a point-to-point link.
    pub peer: Option<IpAddr>,
    /// The broadcast address.
    pub broadcast: Option<IpAddr>,
    /// `RT_SCOPE_*`: 0 universe, 253 link, 254 host.
    pub scope: u8,
    /// `IFA_F_*`.
    pub flags: u32,
    /// The label, for IPv4.
    pub label: Option<String>,
}

impl Address {
    /// Duplicate address detection is still under way.
    #[must_use]
    pub fn is_tentative(&self) -> bool {
        self.has(AddressFlags::Tentative)
    }

    /// Duplicate address detection found another owner.
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        self.has(AddressFlags::Dadfailed)
    }

    /// It was set by hand and does not expire.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.has(AddressFlags::Permanent)
    }

    /// Whether it is valid on its link alone, as `fe80::/10`.
    #[must_use]
    pub fn is_link_scope(&self) -> bool {
        i32::from(self.scope) == i32::from(libc::RT_SCOPE_LINK)
    }

    fn has(&self, flag: AddressFlags) -> bool {
        self.flags & flag.bits() != 0
    }

    /// Reads an `RTM_NEWADDR`; anything else gives `None`.
    pub(crate) fn parse(frame: Frame<'_>) -> Option<Self> {
        if frame.kind != libc::RTM_NEWADDR {
            return None;
        }
        let header: &[u8; HEADER] = frame.payload.first_chunk()?;
        let &[_, prefix, flags, scope, ..] = header;
        let (mut address, mut local, mut broadcast, mut label) = (None, None, None, None);
        let mut flags = u32::from(flags);
        for (kind, value) in Attrs::new(frame.payload.get(HEADER..)?) {
            match kind {
                libc::IFA_ADDRESS => address = ip_of(value),
                libc::IFA_LOCAL => local = ip_of(value),
                libc::IFA_BROADCAST => broadcast = ip_of(value),
                libc::IFA_LABEL => label = Some(text_of(value)),
                libc::IFA_FLAGS => flags = u32_at(value, 0)?,
                _ => {}
            }
        }
        let own = local.or(address)?;
        Some(Self {
            index: u32_at(header, 4)?,
            cidr: IpCidr::new(own, prefix).ok()?,
            peer: address.filter(|other| *other != own),
            broadcast,
            scope,
            flags,
            label,
        })
    }
}

/// Which addresses to list.
fn get_body(v6: bool, index: u32) -> [u8; HEADER] {
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    let [a, b, c, d] = index.to_ne_bytes();
    [
        u8::try_from(family).unwrap_or_default(),
        0,
        0,
        0,
        a,
        b,
        c,
        d,
    ]
}

impl Socket {
    /// The addresses of one link, or of all.
    ///
    /// Each family is asked for by itself: since Linux 6.9 that takes no lock, where asking for both at once
    /// (`rtnl_dump_all`) waits for whoever changes a link.
    ///
    /// # Errors
    /// The kernel does not answer, or the addresses kept changing.
    pub fn addresses(&self, link: Option<&LinkId>) -> Result<Vec<Address>, NetlinkError> {
        let mut all = Vec::new();
        for v6 in [false, true] {
            all.extend(self.addresses_of(v6, link)?);
        }
        Ok(all)
    }

    fn addresses_of(&self, v6: bool, link: Option<&LinkId>) -> Result<Vec<Address>, NetlinkError> {
        let index = link.map_or(0, |link| link.index);
        let subject: &dyn fmt::Display = match &link {
            Some(link) => link,
            None => &"of the namespace",
        };
        let query = Query {
            op: Op::ListAddresses,
            subject,
            kind: libc::RTM_GETADDR,
            body: &get_body(v6, index),
        };
        let listed = self.dump(&query, |frame, all| {
            // Kernels before 4.20 do not filter by link, those without a family not by that.
            all.extend(
                Address::parse(frame)
                    .filter(|one| one.cidr.is_ipv6() == v6 && (index == 0 || one.index == index)),
            );
        });
        match listed {
            // A link that is gone has no addresses.
            Err(error) if error.is_gone() => Ok(Vec::new()),
            other => other,
        }
    }
}

/// Adds an address, with the broadcast address that belongs to it. It must not be there yet.
#[must_use]
pub fn add_address(link: &LinkId, cidr: IpCidr, dad: Dad) -> Change {
    let mut message = message(link, cidr);
    if cidr.is_ipv6() && dad == Dad::Skip {
        message
            .attributes
            .push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    Change::new(
        Op::AddAddress,
        subject(link, cidr),
        libc::RTM_NEWADDR,
        wire(libc::NLM_F_CREATE | libc::NLM_F_EXCL),
        &message,
    )
}

/// Deletes an address.
#[must_use]
pub fn delete_address(link: &LinkId, cidr: IpCidr) -> Change {
    let mut message = message(link, cidr);
    // The kernel matches by address and prefix.
    message
        .attributes
        .retain(|one| !matches!(one, AddressAttribute::Broadcast(_)));
    Change::new(
        Op::DeleteAddress,
        subject(link, cidr),
        libc::RTM_DELADDR,
        0,
        &message,
    )
}

fn subject(link: &LinkId, cidr: IpCidr) -> String {
    format!("{cidr} dev {link}")
}

fn message(link: &LinkId, cidr: IpCidr) -> AddressMessage {
    let prefix = cidr.prefix();
    let mut message = match cidr.addr() {
        IpAddr::V4(v4) => AddressMessageBuilder::<Ipv4Addr>::new()
            .address(v4, prefix)
            .build(),
        IpAddr::V6(v6) => AddressMessageBuilder::<Ipv6Addr>::new()
            .address(v6, prefix)
            .build(),
    };
    message.header.index = link.index;
    if cidr.addr().is_loopback() {
        message.header.scope = AddressScope::Host;
    }
    message
}
