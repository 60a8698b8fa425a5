//! Sandboxes in the kernel.

use std::path::Path;

use cni_netlink::{Link, MAIN_TABLE, NetNs, RouteFilter, Socket, delete_link, move_link};
use cni_types::IfName;

use super::plan::Placement;
use super::site::Site;
use super::{HostEnd, LeftInside, Placed, SandboxError, Sandboxes, Seen, TakenOut, key};
use crate::store::record::{LinkRecord, SandboxRecord};

/// The kinds of links that drivers make, and that are nothing without their endpoint. Hardware has
/// no kind.
const MADE_BY_DRIVERS: [&str; 7] = [
    "veth", "macvlan", "macvtap", "ipvlan", "ipvtap", "dummy", "vlan",
];

/// The running kernel.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kernel;

impl Sandboxes for Kernel {
    fn identify(&self, path: &Path) -> Result<SandboxRecord, SandboxError> {
        let netns = NetNs::open(path)?;
        let (dev, inode) = identity(&netns, path)?;
        Ok(SandboxRecord {
            path: path.to_owned(),
            key: path.to_owned(),
            dev,
            inode,
        })
    }

    fn make_key(&self, key: &Path, path: &Path) -> Result<(), SandboxError> {
        key::make(key, path)
    }

    fn remove_key(&self, key: &Path) -> Result<(), SandboxError> {
        key::remove(key)
    }

    fn is_free(&self, path: &Path, name: &IfName) -> Result<bool, SandboxError> {
        let inside = NetNs::open(path)?.socket()?;
        Ok(inside.find_link_by_any_name(name)?.is_none())
    }

