//! The plugins of the default chains, each on a machine that it can work on.

use cni_testkit::{Conf, Netns, World, conf};
use serde_json::{Value, json};

use super::scene::{Lasting, Scene};
use crate::limits::Pair;
use crate::network::IFNAME;

const VERSION: &str = "1.1.0";
const V4: &str = "10.92.0.0/24";
const V6: &str = "fd92::/64";
const FORWARDING: [&str; 2] = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];

/// Makes a scene by its name.
///
/// # Panics
/// If there is none of that name.
pub fn make(name: &str) -> Scene {
    let world = World::new();
    let c1 = world.container("c1");
    match name {
        "bridge" => bridge(world, c1, &[V4], json!({})),
        "bridge-executed" => bridge(world, c1, &[V4], json!({})).fast_paths("off"),
        "bridge-masquerade" => bridge(world, c1, &[V4], masquerade()),
        "bridge-masquerade-executed" => bridge(world, c1, &[V4], masquerade()).fast_paths("off"),
        "bridge-dual" => bridge(world, c1, &[V4, V6], masquerade()).fast_paths("on"),
        "bridge-beside-another" => bridge(world, c1, &[V4, V6], masquerade()).beside_another(),
        "host-local" => host_local(world, c1),
        "host-local-indexed" => host_local(world, c1).fast_paths("on").beside_another(),
        "portmap" => behind(world, c1, "portmap", published()),
        "firewall" => behind(world, c1, "firewall", json!({"backend": "nftables"})),
        "firewall-iptables" => behind(world, c1, "firewall", json!({"backend": "iptables"})),
        "firewall-copied" => firewall_beside_another(world, c1),
        "firewall-unnamed" => behind(world, c1, "firewall", json!({})),
        "bandwidth" => behind(world, c1, "bandwidth", limits()),
        "tuning" => behind(world, c1, "tuning", settings()).excused_by("not restored: "),
        "loopback" => {
            let conf = conf::plugin(VERSION, "loopback");
            c1.ip("link set lo down");
            Scene::new(world, c1, conf)
                .at("lo")
                .leaving([Lasting::UpInContainer("lo")])
        }
        "cnm-shim" => cnm_shim(world, c1),
        other => panic!("no scene {other}"),
    }
}

fn masquerade() -> Value {
    json!({"ipMasq": true, "macspoofchk": true, "hairpinMode": true})
}

fn published() -> Value {
    let ports = json!([
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
        {"hostPort": 8080, "containerPort": 80, "protocol": "udp"},
    ]);
    json!({"snat": true, "capabilities": {"portMappings": true}, "runtimeConfig": {"portMappings": ports}})
}

fn limits() -> Value {
    json!({"ingressRate": 8_000_000, "ingressBurst": 800_000,
           "egressRate": 16_000_000, "egressBurst": 1_600_000})
}

fn settings() -> Value {
    json!({"mac": "02:00:00:00:00:77", "mtu": 1400, "txQLen": 500, "promisc": true, "allmulti": true,
           "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1", "net.core.somaxconn": "500"}})
}

fn bridge(world: World, c1: Netns, subnets: &[&str], keys: Value) -> Scene {
    let ipam = conf::host_local(&world, subnets);
    let conf = conf::bridge(VERSION).ipam(ipam).with(keys);
    let leases = Lasting::Files(world.data_dir());
    Scene::new(world, c1, conf)
        .leaving([Lasting::Link("tenon0".to_owned()), leases])
        .leaving(FORWARDING.map(Lasting::Sysctl))
}

fn host_local(world: World, c1: Netns) -> Scene {
    let ipam = conf::host_local(&world, &[V4, V6]);
    let conf = conf::plugin(VERSION, "host-local").ipam(ipam);
    let leases = Lasting::Files(world.data_dir());
    Scene::new(world, c1, conf).leaving([leases])
}

/// A plugin behind one that has made a veth pair.
fn behind(world: World, c1: Netns, plugin: &str, keys: Value) -> Scene {
    let pair = Pair::new(&world, &c1, IFNAME, 1);
    // Publishing a port at the host's loopback address needs it, and it stays.
    for key in FORWARDING {
        world.host().set_sysctl(key, "1");
    }
    let conf: Conf = conf::plugin(VERSION, plugin).with(keys);
    Scene::new(world, c1, conf.prev_result(&pair.result(VERSION)))
}

/// On a host where iptables has made rules for another container already.
fn firewall_beside_another(world: World, c1: Netns) -> Scene {
    let keys = json!({"backend": "iptables"});
    let scene = behind(world, c1, "firewall", keys.clone());
    let c2 = scene.world.container("c2");
    let pair = Pair::new(&scene.world, &c2, IFNAME, 2);
    let conf = conf::plugin(VERSION, "firewall").with(keys);
    scene.beside(c2, &conf.prev_result(&pair.result(VERSION)))
}

fn cnm_shim(world: World, c1: Netns) -> Scene {
    // By default what a driver refuses to remove is left to a GC, and the DEL is done.
    let keys = json!({"subnet": V4, "removeNetworkWhenUnused": true, "strictDelete": true});
    let conf = conf::plugin(VERSION, "cnm-shim").with(keys);
    Scene::new(world, c1, conf)
        .leaving(FORWARDING.map(Lasting::Sysctl))
        // A network that was made lets the host forward, and goes without taking that back, with
        // the ADD that failed as with the last DEL.
        .leaving_in_failures(FORWARDING.map(Lasting::Sysctl))
        .collected_after_a_crash()
}
