//! host-local's index of leases: with it everything is as without, whoever else works on the leases
//! and whenever somebody is killed.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cni_testkit::{Outcome, Runner, Suite, World, require};
use serde_json::{Value, json};

const INDEX: &str = "/run/tenon/host-local";

/// A network's leases on a machine of its own, whose `/run` is in memory.
struct Leases {
    _world: World,
    data_dir: PathBuf,
    ranges: Value,
}

impl Leases {
    fn new(ranges: Value) -> Self {
        let world = World::new();
        let data_dir = world.data_dir();
        Self {
            _world: world,
            data_dir,
            ranges,
        }
    }

    /// With so many leases of others, made as the reference makes them.
    fn with(count: u16, ranges: Value) -> Self {
        let leases = Self::new(ranges);
        fs::create_dir_all(leases.dir()).unwrap();
        for n in 2..count + 2 {
            let file = leases.dir().join(format!("10.93.{}.{}", n >> 8, n & 0xff));
            fs::write(file, format!("other{n}\r\neth0")).unwrap();
        }
        leases
    }

    fn dir(&self) -> PathBuf {
        self.data_dir.join("net")
    }

    fn call(&self, suite: &Suite, fast_paths: &str, command: &str, id: &str) -> Runner {
        let conf = json!({
            "cniVersion": "1.1.0", "name": "net", "type": "any",
            "ipam": {"type": "host-local", "dataDir": self.data_dir, "ranges": self.ranges},
            "cni.dev/valid-attachments": [{"containerID": "c3", "ifname": "eth0"}],
        });
        suite
            .plugin("host-local")
            .command(command)
            .container_id(id)
            .ifname("eth0")
            .netns("/run/netns/none")
            .env("TENON_FAST_PATHS", fast_paths)
            .stdin(conf.to_string())
    }

    /// Every file with its content, but for the lock.
    fn files(&self) -> BTreeMap<String, String> {
        let entries = fs::read_dir(self.dir()).unwrap().map(Result::unwrap);
        let mut files: BTreeMap<_, _> = entries
            .map(|entry| {
                let content = fs::read_to_string(entry.path()).unwrap();
                (entry.file_name().into_string().unwrap(), content)
            })
            .collect();
        files.remove("lock");
        files
    }
}

fn indexes() -> usize {
    fs::read_dir(INDEX).map_or(0, Iterator::count)
}

fn one_pool() -> Value {
    json!([[{"subnet": "10.93.0.0/23"}]])
}

/// What a call answers, as far as it has to be the same.
fn answer(outcome: &Outcome) -> String {
    let ips = if outcome.code == 0 && !outcome.stdout.is_empty() {
        outcome.clone().json()["ips"].to_string()
    } else {
        String::new()
    };
    format!("{} {ips}", outcome.code)
}

/// The reference and ours in turn on one directory of 200 leases: each deletes what the other one
/// added, somebody asks twice, and the pool's end is passed.
#[test]
fn in_turn_with_the_reference_the_answers_are_those_without_an_index() {
    let (ours, reference) = (Suite::ours(), Suite::reference());
    let runs = ["on", "off"].map(|fast_paths| {
        let ranges = json!([[{"subnet": "10.93.0.0/24"}], [{"subnet": "fd93::/120"}]]);
        let leases = Leases::with(200, ranges);
        let mut answers = Vec::new();
        let mut call = |n: usize, command: &str, id: &str| {
            // Three of ours, then two of the reference, so that both kinds of neighbours occur.
            let suite = if n % 5 < 3 { &ours } else { &reference };
            let outcome = leases.call(suite, fast_paths, command, id).run();
            answers.push(format!("{n} {command} {id} {}", answer(&outcome)));
        };
        for n in 0..90 {
            call(n, "ADD", &format!("c{n}"));
            match n % 6 {
                2 => call(n + 1, "ADD", &format!("c{n}")),
                3 => call(n + 2, "DEL", &format!("c{}", n - 1)),
                4 => call(n + 3, "DEL", "nobody"),
                5 => call(n, "DEL", &format!("other{n}")),
                _ => {}
            }
        }
        let is_indexed = indexes() == 1;
        assert_eq!(is_indexed, fast_paths == "on");
        (answers, leases.files())
    });
    let [on, off] = runs;
    assert_eq!(on.0, off.0);
    assert_eq!(on.1, off.1);
    // Otherwise this has shown little.
    for end in ["1 ", "0 [{"] {
        assert!(on.0.iter().any(|answer| answer.contains(end)), "{end}");
    }
}

#[test]
fn an_index_comes_with_many_leases_and_leaves_nothing_behind() {
    let ours = Suite::ours();
    let leases = Leases::with(100, one_pool());
    let run = |command, id: &str| leases.call(&ours, "", command, id).run();
    run("ADD", "c1").expect_ok();
    assert_eq!(indexes(), 1);
    run("GC", "c1").expect_silent_ok();
    assert!(
        !Path::new("/run/tenon").exists(),
        "c3 has none, so all are gone"
    );
    run("ADD", "c1").expect_ok();
    run("DEL", "c1").expect_silent_ok();
    assert!(!Path::new("/run/tenon").exists(), "few need none");
}

