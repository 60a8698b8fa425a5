//! `cnm-shim` over a CNM driver: containers meet, and get what the driver and the configuration say.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use cni_testkit::{ALL_VERSIONS, Conf, Netns};
use serde_json::{Value, json};
use tenon_tests::cnm::driver::{Gateway, MadeAt, Method, RemovedAt, Route, SrcName};
use tenon_tests::cnm::shim::{DRIVER, Shim, dual_stack, records};
use tenon_tests::network::{addresses_of, route_to, routes};

/// Two containers meet each other and the gateway, are as they should be, and leave nothing.
fn two_containers_meet(shim: &Shim, keys: Value) {
    let (c1, c2) = (shim.world.container("c1"), shim.world.container("c2"));
    let network = shim.network(keys);
    let (one, two) = (network.add("c1", &c1), network.add("c2", &c2));
    assert_eq!(shim.driver.endpoints().len(), 2);
    for address in two.cidrs() {
        assert!(c1.ping(&address), "{address}");
    }
    for ip in one.result["ips"].as_array().unwrap() {
        let gateway = ip["gateway"].as_str().unwrap();
        assert!(c1.ping(gateway), "{gateway}");
        assert!(shim.world.host().ping(ip["address"].as_str().unwrap()));
    }
    assert_eq!(addresses_of(&c1, "eth0"), one.cidrs());
    one.check_ok();
    two.check_ok();
    one.del_ok();
    assert_eq!(c1.link_names(), ["lo"]);
    assert_eq!(shim.driver.endpoints().len(), 1);
    two.check_ok();
    two.del_ok();
    shim.assert_nothing_left();
}

#[test]
fn two_containers_meet_through_a_driver() {
    two_containers_meet(&Shim::new(), json!({}));
}

#[test]
fn two_containers_meet_over_both_families() {
    two_containers_meet(&Shim::new(), dual_stack());
}

/// Without subnets the IPAM driver chooses.
#[test]
fn an_ipam_driver_may_choose_the_subnets() {
    two_containers_meet(&Shim::new(), json!({"subnet": "", "enableIPv6": true}));
}

/// Links that are made at Join and removed at Leave, or that nobody but the controller removes.
#[test]
fn links_come_and_go_in_each_drivers_way() {
    for (made_at, removed_at) in [
        (MadeAt::Join, RemovedAt::Leave),
        (MadeAt::CreateEndpoint, RemovedAt::Never),
        (MadeAt::Join, RemovedAt::DeleteEndpoint),
    ] {
        let shim = Shim::with(|driver| {
            driver.style(|style| (style.made_at, style.removed_at) = (made_at, removed_at))
        });
        two_containers_meet(&shim, json!({}));
    }
}

#[test]
fn a_driver_is_reached_by_unix_socket_and_by_tcp() {
    let elsewhere = std::path::Path::new("/run/elsewhere/plugin.sock");
    let shim = Shim::with(|driver| driver.tcp().socket(elsewhere));
    let tcp = shim.driver.tcp().unwrap();
    for url in [
        shim.driver.url(),
        format!("tcp://{tcp}"),
        format!("http://{tcp}"),
    ] {
        two_containers_meet(&shim, json!({"driverURL": url, "ipamDriverURL": url}));
    }
    // The name is for people only.
    let keys = json!({"driver": "", "ipamDriver": "", "driverURL": shim.driver.url(), "ipamDriverURL": shim.driver.url()});
    two_containers_meet(&shim, keys);
}

#[test]
fn a_driver_is_found_by_its_spec_file() {
    let elsewhere = std::path::Path::new("/run/elsewhere/plugin.sock");
    let shim = Shim::with(|driver| driver.tcp().socket(elsewhere));
    shim.world.shadow("/etc");
    let dir = std::path::Path::new("/etc/docker/plugins");
    std::fs::create_dir_all(dir.join(DRIVER)).unwrap();
    let address = shim.driver.url();
    let json = json!({"Name": "ignored", "Addr": address}).to_string();
    for (file, text) in [
        (format!("{DRIVER}.spec"), format!("{address}\n")),
        (
            format!("{DRIVER}/{DRIVER}.spec"),
            format!("tcp://{}", shim.driver.tcp().unwrap()),
        ),
        (format!("{DRIVER}.json"), json.clone()),
        (format!("{DRIVER}/{DRIVER}.json"), json),
    ] {
        std::fs::write(dir.join(&file), text).unwrap();
        two_containers_meet(&shim, json!({}));
        std::fs::remove_file(dir.join(&file)).unwrap();
    }
    let c1 = shim.world.container("c1");
    let network = shim.network(json!({"timeout": 1}));
    let error = network.try_add("c1", &c1).expect_error(11);
    let details = error["details"].as_str().unwrap();
    assert!(
        details.contains("/etc/docker/plugins/tenon.spec"),
        "{error}"
    );
}

