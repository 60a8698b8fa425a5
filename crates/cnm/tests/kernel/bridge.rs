//! What is made, and that it goes again.

use cni_cnm::NetworkDriver as _;
use cni_types::ErrorCode;

use crate::support::{ENABLE_ICC, Machine, chain, dual, endpoint, endpoint_id, failure, id, soon};

#[test]
fn a_network_and_an_endpoint_leave_nothing_behind() {
    let machine = Machine::new();
    let before = machine.snapshot();
    let c1 = machine.world.container("c1");
    let (network, wanted) = (id('1'), dual());
    for _twice in 0..2 {
        machine.create(&wanted);
    }
    let bridge = machine.host().link("br-111111111111").unwrap();
    assert_eq!(bridge["linkinfo"]["info_kind"], "bridge");
    assert_eq!(
        bridge["ifalias"],
        format!("tenon: bridge of network {network}")
    );
    assert_eq!(
        machine.host().addresses(),
        ["10.77.0.1/24", "fd00:77::1/64"]
    );
    assert_eq!(machine.driver.networks().unwrap(), [network.as_str()]);

    let e2 = machine.attach(&wanted, 2, &c1);
    assert_eq!(machine.check(&network, &e2), "");
    let links = machine.driver.links(&network, &e2, soon()).unwrap();
    let host_end = links.host.unwrap();
    assert_eq!(host_end.master, links.bridge.map(|bridge| bridge.index));
    assert!(host_end.name.starts_with("veth") && host_end.name.len() == 11);
    assert!(
        host_end
            .alias
            .unwrap()
            .contains("net: 111111111111, if: eth0, id: 0000")
    );
    assert_eq!(c1.link("eth0").unwrap()["address"], "02:42:0a:4d:00:02");
    let info = machine
        .driver
        .endpoint_info(&endpoint(&network, &e2), soon())
        .unwrap();
    let mac = &info.value["com.docker.network.endpoint.macaddress"];
    assert_eq!(mac.as_str(), Some("02:42:0a:4d:00:02"));

    for _twice in 0..2 {
        machine.leave(&network, &e2);
    }
    assert!(c1.link("eth0").is_none());
    for _twice in 0..2 {
        machine.delete(&network);
    }
    before.assert_unchanged(&machine.snapshot());
}

#[test]
fn options_reach_the_kernel() {
    let machine = Machine::new();
    let c1 = machine.world.container("c1");
    let mut wanted = dual()
        .option(crate::support::BRIDGE_NAME, "br0")
        .option("com.docker.network.driver.mtu", "1400")
        .option("com.docker.network.container_iface_prefix", "net");
    wanted.request.ipv6_data.clear();
    wanted
        .request
        .options
        .remove("com.docker.network.enable_ipv6");
    let router = ("DefaultGatewayIPv4".to_owned(), "10.77.0.254/24".to_owned());
    wanted.request.ipv4_data[0].aux_addresses.extend([router]);
    machine.create(&wanted);
    let e2 = machine.attach(&wanted, 2, &c1);
    let host_end = machine.driver.links(&id('1'), &e2, soon()).unwrap().host;
    for (netns, link) in [
        (machine.host(), "br0"),
        (machine.host(), &host_end.unwrap().name),
        (&c1, "net0"),
    ] {
        assert_eq!(netns.link(link).unwrap()["mtu"], 1400, "{link}");
    }
    assert!(c1.ip("route").contains("default via 10.77.0.254"));
    let host = machine.host();
    assert_eq!(host.sysctl("net/ipv6/conf/br0/disable_ipv6"), "1");
    assert_eq!(host.sysctl("net/ipv6/conf/br0/accept_ra"), "0");
    assert_eq!(host.addresses(), ["10.77.0.1/24"]);
}

#[test]
fn a_network_goes_with_what_is_left_of_its_endpoints() {
    let machine = Machine::new();
    let before = machine.snapshot();
    machine.create(&dual());
    let network = id('1');
    for host in 2..5 {
        let address = format!("10.77.0.{host}/24");
        let made = machine.try_endpoint((&network, &endpoint_id(&network, host)), [&address, ""]);
        made.unwrap();
    }
    machine.delete(&network);
    before.assert_unchanged(&machine.snapshot());
}

