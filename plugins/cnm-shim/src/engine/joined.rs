//! Whether what Docker has made is what was asked for. Pure.

use cni_cnm::engine::{ApiVersion, Endpoint};
use cni_cnm::sandbox::Seen;
use cni_cnm::sandbox::plan::DefaultRoute;
use cni_types::IpCidr;

use super::error::JoinError;
use super::link;
use crate::config::Wishes;

/// What Docker does not heed it ignores, without a word; a wish is not to get lost like that.
pub(super) fn require_heeded(
    wishes: &Wishes,
    endpoint: &Endpoint,
    seen: &Seen,
    version: ApiVersion,
) -> Result<(), JoinError> {
    let unheeded = |key, wanted: String, given: String| JoinError::Unheeded {
        key,
        wanted,
        given,
        version,
    };
    if let Some(mac) = wishes.mac.map(|mac| mac.to_string())
        && !mac.eq_ignore_ascii_case(&seen.mac)
    {
        return Err(unheeded("runtimeConfig.mac", mac, seen.mac.clone()));
    }
    let given = link::addresses(endpoint);
    let missing = |wanted: &&std::net::IpAddr| !given.iter().any(|cidr| cidr.addr() == **wanted);
    if let Some(wanted) = wishes.ips.iter().find(missing) {
        let texts: Vec<String> = given.iter().map(ToString::to_string).collect();
        let given = if texts.is_empty() {
            "none".to_owned()
        } else {
            texts.join(" and ")
        };
        return Err(unheeded("runtimeConfig.ips", wanted.to_string(), given));
    }
    if wishes.default_route == DefaultRoute::Always {
        for ipv6 in families(&given) {
            if !leads_out(seen, ipv6) {
                let family = if ipv6 { "IPv6" } else { "IPv4" };
                let wanted = format!("the default route of {family}");
                let given = "it to another network, or to none".to_owned();
                return Err(unheeded("isDefaultGateway", wanted, given));
            }
        }
    }
    Ok(())
}

fn families(given: &[IpCidr]) -> impl Iterator<Item = bool> {
    [false, true]
        .into_iter()
        .filter(|ipv6| given.iter().any(|cidr| cidr.is_ipv6() == *ipv6))
}

fn leads_out(seen: &Seen, ipv6: bool) -> bool {
    let everywhere = IpCidr::default_route(ipv6);
    seen.routes.iter().any(|(to, _)| *to == everywhere)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn wishes() -> Wishes {
        Wishes {
            mac: None,
            ips: Vec::new(),
            ports: Vec::new(),
            endpoint_options: BTreeMap::new(),
            default_route: DefaultRoute::IfNone,
            dns: None,
        }
    }

    fn heeded(wishes: &Wishes, routes: &[&str]) -> Result<(), String> {
        let endpoint = Endpoint {
            ip_address: "10.77.0.2".into(),
            ip_prefix_len: 24,
            global_ipv6_address: "fd77::2".into(),
            global_ipv6_prefix_len: 64,
            ..Endpoint::default()
        };
        let seen = Seen {
            up: true,
            mac: "02:42:0A:4D:00:02".into(),
            mtu: 1500,
            addresses: Vec::new(),
            routes: routes
                .iter()
                .map(|to| (to.parse().unwrap(), None))
                .collect(),
            host_end: None,
        };
        let version = ApiVersion {
            major: 1,
            minor: 41,
        };
        require_heeded(wishes, &endpoint, &seen, version).map_err(|error| error.to_string())
    }

    #[test]
    fn what_was_asked_for_was_given() {
        assert_eq!(heeded(&wishes(), &[]), Ok(()));
        let all = Wishes {
            mac: "02:42:0a:4d:00:02".parse().ok(),
            ips: vec!["fd77::2".parse().unwrap(), "10.77.0.2".parse().unwrap()],
            default_route: DefaultRoute::Always,
            ..wishes()
        };
        assert_eq!(heeded(&all, &["0.0.0.0/0", "::/0"]), Ok(()));
        let gateway = |routes: &[&str]| heeded(&all, routes).unwrap_err();
        assert_eq!(
            gateway(&["::/0"]),
            "isDefaultGateway: the default route of IPv4 was asked for, and Docker (API 1.41) gave it \
             to another network, or to none"
        );
        assert!(gateway(&["0.0.0.0/0"]).contains("IPv6"));
    }

    #[test]
    fn what_was_not_given_is_named() {
        let mac = Wishes {
            mac: "02:00:00:00:00:05".parse().ok(),
            ..wishes()
        };
        assert_eq!(
            heeded(&mac, &[]).unwrap_err(),
            "runtimeConfig.mac: 02:00:00:00:00:05 was asked for, and Docker (API 1.41) gave 02:42:0A:4D:00:02"
        );
        let ip = Wishes {
            ips: vec!["10.77.0.2".parse().unwrap(), "fd77::5".parse().unwrap()],
            ..wishes()
        };
        assert_eq!(
            heeded(&ip, &[]).unwrap_err(),
            "runtimeConfig.ips: fd77::5 was asked for, and Docker (API 1.41) gave 10.77.0.2/24 and fd77::2/64"
        );
    }
}
