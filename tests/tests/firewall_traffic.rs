//! The firewall plugin as packets see it: who gets through a host that drops, and who is kept apart.
#![expect(clippy::unwrap_used, reason = "test functions fail by panicking")]

use cni_testkit::{Netns, Suite, World};
use serde_json::{Value, json};
use tenon_tests::chain::{Chain, outer_world};
use tenon_tests::network::bare;

const FIRST: [&str; 2] = ["10.95.0.0/24", "fd95::/64"];
const SECOND: [&str; 2] = ["10.96.0.0/24", "fd96::/64"];
const OUTER: [&str; 2] = ["192.0.2.2", "2001:db8::2"];

cni_testkit::suites! {
    iptables_lets_through_what_docker_drops => |suite| {
        let_through(suite, &json!({"backend": "iptables"}), docker);
    };
    the_same_bridge_and_no_other => |suite| same_bridge(suite, &json!({"backend": "iptables"}));
    a_policy_that_is_open_keeps_nobody_apart => |suite| open(suite, &json!({"backend": "iptables"}));
    administrators_overrule => |suite| overruled(suite);
}

/// Docker's FORWARD drops what Docker does not know.
fn docker(world: &World) {
    for program in ["iptables", "ip6tables"] {
        world.host().command(program, &["-P", "FORWARD", "DROP"]);
    }
}

/// So does that of an administrator who writes for `nft`.
fn administrator(world: &World) {
    let rules = "table inet filter {\n chain forward {\n  type filter hook forward priority 0; policy drop;\n\
                  iifname \"eth7\" accept\n }\n}\n";
    let file = world.file("rules.nft", rules);
    world.host().command("nft", &["-f", file.to_str().unwrap()]);
}

fn both(world: &World) {
    docker(world);
    administrator(world);
}

/// Nobody drops.
fn nobody(_world: &World) {}

fn chain<'a>(suite: &'a Suite, world: &World, name: &str, keys: &Value) -> Chain<'a> {
    let subnets = if name == "tenon0" { FIRST } else { SECOND };
    Chain::new(suite, world, name, &subnets, keys.clone())
}

#[track_caller]
fn reaches(from: &Netns, addresses: &[String]) {
    // The first packets may have to wait for duplicate address detection.
    for address in addresses {
        assert!(
            from.ping_within(address, 10),
            "{} does not reach {address}",
            from.path_str()
        );
    }
}

#[track_caller]
fn does_not_reach(from: &Netns, addresses: &[String]) {
    // All at once: silence takes a second each.
    let reached: Vec<&String> = std::thread::scope(|scope| {
        let pings = addresses.iter().map(|address| {
            let ping = scope.spawn(move || from.ping_within(address, 1));
            (address, ping)
        });
        let pings: Vec<_> = pings.collect();
        let reached = pings.into_iter().filter_map(|(address, ping)| {
            let reached = ping.join().unwrap();
            reached.then_some(address)
        });
        reached.collect()
    });
    assert!(
        reached.is_empty(),
        "{} reaches {reached:?}",
        from.path_str()
    );
}

fn outside() -> Vec<String> {
    OUTER.map(str::to_owned).to_vec()
}

fn let_through(suite: &Suite, keys: &Value, drops: fn(&World)) {
    let world = World::new();
    let (c1, c2) = (world.container("c1"), world.container("c2"));
    let outer = outer_world(&world, &FIRST);
    let chain = chain(suite, &world, "tenon0", keys);
    let (joined, other) = (chain.join("c1", &c1), chain.join("c2", &c2));
    reaches(&c1, &outside());
    drops(&world);
    does_not_reach(&c1, &outside());
    let opened = chain.open(&joined, "c1", &c1);
    reaches(&c1, &outside());
    // Answers come in, and nothing else does.
    let own: Vec<String> = opened.cidrs().iter().map(|cidr| bare(cidr)).collect();
    does_not_reach(&outer, &own);
    // The other container has no firewall plugin.
    does_not_reach(&c2, &outside());
    let second = chain.open(&other, "c2", &c2);
    opened.del_ok();
    does_not_reach(&c1, &outside());
    reaches(&c2, &outside());
    second.del_ok();
    does_not_reach(&c2, &outside());
}

/// Two containers on one bridge, one on another, and somebody outside.
struct Site<'a> {
    own: [Netns; 3],
    addresses: [Vec<String>; 3],
    outer: Netns,
    chains: [Chain<'a>; 2],
    world: World,
}

impl<'a> Site<'a> {
    fn new(suite: &'a Suite, keys: &Value) -> Self {
        let world = World::new();
        let outer = outer_world(&world, &[FIRST, SECOND].concat());
        let own = ["c1", "c2", "c3"].map(|name| world.container(name));
        let chains = ["tenon0", "tenon1"].map(|name| chain(suite, &world, name, keys));
        let [one, two] = &chains;
        let [c1, c2, c3] = &own;
        let links = [one.add("c1", c1), one.add("c2", c2), two.add("c3", c3)];
        let addresses =
            links.map(|link| link.bridge.cidrs().iter().map(|cidr| bare(cidr)).collect());
        Self {
            own,
            addresses,
            outer,
            chains,
            world,
        }
    }

    /// Whatever the policy, the world outside and the host are reached, and reach the containers.
    #[track_caller]
    fn world_is_reached(&self) {
        for (own, addresses) in self.own.iter().zip(&self.addresses) {
            reaches(own, &outside());
            reaches(&self.outer, addresses);
            reaches(self.world.host(), addresses);
        }
        reaches(
            &self.own[0],
            &["10.95.0.1".to_owned(), "fd95::1".to_owned()],
        );
    }

