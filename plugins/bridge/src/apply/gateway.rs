//! The gateway's addresses on the bridge, or on the interface of its VLAN, and forwarding.

use cni_netlink::{
    Change, CreateVeth, Dad, LinkId, Protocol, VethEnd, VlanRange, VlanSide, add_address,
    add_vlans, delete_address, delete_vlans, random_mac, set_up, sysctl,
};
use cni_plugin::Undo;
use cni_types::{CniError, IfName, Interface, IpCidr};

use super::bridge::{Bridge, Host, ignore_gone, no_name_left};
use super::veth::VETH_QUEUES;
use crate::config::BridgeConfig;
use crate::error::BridgeError;
use crate::owner;
use crate::plan::{GatewayChange, gateway_changes};

/// The interface that is to have the gateway's addresses, as it is.
#[derive(Debug)]
pub(crate) struct GatewaySite {
    link: LinkId,
    has: Vec<IpCidr>,
    /// What the result tells of it, where it is not the bridge itself.
    pub(crate) vlan_interface: Option<Interface>,
}

/// What the gateway still needs.
#[derive(Debug)]
pub(crate) struct GatewayPlan {
    link: LinkId,
    changes: Vec<GatewayChange>,
    ipv4: bool,
    ipv6: bool,
}

impl GatewaySite {
    /// Whether the gateway's addresses can be had, before anything is changed for them.
    pub(crate) fn plan(
        &self,
        config: &BridgeConfig,
        gateways: &[IpCidr],
    ) -> Result<GatewayPlan, BridgeError> {
        Ok(GatewayPlan {
            link: self.link.clone(),
            changes: gateway_changes(&config.bridge, &self.has, gateways, config.force_address)?,
            ipv4: gateways.iter().any(|gateway| !gateway.is_ipv6()),
            ipv6: gateways.iter().any(IpCidr::is_ipv6),
        })
    }
}

impl Host {
    /// Finds the gateway's interface, or makes that of a VLAN.
    pub(crate) fn observe_gateway(
        &self,
        config: &BridgeConfig,
        bridge: &Bridge,
        undo: &mut Undo,
    ) -> Result<GatewaySite, CniError> {
        let Some(vlan) = config.port.vlans.access else {
            let has = if bridge.is_new {
                Vec::new()
            } else {
                self.addresses_of(&bridge.id)?
            };
            return Ok(GatewaySite {
                link: bridge.id.clone(),
                has,
                vlan_interface: None,
            });
        };
        let (link, interface) = self.ensure_vlan_gateway(config, bridge, vlan, undo)?;
        let has = self.addresses_of(&link)?;
        Ok(GatewaySite {
            link,
            has,
            vlan_interface: Some(interface),
        })
    }

    fn addresses_of(&self, link: &LinkId) -> Result<Vec<IpCidr>, CniError> {
        let addresses = self.socket.addresses(Some(link))?;
        Ok(addresses.iter().map(|address| address.cidr).collect())
    }

    /// Gives the bridge its addresses and lets the host forward: last of all, since others may come
    /// to rely on it at once.
    pub(crate) fn apply_gateway(
        &self,
        plan: &GatewayPlan,
        bridge: &Bridge,
        undo: &mut Undo,
    ) -> Result<(), CniError> {
        for change in &plan.changes {
            let outcome = self.socket.request(&request(&plan.link, change, false));
            match (outcome, change) {
                // Another ADD was quicker.
                (Err(error), GatewayChange::Add(_)) if error.is_exists() => continue,
                (Err(error), GatewayChange::Remove(_)) if error.is_gone() => continue,
                (outcome, _) => outcome?,
            };
            let (host, bridge) = (self.clone(), bridge.id.clone());
            let inverse = request(&plan.link, change, true);
            undo.push(inverse.to_string(), move || {
                if host.shared.is_ours_alone(&host.socket, &bridge) {
                    ignore_gone(host.socket.request(&inverse))?;
                }
                Ok(())
            });
        }
        if plan.ipv4 {
            self.forward(Protocol::Ipv4, bridge, undo)?;
        }
        if plan.ipv6 {
            self.forward(Protocol::Ipv6, bridge, undo)?;
        }
        Ok(())
    }

