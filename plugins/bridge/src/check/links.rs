//! The links of an attachment: the bridge, the port and the container's end.

use std::collections::{BTreeMap, BTreeSet};

use cni_netlink::{Link, LinkId};
use cni_types::{CniError, Interface, MacAddr};

use super::{Attachment, Mismatches, fatal};
use crate::apply::gateway::vlan_gateway_name;
use crate::config::{Addressing, BridgeConfig};
use crate::error::BridgeError;
use crate::plan::vlan::{Membership, expected_vlans, memberships};

/// The links that were found, for the checks that follow.
pub(crate) struct Links {
    pub(crate) bridge: LinkId,
    pub(crate) port: Option<LinkId>,
    pub(crate) container: LinkId,
    pub(crate) container_mac: Option<MacAddr>,
}

impl Attachment<'_> {
    pub(super) fn check_links(&self, found: &mut Mismatches) -> Result<Links, CniError> {
        let bridge = self.check_bridge(found)?;
        let container = self.check_container(found)?;
        let port = self.check_port(&bridge, &container, found)?;
        Ok(Links {
            bridge: bridge.id(),
            port: port.map(|port| port.id()),
            container: container.id(),
            container_mac: container.mac,
        })
    }

    /// The result's entry for a link; without one CHECK has nothing to compare with.
    fn entry(&self, name: &str, in_container: bool) -> Result<&Interface, CniError> {
        let entry = self.result.interfaces.iter().find(|interface| {
            interface.name == name
                && if in_container {
                    interface.sandbox == self.request.request.env.netns
                } else {
                    interface.sandbox.is_empty()
                }
        });
        let place = if in_container {
            &self.request.request.env.netns
        } else {
            "the host"
        };
        entry.ok_or_else(|| {
            fatal(
                format!("interface {name}"),
                format!("prevResult has none of that name in {place}"),
            )
        })
    }

    fn check_bridge(&self, found: &mut Mismatches) -> Result<Link, CniError> {
        let name = &self.config.bridge;
        let entry = self.entry(name.as_str(), false)?;
        let link = self.host.find_link(name)?;
        let link = link.ok_or_else(|| fatal(format!("bridge {name}"), "it is missing"))?;
        if !link.is_kind("bridge") {
            return Err(BridgeError::NotABridge(name.clone()).into());
        }
        compare_mac("bridge", &link, entry, found);
        check_up("bridge", &link, found);
        if self.config.promiscuous && !link.is_promiscuous() {
            found.push(BridgeError::mismatch(
                format!("bridge {name}"),
                "it is not promiscuous",
            ));
        }
        Ok(link)
    }

    fn check_container(&self, found: &mut Mismatches) -> Result<Link, CniError> {
        let name = &self.request.attachment.ifname;
        let entry = self.entry(name.as_str(), true)?;
        let link = self.inside.find_link(name)?;
        let link =
            link.ok_or_else(|| fatal(format!("container interface {name}"), "it is missing"))?;
        if !link.is_kind("veth") {
            return Err(fatal(
                format!("container interface {name}"),
                "it is not a veth",
            ));
        }
        compare_mac("container interface", &link, entry, found);
        if self.config.addressing != Addressing::Down {
            check_up("container interface", &link, found);
        }
        Ok(link)
    }

    /// The port is the host's link whose peer is the container's, and the result has its name.
    fn check_port(
        &self,
        bridge: &Link,
        container: &Link,
        found: &mut Mismatches,
    ) -> Result<Option<Link>, CniError> {
        let by_index = match container.peer {
            Some(index) => self.host.find_link_by_index(index)?,
            None => None,
        };
        let port =
            by_index.filter(|link| link.is_kind("veth") && link.peer == Some(container.index));
        let Some(port) = port else {
            found.push(BridgeError::mismatch(
                format!("peer of {}", container.name),
                "it is missing",
            ));
            return Ok(None);
        };
        match self.entry(&port.name, false) {
            Ok(entry) => compare_mac("host interface", &port, entry, found),
            Err(_unnamed) => found.push(BridgeError::mismatch(
                format!("host interface {}", port.name),
                "prevResult has none of that name",
            )),
        }
        if port.master != Some(bridge.index) {
            let what = format!("host interface {}", port.name);
            found.push(BridgeError::mismatch(
                what,
                format!("it is no port of {}", bridge.name),
            ));
            return Ok(Some(port));
        }
        check_up("host interface", &port, found);
        check_flags(self.config, &port, found);
        self.check_vlans(bridge, &port, found)?;
        Ok(Some(port))
    }

    fn check_vlans(
        &self,
        bridge: &Link,
        port: &Link,
        found: &mut Mismatches,
    ) -> Result<(), CniError> {
        if self.config.port.vlans.are_wanted() {
            let default = bridge
                .bridge
                .as_ref()
                .and_then(|bridge| bridge.default_pvid);
            let expected = expected_vlans(&self.config.port.vlans, default);
            self.compare_vlans(port, &expected, found)?;
        }
        Ok(())
    }

    fn compare_vlans(
        &self,
        port: &Link,
        expected: &BTreeMap<u16, Membership>,
        found: &mut Mismatches,
    ) -> Result<(), CniError> {
        let has = memberships(&self.host.port_vlans(&port.id())?);
        let ids: BTreeSet<u16> = has.keys().chain(expected.keys()).copied().collect();
        for id in ids.into_iter().filter(|id| has.get(id) != expected.get(id)) {
            let what = format!("VLAN {id} of {}", port.name);
            let how = match (has.get(&id), expected.get(&id)) {
                (None, _) => "it is missing",
                (_, None) => "it was added",
                _ => "it is not as it was set",
            };
            found.push(BridgeError::mismatch(what, how));
        }
        Ok(())
    }

    /// The interface with a VLAN's gateway, and its other end, a port of the bridge in that VLAN.
    pub(super) fn check_vlan_gateway(
        &self,
        links: &Links,
        vlan: u16,
        found: &mut Mismatches,
    ) -> Result<Option<LinkId>, CniError> {
        let name = vlan_gateway_name(&self.config.bridge, vlan)?;
        let Some(gateway) = self.host.find_link(&name)? else {
            found.push(BridgeError::mismatch(
                format!("interface {name}"),
                "it is missing",
            ));
            return Ok(None);
        };
        check_up("interface", &gateway, found);
        let port = match gateway.peer {
            Some(index) => self.host.find_link_by_index(index)?,
            None => None,
        };
        match port.filter(|port| port.master == Some(links.bridge.index)) {
            Some(port) => {
                check_up("bridge port", &port, found);
                let access = Membership {
                    pvid: true,
                    untagged: true,
                };
                self.compare_vlans(&port, &BTreeMap::from([(vlan, access)]), found)?;
            }
            None => found.push(BridgeError::mismatch(
                format!("other end of {name}"),
                format!("it is no port of {}", links.bridge),
            )),
        }
        Ok(Some(gateway.id()))
    }
}