/// What a disk shows after a power loss is not to be believed. A lease that was edited in place tells
/// whether the index was: it does not know of that.
#[test]
fn an_index_on_a_disk_is_of_one_run_of_the_kernel() {
    let ours = Suite::ours();
    let mut leases = Leases::new(one_pool());
    leases.data_dir = PathBuf::from("/var/lib/cni/networks");
    let mount = |words: &[&str]| {
        let mounted = Command::new("mount").args(words).status();
        assert!(mounted.unwrap().success(), "{words:?}");
    };
    fs::create_dir_all("/var/lib/cni").unwrap();
    mount(&["-t", "tmpfs", "none", "/var/lib/cni"]);
    // It stands for a disk, as everything that is no tmpfs.
    mount(&["-t", "ramfs", "none", "/run"]);
    let run = |command, id: &str| leases.call(&ours, "on", command, id).run();
    for id in ["c1", "c2"] {
        run("ADD", id).expect_ok();
    }
    assert_eq!(indexes(), 1);
    let second = leases.dir().join("10.93.0.3");
    fs::write(&second, "c9\r\neth0").unwrap();
    run("DEL", "c9").expect_silent_ok();
    assert!(second.exists(), "believed");
    let other_boot = leases.data_dir.join("boot_id");
    fs::write(&other_boot, "00000000-0000-4000-8000-000000000000\n").unwrap();
    let boot_id = "/proc/sys/kernel/random/boot_id";
    mount(&["--bind", other_boot.to_str().unwrap(), boot_id]);
    run("DEL", "c9").expect_silent_ok();
    assert!(!second.exists(), "not believed");
    run("DEL", "c1").expect_silent_ok();
    assert!(!Path::new("/run/tenon").exists());
}

/// Started before any is waited for: all succeed, and no address is given twice.
fn crowd(fast_paths: &str, seeded: u16) {
    let ours = Suite::ours();
    let leases = Leases::with(seeded, one_pool());
    let all = |command: &'static str| {
        let call = |n| leases.call(&ours, fast_paths, command, &format!("c{n}"));
        let calls = (0..100).map(|n| call(n).timeout(Duration::from_secs(60)));
        let calls: Vec<Runner> = calls.collect();
        std::thread::scope(|scope| {
            let started: Vec<_> = calls
                .iter()
                .map(|call| scope.spawn(|| call.run()))
                .collect();
            let ended = started.into_iter().map(|run| run.join().unwrap());
            ended.collect::<Vec<Outcome>>()
        })
    };
    let given: BTreeSet<String> = all("ADD")
        .into_iter()
        .map(|outcome| outcome.expect_ok().json()["ips"][0]["address"].to_string())
        .collect();
    assert_eq!(given.len(), 100);
    for outcome in all("DEL") {
        outcome.expect_silent_ok();
    }
    // The leases of others and the rotation.
    assert_eq!(leases.files().len(), usize::from(seeded) + 1);
}

#[test]
fn a_hundred_at_once_share_the_index() {
    crowd("on", 50);
}

#[test]
fn a_hundred_at_once_do_without_the_index() {
    crowd("off", 50);
}

/// The calls that an operation with an index makes, but those before it is looked at.
const CALLS: [&str; 10] = [
    "openat",
    "newfstatat",
    "pread64",
    "linkat",
    "unlinkat",
    "pwrite64",
    "utimensat",
    "ftruncate",
    "mkdirat",
    "close",
];

/// Whoever is killed at whichever call, those who come later are told nothing wrong.
#[test]
fn a_kill_at_any_point_leaves_no_index_that_is_wrong() {
    require("strace");
    let ours = Suite::ours();
    let mut kills = 0;
    // With an index in step; and with one that has to be made.
    for (command, is_stale) in [("ADD", false), ("DEL", false), ("ADD", true)] {
        for syscall in CALLS {
            for nth in 1.. {
                let leases = Leases::with(4, one_pool());
                let run = |command, id: &str| leases.call(&ours, "on", command, id).run();
                run("ADD", "b").expect_ok();
                if command == "DEL" {
                    run("ADD", "a").expect_ok();
                }
                if is_stale {
                    fs::write(leases.dir().join("10.93.0.99"), "x\r\neth0").unwrap();
                }
                let inject = format!("inject={syscall}:signal=SIGKILL:when={nth}");
                let wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject];
                let killed = leases
                    .call(&ours, "on", command, "a")
                    .through(&wrapper)
                    .run();
                let when = format!("{command} {is_stale} {syscall} {nth}: {killed}");
                let held = leases
                    .files()
                    .values()
                    .any(|content| content == "a\r\neth0");
                let again = run("ADD", "a");
                assert_eq!(again.code != 0, held, "{when}: {again}");
                run("DEL", "a").expect_silent_ok();
                run("DEL", "b").expect_silent_ok();
                run("ADD", "c").expect_ok();
                let files = leases.files();
                assert!(
                    !files.values().any(|text| text.starts_with(['a', 'b'])),
                    "{when}"
                );
                assert_eq!(files.len(), 6 + usize::from(is_stale), "{when}: {files:?}");
                if killed.code == 0 {
                    break;
                }
                kills += 1;
            }
        }
    }
    assert!(kills > 60, "only {kills} kills: does strace inject?");
}