    fn forward(
        &self,
        protocol: Protocol,
        bridge: &Bridge,
        undo: &mut Undo,
    ) -> Result<(), CniError> {
        if self.socket.forwards(protocol) == Some(true) {
            return Ok(());
        }
        let key: &[&str] = match protocol {
            Protocol::Ipv4 => &["net", "ipv4", "ip_forward"],
            Protocol::Ipv6 => &["net", "ipv6", "conf", "all", "forwarding"],
        };
        // Writing "1" over "1" would reset every interface's settings.
        let Some(before) = sysctl::write_if_different(key, "1")? else {
            return Ok(());
        };
        let (host, bridge) = (self.clone(), bridge.id.clone());
        undo.push(format!("reset {}", key.join(".")), move || {
            if host.shared.is_ours_alone(&host.socket, &bridge) {
                sysctl::write(key, &before)?;
            }
            Ok(())
        });
        Ok(())
    }

    /// The gateway of a VLAN is the free end of a veth pair whose other end is a port of the
    /// bridge in that VLAN. It is made by the first ADD and stays.
    fn ensure_vlan_gateway(
        &self,
        config: &BridgeConfig,
        bridge: &Bridge,
        vlan: u16,
        undo: &mut Undo,
    ) -> Result<(LinkId, Interface), CniError> {
        let name = vlan_gateway_name(&config.bridge, vlan)?;
        if self.socket.find_link(&name)?.is_none() {
            self.create_vlan_gateway(config, bridge, (&name, vlan), undo)?;
        }
        let gone = || BridgeError::mismatch(format!("interface {name}"), "it vanished");
        let found = self.socket.find_link(&name)?.ok_or_else(gone)?;
        let interface = Interface {
            name: name.to_string(),
            mac: found.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            ..Interface::default()
        };
        Ok((found.id(), interface))
    }

    fn create_vlan_gateway(
        &self,
        config: &BridgeConfig,
        bridge: &Bridge,
        (name, vlan): (&IfName, u16),
        undo: &mut Undo,
    ) -> Result<(), CniError> {
        let mut request = CreateVeth {
            host: VethEnd {
                name: name.clone(),
                mac: Some(random_mac()),
            },
            host_up: true,
            queues: Some(VETH_QUEUES),
            container: VethEnd {
                name: name.clone(),
                mac: Some(random_mac()),
            },
            netns: None,
            mtu: config.mtu,
            master: Some(bridge.id.index),
            group: None,
        };
        for attempt in 0..owner::HOST_NAMES {
            // The port is the end that has a master, which is the one called "host".
            request.host.name = no_name_left(owner::vlan_port_name(&config.bridge, vlan, attempt))?;
            match self.socket.create_veth(&request) {
                Ok(pair) => {
                    self.delete_on_failure(&pair.host, undo);
                    self.socket.request(&set_up(&pair.container))?;
                    return self.join_vlan(&pair.host, vlan, bridge);
                }
                Err(error) if error.is_exists() => {
                    if self.socket.find_link(name)?.is_some() {
                        // Another ADD was quicker.
                        return Ok(());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(BridgeError::NoHostName.into())
    }

    fn join_vlan(&self, port: &LinkId, vlan: u16, bridge: &Bridge) -> Result<(), CniError> {
        let default = bridge
            .info
            .default_pvid
            .filter(|default| ![0, vlan].contains(default));
        let leave = default
            .map(|default| delete_vlans(port, &[VlanRange::access(default)], VlanSide::Port));
        let join = add_vlans(port, &[VlanRange::access(vlan)], VlanSide::Port);
        let changes: Vec<Change> = leave.into_iter().chain([join]).collect();
        Ok(self
            .socket
            .send_all(&changes)
            .map_err(cni_netlink::NetlinkError::from)?)
    }
}

/// `<bridge>.<vlan>`, the reference's name.
pub(crate) fn vlan_gateway_name(bridge: &IfName, vlan: u16) -> Result<IfName, BridgeError> {
    let too_long = |_| BridgeError::VlanGatewayName {
        bridge: bridge.clone(),
        vlan,
    };
    format!("{bridge}.{vlan}").parse().map_err(too_long)
}

fn request(link: &LinkId, change: &GatewayChange, inverse: bool) -> Change {
    match (change, inverse) {
        (GatewayChange::Add(cidr), false) | (GatewayChange::Remove(cidr), true) => {
            add_address(link, *cidr, Dad::Skip)
        }
        (GatewayChange::Remove(cidr), false) | (GatewayChange::Add(cidr), true) => {
            delete_address(link, *cidr)
        }
    }
}
