//! `cnm-shim` as a command for people: what it shows, and what it mends.
#![expect(clippy::unwrap_used, reason = "test functions fail by panicking")]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use cni_testkit::{CommandOutput, Conf, Suite, World, conf};
use serde_json::{Value, json};
use tenon_tests::cnm::driver::{Driver, Fault, Method};
use tenon_tests::network::Network;

const RECORDS: &str = "/var/lib/cni/cnm-shim";

/// A machine with a driver called `tenon`, and the shim's networks on it.
struct Bench {
    driver: Driver,
    suite: Suite,
    world: World,
}

impl Bench {
    fn new() -> Self {
        let world = World::new();
        Self {
            driver: Driver::named("tenon").start(),
            suite: Suite::ours(),
            world,
        }
    }

    /// A network of the driver, for addresses too.
    fn network(&self, name: &str, keys: Value) -> Network<'_> {
        let own = json!({"network": name, "driver": "tenon", "ipamDriver": "tenon"});
        let conf = conf::plugin("1.1.0", "cnm-shim").with(own).with(keys);
        Network::new(&self.suite, conf)
    }

    fn red(&self) -> Network<'_> {
        self.network("red", json!({"subnet": "10.77.0.0/24"}))
    }

    /// Runs the command; words are separated by spaces.
    fn run(&self, words: &str) -> CommandOutput {
        self.answering(words, "")
    }

    /// The same for a person who answers its question.
    fn answering(&self, words: &str, answer: &str) -> CommandOutput {
        self.with_variable(words, answer, None)
    }

    fn with_variable(
        &self,
        words: &str,
        answer: &str,
        variable: Option<(&str, &str)>,
    ) -> CommandOutput {
        let mut child = Command::new(self.suite.bin_dir().join("cnm-shim"))
            .args(words.split_whitespace())
            .env_clear()
            .envs(variable)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may well answer without reading; then the pipe breaks.
        let _ = child.stdin.take().unwrap().write_all(answer.as_bytes());
        let output = child.wait_with_output().unwrap();
        CommandOutput {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// What it prints when it succeeds.
    #[track_caller]
    fn ok(&self, words: &str) -> String {
        let output = self.run(words);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{words}");
        output.stdout
    }

    /// What it prints as JSON when it succeeds.
    #[track_caller]
    fn json(&self, words: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("--json {words}"))).unwrap()
    }

    /// What it says when it fails.
    #[track_caller]
    fn refused(&self, words: &str) -> String {
        let output = self.run(words);
        assert_eq!(output.code, 1, "{words}: {}", output.stdout);
        output.stderr
    }

    /// The id of the only endpoint of a container.
    #[track_caller]
    fn endpoint(&self, container: &str) -> String {
        let all = self.json("endpoints");
        let mut all = all.as_array().unwrap().iter();
        let found = all.find(|one| one["containerId"] == container);
        found.unwrap()["id"].as_str().unwrap().to_owned()
    }
}

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn what_is_attached_is_listed() {
    let bench = Bench::new();
    assert_eq!(bench.ok("networks"), "no networks\n");
    assert!(!Path::new(RECORDS).exists(), "looking changes nothing");
    let (c1, c2) = (bench.world.container("c1"), bench.world.container("c2"));
    let red = bench.red();
    let one = red.add("c1", &c1);
    red.add("c2", &c2);
    let blue = bench.network("blue", json!({"subnet": "10.78.0.0/24", "internal": true}));
    blue.add_at("c1", &c1, "net1");

    let networks = bench.ok("networks");
    assert_says(
        &networks,
        &["blue   tenon", "ready, internal", "10.77.0.0/24"],
    );
    let endpoints = bench.json("endpoints");
    assert_eq!(endpoints.as_array().unwrap().len(), 3);
    let of_red = bench.json("endpoints red");
    assert_eq!(of_red.as_array().unwrap().len(), 2);
    assert_eq!(of_red[0]["addresses"], json!(one.cidrs()));
    assert_eq!(of_red[0]["state"], "attached");
    assert_eq!(of_red[0]["netns"], c1.path_str());
    let sandboxes = bench.ok("sandboxes");
    assert_says(
        &sandboxes,
        &["/run/netns/c1   c1          there   net1 on blue, eth0 on red"],
    );
    assert_eq!(bench.ok("garbage"), "no garbage\n");
}

