//! Containers come and go, thousands of times on one machine, beside others that stay: whatever could
//! pile up is counted early and at the end.
//!
//! Environment:
//!   `TENON_SOAK_CYCLES`    how many containers come and go; `scripts/soak` has 10,000
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant};

use cni_testkit::{Netns, Snapshot, Suite, World, require};
use serde_json::{Value, json};
use tenon_tests::cnitool::Cnitool;
use tenon_tests::conflist::Attachment;
use tenon_tests::holdings::Holdings;
use tenon_tests::network::{bare, cidrs};
use tenon_tests::ports::{self, HOST};
use tenon_tests::{random, reaper};

/// In CI.
const CYCLES: u64 = 200;

/// After so many the first look is taken.
const SETTLED: u64 = 100;

/// Those that stay: enough for host-local's index.
const STANDING: u64 = 70;

/// By so many KiB may the memory of a process: the size of its input varies, and the pages it meets.
const MEMORY: u64 = 192;

#[test]
fn nothing_piles_up_over_cycles_of_podmans_chain() {
    let mut list = conflist("20-podman.conflist");
    list["plugins"][3]["sysctl"] = json!({"net.core.somaxconn": "500"});
    soak(&list);
}

#[test]
fn nothing_piles_up_over_cycles_of_a_plain_bridge() {
    let mut list = conflist("20-podman.conflist");
    list["plugins"].as_array_mut().unwrap().truncate(1);
    list["plugins"][0]["ipMasq"] = json!(false);
    soak(&list);
}

fn conflist(name: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../conf")
        .join(name);
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

fn published(port: u64) -> Value {
    let port = json!({"hostPort": port, "containerPort": 80, "protocol": "udp"});
    json!({"portMappings": [port]})
}

/// A machine on which containers come and go.
struct Node<'a> {
    world: &'a World,
    suite: &'a Suite,
    list: &'a Value,
    tool: Cnitool<'a>,
    standing: Vec<Netns>,
}

fn soak(list: &Value) {
    for tool in ["ip", "nft", "tc"] {
        require(tool);
    }
    reaper::adopt_orphans();
    let (world, suite) = (World::new(), Suite::ours());
    let _outside = ports::outside(&world);
    let mut node = Node {
        world: &world,
        suite: &suite,
        list,
        tool: Cnitool::new(&suite, &world, list),
        standing: Vec::new(),
    };
    node.settle();
    let (memory, early) = (node.memory(), node.holdings());
    let (cycles, start) = (random::number("TENON_SOAK_CYCLES", CYCLES), Instant::now());
    for number in SETTLED..cycles {
        node.cycle(number);
    }
    let (later_memory, late) = (node.memory(), node.holdings());
    report(cycles, start, [&early, &late], [&memory, &later_memory]);
    early.assert_same(&late, "after all cycles");
    for (call, peak) in &memory {
        let later = later_memory[call];
        assert!(later <= peak + MEMORY, "{call}: {peak} -> {later} KiB");
    }
    node.end();
}