#[test]
fn results_of_every_version() {
    let shim = Shim::new();
    for version in ALL_VERSIONS {
        let c1 = shim.world.container("c1");
        let keys = Conf(dual_stack()).with(json!({"cniVersion": version}));
        let network = shim.network(keys.0);
        let attached = network.add("c1", &c1);
        assert_eq!(attached.result["cniVersion"], version);
        assert_eq!(
            attached.cidrs(),
            ["10.77.0.2/24", "fd77::2/64"],
            "{version}"
        );
        let result = &attached.result;
        if version < "0.3.0" {
            assert_eq!(result["ip4"]["gateway"], "10.77.0.1", "{version}");
            assert_eq!(result["ip6"]["routes"][0]["dst"], "::/0", "{version}");
        } else {
            check_interfaces(&shim, result, &c1);
        }
        if version >= "0.4.0" {
            attached.check_ok();
        }
        attached.del_ok();
        shim.assert_nothing_left();
    }
}

/// From the host's side to the container's, as plugins that come after look for them.
fn check_interfaces(shim: &Shim, result: &Value, c1: &Netns) {
    let names: Vec<_> = result["interfaces"].as_array().unwrap().iter().collect();
    let [bridge, host, container] = names[..] else {
        panic!("{result}");
    };
    assert_eq!(bridge["name"], shim.driver.networks()[0].bridge);
    let there = shim
        .world
        .host()
        .link(host["name"].as_str().unwrap())
        .unwrap();
    assert_eq!(
        (&there["master"], &there["address"]),
        (&bridge["name"], &host["mac"])
    );
    let inside = c1.link("eth0").unwrap();
    assert_eq!(container["name"], "eth0");
    assert_eq!(container["mac"], inside["address"]);
    assert_eq!(container["sandbox"], c1.path_str());
    assert_eq!(result["ips"][0]["interface"], 2);
    assert_eq!(
        result["routes"][0],
        json!({"dst": "0.0.0.0/0", "gw": "10.77.0.1"})
    );
    if result["cniVersion"] == "1.1.0" {
        assert_eq!(container["mtu"], inside["mtu"]);
    }
}

/// Whatever prefix or name the driver has in mind.
#[test]
fn the_interface_has_the_name_that_was_asked_for() {
    let shim = Shim::with(|driver| {
        driver.style(|style| {
            "cali".clone_into(&mut style.dst_prefix);
            "other0".clone_into(&mut style.dst_name);
        })
    });
    let c1 = shim.world.container("c1");
    let network = shim.network(json!({}));
    let attached = network.add_at("c1", &c1, "net1");
    assert_eq!(c1.link_names(), ["lo", "net1"]);
    assert!(c1.ping("10.77.0.1"));
    attached.check_ok();
    attached.del_ok();
    shim.assert_nothing_left();
}

#[test]
fn a_second_interface_is_another_endpoint() {
    let shim = Shim::new();
    let c1 = shim.world.container("c1");
    let network = shim.network(json!({}));
    let first = network.add("c1", &c1);
    let second = network.add_at("c1", &c1, "eth1");
    assert_eq!(shim.driver.endpoints().len(), 2);
    assert_eq!(second.cidrs(), ["10.77.0.3/24"]);
    first.check_ok();
    second.check_ok();
    first.del_ok();
    assert_eq!(c1.link_names(), ["lo", "eth1"]);
    second.check_ok();
    second.del_ok();
    shim.assert_nothing_left();
}

#[test]
fn the_second_network_leaves_the_default_route_alone() {
    let shim = Shim::new();
    let c1 = shim.world.container("c1");
    let first = shim.network(json!({})).add("c1", &c1);
    let other = json!({"name": "other", "subnet": "10.78.0.0/24"});
    let second = shim.network(other).add_at("c1", &c1, "eth1");
    assert_eq!(route_to(&c1, "default", "")["gateway"], "10.77.0.1");
    assert_eq!(second.result["ips"][0]["gateway"], "10.78.0.1");
    assert_eq!(second.result["routes"], Value::Null);
    assert_eq!(shim.driver.networks().len(), 2);
    // Only the first one leads out.
    assert_eq!(shim.driver.count(Method::ProgramExternalConnectivity), 1);
    for address in ["10.77.0.1", "10.78.0.1"] {
        assert!(c1.ping(address), "{address}");
    }
    second.check_ok();
    first.del_ok();
    second.check_ok();
    second.del_ok();
    shim.assert_nothing_left();
}

