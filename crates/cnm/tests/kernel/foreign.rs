//! Bridges that somebody else has made, and bridges that are gone.

use cni_types::ErrorCode;

use crate::support::{BRIDGE_NAME, ENABLE_ICC, Machine, Wanted, dual, failure, id, soon};

const OURS: &str = "br-111111111111";

#[test]
fn a_bridge_that_was_there_before_keeps_what_it_has() {
    let machine = Machine::new();
    let c1 = machine.world.container("c1");
    for command in [
        "link add br0 address 02:00:00:00:00:09 type bridge",
        "addr add 192.0.2.1/24 dev br0",
        "addr add 10.77.0.1/24 dev br0",
        "link set br0 up",
        "link add theirs master br0 up type veth peer name other",
    ] {
        machine.host().ip(command);
    }
    let before = machine.snapshot();
    let wanted = dual().option(BRIDGE_NAME, "br0");
    machine.create(&wanted);
    let e2 = machine.attach(&wanted, 2, &c1);
    assert!(c1.ping("10.77.0.1") && c1.ping("fd00:77::1"));
    assert_eq!(machine.check(&id('1'), &e2), "");
    machine.leave(&id('1'), &e2);
    machine.delete(&id('1'));
    // It got the IPv6 address alone, and has lost that again.
    before.assert_unchanged(&machine.snapshot());
}

#[test]
fn a_bridge_of_ours_stays_for_as_long_as_somebody_else_uses_it() {
    let machine = Machine::new();
    machine.create(&dual());
    machine.host().ip(&format!(
        "link add theirs master {OURS} type veth peer name other"
    ));
    machine.delete(&id('1'));
    assert!(machine.host().link(OURS).is_some());
    assert!(machine.driver.networks().unwrap().is_empty());
    // The network that comes back finds it again, and takes it away in the end.
    machine.create(&dual());
    machine.host().ip("link del theirs");
    machine.delete(&id('1'));
    assert!(machine.host().link(OURS).is_none());
}

#[test]
fn what_is_no_bridge_is_refused_by_name() {
    let machine = Machine::new();
    machine.host().ip("link add br0 type veth peer name other");
    let before = machine.snapshot();
    let error = machine.refused(&dual().option(BRIDGE_NAME, "br0"));
    assert_eq!(error.code, ErrorCode::WRONG_LINK);
    assert_eq!(
        error.msg,
        "interface br0 exists already and is not a bridge"
    );
    before.assert_unchanged(&machine.snapshot());
}

/// A reboot takes links, rules and sysctls away, and leaves what is remembered.
#[test]
fn after_a_reboot_the_network_is_made_again() {
    let machine = Machine::new();
    let (c1, c2) = (machine.world.container("c1"), machine.world.container("c2"));
    let wanted = dual();
    machine.create(&wanted);
    let mac = machine.host().link(OURS).unwrap()["address"].clone();
    let lost = machine.attach(&wanted, 2, &c1);
    machine.host().ip(&format!("link del {OURS}"));
    c1.ip("link del eth0");
    machine.host().command("nft", &["flush", "ruleset"]);
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        machine.host().set_sysctl(key, "0");
    }
    let e3 = machine.attach(&wanted, 3, &c2);
    assert_eq!(machine.host().link(OURS).unwrap()["address"], mac);
    assert!(c2.ping("10.77.0.1") && c2.ping("fd00:77::1"));
    assert_eq!(machine.check(&id('1'), &e3), "");
    machine.leave(&id('1'), &lost);
    machine.leave(&id('1'), &e3);
    machine.delete(&id('1'));
    assert!(machine.host().link(OURS).is_none());
}

#[test]
fn endpoints_that_outlive_their_bridge_come_back_to_it() {
    for icc in ["true", "false"] {
        come_back(&dual().option(ENABLE_ICC, icc));
    }
}

fn come_back(wanted: &Wanted) {
    let machine = Machine::new();
    let (c1, c2) = (machine.world.container("c1"), machine.world.container("c2"));
    machine.create(wanted);
    let e2 = machine.attach(wanted, 2, &c1);
    assert!(c1.ping("10.77.0.1"));
    machine.host().ip(&format!("link del {OURS}"));
    assert!(!machine.check(&id('1'), &e2).is_empty());
    let _e3 = machine.attach(wanted, 3, &c2);
    assert_eq!(machine.check(&id('1'), &e2), "");
    assert!(c1.ping("10.77.0.1") && c2.ping("10.77.0.1"));
}

#[test]
fn somebody_elses_bridge_that_is_gone_is_not_made_by_us() {
    let machine = Machine::new();
    machine.host().ip("link add br0 type bridge");
    let wanted = dual().option(BRIDGE_NAME, "br0");
    machine.create(&wanted);
    machine.host().ip("link del br0");
    let network = id('1');
    let error = failure(machine.try_endpoint((&network, "e1"), ["10.77.0.2/24", ""]));
    assert_eq!(error.code, ErrorCode::WRONG_LINK);
    assert_eq!(
        error.msg,
        "bridge br0 is gone, and was not made by this network"
    );
    // It comes back without our addresses, and gets them again.
    machine.host().ip("link add br0 type bridge");
    machine
        .try_endpoint((&network, "e1"), ["10.77.0.2/24", ""])
        .unwrap();
    assert_eq!(
        machine.host().addresses(),
        ["10.77.0.1/24", "fd00:77::1/64"]
    );
    machine.delete(&network);
    assert!(machine.host().link("br0").is_some() && machine.host().addresses().is_empty());
}

#[test]
fn somebody_elses_bridge_in_the_place_of_ours_stays() {
    let machine = Machine::new();
    machine.create(&dual());
    machine.host().ip(&format!("link del {OURS}"));
    machine.host().ip(&format!("link add {OURS} type bridge"));
    let network = id('1');
    machine
        .try_endpoint((&network, "e1"), ["10.77.0.2/24", ""])
        .unwrap();
    assert_eq!(
        machine.host().addresses(),
        ["10.77.0.1/24", "fd00:77::1/64"]
    );
    let links = machine.driver.links(&network, "e1", soon()).unwrap();
    assert_eq!(
        links.host.unwrap().master,
        links.bridge.map(|bridge| bridge.index)
    );
    machine.delete(&network);
    assert!(machine.host().link(OURS).is_some() && machine.host().addresses().is_empty());
}
