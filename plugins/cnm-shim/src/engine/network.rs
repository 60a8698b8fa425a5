//! Docker's network: found, made where the config says how, and removed when it was made here.

use std::net::IpAddr;
use std::time::Instant;

use cni_cnm::controller::spec::FamilySpec;
use cni_cnm::engine::{CreateNetwork, Engine, EngineError, IpamPool, Network, NetworkIpam};
use cni_types::{IpCidr, NetworkName};

use super::error::JoinError;
use crate::config::EngineNetwork;

/// What a network has that was made here: for which CNI network. It came into being together with
/// the network, so that no crash can come between, and Docker keeps it.
const LABEL: &str = "tenon.cnm-shim.network";

/// The network of that name or id; `None` if there is none.
pub(super) fn find(
    engine: &Engine,
    network: &str,
    deadline: Instant,
) -> Result<Option<Network>, EngineError> {
    match engine.inspect_network(network, deadline) {
        Err(error) if error.is_not_found() => Ok(None),
        found => found.map(Some),
    }
}

/// What to ask for, so that there is such a network.
pub(super) fn request(name: &str, wanted: &EngineNetwork, of: &NetworkName) -> CreateNetwork {
    let mut request = CreateNetwork::new(name, &wanted.driver);
    request.internal = wanted.internal;
    request.enable_ipv6 = wanted.enable_ipv6;
    request.ipam = NetworkIpam {
        driver: wanted.ipam_driver.clone(),
        options: wanted.ipam_options.clone(),
        config: [&wanted.v4, &wanted.v6]
            .into_iter()
            .filter_map(pool)
            .collect(),
    };
    request.options.clone_from(&wanted.options);
    request.labels.insert(LABEL.to_owned(), of.to_string());
    request
}

/// A family without a subnet is left to the IPAM driver.
fn pool(family: &FamilySpec) -> Option<IpamPool> {
    let subnet = family.subnet?;
    let text = |value: Option<String>| value.unwrap_or_default();
    Some(IpamPool {
        subnet: subnet.to_string(),
        ip_range: text(family.range.map(|range| range.to_string())),
        gateway: text(family.gateway.map(|gateway| gateway.to_string())),
        auxiliary_addresses: family
            .aux
            .iter()
            .map(|(name, address)| (name.clone(), address.to_string()))
            .collect(),
    })
}

/// A network that is there must be the one that would have been made, in what matters to those who
/// are on it.
pub(super) fn require_same(network: &Network, wanted: &EngineNetwork) -> Result<(), JoinError> {
    let other = |what, is: String, wanted: String| JoinError::OtherNetwork {
        network: network.name.clone(),
        what,
        is,
        wanted,
    };
    if network.driver != wanted.driver {
        return Err(other(
            "its driver",
            network.driver.clone(),
            wanted.driver.clone(),
        ));
    }
    if network.internal != wanted.internal {
        let text = |internal: bool| internal.to_string();
        return Err(other(
            "`internal`",
            text(network.internal),
            text(wanted.internal),
        ));
    }
    if wanted.enable_ipv6 && !network.enable_ipv6 {
        return Err(other("`enableIPv6`", "false".into(), "true".into()));
    }
    let mut has: Vec<&str> = network
        .ipam
        .config
        .iter()
        .map(|it| it.subnet.as_str())
        .collect();
    let subnets = [&wanted.v4, &wanted.v6]
        .into_iter()
        .filter_map(|it| it.subnet);
    for subnet in subnets.map(|subnet| subnet.to_string()) {
        if !has.contains(&subnet.as_str()) {
            if has.is_empty() {
                has.push("unknown");
            }
            return Err(other("its subnet", has.join(", "), subnet));
        }
    }
    Ok(())
}

/// Whether the network was made for this CNI network.
fn is_made_for(network: &Network, of: &NetworkName) -> bool {
    let label = network.labels.get(LABEL);
    label.is_some_and(|label| label == of.as_str())
}

