//! `conf/73-docker-network.conflist` as cri-dockerd would run it, for containers of a real dockerd,
//! and what the command for people shows and mends of them.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use cni_testkit::{Conf, Outcome, Suite, World};
use serde_json::{Value, json};
use tenon_tests::dockerd::Dockerd;
use tenon_tests::network::cidrs;

/// The example, which is one plugin.
fn example() -> Conf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/73-docker-network.conflist");
    let list: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let plugins = list["plugins"].as_array().unwrap();
    assert_eq!(plugins.len(), 1);
    let of_list = json!({"cniVersion": list["cniVersion"], "name": list["name"]});
    Conf(plugins[0].clone()).with(of_list)
}

/// A node with Docker's network `frontend`, and containers as cri-dockerd makes them: on `none`.
struct Node<'world> {
    suite: Suite,
    dockerd: Dockerd<'world>,
}

impl<'world> Node<'world> {
    fn new(world: &'world World) -> Self {
        let dockerd = Dockerd::start(world);
        let engine = dockerd.engine();
        engine.create_network("frontend", "bridge", "10.94.0.0/24");
        for container in ["one", "two"] {
            engine.run(container, "none");
        }
        Self {
            suite: Suite::ours(),
            dockerd,
        }
    }

    fn id(&self, container: &str) -> String {
        let id = self.dockerd.engine().inspect(container)["Id"].clone();
        id.as_str().unwrap().to_owned()
    }

    fn call(&self, command: &str, container: &str, conf: &Conf) -> Outcome {
        let call = self.suite.plugin("cnm-shim").command(command).conf(conf);
        let call = call
            .container_id(&self.id(container))
            .netns(self.dockerd.netns_path(container))
            .ifname("eth0");
        self.dockerd.beside(call).run()
    }

    fn add(&self, container: &str) -> Value {
        self.call("ADD", container, &example()).expect_ok().json()
    }

    /// The command for people, beside dockerd, where paths below `/proc` mean the same.
    #[track_caller]
    fn run(&self, words: &str) -> String {
        let through = self.dockerd.words();
        let output = Command::new(&through[0])
            .args(&through[1..])
            .arg(self.suite.bin_dir().join("cnm-shim"))
            .args(words.split_whitespace())
            .env_remove("DOCKER_HOST")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), stderr.as_str()),
            (Some(0), ""),
            "{words}"
        );
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn json(&self, words: &str) -> Value {
        serde_json::from_str(&self.run(&format!("--json {words}"))).unwrap()
    }

    fn is_on_none(&self, container: &str) -> bool {
        let networks =
            self.dockerd.engine().inspect(container)["NetworkSettings"]["Networks"].clone();
        let networks = networks.as_object().unwrap();
        networks.keys().eq(["none"])
    }
}

#[test]
fn pods_join_the_network_that_docker_lists() {
    let world = World::new();
    let node = Node::new(&world);
    let results = [node.add("one"), node.add("two")];
    let netns = node.dockerd.netns("one");
    for address in cidrs(&results[1]) {
        assert!(netns.ping(&address), "{address}");
    }
    assert!(netns.ping("10.94.0.1"));
    for (container, result) in ["one", "two"].iter().zip(&results) {
        let conf = example().prev_result(result);
        node.call("CHECK", container, &conf).expect_silent_ok();
        node.call("DEL", container, &conf).expect_silent_ok();
        assert!(node.is_on_none(container), "{container}");
    }
    assert_eq!(netns.link_names(), ["lo"]);
}

#[test]
fn people_see_and_mend_what_docker_connected() {
    let world = World::new();
    let node = Node::new(&world);
    node.add("one");
    node.add("two");
    let endpoints = node.json("endpoints frontend");
    assert_eq!(endpoints.as_array().unwrap().len(), 2);
    assert_eq!(endpoints[0]["state"], "attached");
    assert!(node.run("sandboxes").contains("eth0 on frontend (Docker)"));
    assert_eq!(
        node.run("networks"),
        "no networks\n",
        "Docker's are Docker's"
    );
    let (one, two) = (node.id("one"), node.id("two"));
    let record = node.json(&format!("inspect {one}"));
    assert_eq!(record[0]["kind"], "dockerConnection");
    assert_eq!(record[0]["networkName"], "frontend");
    assert!(node.run("ping --docker").contains("version 20.10"));

    let endpoint = record[0]["endpoint"].as_str().unwrap();
    let removed = node.run(&format!("rm endpoint {} -y", &endpoint[..12]));
    assert!(removed.contains("eth0 of"), "{removed}");
    assert!(node.is_on_none("one"));

    // The container goes, and nobody calls DEL.
    assert_eq!(node.run("gc"), "nothing was removed\n");
    node.dockerd.engine().remove("two");
    let plan = node.run("gc --dry-run");
    assert!(
        plan.contains(&format!("eth0 of {} on Docker's frontend", &two[..12])),
        "{plan}"
    );
    assert_eq!(node.run("gc -y"), "removed or finished: 1 endpoint\n");
    assert_eq!(node.run("endpoints"), "no endpoints\n");
}

#[test]
fn a_connection_can_be_forgotten() {
    let world = World::new();
    let node = Node::new(&world);
    node.add("one");
    let endpoint = node.json("endpoints")[0]["id"].as_str().unwrap().to_owned();
    let forgotten = node.run(&format!("rm endpoint {endpoint} --force -y"));
    assert!(
        forgotten.contains("left: Docker at unix:///var/run/docker.sock"),
        "{forgotten}"
    );
    assert_eq!(node.run("endpoints"), "no endpoints\n");
    assert_ne!(
        node.dockerd.engine().endpoint("one", "frontend"),
        Value::Null
    );
}
