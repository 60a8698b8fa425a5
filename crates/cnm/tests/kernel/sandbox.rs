//! Links that a driver has left on the host, and what becomes of them.

use std::path::Path;

use cni_cnm::sandbox::plan::{DefaultRoute, Placement, Wanted, plan};
use cni_cnm::sandbox::{Kernel, Placed, SandboxError, Sandboxes, TakenOut};
use cni_cnm::store::record::{LinkRecord, SandboxRecord};
use cni_cnm::wire::decode;
use cni_testkit::{Netns, Snapshot, World};
use cni_types::{IfName, IpCidr};

/// What a driver has made: `tmp0`, whose peer is a port of `br0`, which is the gateway.
struct Made {
    world: World,
    sandbox: Netns,
}

impl Made {
    fn new() -> Self {
        let world = World::new();
        let host = world.host();
        host.ip("link add br0 address 02:00:00:00:00:0b type bridge");
        host.ip("addr add 10.77.0.1/24 dev br0");
        host.ip("addr add fd77::1/64 dev br0 nodad");
        host.ip("link set br0 up");
        let sandbox = world.container("c1");
        let made = Self { world, sandbox };
        made.pair("tmp0", "port0");
        made
    }

    fn pair(&self, link: &str, port: &str) {
        let host = self.world.host();
        host.ip(&format!("link add {link} type veth peer name {port}"));
        host.ip(&format!("link set {port} master br0 up"));
    }

    fn path(&self) -> &Path {
        self.sandbox.path()
    }

    fn sandbox(&self) -> SandboxRecord {
        Kernel.identify(self.path()).unwrap()
    }

    fn place(&self, placement: &Placement) -> Result<Placed, SandboxError> {
        Kernel.place(&self.sandbox(), placement)
    }
}

/// What a driver's reply leads to.
fn placement(reply: &str, name: &str, addresses: &[&str]) -> Placement {
    let addresses: Vec<IpCidr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    let wanted = Wanted {
        name: &name.parse::<IfName>().unwrap(),
        mac: Some("02:42:0a:4d:00:02".parse().unwrap()),
        addresses: &addresses,
        routes: &[],
        default_route: DefaultRoute::IfNone,
    };
    plan(&decode(reply.as_bytes()).unwrap(), &wanted)
        .unwrap()
        .unwrap()
}

const PLAIN: &str = r#"{"InterfaceName": {"SrcName": "tmp0", "DstPrefix": "eth"},
    "Gateway": "10.77.0.1", "GatewayIPv6": "fd77::1",
    "StaticRoutes": [{"Destination": "10.8.0.0/16", "RouteType": 1},
        {"Destination": "10.9.0.0/16", "RouteType": 0, "NextHop": "10.77.0.9"}]}"#;

#[test]
fn a_link_gets_all_that_was_planned_and_goes_back() {
    let made = Made::new();
    // As Docker makes sandboxes.
    made.sandbox
        .set_sysctl("net/ipv6/conf/default/disable_ipv6", "1");
    let before = Snapshot::of(made.world.host());
    let placed = made
        .place(&placement(PLAIN, "net5", &["10.77.0.2/24", "fd77::2/64"]))
        .unwrap();
    assert_eq!(placed.link.mac, "02:42:0a:4d:00:02");
    let end = placed.host_end.as_ref().unwrap();
    assert_eq!(end.name, "port0");
    let bridge = ("br0".to_owned(), "02:00:00:00:00:0b".to_owned());
    assert_eq!(end.bridge, Some(bridge));
    let routes = made.sandbox.ip("route") + &made.sandbox.ip("-6 route");
    for route in [
        "default via 10.77.0.1 dev net5",
        "10.8.0.0/16 dev net5 scope link",
        "10.9.0.0/16 via 10.77.0.9 dev net5",
        "default via fd77::1 dev net5",
    ] {
        assert!(routes.contains(route), "{route} is not in\n{routes}");
    }
    assert!(made.sandbox.ping("10.77.0.1") && made.sandbox.ping("fd77::1"));
    let name = "net5".parse().unwrap();
    let seen = Kernel.look(made.path(), &name).unwrap().unwrap();
    assert!(seen.up && seen.addresses.contains(&"fd77::2/64".parse().unwrap()));

    let taken = Kernel.take_out(&made.sandbox(), &placed.link).unwrap();
    assert!(matches!(taken, TakenOut::Moved(_)), "{taken:?}");
    assert_eq!(made.sandbox.link_names(), ["lo"]);
    // The driver finds its link as it left it, but for the hardware address.
    let host = made.world.host();
    let back = |snapshot: Snapshot| {
        snapshot
            .without("link tmp0 address =")
            .without("link tmp0 link_")
    };
    back(before).assert_unchanged(&back(Snapshot::of(host)));
    let again = Kernel.take_out(&made.sandbox(), &placed.link).unwrap();
    assert_eq!(again, TakenOut::Gone);
    let TakenOut::Moved(index) = taken else {
        unreachable!("it was moved");
    };
    for _twice in 0..2 {
        Kernel.discard(index, "tmp0").unwrap();
    }
    assert!(host.link("tmp0").is_none());
}