/// Removes a network that was made for this CNI network and that no container is on, `but_for` one
/// of which Docker has only made a note. Whoever calls holds its lock.
pub(super) fn remove_unused(
    engine: &Engine,
    id: &str,
    (of, but_for): (&NetworkName, &str),
    deadline: Instant,
) -> Result<(), EngineError> {
    let Some(network) = find(engine, id, deadline)? else {
        return Ok(());
    };
    if !is_made_for(&network, of) || !network.containers.is_empty() {
        return Ok(());
    }
    let noted = engine.containers_on(&network, deadline)?;
    if noted.iter().any(|container| container != but_for) {
        return Ok(());
    }
    match engine.remove_network(&network.id, deadline) {
        // Somebody was faster: to remove it, or to come back to it.
        Err(error) if error.is_not_found() || error.is_in_use() => Ok(()),
        outcome => outcome,
    }
}

/// Addresses that were asked for must be the network's to give. Docker says so as well, but only after
/// it has made a note of the container.
pub(super) fn require_free(network: &Network, wanted: &[IpAddr]) -> Result<(), JoinError> {
    let name = || network.name.clone();
    for address in wanted {
        let pools = &network.ipam.config;
        let mut subnets = pools.iter().filter_map(|pool| pool.subnet.parse().ok());
        if !pools.is_empty() && !subnets.any(|subnet: IpCidr| subnet.contains(*address)) {
            let all: Vec<&str> = pools.iter().map(|pool| pool.subnet.as_str()).collect();
            return Err(JoinError::NotItsAddress {
                address: *address,
                network: name(),
                subnets: all.join(", "),
            });
        }
        if let Some(owner) = owner_of(network, *address) {
            return Err(JoinError::AddressTaken {
                address: *address,
                network: name(),
                owner,
            });
        }
    }
    Ok(())
}

fn owner_of(network: &Network, address: IpAddr) -> Option<String> {
    // Some versions of Docker tell it with a prefix length.
    let is_it = |text: &str| {
        let bare = text.split('/').next().unwrap_or_default();
        bare.parse::<IpAddr>().is_ok_and(|other| other == address)
    };
    for pool in &network.ipam.config {
        if is_it(&pool.gateway) {
            return Some("the gateway".to_owned());
        }
        let mut reserved = pool.auxiliary_addresses.iter();
        if let Some((name, _)) = reserved.find(|(_, text)| is_it(text)) {
            return Some(format!("{name} (auxAddresses)"));
        }
    }
    let mut containers = network.containers.values();
    let owner = containers.find(|one| is_it(&one.ipv4_address) || is_it(&one.ipv6_address));
    owner.map(|owner| format!("container {}", owner.name))
}

