//! ADD.

use std::time::{Duration, Instant};

use cni_firewall::spoofcheck::Binding;
use cni_netlink::{Cause, LinkId, NetNs, Op, Socket};
use cni_plugin::{AttachmentRequest, RunningAdd, Undo};
use cni_types::{CniError, CniResult, Interface, IpCidr, MacAddr, SpecVersion};

use crate::apply::bridge::{Bridge, Host};
use crate::apply::container::{Container, enter};
use crate::apply::filter;
use crate::apply::shared::claim;
use crate::apply::veth::{Veth, Wanted};
use crate::config::{Addressing, BridgeConfig, Gateway};
use crate::error::BridgeError;
use crate::ipam;
use crate::plan::{Addressed, Made, address, report};

/// How long the port may take to come up; it takes the kernel well under a millisecond.
const PORT_TIMEOUT: Duration = Duration::from_secs(5);

/// The MTU of a veth pair that was asked for none, in bytes: the kernel's `ETH_DATA_LEN`.
const DEFAULT_MTU: u32 = 1500;

/// Makes the attachment.
pub(crate) fn add(request: &AttachmentRequest, undo: &mut Undo) -> Result<CniResult, CniError> {
    let config = BridgeConfig::load(request)?;
    let netns = NetNs::open(&request.netns)?.only(request.netns_id)?;
    let _claim = claim(&request.attachment)?;
    let socket = Socket::open()?;
    let home = socket.netns().or_else(|_refused| NetNs::current())?;
    let inside = enter(&netns, &home, &request.attachment.ifname)?;
    // The IPAM plugin does not need the links, nor they it: one in a process of its own runs while they are made.
    let ipam = start_ipam(request, &config, undo)?;
    let host = Host::new(socket, home);
    let mut bridge = host.ensure_bridge(&config, undo)?;
    let attachment = &request.attachment;
    let wanted = Wanted {
        config: &config,
        attachment,
        netns: &netns,
        inside: &inside,
    };
    let veth = host.create_veth(&wanted, &mut bridge, undo)?;
    host.configure_port(&config, attachment, &veth.pair.host, &bridge)?;
    if config.port.spoof_check {
        filter::add_spoof_check(
            attachment,
            &binding(&veth.pair.host, veth.container_mac)?,
            undo,
        )?;
    }
    let container = Container {
        netns: &netns,
        home: &host.home,
        inside: &inside,
        link: &veth.pair.container,
        mac: veth.container_mac,
        detect_duplicates: config.detect_duplicates,
    };
    let attached = Attached {
        request,
        config: &config,
        host: &host,
        bridge: &bridge,
        veth: &veth,
        container,
    };
    match ipam {
        Some(ipam) => attached.with_addresses(ipam, undo),
        None => attached.layer_two(),
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
    let delegate = ipam::find(&request.request, ipam)?;
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
    container: Container<'a>,
}

impl Attached<'_> {
    fn with_addresses(&self, mut ipam: RunningAdd, undo: &mut Undo) -> Result<CniResult, CniError> {
        // All that can be done and looked at before the addresses are known.
        self.container.set_up()?;
        // The kernel notices meanwhile that both ends are up.
        ipam.attend();
        let site = match self.config.gateway {
            Gateway::No => None,
            Gateway::Yes | Gateway::Default => {
                Some(self.host.observe_gateway(self.config, self.bridge, undo)?)
            }
        };
        self.wait_for_port()?;
        let given = ipam.result()?;
        let plan = address(self.config, given.clone())?;
        let gateway = match &site {
            Some(site) => Some(site.plan(self.config, &plan.gateways)?),
            None => None,
        };
        self.container.configure(&plan)?;
        ipam.finish(&given)?;
        let addresses: Vec<IpCidr> = plan.addresses().collect();
        let attachment = &self.request.attachment;
        filter::add_masquerade(self.config.masquerade, attachment, &addresses, undo)?;
        self.container.settle(&plan)?;
        self.container.advertise(&plan)?;
        if let Some(gateway) = &gateway {
            self.host.apply_gateway(gateway, self.bridge, undo)?;
        }
        Ok(report(
            self.made(site.and_then(|site| site.vlan_interface)),
            plan,
        ))
    }

    fn layer_two(&self) -> Result<CniResult, CniError> {
        if self.config.addressing != Addressing::Down {
            self.container.set_up_bare()?;
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
            Err(error) if error.op == Op::WaitForLink && matches!(error.cause, Cause::Timeout) => {
                Err(BridgeError::PortDown {
                    bridge: self.config.bridge.clone(),
                    port: port.name.clone(),
                }
                .into())
            }
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
