//! What plugins execute: IPAM plugins and firewall tools. What those can do to us, and what we hand on to
//! them. `bad_ipam.rs` has what an IPAM plugin answers.
#![expect(clippy::unwrap_used, reason = "test functions fail by panicking")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use cni_testkit::{Fakes, Outcome, Runner, Suite, World, conf, fakes, require};
use nix::libc;
use serde_json::{Value, json};
use tenon_tests::machine::{Machine, VERSION};

/// Half of it is the plugin's own memory, of which it uses little.
const MEMORY: &str = "--as=268435456";

/// A delegate has a second, and another one for its DEL where that is the same program.
const BOUND: Duration = Duration::from_secs(6);

/// What is said over and over.
const WORDS: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde";

fn within_memory(call: Runner) -> Outcome {
    require("prlimit");
    call.through(&["prlimit", MEMORY])
        .timeout(Duration::from_secs(30))
        .run()
}

fn refused(lines: &str, code: u32, words: &[&str]) {
    let machine = Machine::new();
    let fakes = Fakes::new(&machine.world);
    fakes.script(
        "ipam",
        &format!("[ \"$CNI_COMMAND\" = ADD ] || exit 0\n{lines}"),
    );
    let outcome = within_memory(machine.add_with_fakes(&fakes));
    machine.assert_refused(&outcome, code, words);
    assert!(outcome.elapsed < BOUND, "{lines}: {outcome}");
    assert!(
        outcome.stdout.len() < 4096,
        "{lines}: {} bytes",
        outcome.stdout.len()
    );
}

#[test]
fn an_answer_without_end_is_cut_off() {
    refused(
        &format!("exec yes {WORDS}"),
        130,
        &["wrote more than 16 MiB"],
    );
}

#[test]
fn complaints_without_end_are_cut_off() {
    refused(
        &format!("exec yes {WORDS} >&2"),
        130,
        &["wrote more than 16 MiB"],
    );
}

/// Each piece is there when it is looked for: nobody ever waits, and time is up all the same.
#[test]
fn a_delegate_that_keeps_talking_is_not_done_in_time() {
    let talk = "for _ in 1 2 3 4 5 6 7 8 9; do (while :; do printf ' ' || exit; done) & done; wait";
    refused(talk, 11, &["ipam did not finish in time"]);
    refused(
        &format!("({talk}) >&2"),
        11,
        &["ipam did not finish in time"],
    );
    refused(
        "while :; do printf ' '; sleep 0.2; done",
        11,
        &["ipam did not finish in time"],
    );
}

#[test]
fn what_a_delegate_leaves_running_is_not_waited_for() {
    let machine = Machine::new();
    let fakes = Fakes::new(&machine.world);
    let result = fakes::ipam_result(VERSION, "10.87.0.2/24", "10.87.0.1");
    fakes.script("ipam", &format!("sleep 20 &\nprintf '%s' '{result}'"));
    let outcome = machine.add_with_fakes(&fakes).run();
    assert!(outcome.elapsed < BOUND, "{outcome}");
    assert_eq!((outcome.code, outcome.orphans.len()), (0, 1), "{outcome}");
}

/// Shell lines that tell what their program was started with. `ls` has what the shell has, but for the
/// shell's own, and its directory: 3. Nothing is forked while the masks are read, since shells block
/// signals for that.
const TELL: &str = r#"
while read -r key value; do
    case $key in SigBlk:|SigIgn:) echo "$key $value" >>/run/told ;; esac
done </proc/$$/status
echo "umask: $(umask)" >>/run/told
env | cut -d= -f1 | sort >/run/env
ls /proc/self/fd >>/run/fds
"#;

fn told(key: &str) -> Vec<String> {
    let text = fs::read_to_string("/run/told").unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.strip_prefix(key));
    lines
        .map(|rest| rest.trim_matches([':', ' ']).to_owned())
        .collect()
}

/// What whoever started the test ignores, it ignores, and so do plugins. SIGPIPE is Rust's doing.
fn ignored_by_the_runtime() -> String {
    const SIGPIPE: u64 = 1 << (13 - 1);
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:\t"));
    let mask = u64::from_str_radix(mask.unwrap(), 16).unwrap();
    format!("{:016x}", mask & !SIGPIPE)
}

/// What whoever started the test left open, for everybody.
fn inherited_descriptors() -> Vec<String> {
    let flags = |fd: &str| {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
        let flags = info
            .lines()
            .find_map(|line| line.strip_prefix("flags:\t"))?;
        i32::from_str_radix(flags, 8).ok()
    };
    let names = fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names
        .filter(|fd| flags(fd).is_some_and(|flags| flags & libc::O_CLOEXEC == 0))
        .collect()
}

/// Nothing of ours: no descriptor, no blocked signal; SIGPIPE is not ignored, as it is by us.
#[track_caller]
fn assert_nothing_of_ours(times: usize, umask: &str) {
    assert_eq!(told("umask"), vec![umask; times]);
    assert_eq!(told("SigBlk"), vec!["0000000000000000"; times]);
    assert_eq!(told("SigIgn"), vec![ignored_by_the_runtime(); times]);
    let inherited = inherited_descriptors();
    let open = fs::read_to_string("/run/fds").unwrap();
    let others = open
        .lines()
        .filter(|fd| *fd != "3" && !inherited.iter().any(|own| own == fd));
    assert_eq!(
        others.count(),
        0,
        "open in it: {open:?}, {inherited:?} before"
    );
}