    #[track_caller]
    fn bridges_are_apart(&self) {
        let [c1, _, c3] = &self.own;
        does_not_reach(c1, &self.addresses[2]);
        does_not_reach(c3, &self.addresses[0]);
    }
}

fn with(keys: &Value, policy: &str) -> Value {
    let mut keys = keys.as_object().unwrap().clone();
    keys.insert("ingressPolicy".to_owned(), json!(policy));
    Value::Object(keys)
}

fn same_bridge(suite: &Suite, keys: &Value) {
    let place = Site::new(suite, &with(keys, "same-bridge"));
    place.world_is_reached();
    place.bridges_are_apart();
    reaches(&place.own[0], &place.addresses[1]);
    reaches(&place.own[1], &place.addresses[0]);
}

fn open(suite: &Suite, keys: &Value) {
    let place = Site::new(suite, &with(keys, "open"));
    place.world_is_reached();
    reaches(&place.own[0], &place.addresses[2]);
    reaches(&place.own[2], &place.addresses[0]);
    reaches(&place.own[0], &place.addresses[1]);
}

fn isolated(suite: &Suite, keys: &Value) {
    let place = Site::new(suite, &with(keys, "isolated"));
    place.world_is_reached();
    place.bridges_are_apart();
    does_not_reach(&place.own[0], &place.addresses[1]);
    does_not_reach(&place.own[1], &place.addresses[0]);
}

/// A rule in `CNI-ADMIN` counts before what the plugin lets through.
fn overruled(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let _outer = outer_world(&world, &FIRST);
    chain(suite, &world, "tenon0", &json!({"backend": "iptables"})).add("c1", &c1);
    reaches(&c1, &outside());
    for (program, address) in [("iptables", OUTER[0]), ("ip6tables", OUTER[1])] {
        let rule = ["-A", "CNI-ADMIN", "-d", address, "-j", "DROP"];
        world.host().command(program, &rule);
    }
    does_not_reach(&c1, &outside());
}

#[test]
fn nftables_lets_through_whoever_drops() {
    let suite = Suite::ours();
    for drops in [administrator, docker, both] {
        let_through(&suite, &json!({"backend": "nftables"}), drops);
    }
}

/// Each of both opens its own, and only together they let through.
#[test]
fn iptables_cannot_open_what_others_close() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("c1");
    let _outer = outer_world(&world, &FIRST);
    both(&world);
    let chain = chain(&suite, &world, "tenon0", &json!({"backend": "iptables"}));
    let link = chain.add("c1", &c1);
    does_not_reach(&c1, &outside());
    link.firewall.del_ok();
    let nftables = chain.with(&json!({"backend": "nftables"}));
    nftables.open(&link.bridge, "c1", &c1);
    reaches(&c1, &outside());
}

#[test]
fn policies_are_kept_by_each_backend() {
    let suite = Suite::ours();
    for backend in ["nftables", "iptables"] {
        let keys = json!({"backend": backend});
        same_bridge(&suite, &keys);
        isolated(&suite, &keys);
        open(&suite, &keys);
    }
}

/// What a bridge forwards is not shown to iptables, as on a host without `br_netfilter`: the row
/// `firewall-isolated`.
#[test]
fn isolation_does_not_depend_on_br_netfilter() {
    let suite = Suite::ours();
    for backend in ["nftables", "iptables"] {
        let keys = json!({"backend": backend, "ingressPolicy": "isolated"});
        let place = Site::new(&suite, &keys);
        for program in ["iptables", "ip6tables"] {
            let key = format!("net/bridge/bridge-nf-call-{program}");
            if std::path::Path::new("/proc/sys").join(&key).exists() {
                place.world.host().set_sysctl(&key, "0");
            }
        }
        does_not_reach(&place.own[0], &place.addresses[1]);
        does_not_reach(&place.own[1], &place.addresses[0]);
        place.world_is_reached();
        assert_eq!(place.chains.len(), 2);
    }
}

/// The policy is the network's, not the machine's: bridges without one are reached, and reach.
#[test]
fn a_bridge_without_a_policy_is_nobodys_business() {
    let suite = Suite::ours();
    for backend in ["nftables", "iptables"] {
        let world = World::new();
        let (c1, c2) = (world.container("c1"), world.container("c2"));
        let policed = json!({"backend": backend, "ingressPolicy": "isolated"});
        let one = chain(&suite, &world, "tenon0", &policed).add("c1", &c1);
        let two = chain(&suite, &world, "tenon1", &json!({"backend": backend})).add("c2", &c2);
        let addresses =
            |cidrs: Vec<String>| cidrs.iter().map(|cidr| bare(cidr)).collect::<Vec<_>>();
        // Neighbours get to know each other.
        reaches(world.host(), &addresses(one.bridge.cidrs()));
        reaches(world.host(), &addresses(two.bridge.cidrs()));
        reaches(&c2, &addresses(one.bridge.cidrs()));
        reaches(&c1, &addresses(two.bridge.cidrs()));
    }
}

/// Nothing drops: nothing to open, and no rule that could be in the way.
#[test]
fn where_nobody_drops_nothing_is_in_the_way() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("c1");
    let outer = outer_world(&world, &FIRST);
    nobody(&world);
    let link = chain(&suite, &world, "tenon0", &json!({"backend": "nftables"})).add("c1", &c1);
    reaches(&c1, &outside());
    reaches(&outer, &link.bridge.cidrs());
    link.firewall.check_ok();
    // Docker is installed later: CHECK tells, and an ADD of anybody does not help the others.
    docker(&world);
    link.firewall.check().expect_error(103);
}
