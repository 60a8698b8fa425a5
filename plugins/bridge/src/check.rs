//! CHECK: is everything that ADD made still there, and as it was made?

mod links;

use cni_firewall::{Nft, iptables, masquerade, reference, spoofcheck};
use cni_netlink::{LinkId, NetNs, RouteFilter, Socket, sysctl};
use cni_plugin::AttachmentRequest;
use cni_types::{CniError, CniResult, Command, IpCidr};

use crate::add::binding;
use crate::apply::container::kernel_route;
use crate::config::{BridgeConfig, Gateway, Masquerade};
use crate::error::BridgeError;
use crate::ipam;
use crate::plan::Addressed;
use links::Links;

/// What was found to differ.
pub(crate) type Mismatches = Vec<BridgeError>;

/// Compares, and tells all differences in one error.
pub(crate) fn check(request: &AttachmentRequest) -> Result<(), CniError> {
    let config = BridgeConfig::load(request)?;
    if let Some(ipam) = config.ipam() {
        let deadline = request.request.delegate_deadline();
        ipam::find(&request.request, ipam)?.run(Command::Check, deadline)?;
    }
    let result = request
        .request
        .prev_result()?
        .ok_or(BridgeError::NoPrevResult)?;
    let netns = NetNs::open(&request.netns)?.only(request.netns_id)?;
    let attachment = Attachment {
        request,
        config: &config,
        result: &result,
        host: Socket::open()?,
        inside: netns.socket()?,
    };
    attachment.check()
}

/// The attachment and where to look at it.
pub(crate) struct Attachment<'a> {
    pub(crate) request: &'a AttachmentRequest,
    pub(crate) config: &'a BridgeConfig,
    pub(crate) result: &'a CniResult,
    pub(crate) host: Socket,
    pub(crate) inside: Socket,
}

