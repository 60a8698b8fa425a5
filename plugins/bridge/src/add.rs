//! ADD.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use cni_firewall::spoofcheck::Binding;
use cni_netlink::{Cause, LinkId, NetNs, Socket};
use cni_plugin::{AttachmentRequest, Delegate, RunningAdd, Undo};
use cni_types::{CniError, CniResult, Interface, IpCidr, MacAddr, SpecVersion};

use crate::apply::bridge::{Bridge, Host};
use crate::apply::container::Container;
use crate::apply::filter;
use crate::apply::veth::{Veth, Wanted};
use crate::config::{Addressing, BridgeConfig};
use crate::error::BridgeError;
use crate::plan::{Addressed, Made, address, report};

/// How long the port may take to come up; it takes the kernel well under a millisecond.
const PORT_TIMEOUT: Duration = Duration::from_secs(5);

/// The MTU of a veth pair that was asked for none, in bytes: the kernel's `ETH_DATA_LEN`.
const DEFAULT_MTU: u32 = 1500;

/// Makes the attachment.
pub(crate) fn add(request: &AttachmentRequest, undo: &mut Undo) -> Result<CniResult, CniError> {
    let config = BridgeConfig::load(request)?;
    let netns = NetNs::open(&request.netns)?;
    // The IPAM plugin does not need the links, nor they it: it runs while they are made.
    let ipam = start_ipam(request, &config, undo)?;
    let host = Host::open()?;
    let mut bridge = host.ensure_bridge(&config, undo)?;
    let wanted = Wanted {
        config: &config,
        attachment: &request.attachment,
        netns: &netns,
    };
    let veth = host.create_veth(&wanted, &mut bridge, undo)?;
    host.configure_port(&config, &request.attachment, &veth.pair.host, &bridge)?;
    if config.port.spoof_check {
        let binding = binding(&veth.pair.host, veth.container_mac)?;
        filter::add_spoof_check(&request.attachment, &binding, undo)?;
    }
    let container = Container {
        config: &config,
        netns: &netns,
        link: &veth.pair.container,
    };
    let inside = container.enter()?;
    let attached = Attached {
        request,
        config: &config,
        host: &host,
        bridge: &bridge,
        veth: &veth,
    };
    match ipam {
        Some(ipam) => {
            attached.with_addresses(&container, &inside, address(&config, ipam.finish()?)?, undo)
        }
        None => attached.layer_two(&container, &inside),
    }
}

fn start_ipam(
    request: &AttachmentRequest,
    config: &BridgeConfig,
    undo: &mut Undo,
) -> Result<Option<RunningAdd>, CniError> {
    let Some(ipam) = config.ipam() else {
        return Ok(None);
    };
    let delegate = Delegate::find(&request.request, ipam)?;
    delegate
        .start_add(request.request.delegate_deadline(), undo)
        .map(Some)
}

/// What the spoof check lets through.
pub(crate) fn binding(port: &LinkId, mac: MacAddr) -> Result<Binding, CniError> {
    let host_ifname = port.name.parse().map_err(|why| {
        BridgeError::mismatch(
            format!("interface {}", port.name),
            format!("its name {why}"),
        )
    })?;
    Ok(Binding { host_ifname, mac })
}

/// The links are made; what is left is what they are for.
struct Attached<'a> {
    request: &'a AttachmentRequest,
    config: &'a BridgeConfig,
    host: &'a Host,
    bridge: &'a Bridge,
    veth: &'a Veth,
}

impl Attached<'_> {
    fn with_addresses(
        &self,
        container: &Container<'_>,
        inside: &Socket,
        plan: Addressed,
        undo: &mut Undo,
    ) -> Result<CniResult, CniError> {
        let gateway = match plan.gateways.as_slice() {
            [] => None,
            gateways => Some(
                self.host
                    .plan_gateway(self.config, self.bridge, gateways, undo)?,
            ),
        };
        container.configure(inside, &plan)?;
        let addresses: Vec<IpCidr> = plan.addresses().collect();
        filter::add_masquerade(
            self.config.masquerade,
            &self.request.attachment,
            &addresses,
            undo,
        )?;
        self.wait_for_port()?;
        container.settle(inside, &plan)?;
        let told: Vec<IpAddr> = addresses.iter().map(IpCidr::addr).collect();
        // Whoever had the address before may still be in the neighbours' caches.
        inside.announce(container.link, &told)?;
        if let Some(gateway) = &gateway {
            self.host.apply_gateway(gateway, self.bridge, undo)?;
        }
        let vlan_gateway = gateway.and_then(|gateway| gateway.vlan_interface);
        Ok(report(self.made(vlan_gateway), plan))
    }

    fn layer_two(&self, container: &Container<'_>, inside: &Socket) -> Result<CniResult, CniError> {
        container.configure_layer_two(inside)?;
        if self.config.addressing != Addressing::Down {
            self.wait_for_port()?;
        }
        let dns = self.config.dns.clone().unwrap_or_default();
        Ok(report(
            self.made(None),
            Addressed {
                dns,
                ..Addressed::default()
            },
        ))
    }

    /// The bridge forwards for the port only when the kernel has noticed that it is up.
    fn wait_for_port(&self) -> Result<(), CniError> {
        let port = &self.veth.pair.host;
        match self
            .host
            .socket
            .wait_operstate_up(port, Instant::now() + PORT_TIMEOUT)
        {
            Ok(_link) => Ok(()),
            Err(error) if matches!(error.cause, Cause::Timeout) => Err(BridgeError::PortDown {
                bridge: self.config.bridge.clone(),
                port: port.name.clone(),
            }
            .into()),
            Err(error) => Err(error.into()),
        }
    }

    fn made(&self, vlan_gateway: Option<Interface>) -> Made {
        // The key exists since 1.1.0.
        let tells_mtu = self.request.request.version >= SpecVersion::V1_1_0;
        let mtu = if tells_mtu {
            self.config.mtu.unwrap_or(DEFAULT_MTU)
        } else {
            0
        };
        let interface = |link: &LinkId, mac: Option<MacAddr>, mtu| Interface {
            name: link.name.clone(),
            mac: mac.map(|mac| mac.to_string()).unwrap_or_default(),
            mtu,
            ..Interface::default()
        };
        let pair = &self.veth.pair;
        Made {
            bridge: interface(&self.bridge.id, self.bridge.mac, 0),
            host: interface(&pair.host, Some(self.veth.host_mac), mtu),
            container: Interface {
                sandbox: self.request.netns.display().to_string(),
                ..interface(&pair.container, Some(self.veth.container_mac), mtu)
            },
            vlan_gateway,
        }
    }
}