#[test]
fn records_are_inspected_by_name_by_id_and_by_container() {
    let bench = Bench::new();
    let (c1, c2) = (bench.world.container("c1"), bench.world.container("c2"));
    bench.red().add("c1", &c1);
    bench.red().add("c2", &c2);
    let id = bench.endpoint("c1");
    let network = bench.json("inspect red");
    assert_eq!(network[0]["kind"], "network");
    assert_eq!(network[0]["request"]["IPv4Data"][0]["Pool"], "10.77.0.0/24");
    for name in [&id, &id[..12], "c1"] {
        let record = bench.json(&format!("inspect {name}"));
        assert_eq!(record.as_array().unwrap().len(), 1, "{name}");
        assert_eq!(record[0]["id"], id);
        assert_eq!(record[0]["link"]["name"], "eth0");
    }
    assert_eq!(bench.ok("inspect c1"), bench.ok("--json inspect c1"));
    let ambiguous = bench.refused("inspect c");
    assert_says(
        &ambiguous,
        &["may be any of", "c1", "c2", "write more of it"],
    );
    let unknown = bench.run("--json inspect nope");
    assert_eq!(unknown.code, 1);
    let error: Value = serde_json::from_str(&unknown.stdout).unwrap();
    assert_says(
        error["msg"].as_str().unwrap(),
        &["\"nope\" is not known", "lists what is"],
    );
}

/// A node that has lost a container without a DEL.
#[test]
fn gc_removes_endpoints_whose_namespace_is_gone_and_asks_before() {
    let bench = Bench::new();
    let (c1, c2) = (bench.world.container("c1"), bench.world.container("c2"));
    let red = bench.red();
    red.add("c1", &c1);
    let kept = red.add("c2", &c2);
    assert_eq!(bench.ok("gc --dry-run"), "nothing would be removed\n");
    drop(c1);
    let plan = bench.ok("gc --dry-run");
    assert_says(
        &plan,
        &[
            "would be removed:",
            "eth0 of c1 on red: /run/netns/c1 is gone",
        ],
    );
    for answer in ["", "n\n"] {
        let output = bench.answering("gc", answer);
        assert_eq!(output.code, 1);
        assert_says(
            &output.stderr,
            &["eth0 of c1", "Go on? [y/N]", "nothing was changed"],
        );
    }
    assert_eq!(bench.driver.endpoints().len(), 2);
    let output = bench.answering("gc", "y\n");
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (0, "removed or finished: 1 endpoint\n")
    );
    assert_eq!(bench.driver.endpoints().len(), 1);
    kept.check_ok();
    assert!(c2.ping("10.77.0.1"));
    assert_eq!(bench.ok("gc"), "nothing was removed\n", "nothing to ask");
}

/// Another container may have the same path by now.
#[test]
fn gc_tells_a_namespace_from_its_successor() {
    let bench = Bench::new();
    let c1 = bench.world.container("c1");
    bench.red().add("c1", &c1);
    drop(c1);
    let next = bench.world.container("c1");
    assert_says(&bench.ok("sandboxes"), &["gone"]);
    bench.ok("gc --yes");
    assert_eq!(bench.driver.endpoints(), []);
    assert_eq!(next.link_names(), ["lo"]);
}

#[test]
fn gc_tries_again_what_a_driver_has_refused() {
    let bench = Bench::new();
    let c1 = bench.world.container("c1");
    let one = bench.red().add("c1", &c1);
    bench
        .driver
        .fault(Method::DeleteEndpoint, Fault::err("still busy"));
    one.del_ok();
    let garbage = bench.ok("garbage");
    assert_says(
        &garbage,
        &["endpoint", "eth0 of c1", "DeleteEndpoint", "still busy"],
    );
    assert_says(
        &bench.ok("gc --dry-run"),
        &["garbage", "eth0 of c1 on red: DeleteEndpoint"],
    );
    assert_says(
        &bench.refused("gc --yes"),
        &["NetworkDriver.DeleteEndpoint: still busy"],
    );
    assert_eq!(bench.json("garbage")[0]["tries"], 2);
    bench.driver.clear_faults();
    assert_eq!(
        bench.ok("gc --yes"),
        "removed or finished: 1 earlier removal\n"
    );
    assert_eq!(bench.driver.endpoints(), []);
    assert_eq!(bench.ok("garbage"), "no garbage\n");
}

