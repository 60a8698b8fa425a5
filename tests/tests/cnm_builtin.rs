//! `cnm-shim` without any daemon: the drivers that are built in, alone and in chains with the
//! reference's plugins.

use cni_testkit::{Conf, Netns, Snapshot, Suite, World, conf};
use serde_json::{Value, json};
use tenon_tests::chain::outer_world;
use tenon_tests::cnm::shim::records;
use tenon_tests::network::{Attached, Network, addresses_of, route_to, routes};
use tenon_tests::ports::Listener;
use tenon_tests::published::PORT;

const V4: &str = "10.76.0.0/24";
const V6: &str = "fd76::/64";
const BRIDGE: &str = "com.docker.network.bridge";

/// A machine without drivers.
struct Machine {
    suite: Suite,
    before: Snapshot,
    world: World,
}

impl Machine {
    fn new() -> Self {
        let world = World::new();
        Self {
            suite: Suite::ours(),
            before: world.snapshot(),
            world,
        }
    }

    /// A network of the built-in bridge driver that goes with its last container.
    fn network(&self, keys: Value) -> Network<'_> {
        let own = json!({"subnet": V4, "removeNetworkWhenUnused": true});
        let conf = conf::plugin("1.1.0", "cnm-shim").with(own);
        Network::new(&self.suite, conf.with(keys))
    }

    fn containers(&self) -> [Netns; 2] {
        ["c1", "c2"].map(|name| self.world.container(name))
    }

    /// Forwarding stays on, since others may rely on it by now.
    #[track_caller]
    fn assert_nothing_left(&self) {
        let kept = |snapshot: &Snapshot| snapshot.clone().without("sysctl net/ip");
        kept(&self.before).assert_unchanged(&kept(&self.world.snapshot()));
        assert_eq!(records(), Vec::<String>::new());
    }
}

fn both() -> Value {
    json!({"subnetV6": V6})
}

