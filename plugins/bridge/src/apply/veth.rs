//! The veth pair, and how its host end behaves as a port of the bridge.

use cni_netlink::{
    Change, CreateVeth, LinkId, NetNs, NetlinkError, Socket, VethEnd, VethPair, VlanSide,
    add_vlans, delete_link, delete_vlans, random_mac, set_alias_and_leave_group, set_port,
};
use cni_plugin::Undo;
use cni_types::{Attachment, CniError, IfName, MacAddr};

use super::bridge::{Bridge, Host, ignore_gone, no_name_left};
use crate::config::BridgeConfig;
use crate::error::BridgeError;
use crate::owner;
use crate::plan::vlan::vlan_changes;

/// A veth pair hands a packet straight to the other end's processor backlog: queues of its own are
/// used by XDP programs and GRO on it only. Since Linux 5.17 the kernel makes one for each possible
/// processor and direction all the same, each with its files in sysfs, which takes a third of the
/// time of making the pair on two processors, and most of it on many.
pub(crate) const VETH_QUEUES: u32 = 1;

/// How often the bridge is made again after another ADD, failing, took it away under us.
const BRIDGE_TRIES: u8 = 3;

/// The pair, both ends where they belong.
#[derive(Debug)]
pub(crate) struct Veth {
    pub(crate) pair: VethPair,
    pub(crate) host_mac: MacAddr,
    pub(crate) container_mac: MacAddr,
}

/// Which pair is wanted.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) config: &'a BridgeConfig,
    pub(crate) attachment: &'a Attachment,
    pub(crate) netns: &'a NetNs,
    /// A socket inside the container's namespace.
    pub(crate) inside: &'a Socket,
}

impl Host {
    /// Makes the pair: in one request, with all names, addresses and the bridge.
    ///
    /// Addresses are set by us on both ends, so that udev's `MACAddressPolicy` leaves them alone.
    pub(crate) fn create_veth(
        &self,
        wanted: &Wanted<'_>,
        bridge: &mut Bridge,
        undo: &mut Undo,
    ) -> Result<Veth, CniError> {
        let host_mac = random_mac();
        let container_mac = wanted.config.mac.unwrap_or_else(random_mac);
        let mut request = CreateVeth {
            host: VethEnd {
                name: host_name(wanted, 0)?,
                mac: Some(host_mac),
            },
            host_up: true,
            queues: Some(VETH_QUEUES),
            container: VethEnd {
                name: wanted.attachment.ifname.clone(),
                mac: Some(container_mac),
            },
            netns: Some(wanted.netns.clone()),
            mtu: wanted.config.mtu,
            master: Some(bridge.id.index),
            group: Some(owner::unmarked_group(&wanted.attachment.network)),
        };
        let (mut names, mut bridges) = (0, 0);
        let pair = loop {
            match self.socket.create_veth(&request) {
                Ok(pair) => break pair,
                Err(error) if error.is_exists() => {
                    names += 1;
                    refuse_taken_name(wanted, names)?;
                    request.host.name = host_name(wanted, names)?;
                }
                Err(error) if error.is_gone() && bridges < BRIDGE_TRIES => {
                    bridges += 1;
                    *bridge = self.ensure_bridge(wanted.config, undo)?;
                    request.master = Some(bridge.id.index);
                }
                Err(error) => return Err(error.into()),
            }
        };
        self.delete_on_failure(&pair.host, undo);
        Ok(Veth {
            pair,
            host_mac,
            container_mac,
        })
    }

    /// Takes a port back that this ADD has made.
    pub(crate) fn delete_on_failure(&self, link: &LinkId, undo: &mut Undo) {
        self.shared.owns_port(link);
        let (host, id) = (self.clone(), link.clone());
        undo.push(format!("delete {link}"), move || {
            Ok(ignore_gone(host.socket.request(&delete_link(&id)))?)
        });
    }

    /// Marks the host end as ours and makes it the port that is wanted, in one send.
    pub(crate) fn configure_port(
        &self,
        config: &BridgeConfig,
        attachment: &Attachment,
        port: &LinkId,
        bridge: &Bridge,
    ) -> Result<(), CniError> {
        let mut changes = vec![set_alias_and_leave_group(port, &owner::alias(attachment))];
        // A new port has neither flag: only what differs is sent.
        let flags = (
            config.port.hairpin.then_some(true),
            config.port.isolated.then_some(true),
        );
        if flags != (None, None) {
            changes.push(set_port(port, flags.0, flags.1));
        }
        changes.extend(vlan_requests(config, port, bridge));
        self.socket
            .send_all(&changes)
            .map_err(|error| port_error(error.into(), config))
    }
}

fn vlan_requests(config: &BridgeConfig, port: &LinkId, bridge: &Bridge) -> Vec<Change> {
    let plan = vlan_changes(&config.port.vlans, bridge.info.default_pvid);
    let leave = plan.leave.map(cni_netlink::VlanRange::access);
    let leave = leave.map(|vlan| delete_vlans(port, &[vlan], VlanSide::Port));
    let join = (!plan.join.is_empty()).then(|| add_vlans(port, &plan.join, VlanSide::Port));
    leave.into_iter().chain(join).collect()
}

/// An old kernel that lacks a flag refuses the key that asks for it.
fn port_error(error: NetlinkError, config: &BridgeConfig) -> CniError {
    let key = match error.op {
        cni_netlink::Op::AddVlan | cni_netlink::Op::DeleteVlan => {
            if config.port.vlans.access.is_some() {
                "vlan"
            } else {
                "vlanTrunk"
            }
        }
        cni_netlink::Op::SetPort if config.port.isolated => "portIsolation",
        _ => return error.into(),
    };
    if super::bridge::is_not_supported(&error) {
        return BridgeError::Unsupported { key, source: error }.into();
    }
    error.into()
}

fn host_name(wanted: &Wanted<'_>, attempt: u8) -> Result<IfName, CniError> {
    no_name_left(owner::host_name(wanted.attachment, attempt))
}

/// "Exists" does not say which of the two names.
fn refuse_taken_name(wanted: &Wanted<'_>, attempts: u8) -> Result<(), CniError> {
    let ifname = &wanted.attachment.ifname;
    if wanted.inside.find_link(ifname)?.is_some() {
        return Err(BridgeError::ContainerNameTaken(ifname.clone()).into());
    }
    if attempts >= owner::HOST_NAMES {
        return Err(BridgeError::NoHostName.into());
    }
    Ok(())
}