impl Node<'_> {
    /// Those who stay come, and the first of those who go.
    fn settle(&mut self) {
        for number in 0..STANDING {
            let netns = self.world.container(&format!("standing{number}"));
            self.tool.run("add", &netns, &published(10_000 + number));
            self.standing.push(netns);
        }
        for number in 0..SETTLED {
            self.cycle(number);
        }
    }

    /// A container's life.
    fn cycle(&self, number: u64) {
        let netns = self.world.container(&format!("pod{number}"));
        let port = 20_000 + number % 10_000;
        let result = self.tool.run("add", &netns, &published(port));
        let result: Value = serde_json::from_slice(&result).unwrap();
        // The kernel remembers connections that are translated; and all neighbours it has had, of
        // which it cannot have too many on all of the machine.
        if self.is_translated() {
            receives(&netns, &format!("{}:{port}", HOST[0]));
        } else if number.is_multiple_of(10) {
            receives(&netns, &format!("{}:80", bare(&cidrs(&result)[0])));
        }
        if number.is_multiple_of(50) {
            self.tool.run("check", &netns, &json!({}));
        }
        self.tool.run("del", &netns, &json!({}));
        drop(netns);
        reaper::wait_for_all();
    }

    fn is_translated(&self) -> bool {
        self.list["plugins"][1]["type"] == "portmap"
    }

    /// How much memory each process of a container's life takes.
    fn memory(&self) -> BTreeMap<String, u64> {
        let netns = self.world.container("weighed");
        let attachment = Attachment::new(self.suite, self.list, "weighed", &netns)
            .capabilities(published(9_999));
        let mut peaks = BTreeMap::new();
        let mut result = Value::Null;
        for plugin in attachment.plugins() {
            let weighed = attachment.runner("ADD", plugin, &result).weigh();
            peaks.insert(format!("{} ADD", plugin["type"]), weighed.peak);
            result = serde_json::from_str(&weighed.said).unwrap();
        }
        for plugin in attachment.plugins().iter().rev() {
            let weighed = attachment.runner("DEL", plugin, &result).weigh();
            peaks.insert(format!("{} DEL", plugin["type"]), weighed.peak);
        }
        reaper::wait_for_all();
        peaks
    }

    /// Namespaces that nobody uses are forgotten by the kernel when it finds the time.
    fn holdings(&self) -> Holdings {
        let known = || self.world.host().ip_json("netns list-id");
        let expected = self.standing.len() + 1;
        cni_testkit::wait_for("the end of namespaces", Duration::from_secs(60), || {
            known().as_array().unwrap().len() <= expected
        });
        Holdings::of(self.world)
    }

    /// Those who stay are as they were; then they go, and leave what a network leaves that was used.
    fn end(self) {
        for netns in &self.standing {
            self.tool.run("check", netns, &json!({}));
        }
        assert!(self.standing[0].ping("10.88.0.1"));
        for netns in &self.standing {
            self.tool.run("del", netns, &json!({}));
        }
        reaper::wait_for_all();
        assert_eq!(self.world.host().link_names(), ["lo", "up0", "cni-podman0"]);
        let state = Snapshot::empty().tree(Path::new("/run/tenon"));
        let state = state
            .tree(Path::new("/run/cni"))
            .tree(Path::new("/var/lib/cni"));
        let is_kept = |line: &&String| {
            ["/ 0", "/lock 0", "/last_reserved_ip.0 0"]
                .iter()
                .any(|kept| line.contains(kept))
        };
        let left: Vec<_> = state.lines().iter().filter(|line| !is_kept(line)).collect();
        assert_eq!(left, Vec::<&String>::new());
        let ruleset = self.world.host().command("nft", &["list", "ruleset"]);
        let rules = ruleset
            .lines()
            .filter(|line| line.contains("10.88."))
            .count();
        assert_eq!(rules, 0, "{ruleset}");
    }
}

/// Somebody on the host sends, and does not wait for an answer.
#[track_caller]
fn receives(netns: &Netns, target: &str) {
    let server = netns.run(|| UdpSocket::bind("0.0.0.0:80").unwrap());
    server
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let client = UdpSocket::bind("0.0.0.0:0").unwrap();
    let mut attempts = (0..10).map(|_again| {
        client.send_to(b"word", target).unwrap();
        server.recv(&mut [0; 8])
    });
    assert!(
        attempts.any(|received| received.is_ok()),
        "nothing reaches {target}"
    );
}

fn report(
    cycles: u64,
    start: Instant,
    [early, late]: [&Holdings; 2],
    memory: [&BTreeMap<String, u64>; 2],
) {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
    let slab = meminfo.lines().find(|line| line.starts_with("Slab:"));
    eprintln!(
        "{cycles} cycles, those after the first {SETTLED} in {:?}",
        start.elapsed()
    );
    eprintln!("early: {early}\nlate:  {late}");
    eprintln!(
        "peaks in KiB, early: {:?}\nlate: {:?}",
        memory[0], memory[1]
    );
    eprintln!("the whole machine's {}", slab.unwrap());
}