#[test]
fn the_same_ids_twice_are_refused() {
    let machine = Machine::new();
    let (network, wanted) = (id('1'), dual());
    machine.create(&wanted);
    let error = machine.refused(&wanted.clone().option(ENABLE_ICC, "false"));
    assert_eq!(error.code, ErrorCode::IN_USE);
    assert_eq!(
        error.msg,
        format!("network {network} exists already, with other options")
    );

    let one = (network.as_str(), "e1");
    machine.try_endpoint(one, ["10.77.0.2/24", ""]).unwrap();
    let with_endpoint = machine.snapshot();
    let error = failure(machine.try_endpoint(one, ["10.77.0.3/24", ""]));
    assert_eq!(
        (error.code, error.msg.as_str()),
        (ErrorCode::IN_USE, "endpoint e1 exists already")
    );
    with_endpoint.assert_unchanged(&machine.snapshot());
    // Even where nothing is remembered of it.
    let memory = machine
        .world
        .dir()
        .join(format!("bridge/{network}/e1.json"));
    std::fs::remove_file(memory).unwrap();
    let error = failure(machine.try_endpoint(one, ["10.77.0.3/24", ""]));
    assert_eq!(error.msg, "endpoint e1 exists already");
}

#[test]
fn networks_with_the_same_bridge_or_addresses_are_refused() {
    let machine = Machine::new();
    machine.create(&dual());
    let before = machine.snapshot();
    let error = machine.refused(&dual().id(&id('2')));
    assert_eq!(error.code, ErrorCode::IN_USE);
    assert!(
        error
            .msg
            .ends_with("networks have overlapping IPv4: 10.77.0.0/24 and 10.77.0.0/24"),
        "{}",
        error.msg
    );
    let name = crate::support::BRIDGE_NAME;
    let other = dual()
        .id(&id('2'))
        .subnets(78)
        .option(name, "br-111111111111");
    let error = machine.refused(&other);
    assert!(
        error.msg.ends_with("networks have same bridge name"),
        "{}",
        error.msg
    );
    before.assert_unchanged(&machine.snapshot());
}

#[test]
fn what_was_never_made_is_told_on_join_and_ignored_on_removal() {
    let machine = Machine::new();
    let before = machine.snapshot();
    let c1 = machine.world.container("c1");
    let network = id('1');
    machine.leave(&network, "e1");
    machine.delete(&network);
    let error = failure(machine.try_endpoint((&network, "e1"), ["", ""]));
    assert_eq!(error.msg, format!("network {network} does not exist"));
    before.assert_unchanged(&machine.snapshot());
    machine.create(&dual());
    let request = cni_cnm::wire::network::JoinRequest {
        network_id: network.clone(),
        endpoint_id: "e1".into(),
        sandbox_key: c1.path_str().into(),
        ..Default::default()
    };
    let error = machine.driver.join(&request, soon()).unwrap_err();
    assert_eq!(
        chain(&error),
        "network driver bridge failed in NetworkDriver.Join: endpoint e1 does not exist"
    );
}

#[test]
fn an_endpoint_is_removed_although_nothing_is_remembered() {
    let machine = Machine::new();
    let c1 = machine.world.container("c1");
    machine.create(&dual());
    let before = machine.snapshot();
    let network = id('1');
    let e2 = machine.attach(&dual(), 2, &c1);
    let memory = machine
        .world
        .dir()
        .join(format!("bridge/{network}/{e2}.json"));
    std::fs::write(&memory, "").unwrap();
    machine.leave(&network, &e2);
    before.assert_unchanged(&machine.snapshot());
}

#[test]
fn a_name_that_somebody_else_has_is_passed_over() {
    let machine = Machine::new();
    let c1 = machine.world.container("c1");
    machine.create(&dual());
    let network = id('1');
    let e2 = machine.attach(&dual(), 2, &c1);
    let link = |machine: &Machine| machine.driver.links(&network, &e2, soon()).unwrap().host;
    let first = link(&machine).unwrap().name;
    machine.leave(&network, &e2);
    machine
        .host()
        .ip(&format!("link add {first} type veth peer name theirs"));
    let before = machine.snapshot();
    for remembered in [true, false] {
        let e2 = machine.attach(&dual(), 2, &c1);
        assert_ne!(link(&machine).unwrap().name, first);
        assert_eq!(machine.check(&network, &e2), "");
        if !remembered {
            let memory = format!("bridge/{network}/{e2}.json");
            std::fs::remove_file(machine.world.dir().join(memory)).unwrap();
        }
        machine.leave(&network, &e2);
        assert_eq!(link(&machine), None);
        before.assert_unchanged(&machine.snapshot());
    }
}