/// A network that a driver refused, and whose pool could not be given back then.
#[test]
fn gc_finishes_networks_that_are_half_made() {
    let bench = Bench::new();
    let c1 = bench.world.container("c1");
    bench
        .driver
        .fault(Method::CreateNetwork, Fault::err("no more bridges"));
    bench
        .driver
        .fault(Method::ReleasePool, Fault::error("busy"));
    bench.red().try_add("c1", &c1).expect_any_error();
    assert_says(&bench.ok("networks"), &["half done"]);
    assert_says(&bench.ok("garbage"), &["network", "ReleasePool", "busy"]);
    bench.driver.clear_faults();
    assert_eq!(bench.ok("gc -y"), "removed or finished: 1 network\n");
    bench.driver.assert_empty();
    assert_eq!(bench.ok("networks"), "no networks\n");
}

#[test]
fn an_endpoint_is_removed_though_its_container_is_there_if_a_person_says_so() {
    let bench = Bench::new();
    let c1 = bench.world.container("c1");
    let one = bench.red().add("c1", &c1);
    let id = bench.endpoint("c1");
    let output = bench.run(&format!("rm endpoint {id}"));
    assert_eq!(output.code, 1);
    assert_says(
        &output.stderr,
        &["eth0 of c1 is on red", "it loses the interface"],
    );
    one.check_ok();
    let output = bench.answering(&format!("rm endpoint {}", &id[..6]), "yes\n");
    assert_eq!(
        output.stdout,
        format!("endpoint {} is removed\n", &id[..12])
    );
    assert_eq!(output.code, 0);
    assert_eq!(c1.link_names(), ["lo"]);
    assert_eq!(bench.driver.endpoints(), []);
    assert_eq!(bench.driver.reserved(), ["10.77.0.1"], "the network's own");
    one.del_ok();
    assert_says(
        &bench.refused(&format!("rm endpoint {id}")),
        &["is not known"],
    );
}

#[test]
fn an_endpoint_of_a_driver_that_is_gone_can_only_be_forgotten() {
    let bench = Bench::new();
    let c1 = bench.world.container("c1");
    bench.red().add("c1", &c1);
    let id = bench.endpoint("c1");
    bench.driver.die();
    let said = bench.refused(&format!("rm endpoint {id} --yes"));
    assert_says(
        &said,
        &[
            &id[..12],
            "is still there",
            "--force",
            "it cannot be reached",
        ],
    );
    let failed = bench.run(&format!("rm endpoint {id} --yes --json"));
    let error: Value = serde_json::from_str(&failed.stdout).unwrap();
    assert_eq!(error["code"], 11);
    assert_says(&bench.ok("endpoints"), &["half removed"]);
    let forgotten = bench.ok(&format!("rm endpoint {id} --yes --force"));
    assert_says(
        &forgotten,
        &[
            "is forgotten\n",
            "left: network driver tenon has endpoint",
            "Leave, DeleteEndpoint",
            "left: IPAM driver tenon still has addresses: ReleaseAddress 10.77.0.2",
            "left: /run/netns/c1 still has interface eth0",
        ],
    );
    assert_eq!(bench.ok("endpoints"), "no endpoints\n");
    bench.driver.revive();
    assert_eq!(bench.driver.endpoints().len(), 1, "nobody has asked it");
}

#[test]
fn a_network_is_removed_when_nothing_is_on_it() {
    let bench = Bench::new();
    let c1 = bench.world.container("c1");
    let one = bench.red().add("c1", &c1);
    for words in ["rm network red", "rm network red --force"] {
        let said = bench.refused(words);
        assert_says(
            &said,
            &[
                "network red still has endpoints: 1",
                "cnm-shim endpoints NETWORK",
            ],
        );
    }
    one.del_ok();
    assert_eq!(bench.ok("rm network red"), "network red is removed\n");
    bench.driver.assert_empty();
    assert_says(&bench.refused("rm network red"), &["\"red\" is not known"]);
}

#[test]
fn a_network_that_its_driver_will_not_give_up_can_be_forgotten() {
    let bench = Bench::new();
    let c1 = bench.world.container("c1");
    bench.red().add("c1", &c1).del_ok();
    bench
        .driver
        .fault(Method::DeleteNetwork, Fault::err_500("never"));
    let said = bench.refused("rm network red");
    assert_says(
        &said,
        &[
            "NetworkDriver.DeleteNetwork: never",
            "half removed",
            "--force",
        ],
    );
    assert_says(&bench.ok("networks"), &["half done"]);
    let id = bench.json("networks")[0]["id"].as_str().unwrap().to_owned();
    let forgotten = bench.ok("rm network red --force");
    let left = format!("left: network driver tenon still has network {id}\n");
    assert_eq!(forgotten, format!("network red is forgotten\n{left}"));
    assert_eq!(bench.driver.networks().len(), 1);
}