fn check_flags(config: &BridgeConfig, port: &Link, found: &mut Mismatches) {
    let flags = port
        .port
        .as_ref()
        .map(|port| port.flags)
        .unwrap_or_default();
    for (key, wanted, has) in [
        ("hairpinMode", config.port.hairpin, flags.hairpin),
        ("portIsolation", config.port.isolated, flags.isolated),
    ] {
        if wanted != has {
            let what = format!("{key} of {}", port.name);
            found.push(BridgeError::mismatch(
                what,
                if has { "it is on" } else { "it is off" },
            ));
        }
    }
}

fn check_up(what: &str, link: &Link, found: &mut Mismatches) {
    if !link.is_up() {
        found.push(BridgeError::mismatch(
            format!("{what} {}", link.name),
            "it is down",
        ));
    }
}

fn compare_mac(what: &str, link: &Link, entry: &Interface, found: &mut Mismatches) {
    let expected = entry.mac.parse::<MacAddr>().ok();
    if expected.is_some() && link.mac != expected {
        let has = link.mac.map(|mac| mac.to_string()).unwrap_or_default();
        let what = format!("MAC address of {what} {}", link.name);
        found.push(BridgeError::mismatch(
            what,
            format!("it is {has}, prevResult says {}", entry.mac),
        ));
    }
}