/// The networks that were made for this CNI network.
pub(super) fn made_for(
    engine: &Engine,
    of: &NetworkName,
    deadline: Instant,
) -> Result<Vec<Network>, EngineError> {
    engine.labelled_networks((LABEL, of.as_str()), deadline)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn wanted() -> EngineNetwork {
        EngineNetwork {
            driver: "bridge".into(),
            options: BTreeMap::from([("com.docker.network.driver.mtu".into(), "1400".into())]),
            ipam_driver: String::new(),
            ipam_options: BTreeMap::new(),
            v4: FamilySpec {
                subnet: "10.77.0.0/16".parse().ok(),
                range: "10.77.1.0/24".parse().ok(),
                gateway: "10.77.0.1".parse().ok(),
                aux: BTreeMap::from([("router".into(), "10.77.1.9".parse().unwrap())]),
            },
            v6: FamilySpec {
                subnet: "fd77::/64".parse().ok(),
                ..FamilySpec::default()
            },
            enable_ipv6: true,
            internal: true,
        }
    }

    fn made() -> Network {
        let pool = |subnet: &str| IpamPool {
            subnet: subnet.into(),
            ..IpamPool::default()
        };
        Network {
            name: "red".into(),
            driver: "bridge".into(),
            internal: true,
            enable_ipv6: true,
            ipam: NetworkIpam {
                config: vec![pool("10.77.0.0/16"), pool("fd77::/64")],
                ..NetworkIpam::default()
            },
            ..Network::default()
        }
    }

    #[test]
    fn all_that_the_config_says_is_asked_for() {
        let request = request("red", &wanted(), &"pods".parse().unwrap());
        let expected = serde_json::json!({
            "Name": "red", "CheckDuplicate": true, "Driver": "bridge", "Internal": true,
            "EnableIPv6": true,
            "IPAM": {"Config": [
                {"Subnet": "10.77.0.0/16", "IPRange": "10.77.1.0/24", "Gateway": "10.77.0.1",
                    "AuxiliaryAddresses": {"router": "10.77.1.9"}},
                {"Subnet": "fd77::/64"},
            ]},
            "Options": {"com.docker.network.driver.mtu": "1400"},
            "Labels": {"tenon.cnm-shim.network": "pods"},
        });
        assert_eq!(serde_json::to_value(request).unwrap(), expected);
    }

    #[test]
    fn a_network_that_is_another_is_not_used() {
        require_same(&made(), &wanted()).unwrap();
        let modest = EngineNetwork {
            v4: FamilySpec::default(),
            v6: FamilySpec::default(),
            enable_ipv6: false,
            ..wanted()
        };
        require_same(&made(), &modest).unwrap();
        let change = |change: fn(&mut Network)| {
            let mut network = made();
            change(&mut network);
            require_same(&network, &wanted()).unwrap_err().to_string()
        };
        let begin = "network red is there, but ";
        for (said, expected) in [
            (
                change(|it| it.driver = "macvlan".into()),
                "its driver is macvlan and not bridge",
            ),
            (
                change(|it| it.internal = false),
                "`internal` is false and not true",
            ),
            (
                change(|it| it.enable_ipv6 = false),
                "`enableIPv6` is false and not true",
            ),
            (
                change(|it| it.ipam.config.truncate(1)),
                "its subnet is 10.77.0.0/16 and not fd77::/64",
            ),
            (
                change(|it| it.ipam.config.clear()),
                "its subnet is unknown and not 10.77.0.0/16",
            ),
        ] {
            assert_eq!(said, format!("{begin}{expected}"));
        }
    }

    #[test]
    fn addresses_must_be_the_networks_and_nobodys() {
        let mut network = made();
        let pool = network.ipam.config.first_mut().unwrap();
        pool.gateway = "10.77.0.1".into();
        pool.auxiliary_addresses = BTreeMap::from([("router".into(), "10.77.1.9".into())]);
        let two = cni_cnm::engine::AttachedContainer {
            name: "two".into(),
            ipv4_address: "10.77.0.2/16".into(),
            ipv6_address: "fd77::2/64".into(),
            ..cni_cnm::engine::AttachedContainer::default()
        };
        network.containers.insert("c2".into(), two);
        let refused = |address: &str| {
            let wanted = [address.parse().unwrap()];
            require_free(&network, &wanted)
                .err()
                .map(|error| error.to_string())
        };
        assert_eq!(refused("10.77.0.5"), None);
        assert_eq!(refused("fd77::5"), None);
        let on = |said: String| Some(format!("runtimeConfig.ips: {said}"));
        let elsewhere = "10.78.0.5 is in no subnet of network red (10.77.0.0/16, fd77::/64)";
        assert_eq!(refused("10.78.0.5"), on(elsewhere.into()));
        for (address, owner) in [
            ("10.77.0.1", "the gateway"),
            ("10.77.1.9", "router (auxAddresses)"),
            ("10.77.0.2", "container two"),
            ("fd77::2", "container two"),
        ] {
            let said = format!("{address} of network red belongs to {owner}");
            assert_eq!(refused(address), on(said));
        }
        network.ipam.config.clear();
        require_free(&network, &["192.0.2.5".parse().unwrap()]).unwrap();
    }

    #[test]
    fn a_network_is_ours_by_its_label() {
        let mut network = made();
        let pods = "pods".parse().unwrap();
        assert!(!is_made_for(&network, &pods));
        network.labels.insert(LABEL.into(), "pods".into());
        assert!(is_made_for(&network, &pods));
        assert!(!is_made_for(&network, &"others".parse().unwrap()));
    }
}
