//! What Docker is asked for when it connects a container. Pure.

use cni_cnm::engine::{ApiVersion, EndpointConfig, EndpointIpam, Network};
use cni_cnm::sandbox::plan::DefaultRoute;
use cni_types::IfName;

use crate::config::Wishes;

/// `docker network connect --driver-opt` of the interface's name, since Engine 28.
const IFNAME_OPTION: &str = "com.docker.network.endpoint.ifname";

/// Those that give the interface the name they are told. Others would have to be asked whether they
/// mind an option that they do not know.
const BUILT_IN: [&str; 4] = ["bridge", "ipvlan", "macvlan", "overlay"];

/// Above whatever others have, for an endpoint that is to lead out: theirs is 0 unless somebody
/// cares.
const GATEWAY_PRIORITY: i64 = 100;

/// How the endpoint is to be, as far as an Engine of this version can be told.
pub(super) fn plan(
    wishes: &Wishes,
    ifname: &IfName,
    network: &Network,
    version: ApiVersion,
) -> EndpointConfig {
    let address = |ipv6: bool| {
        let mut ips = wishes.ips.iter();
        let wanted = ips.find(|ip| ip.is_ipv6() == ipv6);
        wanted.map(ToString::to_string).unwrap_or_default()
    };
    let ipam = EndpointIpam {
        ipv4_address: address(false),
        ipv6_address: address(true),
    };
    let mut driver_opts = wishes.endpoint_options.clone();
    let is_28 = version >= ApiVersion::ENGINE_28;
    if is_28 && BUILT_IN.contains(&network.driver.as_str()) {
        let option = driver_opts.entry(IFNAME_OPTION.to_owned());
        option.or_insert_with(|| ifname.to_string());
    }
    let leads_out = is_28 && wishes.default_route == DefaultRoute::Always;
    EndpointConfig {
        ipam_config: (ipam != EndpointIpam::default()).then_some(ipam),
        mac_address: wishes.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        driver_opts,
        aliases: Vec::new(),
        gw_priority: leads_out.then_some(GATEWAY_PRIORITY),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const OLD: ApiVersion = ApiVersion {
        major: 1,
        minor: 41,
    };

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

    fn planned(wishes: &Wishes, driver: &str, version: ApiVersion) -> EndpointConfig {
        let network = Network {
            driver: driver.into(),
            ..Network::default()
        };
        plan(wishes, &"net1".parse().unwrap(), &network, version)
    }

    #[test]
    fn nothing_is_said_that_need_not_be() {
        let nothing = EndpointConfig::default();
        assert_eq!(planned(&wishes(), "bridge", OLD), nothing);
        assert_eq!(planned(&wishes(), "weave", ApiVersion::ENGINE_28), nothing);
    }

    #[test]
    fn wishes_are_passed_on() {
        let wishes = Wishes {
            mac: "02:00:00:00:00:05".parse().ok(),
            ips: vec!["fd77::5".parse().unwrap(), "10.77.0.5".parse().unwrap()],
            endpoint_options: BTreeMap::from([("x".into(), "y".into())]),
            default_route: DefaultRoute::Always,
            ..wishes()
        };
        let endpoint = planned(&wishes, "bridge", OLD);
        let ipam = endpoint.ipam_config.unwrap();
        assert_eq!(
            (ipam.ipv4_address.as_str(), ipam.ipv6_address.as_str()),
            ("10.77.0.5", "fd77::5")
        );
        assert_eq!(endpoint.mac_address, "02:00:00:00:00:05");
        assert_eq!(endpoint.driver_opts, wishes.endpoint_options);
        assert_eq!(endpoint.gw_priority, None, "Engine 28 brought it");
        let endpoint = planned(&wishes, "weave", ApiVersion::ENGINE_28);
        assert_eq!(endpoint.gw_priority, Some(GATEWAY_PRIORITY));
    }

    #[test]
    fn an_engine_that_can_name_the_interface_is_told_its_name() {
        let endpoint = planned(&wishes(), "bridge", ApiVersion::ENGINE_28);
        assert_eq!(endpoint.driver_opts[IFNAME_OPTION], "net1");
        let mut own = wishes();
        own.endpoint_options
            .insert(IFNAME_OPTION.into(), "web0".into());
        let endpoint = planned(&own, "bridge", ApiVersion::ENGINE_28);
        assert_eq!(endpoint.driver_opts[IFNAME_OPTION], "web0");
    }
}