#[test]
fn one_piece_of_garbage_is_finished_or_forgotten() {
    let bench = Bench::new();
    let c1 = bench.world.container("c1");
    let fails = || {
        bench
            .driver
            .fault(Method::ReleaseAddress, Fault::error("locked"));
    };
    let garbage = || {
        let all = bench.json("garbage");
        all[0]["id"].as_str().unwrap()[..12].to_owned()
    };
    fails();
    bench.red().add("c1", &c1).del_ok();
    let said = bench.refused(&format!("rm garbage {}", garbage()));
    assert_says(
        &said,
        &[
            "IpamDriver.ReleaseAddress: locked",
            "stays",
            "--force forgets it",
        ],
    );
    bench.driver.clear_faults();
    bench.ok(&format!("rm garbage {}", garbage()));
    assert_eq!(bench.driver.reserved(), ["10.77.0.1"]);
    fails();
    bench.red().add("c1", &c1).del_ok();
    let forgotten = bench.ok(&format!("rm garbage {} --force", garbage()));
    assert_says(
        &forgotten,
        &["left: IPAM driver tenon still has addresses", "10.77.0.2"],
    );
    assert_eq!(bench.driver.reserved().len(), 2);
    assert_eq!(bench.ok("garbage"), "no garbage\n");
}

/// Who removes an endpoint here does not ask the plugin that only the runtime's config names.
#[test]
fn an_address_of_a_cni_plugin_is_left_to_the_runtime() {
    let bench = Bench::new();
    let c1 = bench.world.container("c1");
    let ipam = conf::host_local(&bench.world, &["10.79.0.0/24"]);
    let network = bench
        .red()
        .edited(|conf: Conf| conf.without("ipamDriver").without("subnet").ipam(ipam));
    let one = network.add("c1", &c1);
    let id = bench.endpoint("c1");
    let removed = bench.ok(&format!("rm endpoint {id} -y"));
    assert_says(
        &removed,
        &["note: 10.79.0.2/24 came from a CNI IPAM plugin"],
    );
    let lease = bench.world.data_dir().join("tenon-net/10.79.0.2");
    assert!(lease.exists());
    one.del_ok();
    assert!(!lease.exists());
}

/// The path that drivers insist on goes with the last endpoint, whoever removes that.
#[test]
fn paths_of_sandboxes_go_with_their_endpoints() {
    let bench = Bench::new();
    let paths = || fs::read_dir("/var/run/docker/netns").map_or(0, Iterator::count);
    let network = bench.network(
        "red",
        json!({"subnet": "10.77.0.0/24", "sandboxKeyStyle": "docker"}),
    );
    let c1 = bench.world.container("c1");
    network.add("c1", &c1);
    assert_eq!(paths(), 1);
    let id = bench.endpoint("c1");
    bench.ok(&format!("rm endpoint {id} -y"));
    assert_eq!(paths(), 0);

    network.add("c1", &c1);
    drop(c1);
    bench.ok("gc -y");
    assert_eq!(paths(), 0);

    let c1 = bench.world.container("c1");
    network.add("c1", &c1);
    let nobody = json!({"cni.dev/valid-attachments": []});
    let collecting = network.edited(|conf| conf.with(nobody));
    collecting.call("GC").run().expect_silent_ok();
    assert_eq!((paths(), bench.driver.endpoints().len()), (0, 0));
}