    fn is_at_work(&self, src_name: &IfName) -> Result<bool, SandboxError> {
        let host = Socket::open()?;
        let Some(link) = host.find_link(src_name)? else {
            return Ok(false);
        };
        if link.master.is_some() {
            return Ok(true);
        }
        for ipv6 in [false, true] {
            let filter = RouteFilter {
                ipv6,
                table: MAIN_TABLE,
                oif: Some(link.index),
            };
            let routes = host.routes(filter)?;
            if routes.iter().any(|route| route.dst.is_default_route()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn place(
        &self,
        sandbox: &SandboxRecord,
        placement: &Placement,
    ) -> Result<Placed, SandboxError> {
        let host = Socket::open()?;
        let netns = NetNs::open(&sandbox.path)?.only(Some((sandbox.dev, sandbox.inode)))?;
        let inside = netns.socket()?;
        let link = host
            .find_link(&placement.src_name)?
            .ok_or_else(|| SandboxError::NoSuchLink(placement.src_name.clone()))?;
        if inside.find_link_by_any_name(&placement.name)?.is_some() {
            return Err(SandboxError::NameTaken(placement.name.clone()));
        }
        host.request(&move_link(&link.id(), &netns, &placement.name))?;
        let moved = inside
            .find_link(&placement.name)?
            .ok_or_else(|| SandboxError::NoSuchLink(placement.name.clone()))?;
        let site = Site {
            netns: &netns,
            inside: &inside,
            link: moved.id(),
        };
        site.configure(placement)?;
        let routes = site.add_routes(placement)?;
        let now = inside
            .find_link_by_index(moved.index)?
            .ok_or_else(|| SandboxError::NoSuchLink(placement.name.clone()))?;
        site.announce(placement, now.mac);
        Ok(Placed {
            link: LinkRecord {
                src_name: placement.src_name.to_string(),
                name: placement.name.to_string(),
                index: moved.index,
                mac: mac_text(&now),
            },
            mtu: now.mtu,
            host_end: host_end(&host, &now)?,
            routes,
        })
    }

    fn take_out(
        &self,
        sandbox: &SandboxRecord,
        link: &LinkRecord,
    ) -> Result<TakenOut, SandboxError> {
        let Some(netns) = NetNs::open_if_there(&sandbox.path)? else {
            return Ok(TakenOut::Gone);
        };
        if identity(&netns, &sandbox.path)? != (sandbox.dev, sandbox.inode) {
            return Ok(TakenOut::Gone);
        }
        let (host, home, inside) = (Socket::open()?, NetNs::current()?, netns.socket()?);
        let Some(found) = find_placed(&inside, link)? else {
            return Ok(TakenOut::Gone);
        };
        let Ok(src_name) = link.src_name.parse::<IfName>() else {
            return Ok(TakenOut::Gone);
        };
        if host.find_link(&src_name)?.is_some() {
            return Err(SandboxError::WayBackTaken {
                name: link.name.clone(),
                src_name: link.src_name.clone(),
            });
        }
        match inside.request(&move_link(&found.id(), &home, &src_name)) {
            // The driver may be deleting it at this moment.
            Err(error) if error.is_gone() => return Ok(TakenOut::Gone),
            other => other?,
        };
        let back = host.find_link(&src_name)?;
        Ok(back.map_or(TakenOut::Gone, |link| TakenOut::Moved(link.index)))
    }

    fn discard(&self, index: u32, name: &str) -> Result<(), SandboxError> {
        let host = Socket::open()?;
        let found = host.find_link_by_index(index)?;
        discard(&host, found.filter(|link| link.name == name))
    }

    fn is_on_host(&self, name: &str) -> bool {
        let find = |name| Socket::open().ok()?.find_link(&name).ok()?;
        name.parse::<IfName>().ok().and_then(find).is_some()
    }

    fn discard_named(&self, name: &str) -> Result<(), SandboxError> {
        let Ok(name) = name.parse::<IfName>() else {
            return Ok(());
        };
        let host = Socket::open()?;
        discard(&host, host.find_link(&name)?)
    }

    fn look(&self, path: &Path, name: &IfName) -> Result<Option<Seen>, SandboxError> {
        let inside = NetNs::open(path)?.socket()?;
        let Some(link) = inside.find_link(name)? else {
            return Ok(None);
        };
        let addresses = inside.addresses(Some(&link.id()))?;
        let mut routes = Vec::new();
        for ipv6 in [false, true] {
            let filter = RouteFilter {
                ipv6,
                table: MAIN_TABLE,
                oif: Some(link.index),
            };
            let found = inside.routes(filter)?.into_iter();
            routes.extend(found.map(|route| (route.dst, route.gateway)));
        }
        Ok(Some(Seen {
            up: link.is_up(),
            mac: mac_text(&link),
            mtu: link.mtu,
            addresses: addresses.into_iter().map(|address| address.cidr).collect(),
            routes,
            host_end: host_end(&Socket::open()?, &link)?,
        }))
    }
}

impl Kernel {
    /// Deletes a link that its driver has left in a sandbox. The link must be the very one: another
    /// of its name, or with its hardware address, stays, and so does hardware.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn discard_inside(
        self,
        sandbox: &SandboxRecord,
        link: &LinkRecord,
    ) -> Result<LeftInside, SandboxError> {
        let Some(netns) = NetNs::open_if_there(&sandbox.path)? else {
            return Ok(LeftInside::Nothing);
        };
        if identity(&netns, &sandbox.path)? != (sandbox.dev, sandbox.inode) {
            return Ok(LeftInside::Nothing);
        }
        let inside = netns.socket()?;
        let found = find_placed(&inside, link)?.filter(|found| mac_text(found) == link.mac);
        match found {
            None => Ok(LeftInside::Nothing),
            Some(found) if is_made_by_driver(&found) => {
                discard(&inside, Some(found)).map(|()| LeftInside::Deleted)
            }
            Some(found) => Ok(LeftInside::Kept(found.name)),
        }
    }
}

fn is_made_by_driver(link: &Link) -> bool {
    MADE_BY_DRIVERS.iter().any(|kind| link.is_kind(kind))
}

fn discard(host: &Socket, link: Option<Link>) -> Result<(), SandboxError> {
    let Some(link) = link.filter(is_made_by_driver) else {
        return Ok(());
    };
    match host.request(&delete_link(&link.id())) {
        Err(error) if !error.is_gone() => Err(error.into()),
        _gone => Ok(()),
    }
}

fn identity(netns: &NetNs, path: &Path) -> Result<(u64, u64), SandboxError> {
    let id = netns.id().map_err(|source| SandboxError::Io {
        verb: "examine",
        path: path.to_owned(),
        source,
    })?;
    Ok((id.dev, id.inode))
}

fn mac_text(link: &Link) -> String {
    link.mac.map(|mac| mac.to_string()).unwrap_or_default()
}

/// The link that was placed, also if it was only moved and not renamed yet, or renamed by others
/// since. Another one of that name, with another index, is not ours.
fn find_placed(inside: &Socket, link: &LinkRecord) -> Result<Option<Link>, SandboxError> {
    let names = [&link.name, &link.src_name];
    if link.index != 0 {
        let found = inside.find_link_by_index(link.index)?;
        let is_ours = |found: &Link| names.contains(&&found.name) || mac_text(found) == link.mac;
        return Ok(found.filter(is_ours));
    }
    for name in names {
        let Ok(name) = name.parse::<IfName>() else {
            continue;
        };
        if let Some(found) = inside.find_link(&name)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The peer of a veth, as far as it is in the host's namespace and says the same.
fn host_end(host: &Socket, link: &Link) -> Result<Option<HostEnd>, SandboxError> {
    let (true, Some(peer)) = (link.is_kind("veth"), link.peer) else {
        return Ok(None);
    };
    let found = host.find_link_by_index(peer)?;
    let Some(end) = found.filter(|end| end.is_kind("veth") && end.peer == Some(link.index)) else {
        return Ok(None);
    };
    let master = match end.master {
        Some(index) => host.find_link_by_index(index)?,
        None => None,
    };
    let bridge = master.filter(|master| master.is_kind("bridge"));
    Ok(Some(HostEnd {
        mac: mac_text(&end),
        mtu: end.mtu,
        up: end.is_up(),
        name: end.name,
        bridge: bridge.map(|bridge| (bridge.name.clone(), mac_text(&bridge))),
    }))
}
