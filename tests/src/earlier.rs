//! The state that an earlier build has left on a machine with running containers: written down once by
//! `scripts/previous`, and put up again wherever a test wants to know what this build makes of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cni_testkit::{Netns, Suite, World};
use serde_json::{Value, json};

use crate::conflist::Attachment;

/// Where plugins keep state, leases, and records.
const STATE: [&str; 3] = ["/run/tenon-test/networks", "/run/cni", "/var/lib/cni"];

/// Of each network.
const CONTAINERS: usize = 2;

/// The value that tuning sets, and what it finds.
pub const SOMAXCONN: [&str; 2] = ["500", "4096"];

/// What a published port needs to be reached from the host's loopback.
pub const ROUTE_LOCALNET: &str = "net/ipv4/conf/before0/route_localnet";

/// A container of the earlier build.
#[derive(Debug)]
pub struct Pod {
    /// Its id, and the name of its namespace.
    pub id: String,
    /// The network's configuration list.
    pub list: Value,
    /// What ADD answered.
    pub result: Value,
    /// Its namespace.
    pub netns: Netns,
}

impl Pod {
    /// As a runtime calls for it.
    pub fn attachment<'p>(&'p self, suite: &'p Suite) -> Attachment<'p> {
        attachment(suite, &self.list, &self.id, &self.netns)
    }
}

/// By its number it has a port.
fn attachment<'p>(
    suite: &'p Suite,
    list: &'p Value,
    id: &'p str,
    netns: &'p Netns,
) -> Attachment<'p> {
    let number: u16 = id.trim_start_matches("pod").parse().unwrap();
    let port = json!({"hostPort": 8000 + number, "containerPort": 80, "protocol": "tcp"});
    Attachment::new(suite, list, id, netns).capabilities(json!({"portMappings": [port]}))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/earlier")
}

/// nerdctl's chain with two families and the spoof check; Docker's bridge driver.
fn networks(world: &World) -> [Value; 2] {
    let ipam = json!({"type": "host-local", "dataDir": world.data_dir(),
        "ranges": [[{"subnet": "10.75.0.0/24"}], [{"subnet": "fd75::/64"}]]});
    let bridge = json!({"type": "bridge", "bridge": "before0", "isDefaultGateway": true, "ipMasq": true,
        "macspoofchk": true, "hairpinMode": true, "ipam": ipam});
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    let firewall =
        json!({"type": "firewall", "backend": "nftables", "ingressPolicy": "same-bridge"});
    let tuning = json!({"type": "tuning", "sysctl": {"net.core.somaxconn": SOMAXCONN[0]}});
    let cnm = json!({"type": "cnm-shim", "driver": "bridge", "subnet": "10.76.0.0/24",
        "options": {"com.docker.network.bridge.name": "before1"}, "capabilities": {"portMappings": true}});
    let list = |name, plugins| json!({"cniVersion": "1.1.0", "name": name, "plugins": plugins});
    [
        list("before", json!([bridge, portmap, firewall, tuning])),
        list("before-cnm", json!([cnm])),
    ]
}

/// Has `suite` add containers, and writes down what is there then.
pub fn record(suite: &Suite) {
    let world = World::new();
    let mut pods = Vec::new();
    let mut namespaces = Vec::new();
    for list in networks(&world) {
        for _one in 0..CONTAINERS {
            let id = format!("pod{}", pods.len());
            let netns = world.container(&id);
            let result = attachment(suite, &list, &id, &netns).add();
            pods.push(
                json!({"id": id, "list": list, "result": result, "links": links(&netns),
                "routes": [netns.ip_json("-4 route show"), netns.ip_json("-6 route show")]}),
            );
            namespaces.push(netns);
        }
    }
    let machine = json!({"pods": pods, "links": links(world.host()), "files": files(),
        "route_localnet": world.host().sysctl(ROUTE_LOCALNET)});
    fs::create_dir_all(folder()).unwrap();
    let text = serde_json::to_string_pretty(&machine).unwrap() + "\n";
    fs::write(folder().join("machine.json"), text).unwrap();
    let ruleset = world
        .host()
        .command("nft", &["--stateless", "list", "ruleset"]);
    fs::write(folder().join("ruleset.nft"), ruleset).unwrap();
}

/// What is needed to make them again.
fn links(netns: &Netns) -> Value {
    let kept = [
        "ifname",
        "ifindex",
        "link_index",
        "address",
        "mtu",
        "ifalias",
        "master",
        "addr_info",
        "linkinfo",
        "num_tx_queues",
        "num_rx_queues",
    ];
    let shown = netns.ip_json("addr show");
    let links = shown.as_array().unwrap().iter();
    let links = links.filter(|link| link["ifname"] != "lo").map(|link| {
        let facts = link.as_object().unwrap().iter();
        let facts = facts.filter(|(key, _)| kept.contains(&key.as_str()));
        facts
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    });
    links.collect::<Vec<Value>>().into()
}