#[test]
fn drivers_are_asked_what_they_can_do() {
    let bench = Bench::new();
    let all = bench.ok("ping");
    let socket = bench.driver.url();
    assert_says(
        &all,
        &[
            &format!("tenon at {socket}\n"),
            "Plugin.Activate ",
            "implements NetworkDriver, IpamDriver",
            "NetworkDriver.GetCapabilities ",
            "scope local",
            "IpamDriver.GetDefaultAddressSpaces ",
            "local tlocal, global tglobal",
            "built in: network drivers bridge, host, null; IPAM drivers default, null\n",
        ],
    );
    let asked = [
        "Plugin.Activate",
        "NetworkDriver.GetCapabilities",
        "IpamDriver.GetCapabilities",
        "IpamDriver.GetDefaultAddressSpaces",
    ];
    assert_eq!(bench.driver.calls(), asked, "nothing that changes anything");
    for words in ["tenon", &socket, bench.driver.socket().to_str().unwrap()] {
        let report = bench.json(&format!("ping {words}"));
        let calls = report[0]["calls"].as_array().unwrap();
        assert_eq!(calls.len(), 4, "{words}");
        assert!(
            calls
                .iter()
                .all(|call| call["milliseconds"].as_f64().unwrap() > 0.0)
        );
        assert_eq!(calls[1]["reply"]["Scope"], "local");
    }
    assert_eq!(
        bench.ok("ping bridge"),
        "bridge is built in: a network driver\n"
    );
    assert_says(
        &bench.refused("ping nope"),
        &[
            "driver nope failed in Plugin.Activate",
            "/run/docker/plugins/nope.sock",
            "hint:",
        ],
    );
}

#[test]
fn a_driver_that_does_not_answer_is_told_with_the_reason() {
    let bench = Bench::new();
    bench
        .driver
        .fault(Method::GetCapabilities, Fault::err_500("not yet"));
    let output = bench.run("ping");
    assert_eq!(output.code, 1);
    assert_says(
        &output.stdout,
        &["implements NetworkDriver", "failed", "local tlocal"],
    );
    assert_says(
        &output.stderr,
        &["NetworkDriver.GetCapabilities", "not yet"],
    );
    bench.driver.fault(Method::Activate, Fault::hang());
    let said = bench.refused("ping tenon --timeout 1");
    assert_says(&said, &["Plugin.Activate", "did not answer in time"]);
    bench.driver.die();
    assert_says(
        &bench.refused("ping"),
        &["Plugin.Activate", "it cannot be reached"],
    );
}

#[test]
fn a_record_that_cannot_be_read_is_told_and_the_others_are_listed() {
    let bench = Bench::new();
    let (c1, c2) = (bench.world.container("c1"), bench.world.container("c2"));
    bench.red().add("c1", &c1);
    bench.red().add("c2", &c2);
    let id = bench.json("networks")[0]["id"].as_str().unwrap().to_owned();
    let dir = Path::new(RECORDS)
        .join("networks")
        .join(id)
        .join("endpoints");
    let mut files = fs::read_dir(&dir).unwrap();
    let broken = files.next().unwrap().unwrap().path();
    fs::write(&broken, "{").unwrap();
    let output = bench.run("endpoints");
    assert_eq!(output.code, 1);
    assert_eq!(output.stdout.lines().count(), 2, "{}", output.stdout);
    assert_says(
        &output.stderr,
        &[broken.to_str().unwrap(), "is not a record", "hint:"],
    );
}

#[test]
fn records_may_be_elsewhere() {
    let bench = Bench::new();
    let c1 = bench.world.container("c1");
    let network = bench
        .red()
        .edited(|conf| conf.with(json!({"dataDir": "/run/records"})));
    network.add("c1", &c1);
    assert_eq!(bench.ok("networks"), "no networks\n");
    assert_says(&bench.ok("networks --data-dir /run/records"), &["red"]);
}

/// A runtime passes no arguments, and people set no `CNI_COMMAND`; a runtime's word counts more.
#[test]
fn runtimes_and_people_are_told_apart() {
    let bench = Bench::new();
    let about = bench.run("");
    assert_eq!((about.code, about.stdout.as_str()), (0, ""));
    assert_says(&about.stderr, &["cnm-shim"]);
    assert_says(&bench.ok("--version"), &["Tenon cnm-shim "]);
    let version = bench.with_variable("networks", "{}", Some(("CNI_COMMAND", "VERSION")));
    let reply: Value = serde_json::from_str(&version.stdout).unwrap();
    assert!(reply["supportedVersions"].is_array());
    let unset = bench.with_variable("networks", "", Some(("CNI_COMMAND", "")));
    assert_eq!(unset.stdout, "no networks\n");
    for wrong in ["nope", "rm", "inspect", "networks --nope"] {
        let output = bench.run(wrong);
        assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{wrong}");
        assert_says(&output.stderr, &["Usage: cnm-shim"]);
    }
    assert_says(
        &bench.ok("--help"),
        &["CNI_COMMAND", "gc --dry-run", "Exit codes"],
    );
}