#[test]
fn the_first_network_has_the_default_route_unless_another_insists() {
    let made = Made::new();
    made.pair("tmp1", "port1");
    made.pair("tmp2", "port2");
    let default = |name: &str| made.sandbox.ip("route show default").contains(name);
    made.place(&placement(PLAIN, "eth0", &["10.77.0.2/24"]))
        .unwrap();
    let second = PLAIN.replace("tmp0", "tmp1");
    let placed = made
        .place(&placement(&second, "eth1", &["10.77.0.3/24"]))
        .unwrap();
    assert!(default("eth0") && !default("eth1"));
    let leads_out = |placed: &Placed| placed.routes.iter().any(|(to, _)| to.is_default_route());
    assert!(!leads_out(&placed));
    let third = Placement {
        default_route: DefaultRoute::Always,
        ..placement(&PLAIN.replace("tmp0", "tmp2"), "eth2", &["10.77.0.4/24"])
    };
    assert!(leads_out(&made.place(&third).unwrap()));
    let first = made.sandbox.ip("route get 10.99.0.1");
    assert!(first.contains("eth2"), "{first}");
}

/// Calico and Weave want the same connected route for each of their networks.
#[test]
fn a_route_that_is_there_already_is_no_failure() {
    let made = Made::new();
    let reply = r#"{"InterfaceName": {"SrcName": "tmp0"}, "Gateway": "169.254.1.1",
        "StaticRoutes": [{"Destination": "169.254.1.1/32", "RouteType": 1}]}"#;
    let mut wanted = placement(reply, "eth0", &["10.77.0.2/32"]);
    wanted.connected.push("169.254.1.1/32".parse().unwrap());
    made.place(&wanted).unwrap();
    let routes = made.sandbox.ip("route");
    assert!(
        routes.contains("default via 169.254.1.1 dev eth0"),
        "{routes}"
    );
}

#[test]
fn what_fails_halfway_is_found_again() {
    let made = Made::new();
    let before = Snapshot::of(made.world.host()).without("link tmp0 address =");
    let unreachable = PLAIN.replace("\"10.77.0.1\"", "\"10.99.0.1\"");
    let error = made
        .place(&placement(&unreachable, "eth0", &["10.77.0.2/24"]))
        .unwrap_err();
    assert!(
        error.to_string().starts_with("failed to add route"),
        "{error}"
    );
    assert_eq!(made.sandbox.link_names(), ["lo", "eth0"]);
    // Nobody knows its index yet.
    let link = LinkRecord {
        src_name: "tmp0".into(),
        name: "eth0".into(),
        index: 0,
        mac: String::new(),
    };
    Kernel.take_out(&made.sandbox(), &link).unwrap();
    assert_eq!(made.sandbox.link_names(), ["lo"]);
    before.assert_unchanged(&Snapshot::of(made.world.host()).without("link tmp0 address ="));
}

#[test]
fn a_name_that_is_taken_or_a_link_that_is_not_there_moves_nothing() {
    let made = Made::new();
    made.sandbox.ip("link add eth0 type veth peer name eth9");
    let error = made
        .place(&placement(PLAIN, "eth0", &["10.77.0.2/24"]))
        .unwrap_err();
    assert!(matches!(error, SandboxError::NameTaken(_)), "{error}");
    assert!(made.world.host().link("tmp0").is_some());
    let missing = PLAIN.replace("tmp0", "tmp9");
    let error = made
        .place(&placement(&missing, "eth5", &["10.77.0.2/24"]))
        .unwrap_err();
    assert!(matches!(error, SandboxError::NoSuchLink(_)), "{error}");
}

/// The path of a sandbox may lead to another one by now, and a link of that name may be another's.
#[test]
fn other_sandboxes_and_other_links_are_left_alone() {
    let made = Made::new();
    let placed = made
        .place(&placement(PLAIN, "eth0", &["10.77.0.2/24"]))
        .unwrap();
    let other = SandboxRecord {
        inode: 1,
        ..made.sandbox()
    };
    let gone = Kernel.take_out(&other, &placed.link).unwrap();
    assert_eq!(gone, TakenOut::Gone);
    let not_ours = LinkRecord {
        index: placed.link.index + 100,
        ..placed.link.clone()
    };
    let gone = Kernel.take_out(&made.sandbox(), &not_ours).unwrap();
    assert_eq!(gone, TakenOut::Gone);
    assert!(made.sandbox.link("eth0").is_some());
    // Nor is a bridge of the host something that a driver has forgotten.
    Kernel.discard_named("br0").unwrap();
    assert!(made.world.host().link("br0").is_some());

    // The way back is taken: the link stays where it is.
    made.world
        .host()
        .ip("link add tmp0 type veth peer name tmp9");
    let error = Kernel.take_out(&made.sandbox(), &placed.link).unwrap_err();
    assert!(
        matches!(error, SandboxError::WayBackTaken { .. }),
        "{error}"
    );
    assert!(made.sandbox.link("eth0").is_some());
}