impl Attachment<'_> {
    fn check(&self) -> Result<(), CniError> {
        let mut found = Mismatches::new();
        let links = self.check_links(&mut found)?;
        if self.config.ipam().is_some() {
            self.check_addresses(&links, &mut found)?;
            self.check_routes(&links, &mut found)?;
            self.check_gateway(&links, &mut found)?;
            self.check_masquerade(&mut found)?;
        }
        self.check_spoof_check(&links, &mut found)?;
        let found = found.into_iter().map(CniError::from);
        CniError::collect(found)
    }

    /// The container's addresses in the result: those of other attachments in the same chain are
    /// none of our business.
    fn addresses(&self) -> Vec<IpCidr> {
        let ours = |index: usize| {
            self.result.interfaces.get(index).is_some_and(|interface| {
                interface.name == self.request.attachment.ifname.as_str()
                    && !interface.sandbox.is_empty()
            })
        };
        let ips = self
            .result
            .ips
            .iter()
            .filter(|ip| ip.interface.is_none_or(ours));
        ips.map(|ip| ip.address).collect()
    }

    fn check_addresses(&self, links: &Links, found: &mut Mismatches) -> Result<(), CniError> {
        let has: Vec<IpCidr> = self
            .inside
            .addresses(Some(&links.container))?
            .iter()
            .map(|address| address.cidr)
            .collect();
        for address in self
            .addresses()
            .into_iter()
            .filter(|address| !has.contains(address))
        {
            let what = format!("address {address} of {}", links.container);
            found.push(BridgeError::mismatch(what, "it is missing"));
        }
        Ok(())
    }

    /// A default route counts by whatever router, since a later plugin of the chain may have
    /// chosen another one.
    fn check_routes(&self, links: &Links, found: &mut Mismatches) -> Result<(), CniError> {
        let plan = Addressed {
            ips: self.result.ips.clone(),
            ..Addressed::default()
        };
        for route in &self.result.routes {
            let wanted = kernel_route(route, &plan, links.container.index);
            let filter = RouteFilter {
                ipv6: route.dst.is_ipv6(),
                table: wanted.table,
                oif: None,
            };
            let has = self.inside.routes(filter)?;
            let is_there = has.iter().any(|route| {
                route.dst.subnet() == wanted.dst.subnet()
                    && (wanted.dst.is_default_route() || route.gateway == wanted.gateway)
            });
            if !is_there {
                found.push(BridgeError::mismatch(
                    format!("route {wanted}"),
                    "it is missing",
                ));
            }
        }
        Ok(())
    }

    fn check_gateway(&self, links: &Links, found: &mut Mismatches) -> Result<(), CniError> {
        if self.config.gateway == Gateway::No {
            return Ok(());
        }
        let Some(link) = self.gateway_link(links, found)? else {
            return Ok(());
        };
        let has: Vec<IpCidr> = self
            .host
            .addresses(Some(&link))?
            .iter()
            .map(|address| address.cidr)
            .collect();
        let ours = self.addresses();
        for ip in self
            .result
            .ips
            .iter()
            .filter(|ip| ours.contains(&ip.address))
        {
            let Some(gateway) = ip.gateway else { continue };
            if !has.iter().any(|cidr| cidr.addr() == gateway) {
                let what = format!("gateway address {gateway} of {link}");
                found.push(BridgeError::mismatch(what, "it is missing"));
            }
            check_forwarding(gateway.is_ipv6(), found);
        }
        Ok(())
    }

    /// The interface that has the gateway's addresses: the bridge, or that of its VLAN.
    fn gateway_link(
        &self,
        links: &Links,
        found: &mut Mismatches,
    ) -> Result<Option<LinkId>, CniError> {
        match self.config.port.vlans.access {
            Some(vlan) => self.check_vlan_gateway(links, vlan, found),
            None => Ok(Some(links.bridge.clone())),
        }
    }

    /// Rules of the reference count: the attachment may be older than an upgrade.
    fn check_masquerade(&self, found: &mut Mismatches) -> Result<(), CniError> {
        let (attachment, addresses) = (&self.request.attachment, self.addresses());
        let mut nft = match self.config.masquerade {
            Masquerade::Off => return Ok(()),
            Masquerade::Nftables | Masquerade::Iptables => Nft::open()?,
        };
        let missing: Vec<String> = if self.config.masquerade == Masquerade::Nftables {
            let missing = masquerade::check(&mut nft, attachment, &addresses)?;
            missing.iter().map(ToString::to_string).collect()
        } else {
            let missing = iptables::check(&nft, attachment, &addresses)?;
            missing.iter().map(ToString::to_string).collect()
        };
        if !missing.is_empty() && !reference::masquerades(&mut nft, attachment, &addresses)? {
            let mismatch = |missing| BridgeError::mismatch("masquerade", missing);
            found.extend(missing.into_iter().map(mismatch));
        }
        Ok(())
    }

    fn check_spoof_check(&self, links: &Links, found: &mut Mismatches) -> Result<(), CniError> {
        let (true, Some(port), Some(mac)) = (
            self.config.port.spoof_check,
            &links.port,
            links.container_mac,
        ) else {
            return Ok(());
        };
        let binding = binding(port, mac)?;
        let mut nft = Nft::open()?;
        let missing = spoofcheck::check(&mut nft, &self.request.attachment, &binding)?;
        if missing.is_empty() || reference::guards(&mut nft, &self.request.attachment)? {
            return Ok(());
        }
        let missing = missing.iter().map(ToString::to_string);
        found.extend(missing.map(|missing| BridgeError::mismatch("MAC spoof check", missing)));
        Ok(())
    }
}

fn check_forwarding(v6: bool, found: &mut Mismatches) {
    let key: &[&str] = if v6 {
        &["net", "ipv6", "conf", "all", "forwarding"]
    } else {
        &["net", "ipv4", "ip_forward"]
    };
    match sysctl::read(key) {
        // 2 forwards as well, for IPv6.
        Ok(value) if value != "0" => {}
        Ok(_off) => found.push(BridgeError::mismatch(
            key.join("."),
            "the host does not forward",
        )),
        Err(error) => found.push(BridgeError::mismatch(
            key.join("."),
            CniError::from(error).to_string(),
        )),
    }
}

/// The error of something without which there is nothing else to look at.
pub(crate) fn fatal(what: impl Into<String>, found: impl Into<String>) -> CniError {
    BridgeError::mismatch(what, found).into()
}
