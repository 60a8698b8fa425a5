//! What of a configuration and of a runtime's wishes reaches the driver, and in which form.

use cni_testkit::{Fakes, conf, fakes};
use serde_json::{Value, json};
use tenon_tests::cnm::driver::{Driver, Gateway, Method, PoolGateway, SuppliedMac};
use tenon_tests::cnm::shim::{Shim, dual_stack};
use tenon_tests::network::{addresses_of, route_to};

const MAC: &str = "02:00:00:00:00:77";
const EXPOSED: &str = "com.docker.network.endpoint.exposedports";
const PORTMAP: &str = "com.docker.network.portmap";
const GENERIC: &str = "com.docker.network.generic";

/// Adds a container with these keys, shows the driver as it is then, and removes it without a trace.
fn with_container(shim: &Shim, keys: Value, look: impl FnOnce(&Driver, &Value)) {
    let c1 = shim.world.container("c1");
    shim.driver.clear_requests();
    let attached = shim.network(keys).add("c1", &c1);
    look(&shim.driver, &attached.result);
    attached.check_ok();
    attached.del_ok();
    shim.assert_nothing_left();
}

/// The body of the only, or the last, call of a method.
fn sent(driver: &Driver, method: Method) -> Value {
    driver.last(method).json()
}

/// The bodies of all calls of a method.
fn all_sent(driver: &Driver, method: Method) -> Vec<Value> {
    let requests = driver.requests();
    let of_method = requests.iter().filter(|one| one.method() == Some(method));
    of_method
        .map(tenon_tests::cnm::driver::Request::json)
        .collect()
}

#[test]
fn options_are_texts() {
    let keys = json!({
        "options": {"mtu": 1400, "fast": true, "name": "x", "half": 0.5},
        "ipamOptions": {"io": 1},
        "endpointOptions": {"com.docker.network.endpoint.ifname": "eth9", "n": 3},
    });
    with_container(&Shim::new(), keys, |driver, _| {
        let network = sent(driver, Method::CreateNetwork);
        assert_eq!(
            network["Options"],
            json!({
                "com.docker.network.enable_ipv6": false,
                GENERIC: {"mtu": "1400", "fast": "true", "name": "x", "half": "0.5"},
            })
        );
        let pool = sent(driver, Method::RequestPool);
        assert_eq!(pool["Options"], json!({"io": "1"}));
        let endpoint = sent(driver, Method::CreateEndpoint);
        assert_eq!(
            endpoint["Options"],
            json!({"com.docker.network.endpoint.ifname": "eth9", "n": "3", EXPOSED: [], PORTMAP: []})
        );
        assert_eq!(
            sent(driver, Method::Join)["Options"],
            json!({EXPOSED: [], PORTMAP: []})
        );
    });
}

#[test]
fn subnet_range_gateway_and_reserved_addresses() {
    let keys = json!({
        "ipRange": "10.77.0.128/25", "gateway": "10.77.0.254",
        "auxAddresses": {"router": "10.77.0.128", "printer": "10.77.0.129", "six": "fd77::9"},
        "subnetV6": "fd77::/64", "ipRangeV6": "fd77::100/120", "gatewayV6": "fd77::ffff",
    });
    with_container(&Shim::new(), keys, |driver, result| {
        let pools = all_sent(driver, Method::RequestPool);
        let asked: Vec<_> = pools
            .iter()
            .map(|pool| {
                (
                    pool["Pool"].clone(),
                    pool["SubPool"].clone(),
                    pool["V6"].clone(),
                )
            })
            .collect();
        let wanted = [
            ("10.77.0.0/24", "10.77.0.128/25", false),
            ("fd77::/64", "fd77::100/120", true),
        ];
        assert_eq!(
            asked,
            wanted.map(|(pool, part, v6)| (json!(pool), json!(part), json!(v6)))
        );
        let network = sent(driver, Method::CreateNetwork);
        // With their prefix lengths, as Docker sends them.
        assert_eq!(
            network["IPv4Data"],
            json!([{"AddressSpace": "tlocal", "Pool": "10.77.0.0/24", "Gateway": "10.77.0.254/24",
                "AuxAddresses": {"router": "10.77.0.128/24", "printer": "10.77.0.129/24"}}])
        );
        assert_eq!(
            network["IPv6Data"][0]["AuxAddresses"],
            json!({"six": "fd77::9/64"})
        );
        assert_eq!(result["ips"][0]["address"], "10.77.0.130/24");
        assert_eq!(result["ips"][0]["gateway"], "10.77.0.254");
        assert_eq!(result["ips"][1]["address"], "fd77::100/64");
    });
}

