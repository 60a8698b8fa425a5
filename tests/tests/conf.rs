//! Every file of `conf/` as a runtime runs it: ADD, CHECK, DEL of its chain, packets in between.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};

use cni_testkit::{Conf, Netns, Outcome, Suite, World, skip};
use serde_json::{Value, json};
use tenon_tests::cnm::driver::{Driver, Model};
use tenon_tests::network::{bare, cidrs};

/// One container's way through the chain of a conflist.
struct Chain<'a> {
    suite: &'a Suite,
    list: &'a Value,
    id: &'a str,
    netns: &'a Netns,
}

impl Chain<'_> {
    fn plugins(&self) -> Vec<Value> {
        self.list["plugins"].as_array().unwrap().clone()
    }

    fn run(&self, command: &str, plugin: &Value, prev_result: &Value) -> Outcome {
        let list = json!({"cniVersion": self.list["cniVersion"], "name": self.list["name"]});
        let mut conf = Conf(plugin.clone()).with(list);
        if !prev_result.is_null() {
            conf = conf.prev_result(prev_result);
        }
        let call = self.suite.plugin(plugin["type"].as_str().unwrap());
        call.command(command)
            .attachment(self.id, self.netns, "eth0")
            .conf(&conf)
            .run()
    }

    fn add(&self) -> Value {
        let plugins = self.plugins();
        plugins.iter().fold(Value::Null, |result, plugin| {
            self.run("ADD", plugin, &result).expect_ok().json()
        })
    }

    fn check(&self, result: &Value) {
        for plugin in self.plugins() {
            self.run("CHECK", &plugin, result).expect_silent_ok();
        }
    }

    fn del(&self, result: &Value) {
        for plugin in self.plugins().iter().rev() {
            self.run("DEL", plugin, result).expect_silent_ok();
        }
    }
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
        let driver = driver_of(&list);
        let (c1, c2) = (world.container("pod1"), world.container("pod2"));
        let first = Chain {
            suite: &suite,
            list: &list,
            id: "pod1",
            netns: &c1,
        };
        let second = Chain {
            suite: &suite,
            list: &list,
            id: "pod2",
            netns: &c2,
        };
        let results = [first.add(), second.add()];
        first.check(&results[0]);
        second.check(&results[1]);
        assert_joined(&c1, &results, &list, &file);
        first.del(&results[0]);
        second.del(&results[1]);
        first.del(&results[0]);
        assert_nothing_left(&world, &results, &file);
        if let Some(driver) = driver {
            assert_eq!(driver.endpoints(), [], "{file}");
        }
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

fn assert_nothing_left(world: &World, results: &[Value; 2], file: &str) {
    let leases = Path::new("/var/lib/cni/networks");
    let records = Path::new("/var/lib/cni/cnm-shim/networks");
    let left = world.snapshot().tree(leases).tree(records);
    let left = left.without("last_reserved_ip");
    let addresses = results.iter().flat_map(cidrs).map(|cidr| bare(&cidr));
    let addresses: Vec<_> = addresses.collect();
    let names: Vec<_> = addresses
        .iter()
        .map(String::as_str)
        .chain(["pod1", "pod2"])
        .collect();
    assert_eq!(left.naming(&names), Vec::<&str>::new(), "{file}");
    let ports = world.host().ip_json("link show type veth");
    let ports = ports.as_array().unwrap().iter().filter(|link| {
        link["ifname"]
            .as_str()
            .is_some_and(|name| !name.contains('.'))
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
