//! The result of an ADD, out of what Docker tells and what is in the container. Pure.

use std::net::IpAddr;
use std::path::Path;

use cni_cnm::engine::Endpoint;
use cni_cnm::sandbox::Seen;
use cni_types::{CniResult, Dns, IpCidr, IpConfig, Route};

use super::link;
use crate::interfaces::{self, Inside};

/// `RT_SCOPE_LINK`.
const SCOPE_LINK: u8 = 253;

/// What the result is made of.
pub(super) struct Attached<'a> {
    pub(super) name: &'a str,
    pub(super) sandbox: &'a Path,
    pub(super) endpoint: &'a Endpoint,
    pub(super) seen: &'a Seen,
    pub(super) dns: Option<&'a Dns>,
    pub(super) tells_mtu: bool,
}

/// What the runtime gets to read. Docker does not tell of routes: they are as they are found.
pub(super) fn plan(attached: &Attached<'_>) -> CniResult {
    let seen = attached.seen;
    let inside = Inside {
        name: attached.name,
        mac: &seen.mac,
        mtu: seen.mtu,
        sandbox: attached.sandbox,
    };
    let interfaces = interfaces::list(seen.host_end.as_ref(), &inside, attached.tells_mtu);
    let container = interfaces.len().checked_sub(1);
    let ip = |address: IpCidr| IpConfig {
        interface: container,
        address,
        gateway: link::gateway(attached.endpoint, address.is_ipv6()),
    };
    CniResult {
        ips: link::addresses(attached.endpoint)
            .into_iter()
            .map(ip)
            .collect(),
        routes: routes(seen),
        interfaces,
        dns: attached.dns.cloned().unwrap_or_default(),
    }
}

/// Without those that come with an address, which nobody has set.
fn routes(seen: &Seen) -> Vec<Route> {
    let comes_with_an_address = |destination: &IpCidr, router: Option<IpAddr>| {
        let mut subnets = seen.addresses.iter().map(IpCidr::subnet);
        router.is_none() && subnets.any(|subnet| subnet == *destination)
    };
    seen.routes
        .iter()
        .filter(|(destination, router)| !comes_with_an_address(destination, *router))
        .map(|(destination, router)| Route {
            scope: router.is_none().then_some(SCOPE_LINK),
            ..Route::via(*destination, *router)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use cni_cnm::sandbox::HostEnd;
    use cni_types::SpecVersion;
    use serde_json::{Value, json};

    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint {
            ip_address: "10.77.0.2".into(),
            ip_prefix_len: 24,
            gateway: "10.77.0.1".into(),
            global_ipv6_address: "fd77::2".into(),
            global_ipv6_prefix_len: 64,
            ..Endpoint::default()
        }
    }

    fn seen() -> Seen {
        let route = |dst: &str, via: &str| (dst.parse().unwrap(), via.parse().ok());
        Seen {
            up: true,
            mac: "02:42:0a:4d:00:02".into(),
            mtu: 1400,
            addresses: ["10.77.0.2/24", "fd77::2/64", "fe80::42:aff:fe4d:2/64"]
                .map(|cidr| cidr.parse().unwrap())
                .into(),
            routes: vec![
                route("0.0.0.0/0", "10.77.0.1"),
                route("10.77.0.0/24", ""),
                route("10.8.0.0/16", ""),
                route("fd77::/64", ""),
                route("fe80::/64", ""),
            ],
            host_end: Some(HostEnd {
                up: true,
                name: "veth1".into(),
                mac: "02:00:00:00:00:01".into(),
                mtu: 1400,
                bridge: Some(("br-1".into(), "02:00:00:00:00:0b".into())),
            }),
        }
    }

    fn text(version: SpecVersion) -> Value {
        let (endpoint, seen) = (endpoint(), seen());
        let result = plan(&Attached {
            name: "eth0",
            sandbox: Path::new("/run/netns/c1"),
            endpoint: &endpoint,
            seen: &seen,
            dns: None,
            tells_mtu: version >= SpecVersion::V1_1_0,
        });
        serde_json::from_str(&result.to_text(version).unwrap()).unwrap()
    }

    #[test]
    fn the_newest_form_has_all_of_it() {
        let expected = json!({
            "cniVersion": "1.1.0",
            "interfaces": [
                {"name": "br-1", "mac": "02:00:00:00:00:0b"},
                {"name": "veth1", "mac": "02:00:00:00:00:01", "mtu": 1400},
                {"name": "eth0", "mac": "02:42:0a:4d:00:02", "mtu": 1400, "sandbox": "/run/netns/c1"},
            ],
            "ips": [
                {"interface": 2, "address": "10.77.0.2/24", "gateway": "10.77.0.1"},
                {"interface": 2, "address": "fd77::2/64"},
            ],
            "routes": [
                {"dst": "0.0.0.0/0", "gw": "10.77.0.1"},
                {"dst": "10.8.0.0/16", "scope": 253},
            ],
        });
        assert_eq!(text(SpecVersion::V1_1_0), expected);
    }

    #[test]
    fn the_oldest_form_is_that_of_to_docker() {
        let result = text(SpecVersion::V0_1_0);
        assert_eq!(result["ip4"]["ip"], "10.77.0.2/24");
        assert_eq!(result["ip4"]["gateway"], "10.77.0.1");
    }
}
