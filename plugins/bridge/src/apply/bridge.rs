//! The bridge itself.

use std::rc::Rc;

use cni_netlink::{
    BridgeInfo, CreateBridge, Link, LinkId, NetNs, NetlinkError, Socket, delete_link, random_mac,
    set_alias, set_mac, set_promiscuous, set_up, sysctl,
};
use cni_plugin::Undo;
use cni_types::{CniError, ErrorCode, IfName, MacAddr};

use super::shared::SharedUse;
use crate::config::BridgeConfig;
use crate::error::BridgeError;
use crate::owner;
use crate::plan::usable_bridge;

/// The bridge, there and up.
#[derive(Debug, Clone)]
pub(crate) struct Bridge {
    pub(crate) id: LinkId,
    pub(crate) mac: Option<MacAddr>,
    pub(crate) info: BridgeInfo,
    /// Made by this ADD, so that it has no addresses yet.
    pub(crate) is_new: bool,
}

/// What the steps on the host's side work with.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) socket: Rc<Socket>,
    /// Its namespace.
    pub(crate) home: NetNs,
    pub(crate) shared: Rc<SharedUse>,
}

impl Host {
    /// A socket in the host's namespace, which is `home`, and the claim on what is shared.
    pub(crate) fn new(socket: Socket, home: NetNs) -> Self {
        let shared = Rc::new(SharedUse::begin(&home));
        let socket = Rc::new(socket);
        Self {
            socket,
            home,
            shared,
        }
    }

    /// Finds the bridge or makes it. Another ADD may do the same at the same time.
    pub(crate) fn ensure_bridge(
        &self,
        config: &BridgeConfig,
        undo: &mut Undo,
    ) -> Result<Bridge, CniError> {
        let name = &config.bridge;
        if let Some(link) = usable_bridge(name, self.socket.find_link(name)?)? {
            return self.use_bridge(link, config, undo);
        }
        match self.create_bridge(config, undo) {
            Err(error) if error.is_exists() => {
                match usable_bridge(name, self.socket.find_link(name)?)? {
                    Some(link) => self.use_bridge(link, config, undo),
                    None => Err(error.into()),
                }
            }
            Err(error) => Err(unsupported(error, config)),
            Ok(bridge) => self.finish_bridge(bridge, config),
        }
    }

    fn create_bridge(
        &self,
        config: &BridgeConfig,
        undo: &mut Undo,
    ) -> Result<Bridge, NetlinkError> {
        // An address that is given stays; one that the kernel chooses follows the ports, and the
        // containers' neighbour caches would be wrong after each change.
        let mac = Some(random_mac());
        let id = self.socket.create_bridge(&CreateBridge {
            name: config.bridge.clone(),
            mac,
            mtu: config.mtu,
            vlan_filtering: config.port.vlans.are_wanted(),
            up: true,
        })?;
        let (host, bridge) = (self.clone(), id.clone());
        undo.push(format!("delete bridge {id}"), move || {
            if host.shared.is_ours_alone(&host.socket, &bridge) {
                ignore_gone(host.socket.request(&delete_link(&bridge)))?;
            }
            Ok(())
        });
        Ok(Bridge {
            id,
            mac,
            info: BridgeInfo::default(),
            is_new: true,
        })
    }

    /// What a bridge needs that cannot be said when it is made.
    fn finish_bridge(&self, mut bridge: Bridge, config: &BridgeConfig) -> Result<Bridge, CniError> {
        // The bridge is a router's leg, not a host that configures itself. A kernel without IPv6
        // has no such switch.
        let _no_ipv6 = sysctl::write(&["net", "ipv6", "conf", &bridge.id.name, "accept_ra"], "0");
        let promiscuous = config
            .promiscuous
            .then(|| set_promiscuous(&bridge.id, true));
        let changes: Vec<_> = promiscuous
            .into_iter()
            .chain([set_alias(&bridge.id, owner::BRIDGE_ALIAS)])
            .collect();
        self.socket.send_all(&changes).map_err(NetlinkError::from)?;
        if config.port.vlans.are_wanted() {
            let link = self.socket.find_link_by_index(bridge.id.index)?;
            bridge.info = link.and_then(|link| link.bridge).unwrap_or_default();
        }
        Ok(bridge)
    }

    fn use_bridge(
        &self,
        link: Link,
        config: &BridgeConfig,
        undo: &mut Undo,
    ) -> Result<Bridge, CniError> {
        let id = link.id();
        self.pin_mac(&link)?;
        if !link.is_up() {
            self.socket.request(&set_up(&id))?;
        }
        if config.promiscuous && !link.is_promiscuous() {
            self.socket.request(&set_promiscuous(&id, true))?;
            let (host, bridge) = (self.clone(), id.clone());
            undo.push(format!("take {id} out of promiscuous mode"), move || {
                if host.shared.is_ours_alone(&host.socket, &bridge) {
                    ignore_gone(host.socket.request(&set_promiscuous(&bridge, false)))?;
                }
                Ok(())
            });
        }
        Ok(Bridge {
            id,
            mac: link.mac,
            info: link.bridge.unwrap_or_default(),
            is_new: false,
        })
    }
}

impl Host {
    /// Gives a bridge that somebody else has made the MAC address it has: it would take the lowest
    /// of its ports' otherwise, change with them, and have none when the last one leaves. There is
    /// no telling whether it has been given one already.
    fn pin_mac(&self, link: &Link) -> Result<(), NetlinkError> {
        match link.mac {
            Some(mac) if mac.is_unicast() && !owner::is_own_bridge(link.alias.as_deref()) => {
                self.socket.request(&set_mac(&link.id(), mac)).map(drop)
            }
            _ => Ok(()),
        }
    }
}

/// A kernel that has bridges but no VLANs on them refuses the key, not the bridge.
fn unsupported(error: NetlinkError, config: &BridgeConfig) -> CniError {
    if config.port.vlans.are_wanted() && is_not_supported(&error) {
        let key = if config.port.vlans.access.is_some() {
            "vlan"
        } else {
            "vlanTrunk"
        };
        return BridgeError::Unsupported { key, source: error }.into();
    }
    error.into()
}

/// Whether the kernel was built without what was asked for.
pub(crate) fn is_not_supported(error: &NetlinkError) -> bool {
    error.errno() == Some(nix::errno::Errno::EOPNOTSUPP)
}

/// What is gone needs no removing.
pub(crate) fn ignore_gone<T>(outcome: Result<T, NetlinkError>) -> Result<(), NetlinkError> {
    match outcome {
        Err(error) if !error.is_gone() => Err(error),
        _ => Ok(()),
    }
}

/// The name is taken by somebody who will not give it back.
pub(crate) fn no_name_left(name: Option<IfName>) -> Result<IfName, CniError> {
    name.ok_or_else(|| {
        CniError::new(
            ErrorCode::INTERNAL,
            "cannot name the host end of the veth pair",
        )
    })
}
