//! nerdctl's default network by hand: `cnitool` with the capability arguments that nerdctl passes.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cni_testkit::{Netns, Snapshot, Suite, World};
use serde_json::{Value, json};
use tenon_tests::differences::differs;
use tenon_tests::network::{bare, cidrs};
use tenon_tests::ports::{self, HOST, Listener, OUTSIDE, PROTOCOLS};

cni_testkit::suites! {
    ports_are_published_and_withdrawn => |suite| published(suite);
    networks_do_not_reach_each_other => |suite| apart(suite);
}

/// nerdctl's networks, and `cnitool` over the plugins of a suite.
struct Nerdctl<'a> {
    suite: &'a Suite,
    conf_dir: PathBuf,
}

impl<'a> Nerdctl<'a> {
    fn new(world: &World, suite: &'a Suite) -> Self {
        let conf_dir = world.dir().join("net.d");
        fs::create_dir_all(&conf_dir).unwrap();
        let nerdctl = Self { suite, conf_dir };
        nerdctl.write(&default_network());
        nerdctl
    }

    fn write(&self, list: &Value) {
        let name = list["name"].as_str().unwrap();
        let file = self.conf_dir.join(format!("nerdctl-{name}.conflist"));
        fs::write(file, list.to_string()).unwrap();
    }

    /// A network as `nerdctl network create` makes it after the default one.
    fn create(&self, name: &str, bridge: &str, subnet: &str) {
        let mut list = default_network();
        list["name"] = json!(name);
        list["plugins"][0]["bridge"] = json!(bridge);
        list["plugins"][0]["ipam"]["ranges"] = json!([[{"subnet": subnet}]]);
        self.write(&list);
    }

    #[track_caller]
    fn cnitool(&self, verb: &str, network: &str, netns: &Netns, capabilities: &Value) -> String {
        let output = Command::new(Suite::ours().bin_dir().join("cnitool"))
            .args([verb, network, netns.path_str()])
            .env("NETCONFPATH", &self.conf_dir)
            .env("CNI_PATH", self.suite.bin_dir())
            .env("CAP_ARGS", capabilities.to_string())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{verb}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The container's address.
    #[track_caller]
    fn add(&self, network: &str, netns: &Netns, capabilities: &Value) -> String {
        let result = self.cnitool("add", network, netns, capabilities);
        let result: Value = serde_json::from_str(&result).unwrap();
        bare(&cidrs(&result)[0])
    }

    #[track_caller]
    fn del(&self, network: &str, netns: &Netns) {
        // What add was called with is remembered.
        self.cnitool("del", network, netns, &json!({}));
    }
}

fn default_network() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/30-nerdctl.conflist");
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

fn ports() -> Value {
    let port = |protocol| json!({"hostPort": 8080, "containerPort": 80, "protocol": protocol});
    json!({"portMappings": PROTOCOLS.map(port)})
}

/// All that plugins and `cnitool` keep.
fn state(world: &World) -> Snapshot {
    let snapshot = world.snapshot().tree("/var/lib/cni".as_ref());
    let snapshot = snapshot.tree("/run/cni".as_ref());
    snapshot.without("last_reserved_ip")
}

fn published(suite: &Suite) {
    let world = World::new();
    suite.alone_in(&world);
    let nerdctl = Nerdctl::new(&world, suite);
    let outside = ports::outside(&world);
    let [c1, c2] = ["c1", "c2"].map(|name| world.container(name));
    nerdctl.add("bridge", &c2, &json!({}));
    let before = state(&world);
    let address = nerdctl.add("bridge", &c1, &ports());
    if !differs(suite, "check-ports") {
        nerdctl.cnitool("check", "bridge", &c1, &ports());
    }
    let listener = Listener::new(&c1, 80);
    let at = format!("{}:8080", HOST[0]);
    assert_eq!(listener.sees_both(&outside, &at), OUTSIDE[0]);
    for from in [world.host(), &c1, &c2] {
        listener.sees_both(from, &at);
    }
    listener.sees_both(world.host(), "127.0.0.1:8080");
    nerdctl.del("bridge", &c1);
    listener.sees_nobody("tcp", &outside, &at);
    let after = state(&world);
    assert_eq!(after.naming(&[&address]), Vec::<&str>::new());
    if !differs(suite, "firewall-chains-stay") {
        before.assert_unchanged(&after);
    }
    nerdctl.del("bridge", &c2);
}

/// `"ingressPolicy": "same-bridge"`.
fn apart(suite: &Suite) {
    let world = World::new();
    suite.alone_in(&world);
    let nerdctl = Nerdctl::new(&world, suite);
    nerdctl.create("other", "br-other", "10.4.1.0/24");
    let outside = ports::outside(&world);
    let [c1, c2, c3] = ["c1", "c2", "c3"].map(|name| world.container(name));
    let one = nerdctl.add("bridge", &c1, &ports());
    let two = nerdctl.add("bridge", &c2, &json!({}));
    let three = nerdctl.add("other", &c3, &json!({}));
    assert!(c1.ping(&two));
    assert!(c1.ping(OUTSIDE[0]), "no way out");
    assert!(!c1.ping_within(&three, 1));
    assert!(!c3.ping_within(&one, 1));
    assert!(c3.ping(OUTSIDE[0]), "no way out");
    let listener = Listener::new(&c1, 80);
    listener.sees_both(&outside, &format!("{}:8080", HOST[0]));
    for (network, netns) in [("bridge", &c1), ("bridge", &c2), ("other", &c3)] {
        nerdctl.del(network, netns);
    }

    // Without the policy there is nothing between them.
    for (name, bridge, subnet) in [("a", "br-a", "10.4.2.0/24"), ("b", "br-b", "10.4.3.0/24")] {
        nerdctl.create(name, bridge, subnet);
        let file = nerdctl.conf_dir.join(format!("nerdctl-{name}.conflist"));
        let mut list: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        list["plugins"][2]
            .as_object_mut()
            .unwrap()
            .remove("ingressPolicy");
        nerdctl.write(&list);
    }
    nerdctl.add("a", &c1, &json!({}));
    let other = nerdctl.add("b", &c2, &json!({}));
    assert!(c1.ping(&other));
}
