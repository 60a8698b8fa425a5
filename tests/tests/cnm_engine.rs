//! cnm-shim's `engine` backend with a real dockerd: its containers on its networks, and back.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use cni_testkit::{Netns, Snapshot, World};
use serde_json::{Value, json};
use tenon_tests::dockerd::Dockerd;
use tenon_tests::network::{addresses_of, cidrs, route_to};
use tenon_tests::shim::{Shim, records};

fn link_names(netns: &Netns) -> Vec<String> {
    let mut names = netns.link_names();
    names.sort();
    names
}

#[test]
fn a_container_is_joined_to_two_networks_and_back() {
    let world = World::new();
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    engine.create_network("first", "bridge", "10.71.0.0/24");
    engine.create_network("second", "bridge", "10.72.0.0/24");
    engine.run("one", "first");
    engine.run("two", "second");
    let netns = dockerd.netns("one");
    let before = (world.snapshot(), Snapshot::of(&netns));

    let shim = Shim::new(&dockerd, "second");
    let joined = shim.add("one", "net1");
    assert_eq!(link_names(&netns), ["eth0", "lo", "net1"]);
    let cidr = cidrs(&joined.result).remove(0);
    assert_eq!(addresses_of(&netns, "net1"), [cidr.clone()]);
    let endpoint = engine.endpoint("one", "second");
    assert_eq!(joined.address(), endpoint["IPAddress"].as_str().unwrap());
    let id = engine.inspect("one")["Id"].as_str().unwrap().to_owned();
    let shown = engine.network("second")["Containers"][&id].clone();
    assert_eq!(shown["IPv4Address"], cidr);
    let interfaces = joined.result["interfaces"].as_array().unwrap();
    assert_eq!(interfaces.len(), 3);
    let inside = &interfaces[2];
    assert_eq!(inside["name"], "net1");
    assert_eq!(inside["mac"], endpoint["MacAddress"]);
    assert_eq!(inside["sandbox"], dockerd.netns_path("one"));
    for end in &interfaces[..2] {
        let link = world.host().link(end["name"].as_str().unwrap()).unwrap();
        assert_eq!(link["address"], end["mac"]);
    }
    assert_eq!(joined.result["ips"][0]["gateway"], "10.72.0.1");
    assert_eq!(joined.result["ips"][0]["interface"], 2);
    // Docker's resolver knows who is on the network.
    assert!(engine.ping("one", "two"));
    assert!(engine.ping("two", "one"));
    joined.check().expect_silent_ok();
    assert_eq!(records().len(), 1);

    joined.del_ok();
    joined.del_ok();
    assert_eq!(engine.endpoint("one", "second"), Value::Null);
    assert!(records().is_empty());
    before.0.assert_unchanged(&world.snapshot());
    before.1.assert_unchanged(&Snapshot::of(&netns));
}

#[test]
fn a_container_on_none_gets_its_first_network_and_goes_back() {
    let world = World::new();
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    let ipam = json!({"Config": [{"Subnet": "10.71.0.0/24"}, {"Subnet": "fd71::/64"}]});
    let dual = json!({"Name": "dual", "Driver": "bridge", "EnableIPv6": true, "IPAM": ipam});
    engine.create_network_with(&dual);
    engine.run("one", "none");
    engine.run("two", "dual");
    let netns = dockerd.netns("one");
    let before = (world.snapshot(), Snapshot::of(&netns));
    let shim = Shim::new(&dockerd, "dual");
    // Docker counts on: the second time, its name for the link is another one.
    for again in [false, true] {
        let joined = shim.add("one", "eth0");
        assert_eq!(link_names(&netns), ["eth0", "lo"]);
        let alternative = netns.link("eth0").unwrap()["altnames"].clone();
        assert_eq!(
            alternative,
            if again { json!(["eth1"]) } else { Value::Null }
        );
        assert_eq!(cidrs(&joined.result).len(), 2);
        assert_eq!(addresses_of(&netns, "eth0"), cidrs(&joined.result));
        assert_eq!(route_to(&netns, "default", "")["gateway"], "10.71.0.1");
        let routes = joined.result["routes"].as_array().unwrap();
        let default = routes.iter().find(|route| route["dst"] == "0.0.0.0/0");
        assert_eq!(default.unwrap()["gw"], "10.71.0.1");
        assert!(engine.ping("one", "two"));
        let two = engine.endpoint("two", "dual")["GlobalIPv6Address"].clone();
        assert!(netns.ping(two.as_str().unwrap()));
        joined.check().expect_silent_ok();
        joined.del_ok();
        assert!(engine.endpoint("one", "none").is_object());
        assert_eq!(engine.endpoint("one", "dual"), Value::Null);
        before.0.assert_unchanged(&world.snapshot());
        before.1.assert_unchanged(&Snapshot::of(&netns));
    }
}