#[test]
fn port_mappings_have_dockers_form() {
    let mappings = json!([
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
        {"hostPort": 8081, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1"},
        {"hostPort": 53, "containerPort": 53, "protocol": "udp"},
        {"hostPort": 9, "containerPort": 9, "protocol": "sctp", "hostIP": "::1"},
    ]);
    // Published ports are to be reached, whether the network leads out or not.
    for internal in [false, true] {
        let keys = json!({"internal": internal, "runtimeConfig": {"portMappings": mappings}});
        with_container(&Shim::new(), keys, |driver, _| {
            let options = json!({
                EXPOSED: [{"Proto": 6, "Port": 80}, {"Proto": 17, "Port": 53}, {"Proto": 132, "Port": 9}],
                PORTMAP: [
                    {"Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 8080, "HostPortEnd": 8080},
                    {"Proto": 6, "IP": "", "Port": 80, "HostIP": "127.0.0.1", "HostPort": 8081, "HostPortEnd": 8081},
                    {"Proto": 17, "IP": "", "Port": 53, "HostIP": "", "HostPort": 53, "HostPortEnd": 53},
                    {"Proto": 132, "IP": "", "Port": 9, "HostIP": "::1", "HostPort": 9, "HostPortEnd": 9},
                ],
            });
            for method in [
                Method::CreateEndpoint,
                Method::Join,
                Method::ProgramExternalConnectivity,
            ] {
                assert_eq!(sent(driver, method)["Options"], options, "{method}");
            }
            assert!(driver.endpoints()[0].external);
        });
    }
}

/// The form that podman and `args` have as well.
#[test]
fn addresses_are_asked_for() {
    for wish in [
        json!({"runtimeConfig": {"ips": ["10.77.0.50", "fd77::50/64"]}}),
        json!({"args": {"cni": {"ips": ["10.77.0.50/24", "fd77::50"]}}}),
    ] {
        let keys = conf::Conf(dual_stack()).with(wish).0;
        with_container(&Shim::new(), keys, |driver, result| {
            assert_eq!(result["ips"][0]["address"], "10.77.0.50/24");
            assert_eq!(result["ips"][1]["address"], "fd77::50/64");
            let asked = all_sent(driver, Method::RequestAddress);
            let addresses: Vec<_> = asked.iter().map(|one| &one["Address"]).collect();
            // Gateways first.
            assert_eq!(addresses, ["", "", "10.77.0.50", "fd77::50"]);
        });
    }
}

#[test]
fn an_address_that_is_in_use_is_refused() {
    let shim = Shim::new();
    let [c1, c2] = ["c1", "c2"].map(|name| shim.world.container(name));
    let network = shim.network(json!({"runtimeConfig": {"ips": ["10.77.0.50"]}}));
    let first = network.add("c1", &c1);
    let before = shim.state(&c2);
    let error = network.try_add("c2", &c2).expect_error(140);
    let text = error.to_string();
    assert!(
        text.contains("IPAM driver tenon failed in IpamDriver.RequestAddress"),
        "{text}"
    );
    assert!(text.contains("10.77.0.50 is in use"), "{text}");
    before.assert_same(&shim.state(&c2), "an ADD with an address in use");
    let other = network.edited(|conf| conf.with(json!({"runtimeConfig": {"ips": ["fd77::5"]}})));
    let error = other.try_add("c2", &c2).expect_error(7);
    assert!(
        error["msg"].as_str().unwrap().contains("fd77::5"),
        "{error}"
    );
    before.assert_same(&shim.state(&c2), "an ADD with an address of no pool");
    first.check_ok();
    first.del_ok();
    shim.assert_nothing_left();
}

#[test]
fn hardware_addresses_are_asked_for() {
    let shim = Shim::new();
    let runtime = json!({"runtimeConfig": {"mac": MAC}});
    for keys in [runtime, json!({"args": {"cni": {"mac": MAC}}})] {
        with_container(&shim, keys, |driver, result| {
            let endpoint = sent(driver, Method::CreateEndpoint);
            assert_eq!(endpoint["Interface"]["MacAddress"], MAC);
            assert_eq!(result["interfaces"][2]["mac"], MAC);
            // The IPAM driver has not asked for it.
            assert_eq!(sent(driver, Method::RequestAddress)["Options"], Value::Null);
        });
    }
    let c1 = shim.world.container("c2");
    let network = shim
        .network(json!({}))
        .args("IgnoreUnknown=1;MAC=02:00:00:00:00:78");
    let attached = network.add("c2", &c1);
    assert_eq!(attached.mac(), "02:00:00:00:00:78");
    assert_eq!(c1.link("eth0").unwrap()["address"], "02:00:00:00:00:78");
    attached.del_ok();
    shim.assert_nothing_left();
}

/// The driver's choice stands; without either, the link keeps its own.
#[test]
fn a_driver_may_choose_the_hardware_address() {
    let shim = Shim::with(|driver| driver.style(|style| style.supplies.mac = SuppliedMac::IfEmpty));
    let mut chosen = Value::Null;
    with_container(&shim, json!({}), |driver, result| {
        assert_eq!(
            sent(driver, Method::CreateEndpoint)["Interface"]["MacAddress"],
            ""
        );
        let reply: Value =
            serde_json::from_slice(&driver.last(Method::CreateEndpoint).reply).unwrap();
        chosen = reply["Interface"]["MacAddress"].clone();
        assert_eq!(result["interfaces"][2]["mac"], chosen);
    });
    assert_ne!(chosen, Value::Null);
}

#[test]
fn an_ipam_driver_may_require_hardware_addresses() {
    let shim = Shim::with(|driver| driver.capabilities(|can| can.requires_mac = true));
    let mut macs = Vec::new();
    for keys in [json!({}), json!({}), json!({"runtimeConfig": {"mac": MAC}})] {
        with_container(&shim, keys, |driver, result| {
            let mac = result["interfaces"][2]["mac"].clone();
            let asked = sent(driver, Method::RequestAddress);
            assert_eq!(
                asked["Options"]["com.docker.network.endpoint.macaddress"],
                mac
            );
            assert_eq!(
                sent(driver, Method::CreateEndpoint)["Interface"]["MacAddress"],
                mac
            );
            macs.push(mac.as_str().unwrap().to_owned());
        });
    }
    assert_ne!(macs[0], macs[1], "they are drawn at random");
    assert!(macs[0].starts_with([
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'
    ]));
    assert_eq!(macs[2], MAC);
}

#[test]
fn ranges_of_the_runtime_replace_those_of_the_config() {
    let ranges = json!([
        [{"subnet": "10.79.0.0/24", "rangeStart": "10.79.0.64", "rangeEnd": "10.79.0.127", "gateway": "10.79.0.1"}],
        [{"subnet": "fd79::/64"}],
    ]);
    let keys = json!({"runtimeConfig": {"ipRanges": ranges}});
    with_container(&Shim::new(), keys, |driver, result| {
        let pool = &all_sent(driver, Method::RequestPool)[0];
        assert_eq!(
            (&pool["Pool"], &pool["SubPool"]),
            (&json!("10.79.0.0/24"), &json!("10.79.0.64/26"))
        );
        assert_eq!(result["ips"][0]["address"], "10.79.0.64/24");
        assert_eq!(result["ips"][0]["gateway"], "10.79.0.1");
        assert_eq!(result["ips"][1]["address"], "fd79::2/64");
    });
}

/// Docker's `null` IPAM driver: the network driver has the addresses.
#[test]
fn the_network_driver_may_have_the_addresses() {
    let shim = Shim::with(|driver| {
        driver.style(|style| {
            style.supplies.pool = Some("10.77.0.128/25".to_owned());
            style.supplies.pool6 = Some("fd77::/64".to_owned());
            style.supplies.mac = SuppliedMac::IfEmpty;
            style.gateway = Gateway::Text("10.77.0.254".to_owned());
        })
    });
    let keys = json!({"ipamDriver": "null", "subnet": ""});
    let c1 = shim.world.container("c1");
    let attached = shim.network(keys).add("c1", &c1);
    let driver = &shim.driver;
    assert_eq!(driver.count(Method::RequestPool), 0);
    let network = sent(driver, Method::CreateNetwork);
    assert_eq!(network["IPv4Data"][0]["Pool"], "0.0.0.0/0");
    let endpoint = sent(driver, Method::CreateEndpoint);
    assert_eq!(
        endpoint["Interface"],
        json!({"Address": "", "AddressIPv6": "", "MacAddress": ""})
    );
    assert_eq!(attached.cidrs(), ["10.77.0.129/25", "fd77::1/64"]);
    assert_eq!(addresses_of(&c1, "eth0"), attached.cidrs());
    assert_eq!(route_to(&c1, "default", "")["gateway"], "10.77.0.254");
    attached.check_ok();
    attached.del_ok();
    shim.assert_nothing_left();
}

/// The gateway that comes with a pool is not requested, unless the config wants another.
#[test]
fn a_pool_may_come_with_its_gateway() {
    let gateway = PoolGateway::Text("10.77.0.9/24".to_owned());
    let shim = Shim::with(|driver| driver.style(|style| style.pool_gateway = gateway));
    with_container(&shim, json!({}), |driver, result| {
        assert_eq!(result["ips"][0]["gateway"], "10.77.0.9");
        assert_eq!(driver.count(Method::RequestAddress), 1);
    });
    with_container(&shim, json!({"gateway": "10.77.0.8"}), |driver, result| {
        assert_eq!(result["ips"][0]["gateway"], "10.77.0.8");
        assert_eq!(driver.count(Method::RequestAddress), 2);
    });
}

#[test]
fn a_driver_may_want_no_gateways() {
    let shim =
        Shim::with(|driver| driver.capabilities(|can| can.gateway_check = Some([true, false])));
    with_container(&shim, dual_stack(), |driver, result| {
        assert_eq!(
            sent(driver, Method::GwAllocCheck)["Options"][GENERIC],
            json!({})
        );
        assert_eq!(driver.reserved(), ["10.77.0.1", "fd77::1", "fd77::2"]);
        assert_eq!(result["ips"][0]["gateway"], Value::Null);
        assert_eq!(result["ips"][1]["gateway"], "fd77::1");
    });
}

#[test]
fn global_drivers_are_in_the_global_address_space() {
    let shim = Shim::with(|driver| driver.capabilities(|can| "global".clone_into(&mut can.scope)));
    with_container(&shim, json!({}), |driver, _| {
        assert_eq!(sent(driver, Method::RequestPool)["AddressSpace"], "tglobal");
    });
}

#[test]
fn endpoint_ids_are_the_same_again_or_not() {
    let shim = Shim::new();
    let ids = |keys: Value| {
        let mut ids = Vec::new();
        for _again in 0..2 {
            with_container(&shim, keys.clone(), |driver, _| {
                ids.push(driver.endpoints()[0].id.clone());
            });
        }
        ids
    };
    let derived = ids(json!({}));
    assert_eq!(derived[0], derived[1]);
    let random = ids(json!({"endpointID": "random"}));
    assert_ne!(random[0], random[1]);
    let digits = |id: &String| id.len() == 64 && id.chars().all(|c| c.is_ascii_hexdigit());
    assert!(derived.iter().chain(&random).all(digits));
}

#[test]
fn names_are_resolved_as_the_config_says() {
    let dns = json!({"nameservers": ["192.0.2.1"], "search": ["example.org"]});
    with_container(&Shim::new(), json!({"dns": dns}), |_, result| {
        assert_eq!(result["dns"], dns);
    });
}

/// Addresses of a CNI plugin, routes and name servers with them.
#[test]
fn a_cni_plugin_may_have_the_addresses() {
    let shim = Shim::new();
    let ipam = json!({"type": "host-local", "dataDir": shim.world.data_dir(),
        "ranges": [[{"subnet": "10.80.0.0/24"}], [{"subnet": "fd80::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16", "gw": "10.80.0.9"}]});
    let keys = json!({"ipamDriver": "", "subnet": "", "ipam": ipam});
    let c1 = shim.world.container("c1");
    let attached = shim.network(keys).add("c1", &c1);
    let driver = &shim.driver;
    assert!(
        driver
            .calls()
            .iter()
            .all(|call| !call.starts_with("IpamDriver")),
        "{:?}",
        driver.calls()
    );
    let network = sent(driver, Method::CreateNetwork);
    assert_eq!(
        network["IPv4Data"],
        json!([{"AddressSpace": "", "Pool": "10.80.0.0/24", "Gateway": "10.80.0.1/24"}])
    );
    assert_eq!(network["IPv6Data"][0]["Pool"], "fd80::/64");
    assert_eq!(network["Options"]["com.docker.network.enable_ipv6"], true);
    assert_eq!(attached.cidrs(), ["10.80.0.2/24", "fd80::2/64"]);
    assert_eq!(route_to(&c1, "10.9.0.0/16", "")["gateway"], "10.80.0.9");
    assert_eq!(route_to(&c1, "default", "")["gateway"], "10.80.0.1");
    let leases = || {
        std::fs::read_dir(shim.world.data_dir().join(conf::NETWORK))
            .unwrap()
            .count()
    };
    // Both addresses, their indices, the lock.
    assert_eq!(leases(), 5);
    assert!(c1.ping("10.80.0.1"));
    attached.check_ok();
    attached.del_ok();
    assert_eq!(leases(), 3);
    shim.driver.assert_empty();
    assert_eq!(tenon_tests::cnm::shim::records(), Vec::<String>::new());
}

/// What it gives must be an endpoint's, and its failure undoes nothing but its own.
#[test]
fn a_cni_plugin_that_fails_or_gives_too_much() {
    let shim = Shim::new();
    let fakes = Fakes::new(&shim.world);
    let c1 = shim.world.container("c1");
    let network = shim.network(json!({"ipamDriver": "", "subnet": "", "ipam": {"type": "ipam"}}));
    let add = || {
        network
            .call_for("ADD", "c1", &c1)
            .path_first(&fakes.dir())
            .run()
    };
    let before = shim.state(&c1);
    fakes.failing("ipam", 77, "no address for you");
    let error = add().expect_error(77);
    assert_eq!(error["msg"], "no address for you");
    assert_eq!(shim.driver.calls(), Vec::<String>::new());
    before.assert_same(&shim.state(&c1), "an IPAM plugin's failure");

    let two = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.80.0.2/24"}, {"address": "10.80.0.3/24"}]});
    let recording = fakes.recording("ipam", &two);
    let error = add().expect_error(7);
    assert!(
        error["msg"].as_str().unwrap().contains("10.80.0.3/24"),
        "{error}"
    );
    assert_eq!(recording.commands(), ["ADD", "DEL"]);
    before.assert_same(&shim.state(&c1), "two addresses of one family");

    let recording = fakes.recording(
        "ipam",
        &fakes::ipam_result("1.0.0", "10.80.0.2/24", "10.80.0.1"),
    );
    shim.driver
        .fault_nth(Method::Join, 1, tenon_tests::cnm::driver::Fault::err("no"));
    add().expect_error(140);
    let commands = recording.commands();
    assert_eq!(
        commands[commands.len() - 2..],
        ["ADD", "DEL"],
        "its address is given back"
    );
    before.assert_same(
        &shim.state(&c1),
        "a driver's failure after the IPAM plugin's success",
    );
}
