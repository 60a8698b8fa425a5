//! Every file of `conf/` as a runtime runs it: ADD, CHECK, DEL of its chain, packets in between.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};

use cni_testkit::{Netns, Suite, World, skip};
use serde_json::{Value, json};
use tenon_tests::cnm::driver::{Driver, Model};
use tenon_tests::conflist::Attachment;
use tenon_tests::limits::{ifbs, qdiscs};
use tenon_tests::network::{bare, cidrs};
use tenon_tests::ports::{self, HOST, Listener, PROTOCOLS};

/// What a runtime asks for on behalf of a container: each gets ports of its own.
fn wishes(host_port: u16) -> Value {
    let ports = PROTOCOLS
        .map(|protocol| json!({"hostPort": host_port, "containerPort": 80, "protocol": protocol}));
    let bandwidth = json!({
        "ingressRate": 80_000_000, "ingressBurst": 8_000_000,
        "egressRate": 90_000_000, "egressBurst": 9_000_000,
    });
    json!({"portMappings": ports, "bandwidth": bandwidth})
}

/// Whether a plugin is part of a list.
fn chains(list: &Value, plugin_type: &str) -> bool {
    let mut plugins = list["plugins"].as_array().unwrap().iter();
    plugins.any(|plugin| plugin["type"] == plugin_type)
}

/// Whether a plugin of a list asks for ports to lead to the container.
fn publishes(list: &Value) -> bool {
    let mut plugins = list["plugins"].as_array().unwrap().iter();
    plugins.any(|plugin| plugin["capabilities"]["portMappings"] == true)
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf")
}

fn files() -> Vec<PathBuf> {
    let entries = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|ext| ext == "conflist"))
        .collect();
    files.sort();
    files
}

