//! The ends of the veth pair: what there is of them, and whose it is.

use cni_netlink::{Link, LinkId, NetNs, NetlinkError, Socket};
use cni_plugin::DelRequest;
use cni_types::{Attachment, CniError, CniResult, IfName, Interface, IpCidr};

use crate::owner;

/// The container's end of the veth pair, and its addresses.
pub(super) struct ContainerEnd {
    /// Speaks with the container's namespace.
    pub(super) inside: Socket,
    pub(super) link: LinkId,
    pub(super) addresses: Vec<IpCidr>,
}

impl ContainerEnd {
    pub(super) fn find(request: &DelRequest) -> Result<Option<Self>, CniError> {
        let Some(path) = &request.netns else {
            return Ok(None);
        };
        let Some(netns) = NetNs::open_if_there(path)? else {
            return Ok(None);
        };
        let inside = netns.only(request.netns_id)?.socket()?;
        match inside.find_link(&request.attachment.ifname)? {
            Some(link) if link.is_kind("veth") => {
                let link = link.id();
                let addresses = inside.addresses(Some(&link))?;
                let addresses = addresses.iter().filter(|address| !address.is_link_scope());
                let addresses = addresses.map(|address| address.cidr).collect();
                Ok(Some(Self {
                    inside,
                    link,
                    addresses,
                }))
            }
            // What is no veth is not ours, and not the reference's either.
            Some(_) | None => Ok(None),
        }
    }
}

/// The host's ends: one, mostly. None where the pair is gone, and more where an ADD was not followed
/// by a DEL and the namespace lives on without a name.
pub(super) struct HostEnds {
    /// Speaks with the host's namespace.
    pub(super) host: Socket,
    pub(super) links: Vec<LinkId>,
}

impl HostEnds {
    /// Finds what can be found; where the kernel does not answer, that is told to `errors`.
    pub(super) fn find(
        attachment: &Attachment,
        prev_result: &CniResult,
        errors: &mut Vec<CniError>,
    ) -> Option<Self> {
        let host = Socket::open()
            .map_err(|error| errors.push(error.into()))
            .ok()?;
        let mut ends = Self {
            host,
            links: Vec::new(),
        };
        let (own, references) = (ends.find_own(attachment), ends.find_references(prev_result));
        errors.extend(
            [own.err(), references.err()]
                .into_iter()
                .flatten()
                .map(CniError::from),
        );
        Some(ends)
    }

    fn find_own(&mut self, attachment: &Attachment) -> Result<(), NetlinkError> {
        for attempt in 0..owner::HOST_NAMES {
            let Some(name) = owner::host_name(attachment, attempt) else {
                continue;
            };
            match self.host.find_link(&name)? {
                Some(link) if is_own(&link, attachment) => self.links.push(link.id()),
                // The next name was tried only when this one was taken.
                Some(_foreign) => {}
                None => break,
            }
        }
        Ok(())
    }

    fn find_references(&mut self, prev_result: &CniResult) -> Result<(), NetlinkError> {
        for interface in told(prev_result) {
            let Ok(name) = interface.name.parse::<IfName>() else {
                continue;
            };
            if self.links.iter().any(|own| own.name == interface.name) {
                continue;
            }
            let found = self.host.find_link(&name)?;
            let found = found.filter(|link| is_references(link, interface));
            self.links.extend(found.map(|link| link.id()));
        }
        Ok(())
    }
}

fn is_own(link: &Link, attachment: &Attachment) -> bool {
    link.is_kind("veth") && owner::is_of_attachment(link.alias.as_deref(), attachment)
}

/// The host's interfaces in the result, as far as the reference can have made them for a container.
fn told(prev_result: &CniResult) -> impl Iterator<Item = &Interface> {
    let all = prev_result.interfaces.iter();
    all.filter(|interface| interface.sandbox.is_empty() && interface.name.starts_with("veth"))
}

/// The reference marks nothing. Its names are random, though, and the result has the MAC address.
fn is_references(link: &Link, told: &Interface) -> bool {
    let mac = link.mac.map(|mac| mac.to_string());
    link.is_kind("veth")
        && link.alias.is_none()
        && mac.is_some_and(|mac| mac.eq_ignore_ascii_case(&told.mac))
}
