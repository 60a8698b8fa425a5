//! Intermediate functional blocks: links that only pass on what is redirected to them, so that it
//! can be made to wait.

use cni_types::{IfName, MacAddr};
use netlink_packet_route::link::{InfoKind, LinkAttribute};
use nix::libc;
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use super::LinkId;
use super::create::{CREATE, common, in_group};
use crate::change::Change;
use crate::error::{NetlinkError, Op};
use crate::socket::Socket;

/// An IFB to be made, and set up.
#[derive(Debug, Clone)]
pub struct CreateIfb {
    /// Its name.
    pub name: IfName,
    /// Its hardware address, which no packet ever carries.
    pub mac: MacAddr,
    /// Its MTU in bytes: that of the link whose packets are redirected.
    pub mtu: u32,
    /// The group that it is in from the beginning, unlike its alias.
    pub group: Option<u32>,
}

impl CreateIfb {
    /// The request.
    #[must_use]
    pub fn change(&self) -> Change {
        let builder = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Ifb)
            .name(self.name.to_string())
            // The qdisc that it is made for has a limit of its own.
            .append_extra_attribute(LinkAttribute::TxQueueLen(0));
        let builder = in_group(builder, self.group);
        let message = common(builder, Some(self.mac), Some(self.mtu), true).build();
        let subject = format!("{} of kind ifb", self.name);
        Change::new(Op::CreateLink, subject, libc::RTM_NEWLINK, CREATE, &message)
    }
}

impl Socket {
    /// Makes an IFB.
    ///
    /// # Errors
    /// The kernel refuses it; [`is_exists`](NetlinkError::is_exists) if the name is taken.
    pub fn create_ifb(&self, ifb: &CreateIfb) -> Result<LinkId, NetlinkError> {
        let made = self.create(&ifb.change(), &ifb.name, Some(ifb.mac))?;
        Ok(made.id())
    }
}
