//! What a network is to be, out of `CreateNetwork`. The only validation.

use std::net::{IpAddr, Ipv4Addr};

use cni_types::{IfName, IpCidr, Json};

use super::error::BridgeError;
use super::names::bridge_name;
use super::options::{self as keys, Generic};
use crate::wire::label;
use crate::wire::network::{CreateNetworkRequest, IpamData};

/// An auxiliary address of this name is the default gateway of endpoints, in the bridge's place.
const DEFAULT_GATEWAY_IPV4: &str = "DefaultGatewayIPv4";
const DEFAULT_GATEWAY_IPV6: &str = "DefaultGatewayIPv6";

/// A network, as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NetworkConfig {
    /// The bridge.
    pub(super) bridge: IfName,
    /// Whether endpoints may talk with each other.
    pub(super) icc: bool,
    /// Whether what endpoints send beyond their subnets leaves with the host's address.
    pub(super) masquerade: bool,
    /// Whether nothing leads from the network to elsewhere, nor from elsewhere into it.
    pub(super) internal: bool,
    /// Whether the bridge may have IPv6 addresses.
    pub(super) ipv6: bool,
    /// The host's address that ports are published on, where they name none.
    pub(super) host_binding_ipv4: Option<Ipv4Addr>,
    /// The MTU of all interfaces, in bytes.
    pub(super) mtu: Option<u32>,
    /// What the name of the interface in a sandbox begins with.
    pub(super) prefix: String,
    /// The subnets, IPv4 before IPv6.
    pub(super) subnets: Vec<Subnet>,
}

/// A network's addresses of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subnet {
    /// Without host bits.
    pub(super) cidr: IpCidr,
    /// The bridge's address.
    pub(super) bridge: Option<IpCidr>,
    /// The router that sandboxes are told.
    pub(super) gateway: Option<IpAddr>,
    /// Whether addresses are translated at all, or everybody knows the way.
    pub(super) nat: bool,
}

impl NetworkConfig {
    pub(super) fn parse(request: &CreateNetworkRequest) -> Result<Self, BridgeError> {
        let generic = Generic::of(&request.options)?;
        generic.refuse_unsupported()?;
        let flag = |key| match request.options.get(key) {
            None | Some(Json::Null) => Ok(false),
            Some(Json::Bool(value)) => Ok(*value),
            Some(other) => Err(BridgeError::Malformed {
                key,
                why: format!("{other} is not true or false"),
            }),
        };
        let ipv6 = flag(label::ENABLE_IPV6)?;
        let v4 = Subnet::of_family(&request.ipv4_data, &generic, false)?;
        let v6 = Subnet::of_family(&request.ipv6_data, &generic, true)?;
        Ok(Self {
            bridge: match generic.bridge()? {
                None => bridge_name(&request.network_id)?,
                Some(name) => name,
            },
            icc: generic.flag(keys::ENABLE_ICC)?.unwrap_or(true),
            masquerade: generic.flag(keys::ENABLE_MASQUERADE)?.unwrap_or(true),
            internal: flag(label::INTERNAL)?,
            ipv6,
            host_binding_ipv4: generic.host_binding()?,
            mtu: generic.mtu()?,
            prefix: generic.prefix()?,
            subnets: v4.into_iter().chain(v6.filter(|_| ipv6)).collect(),
        })
    }

    /// The addresses that the bridge is to have.
    pub(super) fn bridge_addresses(&self) -> impl Iterator<Item = IpCidr> {
        self.subnets.iter().filter_map(|subnet| subnet.bridge)
    }

    /// The router that sandboxes are told; an internal network has none.
    pub(super) fn gateway(&self, v6: bool) -> Option<IpAddr> {
        let of_family = |subnet: &&Subnet| subnet.cidr.is_ipv6() == v6;
        let subnet = self.subnets.iter().find(of_family)?;
        subnet.gateway.filter(|_gateway| !self.internal)
    }

