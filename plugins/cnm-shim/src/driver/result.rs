//! The result of an ADD, out of what the controller has made. Pure.

use std::net::IpAddr;
use std::path::Path;

use cni_cnm::controller::Connected;
use cni_types::{CniError, CniResult, Dns, ErrorCode, IpCidr, IpConfig, Route};

use crate::interfaces::{self, Inside};

/// `RT_SCOPE_LINK`.
const SCOPE_LINK: u8 = 253;

/// What a CNI IPAM plugin has given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Given {
    /// Addresses, IPv4 first, at most one of each family.
    pub(super) ips: Vec<IpConfig>,
    /// Routes with the routers that serve them.
    pub(super) routes: Vec<(IpCidr, Option<IpAddr>)>,
    pub(super) dns: Dns,
}

impl Given {
    /// Reads a result. An endpoint has one address of each family: CNM knows no more.
    pub(super) fn of(result: &CniResult) -> Result<Self, CniError> {
        let mut ips: Vec<IpConfig> = Vec::new();
        for ipv6 in [false, true] {
            let mut of_family = result.ips.iter().filter(|ip| ip.address.is_ipv6() == ipv6);
            ips.extend(of_family.next().cloned());
            if let Some(more) = of_family.next() {
                let msg = format!(
                    "IPAM plugin returned a second address of one family: {}",
                    more.address
                );
                return Err(CniError::new(ErrorCode::INVALID_CONFIG, msg)
                    .with_details("an endpoint of a CNM driver has one address of each family"));
            }
        }
        if ips.is_empty() {
            let msg = "IPAM plugin returned missing IP config";
            return Err(CniError::new(ErrorCode::DELEGATE, msg));
        }
        let gateway = |ipv6: bool| {
            let mut of_family = ips.iter().filter(|ip| ip.address.is_ipv6() == ipv6);
            of_family.find_map(|ip| ip.gateway)
        };
        let routes = result
            .routes
            .iter()
            .map(|route| (route.dst, route.gw.or_else(|| gateway(route.dst.is_ipv6()))))
            .collect();
        Ok(Self {
            ips,
            routes,
            dns: result.dns.clone(),
        })
    }

    /// The addresses.
    pub(super) fn addresses(&self) -> Vec<IpCidr> {
        self.ips.iter().map(|ip| ip.address).collect()
    }
}

/// What the result is made of.
pub(super) struct Attached<'a> {
    pub(super) connected: &'a Connected,
    pub(super) given: &'a Given,
    pub(super) sandbox: &'a Path,
    pub(super) dns: Option<&'a Dns>,
    pub(super) tells_mtu: bool,
}

/// What the runtime gets to read.
pub(super) fn plan(attached: &Attached<'_>) -> CniResult {
    let connected = attached.connected;
    let interfaces = connected.placed.as_ref().map(|placed| {
        let inside = Inside {
            name: &placed.link.name,
            mac: &placed.link.mac,
            mtu: placed.mtu,
            sandbox: attached.sandbox,
        };
        interfaces::list(placed.host_end.as_ref(), &inside, attached.tells_mtu)
    });
    let interfaces = interfaces.unwrap_or_default();
    let container = interfaces.len().checked_sub(1);
    CniResult {
        ips: connected
            .addresses
            .iter()
            .map(|address| IpConfig {
                interface: container,
                address: *address,
                gateway: gateway(attached, address.is_ipv6()),
            })
            .collect(),
        routes: routes(connected),
        interfaces,
        dns: attached.dns.unwrap_or(&attached.given.dns).clone(),
    }
}

/// The driver knows best; without its word, the IPAM plugin's.
fn gateway(attached: &Attached<'_>, ipv6: bool) -> Option<IpAddr> {
    let given = || {
        let mut ips = attached.given.ips.iter();
        ips.find(|ip| ip.address.is_ipv6() == ipv6)?.gateway
    };
    attached.connected.gateway(ipv6).or_else(given)
}

fn routes(connected: &Connected) -> Vec<Route> {
    let placed = connected.placed.iter();
    let routes = placed.flat_map(|placed| &placed.routes);
    routes
        .map(|(destination, router)| Route {
            scope: router.is_none().then_some(SCOPE_LINK),
            ..Route::via(*destination, *router)
        })
        .collect()
}

#[cfg(test)]
mod tests;