/// `isDefaultGateway` insists; the other way out comes back when this network goes.
#[test]
fn a_network_that_must_lead_out_comes_before_another() {
    let shim = Shim::new();
    let c1 = shim.world.container("c1");
    let insisting = json!({"isDefaultGateway": true});
    let first = shim
        .network(Conf(dual_stack()).with(insisting.clone()).0)
        .add("c1", &c1);
    let other = json!({"name": "other", "subnet": "10.78.0.0/24", "subnetV6": "fd78::/64"});
    let other = shim.network(Conf(other).with(insisting).0);
    let leaves_by = |link: &str| {
        for address in ["192.0.2.1", "2001:db8::1"] {
            let way = c1.ip_json(&format!("route get {address}"));
            assert_eq!(way[0]["dev"], link, "{way}");
        }
    };
    leaves_by("eth0");
    let second = other.add_at("c1", &c1, "eth1");
    leaves_by("eth1");
    first.check_ok();
    second.check_ok();
    second.del_ok();
    leaves_by("eth0");
    first.check_ok();
    let second = other.add_at("c1", &c1, "eth1");
    first.del_ok();
    leaves_by("eth1");
    second.check_ok();
    second.del_ok();
    shim.assert_nothing_left();
}

#[test]
fn an_internal_network_leads_nowhere() {
    let shim = Shim::new();
    let c1 = shim.world.container("c1");
    let attached = shim.network(json!({"internal": true})).add("c1", &c1);
    let sent = shim.driver.last(Method::CreateNetwork).json();
    assert_eq!(sent["Options"]["com.docker.network.internal"], true);
    assert_eq!(attached.result["routes"], Value::Null);
    assert_eq!(routes(&c1, "default"), Vec::<Value>::new());
    assert_eq!(shim.driver.count(Method::ProgramExternalConnectivity), 0);
    assert!(c1.ping("10.77.0.1"));
    attached.check_ok();
    attached.del_ok();
    shim.assert_nothing_left();
}

/// A network whose driver names no gateway: no way out, and no other network made up for it.
#[test]
fn a_driver_without_a_gateway_gives_none() {
    let shim =
        Shim::with(|driver| driver.style(|style| style.gateway = Gateway::Text(String::new())));
    let c1 = shim.world.container("c1");
    let attached = shim.network(json!({})).add("c1", &c1);
    assert_eq!(routes(&c1, "default"), Vec::<Value>::new());
    assert_eq!(attached.result["ips"][0]["gateway"], Value::Null);
    attached.check_ok();
    attached.del_ok();
    shim.assert_nothing_left();
}

#[test]
fn static_routes_of_both_types() {
    let shim = Shim::with(|driver| {
        driver.style(|style| {
            style.routes = vec![
                Route::connected("169.254.9.9/32"),
                // Its router is reached by the one before.
                Route::via("10.5.0.0/16", "169.254.9.9"),
                Route::via("10.6.0.0/16", "10.77.0.1"),
                Route::connected("fd05::/64"),
                Route::via("fd06::/64", "fd77::1"),
            ];
        })
    });
    let c1 = shim.world.container("c1");
    let attached = shim.network(dual_stack()).add("c1", &c1);
    assert_eq!(route_to(&c1, "169.254.9.9", "")["scope"], "link");
    assert_eq!(route_to(&c1, "10.5.0.0/16", "")["gateway"], "169.254.9.9");
    assert_eq!(route_to(&c1, "10.6.0.0/16", "")["gateway"], "10.77.0.1");
    assert_eq!(route_to(&c1, "fd05::/64", "")["dev"], "eth0");
    assert_eq!(route_to(&c1, "fd06::/64", "")["gateway"], "fd77::1");
    let told = attached.result["routes"].as_array().unwrap();
    assert_eq!(told.len(), 7, "{told:#?}");
    attached.check_ok();
    attached.del_ok();
    shim.assert_nothing_left();
}

/// As Calico has it: an IPv6 gateway whether there is IPv6 or not.
#[test]
fn what_a_container_without_ipv6_cannot_use_is_left_out() {
    let shim = Shim::with(|driver| {
        driver.style(|style| {
            style.gateway6 = Gateway::Text("fe80::1".to_owned());
            style.routes = vec![Route::connected("fe80::1/128")];
        })
    });
    let c1 = shim.world.container("c1");
    c1.set_sysctl("net/ipv6/conf/default/disable_ipv6", "1");
    let attached = shim.network(json!({})).add("c1", &c1);
    assert_eq!(
        attached.result["routes"],
        json!([{"dst": "0.0.0.0/0", "gw": "10.77.0.1"}])
    );
    assert_eq!(c1.sysctl("net/ipv6/conf/eth0/disable_ipv6"), "1");
    assert!(c1.ping("10.77.0.1"));
    attached.check_ok();
    attached.del_ok();
    shim.assert_nothing_left();
}