/// The whole environment, as the reference's plugins have it, and `CNI_COMMAND` for the undo: nothing
/// else is added, nothing taken out.
#[test]
fn a_delegate_gets_our_environment_and_nothing_of_our_process() {
    let machine = Machine::new();
    let fakes = Fakes::new(&machine.world);
    let result = fakes::ipam_result(VERSION, "10.87.0.2/24", "10.87.0.1");
    fakes.script("ipam", &format!("{TELL}\nprintf '%s' '{result}'"));
    let call = machine
        .add_with_fakes(&fakes)
        .env("LD_PRELOAD", "")
        .env("SECRET", "of the runtime");
    let loose = ["sh", "-c", "umask 0; exec \"$0\""];
    call.through(&loose).run().expect_ok();
    assert_nothing_of_ours(1, "0022");
    let mut names: Vec<String> = fs::read_to_string("/run/env")
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    // The shell's own, and the suite's.
    names.retain(|name| {
        !["PWD", "_", "OLDPWD", "SHLVL", "TENON_FAST_PATHS"].contains(&name.as_str())
    });
    let expected = [
        "CNI_COMMAND",
        "CNI_CONTAINERID",
        "CNI_IFNAME",
        "CNI_NETNS",
        "CNI_PATH",
        "LD_PRELOAD",
        "PATH",
        "SECRET",
    ];
    assert_eq!(names, expected);
}

/// A umask that keeps others out is kept; one that would keep ourselves out is not.
#[test]
fn a_umask_that_is_stricter_is_handed_on() {
    for (given, handed) in [
        ("077", "0077"),
        ("0777", "0077"),
        ("027", "0027"),
        ("002", "0022"),
    ] {
        let machine = Machine::new();
        let fakes = Fakes::new(&machine.world);
        let result = fakes::ipam_result(VERSION, "10.87.0.2/24", "10.87.0.1");
        fakes.script("ipam", &format!("{TELL}\nprintf '%s' '{result}'"));
        let under = format!("umask {given}; exec \"$0\"");
        let call = machine
            .add_with_fakes(&fakes)
            .through(&["sh", "-c", &under]);
        call.run().expect_ok();
        assert_nothing_of_ours(1, handed);
    }
}

/// iptables and its kin, found along the plugin's own `PATH`.
#[test]
fn a_firewall_tool_gets_nothing_of_our_process_either() {
    let world = World::new();
    let c1 = world.container("c1");
    for tool in [
        "iptables-save",
        "iptables-restore",
        "ip6tables-save",
        "ip6tables-restore",
    ] {
        require(tool);
        let text = format!("#!/bin/sh\n{TELL}\nexec /usr/sbin/{tool} \"$@\"\n");
        world.executable(&format!("tools/{tool}"), text);
    }
    let path = format!(
        "{}:/usr/sbin:/usr/bin:/sbin:/bin",
        world.dir().join("tools").display()
    );
    let port = json!({"hostPort": 8080, "containerPort": 80, "protocol": "tcp"});
    let chained = json!({
        "backend": "iptables",
        "runtimeConfig": {"portMappings": [port]},
        "prevResult": {
            "cniVersion": VERSION,
            "interfaces": [{"name": "veth7"}, {"name": "eth0", "sandbox": c1.path_str()}],
            "ips": [{"address": "10.9.1.2/24", "interface": 1}],
        },
    });
    let suite = Suite::ours();
    for plugin in ["portmap", "firewall"] {
        for command in ["ADD", "DEL"] {
            let conf = conf::plugin(VERSION, plugin).with(chained.clone());
            let call = suite.plugin(plugin).command(command).conf(&conf);
            let call = call.attachment("c1", &c1, "eth0").env("PATH", &path);
            assert_eq!(call.run().code, 0);
        }
    }
    let times = told("umask").len();
    assert!(times >= 2, "{times} tools were run");
    assert_nothing_of_ours(times, "0022");
}

/// `CNI_PATH` is the runtime's; what lies there may be anything all the same.
#[test]
fn what_cannot_be_a_plugin_is_not_taken_for_one() {
    let machine = Machine::new();
    let dir = machine.world.dir().join("odd");
    fs::create_dir_all(dir.join("ipam-dir")).unwrap();
    let host = machine.world.host();
    host.command("mkfifo", &[dir.join("ipam-fifo").to_str().unwrap()]);
    std::os::unix::fs::symlink("ipam-loop", dir.join("ipam-loop")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", dir.join("ipam-zero")).unwrap();
    fs::write(dir.join("ipam-plain"), "").unwrap();
    let huge = machine.world.executable("odd/ipam-huge", "\x7fELF");
    fs::OpenOptions::new()
        .write(true)
        .open(huge)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    for name in ["dir", "fifo", "loop", "zero", "plain", "huge"] {
        let plugin = format!("ipam-{name}");
        let conf = machine.conf().ipam(json!({"type": plugin}));
        let outcome = machine.add(&conf).path(&dir).run();
        machine.assert_refused(&outcome, 130, &[&plugin]);
        assert!(outcome.elapsed < BOUND, "{outcome}");
    }
    // host-local's place is looked into before it is executed.
    for (name, make) in places() {
        let bin = machine.world.dir().join(name);
        fs::create_dir_all(&bin).unwrap();
        make(&bin.join("host-local"));
        let outcome = machine.add(&machine.conf()).path(&bin).run();
        machine.assert_refused(&outcome, 130, &["host-local"]);
        assert!(outcome.elapsed < BOUND, "{outcome}");
    }
}

/// What to put somewhere, by name.
type Place = (&'static str, fn(&Path));

fn places() -> [Place; 3] {
    [
        ("at-dir", |path| fs::create_dir(path).unwrap()),
        ("at-zero", |path| {
            std::os::unix::fs::symlink("/dev/zero", path).unwrap();
        }),
        ("at-plain", |path| {
            fs::write(path, Value::Null.to_string()).unwrap();
        }),
    ]
}