    /// Whether the host is to forward packets of a family.
    pub(super) fn forwards(&self, v6: bool) -> bool {
        !self.internal && self.bridge_addresses().any(|cidr| cidr.is_ipv6() == v6)
    }

    /// Those of an endpoint's addresses whose packets leave with the host's address.
    pub(super) fn masqueraded(&self, addresses: &[IpCidr]) -> Vec<IpCidr> {
        let wanted = self.masquerade && !self.internal;
        let addresses = addresses.iter().filter(|_address| wanted);
        let translated = addresses.filter(|address| self.translates(address.is_ipv6()));
        translated.copied().collect()
    }

    /// Whether addresses of a family are translated. A family that the network has no subnet of is
    /// somebody else's to route.
    pub(super) fn translates(&self, v6: bool) -> bool {
        let mut subnets = self.subnets.iter();
        subnets.any(|subnet| subnet.cidr.is_ipv6() == v6 && subnet.nat)
    }

    /// What two networks cannot both have.
    pub(super) fn conflict(&self, other: &Self) -> Option<String> {
        if self.bridge == other.bridge {
            return Some("networks have same bridge name".to_owned());
        }
        let theirs = |mine: &Subnet| {
            let mut theirs = other.subnets.iter();
            theirs
                .find(|subnet| subnet.cidr.overlaps(&mine.cidr))
                .map(|subnet| subnet.cidr)
        };
        self.subnets.iter().find_map(|mine| {
            let theirs = theirs(mine)?;
            let family = if theirs.is_ipv6() { "IPv6" } else { "IPv4" };
            Some(format!(
                "networks have overlapping {family}: {} and {theirs}",
                mine.cidr
            ))
        })
    }
}

impl Subnet {
    /// The subnet of a family. A pool of everything is none: the addresses are given by others.
    fn of_family(
        data: &[IpamData],
        generic: &Generic,
        v6: bool,
    ) -> Result<Option<Self>, BridgeError> {
        let data = match data {
            [] => return Ok(None),
            [data] => data,
            _several => return Err(BridgeError::SeveralSubnets),
        };
        let pool = parse_cidr("pool", &data.pool)?;
        if pool.is_default_route() || pool.is_ipv6() != v6 {
            return Ok(None);
        }
        let subnet = pool.subnet();
        let address = match data.gateway.as_str() {
            "" => None,
            text => Some(parse_cidr("gateway", text)?),
        };
        let address = address.filter(|address| !address.addr().is_unspecified());
        let other = data.aux_addresses.get(if v6 {
            DEFAULT_GATEWAY_IPV6
        } else {
            DEFAULT_GATEWAY_IPV4
        });
        let other = other
            .map(|text| parse_cidr("default gateway", text))
            .transpose()?;
        for gateway in address.iter().chain(&other) {
            if !subnet.contains(gateway.addr()) {
                let gateway = gateway.to_string();
                return Err(BridgeError::Gateway { gateway, subnet });
            }
        }
        // The bridge's prefix is the subnet's, whatever the gateway was written with.
        let on_bridge = address.and_then(|cidr| IpCidr::new(cidr.addr(), subnet.prefix()).ok());
        let inhibited = !v6 && generic.flag(keys::INHIBIT_IPV4)?.unwrap_or(false);
        Ok(Some(Self {
            cidr: subnet,
            bridge: on_bridge.filter(|_address| !inhibited),
            gateway: other.or(address).map(|cidr| cidr.addr()),
            nat: generic.is_nat(v6)?,
        }))
    }
}

/// Reads what an endpoint has been given: with its prefix length, or nothing.
pub(super) fn parse_cidr(what: &'static str, text: &str) -> Result<IpCidr, BridgeError> {
    text.parse()
        .map_err(|source| BridgeError::Address { what, source })
}

/// The options that are neither understood nor refused: libnetwork ignores them as well.
pub(super) fn ignored_options(request: &CreateNetworkRequest) -> Result<Vec<String>, BridgeError> {
    let generic = Generic::of(&request.options)?;
    Ok(generic.unknown().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests;
