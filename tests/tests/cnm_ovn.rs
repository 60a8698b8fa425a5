//! OVN's driver as the tests have it, by itself: two namespaces meet through it.

use cni_testkit::World;
use serde_json::json;
use tenon_tests::cnm::controller::{Controller, id};
use tenon_tests::cnm::driver::Method;
use tenon_tests::cnm::ovn::Ovn;

#[test]
fn two_namespaces_meet_through_ovn() {
    let world = World::new();
    let ovn = Ovn::start(&world);
    let spec = std::fs::read_to_string("/etc/docker/plugins/openvswitch.spec").unwrap();
    assert_eq!(spec, "tcp://0.0.0.0:5000");
    let controller = Controller::new(ovn.client());
    let network = id("net");
    controller.create_network(&network, "10.73.0.0/24", "10.73.0.1/24");
    let containers = ["c1", "c2"].map(|name| world.container(name));
    let addresses = ["10.73.0.2/24", "10.73.0.3/24"];
    let joined: Vec<_> = containers
        .iter()
        .zip(addresses)
        .map(|(container, address)| controller.attach(&world, &network, container, address))
        .collect();
    assert!(containers[0].ping("10.73.0.3"));
    assert_eq!(ovn.switches(), [network.as_str()]);
    assert_eq!(ovn.ports().len(), 2);

    for (container, joined) in containers.iter().zip(&joined) {
        controller.detach(&world, joined, container);
        assert_eq!(container.link_names(), ["lo"]);
    }
    // It refuses what it has done already.
    let again = json!({"NetworkID": network, "EndpointID": joined[0].id});
    let answer = controller.call(Method::Leave, &again);
    assert!(
        answer.text().contains("failed to delete veth pair"),
        "{}",
        answer.text()
    );
    controller.delete_network(&network);
    ovn.assert_empty();
}