fn load(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn kernel_filters_vlans(world: &World) -> bool {
    let words = [
        "link",
        "add",
        "probe0",
        "type",
        "bridge",
        "vlan_filtering",
        "1",
    ];
    let made = world.host().try_command("ip", &words).code == 0;
    if made {
        world.host().ip("link del probe0");
    }
    made
}

#[test]
fn there_is_one_for_each_use() {
    let names: Vec<_> = files()
        .iter()
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    for usage in [
        "containerd",
        "podman",
        "nerdctl",
        "dual-stack",
        "layer2",
        "vlan",
        "cnm-bridge",
        "cnm-driver",
        "cnm-host-local",
        "docker-network",
    ] {
        assert!(
            names.iter().any(|name| name.contains(usage)),
            "none for {usage} in {names:?}"
        );
    }
}

/// Files of one directory are loaded together.
#[test]
fn they_can_lie_in_one_directory() {
    let lists: Vec<_> = files().iter().map(|path| load(path)).collect();
    let plugins = lists
        .iter()
        .flat_map(|list| list["plugins"].as_array().unwrap());
    let plugins: Vec<_> = plugins.collect();
    let distinct = |mut values: Vec<String>, what: &str| {
        values.sort();
        let count = values.len();
        values.dedup();
        assert_eq!(values.len(), count, "two have the same {what}: {values:?}");
    };
    distinct(
        lists.iter().map(|list| list["name"].to_string()).collect(),
        "name",
    );
    let bridge = |plugin: &&Value| match &plugin["bridge"] {
        Value::String(name) => Some(name.clone()),
        _ => plugin["options"]["com.docker.network.bridge.name"]
            .as_str()
            .map(str::to_owned),
    };
    distinct(plugins.iter().filter_map(bridge).collect(), "bridge");
    let sets = plugins
        .iter()
        .filter_map(|plugin| plugin["ipam"]["ranges"].as_array());
    let subnets = sets.flatten().flat_map(|set| set.as_array().unwrap());
    let own = plugins.iter().map(|plugin| &plugin["subnet"]);
    let subnets = subnets.map(|range| &range["subnet"]).chain(own);
    let subnets = subnets.filter(|subnet| subnet.is_string());
    distinct(subnets.map(Value::to_string).collect(), "subnet");
}

/// Whether this machine can run a list, by itself; says why not.
fn is_for_here(list: &Value, file: &str, world: &World) -> bool {
    let mut plugins = list["plugins"].as_array().unwrap().iter();
    let wants_vlans = plugins.any(|plugin| {
        plugin["vlan"].as_u64().is_some_and(|vlan| vlan > 0) || plugin["vlanTrunk"].is_array()
    });
    let can = !wants_vlans || kernel_filters_vlans(world);
    if !can {
        skip(&format!(
            "{file}: this kernel's bridges do not filter VLANs"
        ));
    }
    can
}

/// Networks of Docker's have Docker's containers: `docker_conf.rs` runs that one.
fn is_dockers(list: &Value) -> bool {
    list["plugins"][0]["backend"] == "engine"
}

/// The remote driver that a list names, behaving as the real one does.
fn driver_of(list: &Value) -> Option<Driver> {
    let name = list["plugins"][0]["driver"].as_str()?;
    let model = match name {
        "bridge" => return None,
        "openvswitch" => Model::Ovn,
        "weavemesh" => Model::Weave,
        other => panic!("no model of driver {other}"),
    };
    Some(Driver::named(name).like(model).start())
}

#[test]
fn each_joins_two_containers_and_leaves_nothing() {
    let suite = Suite::ours();
    for path in files() {
        let list = load(&path);
        let file = path.file_name().unwrap().to_string_lossy();
        let world = World::new();
        if is_dockers(&list) || !is_for_here(&list, &file, &world) {
            continue;
        }
        suite.alone_in(&world);
        let driver = driver_of(&list);
        let (c1, c2) = (world.container("pod1"), world.container("pod2"));
        let outside = ports::outside(&world);
        let [first, second] =
            [("pod1", &c1, 8081), ("pod2", &c2, 8082)].map(|(id, netns, port)| {
                Attachment::new(&suite, &list, id, netns).capabilities(wishes(port))
            });
        let results = [first.add(), second.add()];
        first.check(&results[0]);
        second.check(&results[1]);
        assert_joined(&c1, &results, &list, &file);
        if publishes(&list) {
            assert_published([world.host(), &outside, &c1, &c2], &file);
        }
        if chains(&list, "bandwidth") {
            assert_limited(&world, &results);
        }
        first.del(&results[0]);
        second.del(&results[1]);
        first.del(&results[0]);
        assert_nothing_left(&world, &results, &file);
        if let Some(driver) = driver {
            assert_eq!(driver.endpoints(), [], "{file}");
        }
    }
}

/// The ports of both containers, from everywhere.
fn assert_published([host, outside, c1, c2]: [&Netns; 4], file: &str) {
    eprintln!("{file}: ports");
    for (container, port) in [(c1, 8081), (c2, 8082)] {
        let listener = Listener::new(container, 80);
        for from in [host, outside, c1, c2] {
            listener.sees_both(from, &format!("{}:{port}", HOST[0]));
        }
        listener.sees_both(host, &format!("127.0.0.1:{port}"));
    }
}

/// A limit at the host's end of each container for what it receives, and at an IFB for what it sends.
fn assert_limited(world: &World, results: &[Value; 2]) {
    let host = world.host();
    assert_eq!(ifbs(host).len(), 2);
    let ends = results
        .iter()
        .map(|result| &result["interfaces"][1]["name"]);
    let ends = ends.map(|name| name.as_str().unwrap().to_owned());
    for link in ends.chain(ifbs(host)) {
        let shown = qdiscs(host, &link);
        assert_eq!(shown[0]["kind"], "tbf", "{link}: {shown:?}");
    }
}

/// What the first container reaches.
fn assert_joined(c1: &Netns, results: &[Value; 2], list: &Value, file: &str) {
    let isolated = list["plugins"][0]["portIsolation"] == true;
    for address in cidrs(&results[1]).iter().filter(|_| !isolated) {
        assert!(c1.ping(address), "{file}: {address} does not answer");
    }
    for ip in results[0]["ips"].as_array().into_iter().flatten() {
        // Weave and OVN have none.
        if let Some(gateway) = ip["gateway"].as_str() {
            assert!(c1.ping(gateway), "{file}: {gateway} does not answer");
        }
    }
}

/// What there is in the packet filter, but for tables with empty chains at their hooks: iptables makes
/// these as soon as it is asked.
fn objects(world: &World) -> Vec<Value> {
    let text = world.host().command("nft", &["-j", "list", "ruleset"]);
    let ruleset: Value = serde_json::from_str(&text).unwrap();
    let mut objects = ruleset["nftables"].as_array().unwrap().clone();
    objects.retain(|object| {
        let of_iptables = |table: &str| ["filter", "nat"].contains(&table);
        let is_empty = object["table"]["name"].as_str().is_some_and(of_iptables)
            || object["chain"]["policy"] == "accept";
        object["metainfo"].is_null() && !is_empty
    });
    objects
}

fn assert_nothing_left(world: &World, results: &[Value; 2], file: &str) {
    let leases = Path::new("/var/lib/cni/networks");
    let records = Path::new("/var/lib/cni/cnm-shim/networks");
    let left = world.snapshot().tree(leases).tree(records);
    let left = left.tree("/run/cni".as_ref());
    let left = left.without("last_reserved_ip");
    let addresses = results.iter().flat_map(cidrs).map(|cidr| bare(&cidr));
    let addresses: Vec<_> = addresses.collect();
    let names: Vec<_> = addresses
        .iter()
        .map(String::as_str)
        .chain(["pod1", "pod2"])
        .collect();
    assert_eq!(left.naming(&names), Vec::<&str>::new(), "{file}");
    assert_eq!(ifbs(world.host()), Vec::<String>::new(), "{file}");
    assert_eq!(objects(world), Vec::<Value>::new(), "{file}");
    let ports = world.host().ip_json("link show type veth");
    let ports = ports.as_array().unwrap().iter().filter(|link| {
        link["ifname"]
            .as_str()
            .is_some_and(|name| !name.contains('.') && name != "up0")
    });
    let gateways = world.host().ip_json("addr show type veth");
    // The gateway of a VLAN stays with its bridge, as the bridge does.
    let kept = gateways.as_array().unwrap().iter().filter(|link| {
        link["ifname"]
            .as_str()
            .is_some_and(|name| name.contains('.'))
    });
    assert_eq!(ports.count(), kept.count(), "{file}: a link is left");
}