/// Docker makes namespaces with IPv6 off.
#[test]
fn ipv6_is_switched_on_where_it_is_needed() {
    let shim = Shim::new();
    let c1 = shim.world.container("c1");
    c1.set_sysctl("net/ipv6/conf/default/disable_ipv6", "1");
    let attached = shim.network(dual_stack()).add("c1", &c1);
    assert_eq!(addresses_of(&c1, "eth0"), attached.cidrs());
    assert!(c1.ping("fd77::1"));
    attached.del_ok();
    shim.assert_nothing_left();
}

/// An endpoint that is nothing but addresses, as those of Docker's `null` driver.
#[test]
fn a_driver_with_no_link_to_move_moves_none() {
    for none in [
        SrcName::Absent,
        SrcName::Null,
        SrcName::Other(String::new()),
    ] {
        let shim = Shim::with(|driver| driver.style(|style| style.src_name = none));
        let c1 = shim.world.container("c1");
        let attached = shim.network(json!({})).add("c1", &c1);
        assert_eq!(attached.result["interfaces"], Value::Null);
        assert_eq!(attached.cidrs(), ["10.77.0.2/24"]);
        assert_eq!(c1.link_names(), ["lo"]);
        attached.check_ok();
        attached.del_ok();
        shim.assert_nothing_left();
    }
}

#[test]
fn two_networks_of_one_driver_are_two() {
    let shim = Shim::new();
    let [c1, c2] = ["c1", "c2"].map(|name| shim.world.container(name));
    let red = shim.network(json!({"name": "red"}));
    let blue = shim.network(json!({"name": "blue", "subnet": "10.78.0.0/24"}));
    let (one, two) = (red.add("c1", &c1), blue.add("c2", &c2));
    let third = shim.world.container("c3");
    let three = blue.add("c3", &third);
    assert!(c2.ping(&three.address()));
    assert!(!c2.ping_within(&one.address(), 1));
    one.del_ok();
    assert_eq!(shim.driver.networks().len(), 1);
    two.check_ok();
    two.del_ok();
    three.del_ok();
    shim.assert_nothing_left();
}

/// Two CNI networks may be one of Docker's, which goes with the last container of either.
#[test]
fn two_cni_networks_share_one() {
    let shim = Shim::new();
    let [c1, c2] = ["c1", "c2"].map(|name| shim.world.container(name));
    let one = shim
        .network(json!({"name": "one", "network": "shared"}))
        .add("c1", &c1);
    let two = shim
        .network(json!({"name": "two", "network": "shared"}))
        .add("c2", &c2);
    assert_eq!(shim.driver.networks().len(), 1);
    assert!(c1.ping(&two.address()));
    one.del_ok();
    two.check_ok();
    two.del_ok();
    shim.assert_nothing_left();
}

#[test]
fn a_network_stays_unless_it_is_to_go() {
    let shim = Shim::new();
    let c1 = shim.world.container("c1");
    let network = shim.lasting_network(json!({}));
    assert_eq!(shim.driver.networks().len(), 1);
    assert_eq!(records().len(), 1, "{:?}", records());
    let attached = network.add("c1", &c1);
    assert_eq!(shim.driver.count(Method::CreateNetwork), 0);
    // Whoever decides otherwise later is heard.
    let going = network.edited(|conf| conf.with(json!({"removeNetworkWhenUnused": true})));
    attached.of(&going).del_ok();
    shim.assert_nothing_left();
}

/// The driver's own MTU, as the option of Docker's drivers sets it.
#[test]
fn the_drivers_mtu_is_kept_and_told() {
    let shim = Shim::new();
    let c1 = shim.world.container("c1");
    let keys = json!({"cniVersion": "1.1.0", "options": {"com.docker.network.driver.mtu": 1400}});
    let attached = shim.network(keys).add("c1", &c1);
    assert_eq!(c1.link("eth0").unwrap()["mtu"], 1400);
    assert_eq!(attached.interface(2)["mtu"], 1400);
    attached.check_ok();
    attached.del_ok();
    shim.assert_nothing_left();
}

/// dataDir moves the records.
#[test]
fn records_are_where_they_are_wanted() {
    let shim = Shim::new();
    let c1 = shim.world.container("c1");
    let dir = shim.world.dir().join("records");
    let attached = shim.network(json!({"dataDir": dir})).add("c1", &c1);
    assert_eq!(records(), Vec::<String>::new());
    assert!(dir.join("networks").is_dir());
    attached.check_ok();
    attached.del_ok();
    assert_eq!(std::fs::read_dir(dir.join("networks")).unwrap().count(), 0);
    shim.assert_nothing_left();
}
