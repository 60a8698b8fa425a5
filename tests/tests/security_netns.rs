//! Paths of namespaces: whatever is there, one answer in time; and whatever it becomes meanwhile, all
//! that a command does happens in one namespace, which is not the host's.
//!
//! `TENON_SWAPS` is how many ADDs and DELs run while the path changes, for each plugin: 24 unless told.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cni_testkit::{Conf, Netns, Outcome, Runner, Suite, World, conf};
use nix::sys::stat::{Mode, SFlag, mknod};
use serde_json::json;
use tenon_tests::machine::{Machine, VERSION};

/// The plugins that look into the container.
const PLUGINS: [&str; 5] = ["bridge", "loopback", "tuning", "bandwidth", "cnm-shim"];

/// How long any answer may take.
const PROMPT: Duration = Duration::from_secs(5);

/// The path that changes.
const SWAP: &str = "/run/swap";

fn conf_of(world: &World, plugin: &str) -> Conf {
    let plain = conf::plugin(VERSION, plugin);
    let before = json!({
        "interfaces": [{"name": "veth7"}, {"name": "eth0", "sandbox": "/run/netns/c1"}],
        "ips": [{"address": "10.9.1.2/24", "interface": 1}],
    });
    match plugin {
        "bridge" => conf::bridge(VERSION).ipam(conf::host_local(world, &["10.87.0.0/24"])),
        "tuning" => plain.with(json!({"mtu": 1400, "prevResult": before})),
        "bandwidth" => {
            let limits = json!({"ingressRate": 8_000_000, "ingressBurst": 1_000_000});
            plain.with(limits).with(json!({"prevResult": before}))
        }
        "cnm-shim" => {
            plain.with(json!({"subnet": "10.76.0.0/24", "removeNetworkWhenUnused": true}))
        }
        _ => plain,
    }
}

/// Makes what is no network namespace, and blocks, lasts or misleads. `bad_input.rs` has the simple
/// cases.
fn make_places(world: &World) {
    let at = |name: &str| world.dir().join(name);
    for (name, to) in [
        ("loop-a", "loop-b"),
        ("loop-b", "loop-a"),
        ("zeroes", "/dev/zero"),
    ] {
        symlink(to, at(name)).unwrap();
    }
    File::create(at("huge")).unwrap().set_len(1 << 40).unwrap();
    drop(UnixListener::bind(at("socket")).unwrap());
    mknod(&at("fifo"), SFlag::S_IFIFO, Mode::S_IRWXU, 0).unwrap();
}

fn places(world: &World) -> Vec<PathBuf> {
    let made = ["loop-a", "zeroes", "huge", "socket", "fifo"].map(|name| world.dir().join(name));
    let kernels = [
        "/proc/self/ns/mnt",
        "/proc/self/ns/user",
        "/proc/self/ns/uts",
        "/proc/self/ns/pid_for_children",
        "/proc/self/mem",
        "/proc/4194305/ns/net",
        "/proc/self/fd/900",
        "/dev/tty",
        "/dev/full",
        "/dev/null/below",
        "../run/netns",
    ];
    let long = format!("/run/{}", "x".repeat(5000));
    let others = kernels.map(PathBuf::from).into_iter().chain([long.into()]);
    made.into_iter().chain(others).collect()
}

#[test]
fn what_is_no_network_namespace_is_refused_at_once() {
    let machine = Machine::prepared(|world, _| make_places(world));
    let suite = Suite::ours();
    for plugin in PLUGINS {
        let conf = conf_of(&machine.world, plugin);
        for place in places(&machine.world) {
            let what = format!("{plugin} at {}", place.display());
            let call = suite.plugin(plugin).conf(&conf).netns(&place);
            let call = call.container_id("c1").ifname("eth0");
            let add = call.clone().command("ADD").run();
            assert!(add.elapsed < PROMPT, "{what}: {add}");
            assert_eq!(add.expect_any_error()["code"], 8, "{what}: {add}");
            let del = call.command("DEL").run();
            assert!(del.elapsed < PROMPT, "{what}: {del}");
            assert!(del.code == 0 || del.json()["code"] == 8, "{what}: {del}");
        }
        machine.assert_unchanged_but_for_the_attempt();
    }
}