fn del_all(attached: &[Attached<'_>]) {
    for one in attached {
        one.check_ok();
        one.del_ok();
        one.del_ok();
    }
}

#[test]
fn pods_reach_each_other_the_gateway_and_the_host() {
    let machine = Machine::new();
    let [c1, c2] = machine.containers();
    let network = machine.network(both());
    let (one, two) = (network.add("c1", &c1), network.add("c2", &c2));
    assert_eq!(one.cidrs(), ["10.76.0.2/24", "fd76::2/64"]);
    assert_eq!(addresses_of(&c1, "eth0"), one.cidrs());
    for address in ["10.76.0.1", "fd76::1", "10.76.0.3", "fd76::3"] {
        assert!(c1.ping(address), "{address}");
    }
    assert!(machine.world.host().ping("10.76.0.3"));
    assert_eq!(route_to(&c1, "default", "")["gateway"], "10.76.0.1");
    // A name as Docker's.
    let bridge = one.interface(0)["name"].as_str().unwrap_or_default();
    assert!(bridge.starts_with("br-") && bridge.len() == 15, "{bridge}");
    assert_eq!(
        one.interface(2)["mac"],
        c1.link("eth0")
            .map_or(Value::Null, |link| link["address"].clone())
    );
    del_all(&[one, two]);
    machine.assert_nothing_left();
}

/// As Docker's own networks have it, without any key.
#[test]
fn a_subnet_is_chosen_where_none_is_wanted() {
    let machine = Machine::new();
    let [c1, c2] = machine.containers();
    let network = machine.network(json!({"subnet": ""}));
    let other = machine.network(json!({"subnet": "", "name": "other"}));
    let (one, two) = (network.add("c1", &c1), other.add("c2", &c2));
    assert_ne!(one.cidrs(), two.cidrs());
    for (pod, attached) in [(&c1, &one), (&c2, &two)] {
        let gateway = attached.result["ips"][0]["gateway"]
            .as_str()
            .unwrap_or_default();
        assert!(gateway.starts_with("172."), "{gateway}");
        assert!(pod.ping(gateway));
    }
    del_all(&[one, two]);
    machine.assert_nothing_left();
}

/// Somebody outside does not know the pods' addresses, and answers all the same.
#[test]
fn what_leaves_has_the_hosts_address() {
    let machine = Machine::new();
    let [c1, c2] = machine.containers();
    let outside = outer_world(&machine.world, &[]);
    let network = machine.network(both());
    let one = network.add("c1", &c1);
    for address in ["192.0.2.2", "2001:db8::2"] {
        assert!(c1.ping(address), "{address}");
    }
    let bare = json!({"name": "bare", "subnet": "10.75.0.0/24",
        "options": {format!("{BRIDGE}.enable_ip_masquerade"): "false"}});
    let two = machine.network(bare).add("c2", &c2);
    assert!(!c2.ping_within("192.0.2.2", 1));
    outside.ip("route add 10.75.0.0/24 via 192.0.2.1");
    assert!(c2.ping("192.0.2.2"));
    del_all(&[one, two]);
    machine.world.host().ip("link del up0");
    machine.assert_nothing_left();
}

#[test]
fn an_internal_network_leads_nowhere() {
    let machine = Machine::new();
    let [c1, c2] = machine.containers();
    let _outside = outer_world(&machine.world, &[V4]);
    let network = machine.network(json!({"internal": true}));
    let (one, two) = (network.add("c1", &c1), network.add("c2", &c2));
    assert!(c1.ping("10.76.0.3") && c1.ping("10.76.0.1"));
    assert_eq!(routes(&c1, "default"), Vec::<Value>::new());
    // Whoever finds a way out by himself does not get far.
    c1.ip("route add default via 10.76.0.1");
    assert!(!c1.ping_within("192.0.2.2", 1));
    del_all(&[one, two]);
    machine.world.host().ip("link del up0");
    machine.assert_nothing_left();
}

#[test]
fn without_icc_pods_do_not_reach_each_other() {
    let machine = Machine::new();
    let [c1, c2] = machine.containers();
    let network = machine.network(json!({"options": {format!("{BRIDGE}.enable_icc"): false}}));
    let (one, two) = (network.add("c1", &c1), network.add("c2", &c2));
    assert!(c1.ping("10.76.0.1") && c2.ping("10.76.0.1"));
    assert!(!c1.ping_within("10.76.0.3", 1));
    del_all(&[one, two]);
    machine.assert_nothing_left();
}

#[test]
fn published_ports_lead_to_the_pod() {
    let machine = Machine::new();
    let [c1, c2] = machine.containers();
    let outside = outer_world(&machine.world, &[]);
    let mappings = json!([{"hostPort": 8080, "containerPort": PORT}]);
    let network = machine.network(both());
    let publishing =
        network.edited(|conf| conf.with(json!({"runtimeConfig": {"portMappings": mappings}})));
    let (one, two) = (publishing.add("c1", &c1), network.add("c2", &c2));
    let listener = Listener::new(&c1, PORT);
    for to in ["192.0.2.1:8080", "[2001:db8::1]:8080"] {
        let seen = listener.sees("tcp", &outside, to);
        assert!(
            ["192.0.2.2", "2001:db8::2"].contains(&seen.as_str()),
            "{seen}"
        );
        listener.sees("tcp", machine.world.host(), to);
        listener.sees("tcp", &c2, to);
    }
    listener.sees_nobody("tcp", &outside, "192.0.2.1:8081");
    one.check_ok();
    one.del_ok();
    listener.sees_nobody("tcp", &outside, "192.0.2.1:8080");
    del_all(&[two]);
    machine.world.host().ip("link del up0");
    machine.assert_nothing_left();
}

/// A port of the host is one pod's.
#[test]
fn a_port_that_is_taken_fails_the_add() {
    let machine = Machine::new();
    let [c1, c2] = machine.containers();
    let mappings = json!([{"hostPort": 8080, "containerPort": PORT}]);
    let network = machine.network(json!({"runtimeConfig": {"portMappings": mappings}}));
    let one = network.add("c1", &c1);
    let before = (machine.world.snapshot(), Snapshot::of(&c2), records());
    let error = network.try_add("c2", &c2).expect_any_error();
    assert!(error.to_string().contains("8080"), "{error}");
    before.0.assert_unchanged(&machine.world.snapshot());
    before.1.assert_unchanged(&Snapshot::of(&c2));
    assert_eq!(before.2, records());
    one.check_ok();
    one.del_ok();
    let two = network.add("c2", &c2);
    del_all(&[two]);
    machine.assert_nothing_left();
}

/// The kernel forgets what the disk remembers.
#[test]
fn a_restart_of_the_machine_is_survived() {
    let machine = Machine::new();
    let [c1, c2] = machine.containers();
    let network = machine
        .network(both())
        .edited(|conf| conf.without("removeNetworkWhenUnused"));
    let lost = network.add("c1", &c1);
    let bridge = lost.interface(0)["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    drop(c1);
    machine.world.host().ip(&format!("link del {bridge}"));
    machine.world.host().command("nft", &["flush", "ruleset"]);
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        machine.world.host().set_sysctl(key, "0");
    }
    // Pods that come before anybody has called DEL for those that were lost.
    let outside = outer_world(&machine.world, &[]);
    let two = network.add("c2", &c2);
    assert_eq!(two.cidrs(), ["10.76.0.3/24", "fd76::3/64"]);
    for address in ["10.76.0.1", "fd76::1", "192.0.2.2", "2001:db8::2"] {
        assert!(c2.ping(address), "{address}");
    }
    two.check_ok();
    lost.del_ok();
    two.check_ok();
    // The same pod again, which has its place back.
    let c1 = machine.world.container("c1");
    let one = network.add("c1", &c1);
    assert!(c1.ping("10.76.0.3"));
    del_all(&[one, two]);
    drop(outside);
    network
        .edited(|conf| {
            conf.with(json!({"removeNetworkWhenUnused": true}))
                .valid_attachments(&[])
        })
        .call("GC")
        .run()
        .expect_silent_ok();
    assert!(machine.world.host().link(&bridge).is_none());
    assert_eq!(records(), Vec::<String>::new());
}

#[test]
fn a_network_stays_unless_it_is_to_go() {
    let machine = Machine::new();
    let [c1, _c2] = machine.containers();
    let network = machine
        .network(json!({}))
        .edited(|conf| conf.without("removeNetworkWhenUnused"));
    let attached = network.add("c1", &c1);
    let bridge = attached.interface(0)["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    attached.del_ok();
    assert!(machine.world.host().link(&bridge).is_some());
    let going = network.edited(|conf| conf.with(json!({"removeNetworkWhenUnused": true})));
    // A DEL that finds no endpoint finishes one that got no further.
    attached.of(&going).del_ok();
    assert!(machine.world.host().link(&bridge).is_none());
    going
        .edited(|conf| conf.valid_attachments(&[]))
        .call("GC")
        .run()
        .expect_silent_ok();
    machine.assert_nothing_left();
}

/// Addresses of a CNI plugin on the built-in bridge.
#[test]
fn addresses_may_come_from_a_cni_plugin() {
    let machine = Machine::new();
    let [c1, c2] = machine.containers();
    let ipam = conf::host_local(&machine.world, &[V4, V6]);
    let network = machine.network(json!({"subnet": "", "ipam": ipam}));
    let (one, two) = (network.add("c1", &c1), network.add("c2", &c2));
    assert_eq!(two.cidrs(), ["10.76.0.3/24", "fd76::3/64"]);
    for address in ["10.76.0.1", "10.76.0.3", "fd76::3"] {
        assert!(c1.ping(address), "{address}");
    }
    del_all(&[one, two]);
    assert_eq!(machine.world.host().link_names(), ["lo"]);
    assert_eq!(records(), Vec::<String>::new());
}

/// Docker's network `none`: a container with nothing but its `lo`.
#[test]
fn the_null_driver_gives_nothing() {
    let machine = Machine::new();
    let [c1, c2] = machine.containers();
    let keys = json!({"driver": "null", "ipamDriver": "null", "subnet": ""});
    let network = machine.network(keys);
    let (one, two) = (network.add("c1", &c1), network.add("c2", &c2));
    assert_eq!(one.result["interfaces"], Value::Null);
    assert_eq!(one.result["ips"], Value::Null);
    assert_eq!(c1.link_names(), ["lo"]);
    del_all(&[one, two]);
    machine.assert_nothing_left();
}

/// Docker's network `host` is the host's namespace, which no CNI plugin may be called for.
#[test]
fn the_host_driver_takes_no_container() {
    let machine = Machine::new();
    let [c1, _c2] = machine.containers();
    let network = machine.network(json!({"driver": "host", "ipamDriver": "null", "subnet": ""}));
    let error = network.try_add("c1", &c1).expect_error(8);
    assert!(
        error
            .to_string()
            .contains("not the host's network namespace"),
        "{error}"
    );
    assert_eq!(c1.link_names(), ["lo"]);
    machine.assert_nothing_left();
}

#[test]
fn what_the_built_in_drivers_do_not_know_is_refused() {
    let machine = Machine::new();
    let [c1, _c2] = machine.containers();
    for (keys, words) in [
        (
            json!({"driver": "overlay"}),
            "there is no plugin of that name",
        ),
        (
            json!({"options": {"com.docker.network.host_ipv4": "192.0.2.1"}}),
            "host_ipv4",
        ),
        (json!({"subnet": "10.76.0.0/33"}), "10.76.0.0/33"),
        (json!({"subnet": V4, "gateway": "10.76.1.1"}), "10.76.1.1"),
    ] {
        let network = machine.network(Conf(keys).with(json!({"timeout": "500ms"})).0);
        let error = network.try_add("c1", &c1).expect_any_error();
        assert!(error.to_string().contains(words), "{error}");
        machine.assert_nothing_left();
    }
}

/// What runtimes chain behind a plugin that makes interfaces.
fn later_plugins() -> [(&'static str, Value); 4] {
    let mapping = json!({"hostPort": 8080, "containerPort": PORT, "protocol": "tcp"});
    [
        (
            "tuning",
            json!({"mtu": 1300, "sysctl": {"net.ipv4.conf.eth0.arp_filter": "1"}}),
        ),
        (
            "bandwidth",
            json!({"ingressRate": 8_000_000, "ingressBurst": 800_000}),
        ),
        ("firewall", json!({"backend": "iptables"})),
        (
            "portmap",
            json!({"runtimeConfig": {"portMappings": [mapping]}}),
        ),
    ]
}

/// A chain as runtimes run it: the result of each plugin is the next one's `prevResult`, and removal
/// goes backwards.
#[test]
fn the_references_plugins_work_on_its_result() {
    let machine = Machine::new();
    let host = machine.world.host();
    let [c1, c2] = machine.containers();
    let outside = outer_world(&machine.world, &[]);
    let reference = Suite::reference();
    let shim = machine.network(json!({"cniVersion": "1.0.0"}));
    let first = shim.add("c1", &c1);
    let mut result = first.result.clone();
    let mut chain = Vec::new();
    for (plugin, keys) in later_plugins() {
        let conf = conf::plugin("1.0.0", plugin)
            .with(keys)
            .prev_result(&result);
        let attached = Network::new(&reference, conf).add("c1", &c1);
        result = attached.result.clone();
        chain.push(attached);
    }
    let link = c1.link("eth0").unwrap();
    assert_eq!(link["mtu"], 1300);
    assert_eq!(c1.sysctl("net/ipv4/conf/eth0/arp_filter"), "1");
    let rates = host.command("tc", &["qdisc", "show", "dev", first.host_end()]);
    assert!(rates.contains("tbf"), "{rates}");
    Listener::new(&c1, PORT).sees("tcp", &outside, "192.0.2.1:8080");
    let second = shim.add("c2", &c2);
    assert!(c2.ping("10.76.0.2") && c2.ping("192.0.2.2"));
    // Its own CHECK takes what the others have made of it.
    first.with_result(result.clone()).check_ok();
    // All but portmap's, which misses its rules of IPv6, as there are none.
    for attached in chain.iter().take(3) {
        attached.with_result(result.clone()).check().expect_ok();
    }
    for attached in chain.iter().rev() {
        attached.with_result(result.clone()).del().expect_ok();
    }
    first.with_result(result).del_ok();
    second.del_ok();
    assert_eq!(c1.link_names(), ["lo"]);
    assert!(host.link(first.host_end()).is_none());
    assert_eq!(records(), Vec::<String>::new());
}
