//! The floor that the benchmark compares with does what an ADD does: no less.

use std::net::Ipv4Addr;

use cni_testkit::World;
use tenon_tests::floor::{Attachment, attach};

#[test]
fn a_container_gets_its_link_address_and_route() {
    let world = World::new();
    let (host, container) = (world.host(), world.container("c1"));
    host.ip("link add br0 type bridge");
    host.ip("addr add 10.88.0.1/16 dev br0");
    host.ip("link set br0 up");
    let bridge = host.link("br0").unwrap()["ifindex"].as_u64().unwrap();
    let wanted = Attachment {
        netns: container.path(),
        bridge: u32::try_from(bridge).unwrap(),
        index: 2_000_000,
        address: Ipv4Addr::new(10, 88, 0, 2),
        prefix: 16,
        gateway: Ipv4Addr::new(10, 88, 0, 1),
    };
    host.run(|| attach(&wanted)).unwrap();
    assert_eq!(host.link("veth2000000").unwrap()["master"], "br0");
    let routes = container.ip_json("route show");
    assert_eq!(routes[0]["gateway"], "10.88.0.1");
    assert_eq!(routes[1]["prefsrc"], "10.88.0.2");
    container.command("ping", &["-c1", "-W2", "10.88.0.1"]);
    let again = host.run(|| attach(&wanted)).unwrap_err();
    assert_eq!(again.kind(), std::io::ErrorKind::AlreadyExists);
}