/// Has [`SWAP`] lead to one after the other, as fast as it goes, while `body` runs.
fn while_it_changes<T>(paths: [&Path; 2], body: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for path in paths.iter().cycle() {
                let next = Path::new("/run/swap.next");
                symlink(path, next).unwrap();
                fs::rename(next, SWAP).unwrap();
                if done.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        // Ends the other one, however the body ends.
        let _ended = Ended(&done);
        body()
    })
}

struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn swaps() -> usize {
    let told = std::env::var("TENON_SWAPS").ok();
    told.and_then(|told| told.parse().ok()).unwrap_or(24)
}

fn call(world: &World, plugin: &str, netns: impl AsRef<Path>) -> Runner {
    let call = Suite::ours().plugin(plugin).conf(&conf_of(world, plugin));
    call.container_id("c1").ifname("eth0").netns(netns.as_ref())
}

/// Either it was refused, or it is in one of these whole.
#[track_caller]
fn assert_in_one(add: &Outcome, containers: &[&Netns]) {
    let holding = containers
        .iter()
        .filter(|netns| netns.link("eth0").is_some());
    let holding: Vec<_> = holding.collect();
    if add.code != 0 {
        assert_eq!(add.json()["code"], 8, "{add}");
        assert!(holding.is_empty(), "{add}");
        return;
    }
    assert_eq!(holding.len(), 1, "{add}");
    let address = add.json()["ips"][0]["address"].as_str().unwrap().to_owned();
    assert_eq!(holding[0].addresses(), [address], "{add}");
    let default = holding[0].ip_json("route show default");
    assert_eq!(default[0]["dev"], "eth0", "{default}");
}

#[test]
fn an_add_happens_in_the_namespace_that_it_found_first() {
    for plugin in ["bridge", "cnm-shim"] {
        let machine = Machine::new();
        let (c1, c2) = (&machine.c1, machine.world.container("c2"));
        for _swap in 0..swaps().div_ceil(4) {
            let add = while_it_changes([c1.path(), c2.path()], || {
                call(&machine.world, plugin, SWAP).command("ADD").run()
            });
            assert_in_one(&add, &[c1, &c2]);
            for netns in [c1, &c2] {
                let del = call(&machine.world, plugin, netns.path()).command("DEL");
                del.run().expect_silent_ok();
                assert!(netns.link("eth0").is_none(), "{plugin}");
            }
        }
    }
}

/// A path of `/proc`, say, whose process has ended, and another one of the host has its number.
fn it_comes_to_lead_to_the_host(plugin: &str, ifname: &str) {
    let machine = Machine::new();
    let (c1, host) = (&machine.c1, machine.world.host());
    let before = host.ip("link show lo");
    let call = |netns: &Path, command: &str| {
        let call = call(&machine.world, plugin, netns).ifname(ifname);
        call.command(command).run()
    };
    let (mut made, mut refused) = (0, 0);
    while made + refused < swaps() || made == 0 || refused == 0 {
        let outcomes = while_it_changes([c1.path(), host.path()], || {
            ["ADD", "DEL"].map(|command| call(Path::new(SWAP), command))
        });
        for outcome in &outcomes {
            let refusal = outcome.code != 0;
            assert!(!refusal || outcome.json()["code"] == 8, "{outcome}");
        }
        assert_eq!(host.ip("link show lo"), before, "{}", outcomes[0]);
        assert!(host.link("eth0").is_none(), "{}", outcomes[0]);
        if outcomes[0].code == 0 {
            made += 1;
        } else {
            refused += 1;
        }
        call(c1.path(), "DEL").expect_silent_ok();
        assert!(c1.link("eth0").is_none(), "{}", outcomes[0]);
    }
}

#[test]
fn bridge_leaves_the_host_alone_whatever_the_path_comes_to() {
    it_comes_to_lead_to_the_host("bridge", "eth0");
}

#[test]
fn cnm_shim_leaves_the_host_alone_whatever_the_path_comes_to() {
    it_comes_to_lead_to_the_host("cnm-shim", "eth0");
}

#[test]
fn loopback_leaves_the_host_alone_whatever_the_path_comes_to() {
    it_comes_to_lead_to_the_host("loopback", "lo");
}

#[test]
fn tuning_leaves_the_host_alone_whatever_the_path_comes_to() {
    it_comes_to_lead_to_the_host("tuning", "lo");
}