#[test]
fn a_failed_network_leaves_nothing_behind() {
    let machine = Machine::new();
    let before = machine.snapshot();
    machine.host().set_sysctl("net/ipv4/ip_forward", "0");
    machine.world.read_only("/proc/sys");
    let error = machine.refused(&dual());
    assert!(
        error.msg.contains("/proc/sys/net/ipv4/ip_forward"),
        "{error}"
    );
    let changed = "sysctl net/ipv4/ip_forward";
    before
        .without(changed)
        .assert_unchanged(&machine.snapshot().without(changed));
}

#[test]
fn a_failed_endpoint_leaves_nothing_behind() {
    let machine = Machine::new();
    machine.create(&dual());
    let before = machine.snapshot();
    // The memory of the endpoint cannot be written: the pair is there by then.
    let network = id('1');
    let dir = machine.world.dir().join(format!("bridge/{network}"));
    std::fs::create_dir_all(dir.join(".e1.json.new")).unwrap();
    let error = failure(machine.try_endpoint((&network, "e1"), ["10.77.0.2/24", ""]));
    assert!(error.msg.starts_with("failed to write"), "{error}");
    std::fs::remove_dir(dir.join(".e1.json.new")).unwrap();
    before.assert_unchanged(&machine.snapshot());
}

#[test]
fn check_names_whatever_is_different() {
    let (network, wanted) = (id('1'), dual().option(ENABLE_ICC, "false"));
    for (damage, words) in [
        (
            "ip link set br-111111111111 down",
            "bridge br-111111111111 is down",
        ),
        (
            "ip addr del 10.77.0.1/24 dev br-111111111111",
            "bridge br-111111111111 has not address 10.77.0.1/24",
        ),
        (
            "ip link del br-111111111111",
            "bridge br-111111111111 is gone",
        ),
        (
            "ip link set HOST nomaster",
            "HOST is not a port of bridge br-111111111111",
        ),
        ("ip link set HOST down", "HOST is down"),
        (
            "ip link set HOST type bridge_slave isolated off",
            "HOST is not isolated from other ports",
        ),
        (
            "ip link del HOST",
            "the host's end of its veth pair is gone",
        ),
        (
            "nft flush ruleset",
            "no element for 10.77.0.2 in table inet tenon_masquerade",
        ),
        (
            "sysctl -qw net.ipv4.ip_forward=0",
            "net.ipv4.ip_forward is 0",
        ),
    ] {
        let machine = Machine::new();
        let c1 = machine.world.container("c1");
        machine.create(&wanted);
        let e2 = machine.attach(&wanted, 2, &c1);
        assert_eq!(machine.check(&network, &e2), "");
        let links = machine.driver.links(&network, &e2, soon()).unwrap();
        let host_end = links.host.unwrap().name;
        let damage = damage.replace("HOST", &host_end);
        let damage: Vec<&str> = damage.split(' ').collect();
        machine.host().command(damage[0], &damage[1..]);
        let problems = machine.check(&network, &e2);
        let words = words.replace("HOST", &host_end);
        assert!(problems.contains(&words), "{damage:?}: {problems}");
    }
}

#[test]
fn what_is_of_no_endpoint_is_collected_and_nothing_else() {
    let machine = Machine::new();
    let (c1, c2) = (machine.world.container("c1"), machine.world.container("c2"));
    let (one, two) = (dual(), dual().id(&id('2')).subnets(78));
    let lost = endpoint_id(&id('1'), 3);
    machine.create(&one);
    machine.create(&two);
    let kept = machine.attach(&one, 2, &c1);
    let _others = machine.attach(&two, 2, &c2);
    machine
        .host()
        .ip("link add veth0000000 type veth peer name theirs");
    let before = machine.snapshot();
    for remembered in [true, false] {
        machine
            .try_endpoint((&id('1'), &lost), ["10.77.0.3/24", ""])
            .unwrap();
        if !remembered {
            let memory = machine
                .world
                .dir()
                .join(format!("bridge/{}/{lost}.json", id('1')));
            std::fs::remove_file(memory).unwrap();
        }
        for _twice in 0..2 {
            let valid = [kept.as_str()];
            machine.driver.collect(&id('1'), valid, soon()).unwrap();
            before.assert_unchanged(&machine.snapshot());
        }
    }
    assert_eq!(machine.check(&id('1'), &kept), "");
}