fn files() -> BTreeMap<String, Value> {
    let mut files = BTreeMap::new();
    let mut rest: Vec<_> = STATE.iter().map(PathBuf::from).collect();
    while let Some(path) = rest.pop().filter(|path| path.exists()) {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        let content = if path.is_dir() {
            let entries = fs::read_dir(&path).unwrap();
            rest.extend(entries.map(|entry| entry.unwrap().path()));
            Value::Null
        } else {
            fs::read_to_string(&path).unwrap().into()
        };
        let name = path.to_str().unwrap().to_owned();
        files.insert(name, json!({"mode": mode, "content": content}));
    }
    files
}

/// Puts it up.
pub fn restore(world: &World) -> Vec<Pod> {
    let text = fs::read_to_string(folder().join("machine.json")).unwrap();
    let machine: Value = serde_json::from_str(&text).unwrap();
    for (path, file) in machine["files"].as_object().unwrap() {
        match file["content"].as_str() {
            Some(content) => fs::write(path, content).unwrap(),
            None => fs::create_dir_all(path).unwrap(),
        }
        let mode = u32::try_from(file["mode"].as_u64().unwrap()).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let host = world.host();
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        host.set_sysctl(key, "1");
    }
    for bridge in of_kind(&machine["links"], "bridge") {
        let name = text_of(bridge, "ifname");
        host.ip(&format!(
            "link add {name} address {} type bridge",
            text_of(bridge, "address")
        ));
        host.ip(&format!("link set {name} up"));
        add_addresses(host, bridge);
    }
    host.set_sysctl(ROUTE_LOCALNET, text_of(&machine, "route_localnet"));
    let pods = machine["pods"].as_array().unwrap().iter();
    let pods: Vec<_> = pods
        .map(|pod| restore_pod(world, &machine["links"], pod))
        .collect();
    let ruleset = folder().join("ruleset.nft");
    host.command("nft", &["-f", ruleset.to_str().unwrap()]);
    pods
}

fn restore_pod(world: &World, host_links: &Value, pod: &Value) -> Pod {
    let id = text_of(pod, "id").to_owned();
    let (host, netns) = (world.host(), world.container(&id));
    let inside = &pod["links"][0];
    let mut outside = of_kind(host_links, "veth");
    let outside = outside
        .find(|link| link["ifindex"] == inside["link_index"])
        .unwrap();
    let (name, eth0) = (text_of(outside, "ifname"), text_of(inside, "ifname"));
    let queues = "numtxqueues 1 numrxqueues 1";
    host.ip(&format!(
        "link add {name} address {} mtu {} {queues} type veth peer name {eth0} address {} mtu {} {queues} netns {id}",
        text_of(outside, "address"), outside["mtu"], text_of(inside, "address"), inside["mtu"],
    ));
    host.ip(&format!(
        "link set {name} master {}",
        text_of(outside, "master")
    ));
    if let Some(alias) = outside["ifalias"].as_str() {
        host.command("ip", &["link", "set", name, "alias", alias]);
    }
    if outside["linkinfo"]["info_slave_data"]["hairpin"] == true {
        host.ip(&format!("link set {name} type bridge_slave hairpin on"));
    }
    host.ip(&format!("link set {name} up"));
    netns.ip(&format!("link set {eth0} up"));
    add_addresses(&netns, inside);
    for route in pod["routes"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|family| family.as_array().unwrap())
    {
        if let Some(gateway) = route["gateway"].as_str() {
            netns.ip(&format!(
                "route add {} via {gateway} dev {eth0}",
                text_of(route, "dst")
            ));
        }
    }
    if text_of(&pod["list"], "name") == "before" {
        netns.set_sysctl("net/core/somaxconn", SOMAXCONN[0]);
    }
    Pod {
        id,
        list: pod["list"].clone(),
        result: pod["result"].clone(),
        netns,
    }
}

fn of_kind<'l>(links: &'l Value, kind: &'l str) -> impl Iterator<Item = &'l Value> {
    let links = links.as_array().unwrap().iter();
    links.filter(move |link| link["linkinfo"]["info_kind"] == kind)
}

fn text_of<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("no {key} in {value}"))
}

fn add_addresses(netns: &Netns, link: &Value) {
    let addresses = link["addr_info"].as_array().unwrap().iter();
    for address in addresses.filter(|address| address["scope"] == "global") {
        let local = text_of(address, "local");
        let nodad = if local.contains(':') { "nodad" } else { "" };
        let broadcast = address["broadcast"]
            .as_str()
            .map_or(String::new(), |to| format!("broadcast {to}"));
        netns.ip(&format!(
            "addr add {local}/{} {broadcast} dev {} {nodad}",
            address["prefixlen"],
            text_of(link, "ifname"),
        ));
    }
}
