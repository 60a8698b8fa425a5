//! The command, in disposable machines with a plugin that makes veth pairs. Needs root.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests report by panicking"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use cni_testkit::World;
use serde_json::Value;

/// A plugin that puts one end of a veth pair into the namespace. A file `fail` beside it makes its
/// ADD fail after that.
const WIRE: &str = r#"#!/bin/sh
dir=$(dirname $0)
echo "$CNI_COMMAND $CNI_IFNAME $CNI_NETNS" >> $dir/log
host=h$(echo $CNI_CONTAINERID$CNI_IFNAME | cksum | cut -d' ' -f1)
case $CNI_COMMAND in
ADD)
    ip link add $host type veth peer name $CNI_IFNAME netns ${CNI_NETNS##*/} >&2 || exit 1
    [ ! -e $dir/fail ] || { echo '{"code": 77, "msg": "told to"}'; exit 1; }
    echo '{"interfaces": [{"name": "'$CNI_IFNAME'", "sandbox": "'$CNI_NETNS'"}],
           "ips": [{"address": "10.9.0.2/24", "gateway": "10.9.0.1", "interface": 0}]}' ;;
DEL) ip link del $host 2>/dev/null || true ;;
VERSION) echo '{"supportedVersions": ["1.0.0", "1.1.0"]}' ;;
esac
"#;

struct Machine(World);

struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Machine {
    fn new() -> Self {
        let machine = Self(World::new());
        machine.0.executable("bin/wire", WIRE);
        machine.network("10-net.conflist", "net", "1.1.0");
        machine
    }

    fn network(&self, file: &str, name: &str, version: &str) {
        let text = format!(
            r#"{{"cniVersion": "{version}", "name": "{name}", "plugins": [{{"type": "wire"}}]}}"#
        );
        self.0.file(&format!("net.d/{file}"), text);
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cnitool"));
        command
            .args(line.split_whitespace())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("NETCONFPATH", self.0.dir().join("net.d"))
            .env("CNI_PATH", self.0.dir().join("bin"))
            .current_dir(self.0.dir());
        command
    }

    fn run(&self, line: &str) -> Said {
        Said::of(&self.command(line).output().unwrap())
    }

    /// Runs a line that must succeed, and returns what it printed.
    #[track_caller]
    fn ok(&self, line: &str) -> String {
        let said = self.run(line);
        assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{line}");
        said.stdout
    }

    /// Runs a line that must fail, and returns the reason.
    #[track_caller]
    fn error(&self, line: &str) -> String {
        let said = self.run(line);
        assert_eq!((said.code, said.stdout.as_str()), (1, ""), "{line}");
        said.stderr
    }

    /// How the plugin was called since the last time.
    fn calls(&self) -> Vec<String> {
        let file = self.0.dir().join("bin/log");
        let text = fs::read_to_string(&file).unwrap_or_default();
        let _none_yet = fs::remove_file(file);
        text.lines().map(str::to_owned).collect()
    }

    fn host_links(&self) -> usize {
        let names = self.0.host().link_names();
        names.iter().filter(|name| name.starts_with('h')).count()
    }

    fn links_of(&self, netns: &str) -> Vec<String> {
        let text = self.0.host().command("ip", &["-j", "-n", netns, "link"]);
        let links: Vec<Value> = serde_json::from_str(&text).unwrap();
        let name = |link: &Value| link["ifname"].as_str().unwrap().to_owned();
        links.iter().map(name).collect()
    }

    #[track_caller]
    fn nothing_is_left(&self) {
        assert_eq!(cached(), [""; 0]);
        assert_eq!(self.host_links(), 0);
        assert!(!Path::new("/run/netns/c1").exists());
    }
}

/// The names of the cached results.
fn cached() -> Vec<String> {
    let Ok(files) = fs::read_dir("/var/lib/cni/results") else {
        return Vec::new();
    };
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

impl Said {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout.clone()).unwrap(),
            stderr: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }
}

const DESCRIPTION: &str = "eth0 in /run/netns/c1 on network net
  interface  eth0, in /run/netns/c1
  address    10.9.0.2/24 on eth0, gateway 10.9.0.1
";

#[test]
fn up_and_down() {
    let machine = Machine::new();
    assert_eq!(machine.ok("up c1"), format!("c1 is up: {DESCRIPTION}"));
    assert_eq!(machine.links_of("c1"), ["lo", "eth0"]);
    let lo = machine
        .0
        .host()
        .command("ip", &["-n", "c1", "link", "show", "lo"]);
    assert!(lo.contains("UP"), "{lo}");
    assert_eq!(cached().len(), 1);
    // Again is fine, and changes nothing.
    machine.calls();
    assert_eq!(
        machine.ok("up c1 net"),
        format!("c1 is up already: {DESCRIPTION}")
    );
    assert_eq!(machine.calls(), [""; 0]);
    assert_eq!(
        machine.ok("down c1"),
        "c1 is down: left net; namespace removed\n"
    );
    machine.nothing_is_left();
    assert_eq!(machine.ok("down c1"), "c1 is down already\n");
}

#[test]
fn up_and_down_in_json() {
    let machine = Machine::new();
    let up: Value = serde_json::from_str(&machine.ok("up c1 --json")).unwrap();
    assert_eq!(up["network"], "net");
    assert_eq!(up["netns"], "/run/netns/c1");
    assert_eq!(up["ifname"], "eth0");
    assert_eq!(up["result"]["ips"][0]["address"], "10.9.0.2/24");
    let again: Value = serde_json::from_str(&machine.ok("--json up c1")).unwrap();
    assert_eq!(again, up);
    let down: Value = serde_json::from_str(&machine.ok("down c1 --json")).unwrap();
    assert_eq!(
        (&down["networks"][0], &down["existed"]),
        (&"net".into(), &true.into())
    );
}

#[test]
fn namespaces_are_shared_with_other_mount_namespaces() {
    let machine = Machine::new();
    machine.ok("up c1");
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    // Of several mounts on each other the last one is in use.
    let last = mounts.lines().rfind(|line| line.contains(" /run/netns "));
    assert!(
        last.is_some_and(|line| line.contains(" shared:")),
        "{mounts}"
    );
    let count = mounts.matches(" /run/netns ").count();
    // The second time it is not mounted on itself again.
    machine.ok("up c2");
    let again = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    assert_eq!(again.matches(" /run/netns ").count(), count);
    machine.ok("down c1");
    machine.ok("down c2");
}

#[test]
fn a_failed_up_leaves_nothing() {
    let machine = Machine::new();
    machine.0.file("bin/fail", "");
    assert_eq!(
        machine.error("up c1"),
        "cnitool: plugin type=\"wire\" failed (add): told to; what had been done was undone\n"
    );
    machine.nothing_is_left();
    assert_eq!(
        machine.calls(),
        ["ADD eth0 /run/netns/c1", "DEL eth0 /run/netns/c1"]
    );
}

#[test]
fn up_does_not_take_over_a_namespace_of_others() {
    let machine = Machine::new();
    let c1 = machine.0.container("c1");
    let error = machine.error("up c1");
    assert!(
        error.starts_with("cnitool: network namespace /run/netns/c1 exists already"),
        "{error}"
    );
    assert_eq!(machine.calls(), [""; 0]);
    assert_eq!(c1.link_names(), ["lo"]);
}

#[test]
fn up_after_a_restart_first_takes_down_what_was_up() {
    let machine = Machine::new();
    machine.ok("up c1");
    // Like a restart, but for the plain file, which an unmount by hand leaves.
    machine.0.host().command("umount", &["/run/netns/c1"]);
    machine.calls();
    machine.ok("up c1");
    assert_eq!(
        machine.calls(),
        ["DEL eth0 /run/netns/c1", "ADD eth0 /run/netns/c1"]
    );
    machine.ok("down c1");
    machine.nothing_is_left();
}

#[test]
fn a_namespace_can_be_in_two_networks() {
    let machine = Machine::new();
    machine.network("20-other.conflist", "other", "1.0.0");
    machine.ok("up c1");
    machine.ok("up c1 other -i net1");
    assert_eq!(machine.links_of("c1"), ["lo", "eth0", "net1"]);
    assert_eq!(
        machine.ok("down c1"),
        "c1 is down: left net, other; namespace removed\n"
    );
    machine.nothing_is_left();
}

#[test]
fn down_cleans_up_what_an_interrupted_up_left() {
    let machine = Machine::new();
    // Killed while the plugin was at work: an entry without result, and half an interface.
    machine.0.executable(
        "bin/wire",
        WIRE.replace("echo '{\"interfaces", "kill -9 $PPID; : '"),
    );
    assert!(
        machine
            .command("up c1")
            .output()
            .unwrap()
            .status
            .code()
            .is_none()
    );
    assert_eq!(cached().len(), 1);
    assert_eq!(machine.host_links(), 1);
    machine.0.executable("bin/wire", WIRE);
    let error = machine.error("up c1");
    assert!(
        error.starts_with(
            "cnitool: `cnitool down c1` cleans up what an earlier `up` left: no result"
        ),
        "{error}"
    );
    assert_eq!(
        machine.ok("down c1"),
        "c1 is down: left net; namespace removed\n"
    );
    machine.nothing_is_left();
}

#[test]
fn down_works_without_the_configuration() {
    let machine = Machine::new();
    machine.ok("up c1");
    fs::remove_file(machine.0.dir().join("net.d/10-net.conflist")).unwrap();
    machine.ok("down c1");
    machine.nothing_is_left();
}

#[test]
fn down_removes_the_namespace_even_if_a_plugin_fails_and_can_be_repeated() {
    let machine = Machine::new();
    machine.ok("up c1");
    machine.0.executable(
        "bin/wire",
        "#!/bin/sh\necho '{\"code\": 5, \"msg\": \"no\"}'; exit 1",
    );
    assert_eq!(
        machine.error("down c1"),
        "cnitool: plugin type=\"wire\" failed (delete): no\n"
    );
    assert!(!Path::new("/run/netns/c1").exists());
    assert_eq!(cached().len(), 1);
    machine.0.executable("bin/wire", WIRE);
    machine.ok("down c1");
    machine.nothing_is_left();
}

#[test]
fn down_of_a_namespace_without_networks() {
    let machine = Machine::new();
    machine.0.host().command("ip", &["netns", "add", "c1"]);
    assert_eq!(
        machine.ok("down c1"),
        "c1 is down: no network was known; namespace removed\n"
    );
    // DEL is asked for all the same where a network is named.
    assert_eq!(
        machine.ok("down c1 net"),
        "c1 is down: left net; namespace removed\n"
    );
    assert_eq!(machine.calls(), ["DEL eth0 /run/netns/c1"]);
}

#[test]
fn add_check_and_del_as_the_original() {
    let machine = Machine::new();
    let c1 = machine.0.container("c1");
    let result = r#"{
    "cniVersion": "1.1.0",
    "interfaces": [
        {
            "name": "eth0",
            "sandbox": "/run/netns/c1"
        }
    ],
    "ips": [
        {
            "interface": 0,
            "address": "10.9.0.2/24",
            "gateway": "10.9.0.1"
        }
    ]
}"#;
    assert_eq!(machine.ok("add net /run/netns/../netns/c1/"), result);
    // printf /run/netns/c1 | sha512sum
    assert_eq!(cached(), ["net-cnitool-20b4ff582526573bbe7d-eth0"]);
    assert_eq!(
        machine.ok("check net /run/netns/c1"),
        "eth0 in /run/netns/c1 on network net: as it was added\n"
    );
    let check: Value = serde_json::from_str(&machine.ok("check net c1 --json")).unwrap();
    assert_eq!(check["check"], "passed");
    assert_eq!(c1.link_names(), ["lo", "eth0"]);
    let removed = "eth0 in /run/netns/c1 on network net: removed\n";
    assert_eq!(machine.ok("del net /run/netns/c1"), removed);
    assert_eq!(c1.link_names(), ["lo"]);
    drop(c1);
    // The namespace may be gone, and a bare name will do.
    assert_eq!(machine.ok("del net c1"), removed);
    assert_eq!(machine.calls().len(), 5);
    machine.nothing_is_left();
}

#[test]
fn the_environment_is_the_originals() {
    let machine = Machine::new();
    let plugin = "#!/bin/sh\n[ $CNI_COMMAND != ADD ] || { cat > $(dirname $0)/stdin; \
                  env > $(dirname $0)/env; echo '{}'; }";
    machine.0.executable("bin/wire", plugin);
    machine.0.file(
        "net.d/10-net.conflist",
        r#"{"cniVersion": "1.0.0", "name": "net",
            "plugins": [{"type": "wire", "capabilities": {"mac": true}}]}"#,
    );
    let _c1 = machine.0.container("c1");
    let mut command = machine.command("add net c1");
    command
        .env("CNI_IFNAME", "net7")
        .env("CNI_ARGS", "A=1;B=2")
        .env("CAP_ARGS", r#"{"mac": "02::", "other": 1}"#);
    assert!(command.output().unwrap().status.success());
    let env = fs::read_to_string(machine.0.dir().join("bin/env")).unwrap();
    assert!(
        env.contains("\nCNI_IFNAME=net7\n") || env.starts_with("CNI_IFNAME=net7\n"),
        "{env}"
    );
    assert!(env.contains("CNI_ARGS=A=1;B=2\n"), "{env}");
    let stdin = fs::read(machine.0.dir().join("bin/stdin")).unwrap();
    let stdin: Value = serde_json::from_slice(&stdin).unwrap();
    assert_eq!(stdin["runtimeConfig"], serde_json::json!({"mac": "02::"}));
}

/// With `variable` set, `line` fails with `error` and nothing is called.
fn refuses(machine: &Machine, line: &str, variable: (&str, &str), error: &str) {
    let output = machine.command(line).env(variable.0, variable.1).output();
    let said = Said::of(&output.unwrap());
    assert_eq!((said.code, said.stdout.as_str()), (1, ""), "{line}");
    let expected = format!("cnitool: {error}");
    assert!(
        said.stderr.starts_with(&expected),
        "{line}: {}",
        said.stderr
    );
    assert_eq!(machine.calls(), [""; 0], "{line}");
    assert_eq!(cached(), [""; 0], "{line}");
}

#[test]
fn bad_variables_are_refused_before_anything_is_called() {
    let machine = Machine::new();
    let _c1 = machine.0.container("c1");
    for (name, value, error) in [
        ("CNI_ARGS", "A", "invalid CNI_ARGS pair \"A\""),
        ("CAP_ARGS", "[", "CAP_ARGS is not JSON: "),
        (
            "CAP_ARGS",
            "[]",
            "CAP_ARGS is []: a JSON object is expected",
        ),
        (
            "CNI_IFNAME",
            "a/b",
            "interface name \"a/b\": contains / or :",
        ),
        (
            "NETCONFPATH",
            "/nowhere",
            "no net configurations found in /nowhere",
        ),
        (
            "NETCONFPATH",
            "/run/tenon-test/bin/wire",
            "read directory /run/tenon-test/bin/wire: ",
        ),
        (
            "CNI_PATH",
            "/nowhere",
            "plugin type=\"wire\" failed (add): failed to find plugin \"wire\" in path [/nowhere]",
        ),
    ] {
        refuses(&machine, "add net c1", (name, value), error);
    }
}

#[test]
fn bad_arguments_are_refused_before_anything_is_called() {
    let machine = Machine::new();
    let _c1 = machine.0.container("c1");
    for (line, error) in [
        (
            "add net c1 -i sixteencharacter",
            "interface name \"sixteencharacter\": is too long",
        ),
        (
            "add net c9",
            "there is no network namespace /run/netns/c9: `cnitool up",
        ),
        (
            "add net bin/wire",
            "/run/tenon-test/bin/wire is not a network namespace",
        ),
        (
            "add nope c1",
            "no net configuration with name \"nope\" in /run/tenon-test/net.d; it has net",
        ),
        (
            "up ../c1",
            "\"../c1\" cannot be the name of a network namespace",
        ),
        ("up c2 nope", "no net configuration with name \"nope\""),
        ("down c1 nope", "no net configuration with name \"nope\""),
        ("del a/b c1", "network name \"a/b\": has invalid characters"),
        (
            "check net c1",
            "no result of an earlier add in /var/lib/cni/results/net-cnitool-",
        ),
        (
            "gc net --keep /eth0",
            "--keep /eth0: CONTAINERID/IFNAME is expected",
        ),
    ] {
        refuses(&machine, line, ("X", ""), error);
    }
    assert!(!Path::new("/run/netns/c2").exists() && Path::new("/run/netns/c1").exists());
}

#[test]
fn usage_errors_exit_with_1_and_help_with_0() {
    let machine = Machine::new();
    for line in ["", "add", "add net", "frob net c1", "add net c1 --frob"] {
        let said = machine.run(line);
        assert_eq!((said.code, said.stdout.as_str()), (1, ""), "{line}");
        assert!(
            said.stderr.contains("Usage: cnitool"),
            "{line}: {}",
            said.stderr
        );
    }
    let help = machine.ok("--help");
    assert!(
        help.contains("NETCONFPATH") && help.contains("cnitool up c1"),
        "{help}"
    );
}

#[test]
fn errors_in_json_have_the_plugins_code() {
    let machine = Machine::new();
    machine.0.file("bin/fail", "");
    let said = machine.run("up c1 --json");
    assert_eq!((said.code, said.stderr.as_str()), (1, ""));
    let error: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(error["code"], 77);
    let said = machine.run("--json status nope");
    let error: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(error["code"], 7);
}

#[test]
fn a_broken_file_is_a_warning() {
    let machine = Machine::new();
    machine
        .0
        .file("net.d/00-broken.conflist", r#"{"name": "x", "plugins": 1}"#);
    let said = machine.run("status net");
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (0, "network net: ready (wire)\n")
    );
    assert_eq!(
        said.stderr,
        "cnitool: warning: /run/tenon-test/net.d/00-broken.conflist: plugins: 1 is not an array\n"
    );
}

#[test]
fn status_and_version() {
    let machine = Machine::new();
    machine.network("20-old.conflist", "old", "1.0.0");
    machine.network("30-older.conflist", "older", "0.4.0");
    assert_eq!(
        machine.ok("status net ignored"),
        "network net: ready (wire)\n"
    );
    assert_eq!(
        machine.ok("status old"),
        "network old: unknown: STATUS needs cniVersion 1.1.0, and this is 1.0.0\n"
    );
    assert_eq!(
        machine.ok("version net"),
        "network net: cniVersion 1.1.0 (/run/tenon-test/net.d/10-net.conflist)\n  \
         wire       1.0.0, 1.1.0 (/run/tenon-test/bin/wire)\n"
    );
    let said = machine.run("version older");
    assert_eq!(
        said.stdout,
        "network older: cniVersion 0.4.0 (/run/tenon-test/net.d/30-older.conflist)\n  \
         wire       1.0.0, 1.1.0 (/run/tenon-test/bin/wire): not the network's version\n"
    );
    assert_eq!(
        said.stderr,
        "cnitool: network older cannot be run, because of wire\n"
    );
    assert_eq!(said.code, 1);
    fs::remove_file(machine.0.dir().join("bin/wire")).unwrap();
    let said = machine.run("version net --json");
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    let error = report["plugins"][0]["error"].as_str().unwrap();
    assert!(
        error.starts_with("failed to find plugin \"wire\""),
        "{error}"
    );
    assert_eq!((said.code, said.stderr.as_str()), (1, ""));
}

#[test]
fn gc_keeps_what_has_a_namespace_and_what_is_named() {
    let machine = Machine::new();
    let _c1 = machine.0.container("c1");
    for name in ["c2", "c3"] {
        let netns = machine.0.container(name);
        machine.ok(&format!("add net {name}"));
        drop(netns);
    }
    machine.ok("add net c1");
    machine.calls();
    let id = |name: &str| {
        let netns = format!("/run/netns/{name}");
        cnitool::Target::for_netns(netns, "eth0".parse().unwrap()).container_id
    };
    let (c1, c2, c3) = (id("c1"), id("c2"), id("c3"));
    let line = format!("gc net --keep {c2}");
    let dry = machine.ok(&format!("{line} --dry-run"));
    assert!(
        dry.starts_with("network net: would remove 1 attachment\n"),
        "{dry}"
    );
    assert_eq!(machine.calls(), [""; 0]);
    let gc: Value = serde_json::from_str(&machine.ok(&format!("{line} --json"))).unwrap();
    assert_eq!(gc["removed"][0]["containerId"], c3.as_str());
    assert_eq!(gc["removed"].as_array().unwrap().len(), 1);
    let mut kept = [c1.as_str(), c2.as_str()];
    kept.sort_unstable();
    let told: Vec<_> = gc["kept"]
        .as_array()
        .unwrap()
        .iter()
        .map(|k| &k["containerId"])
        .collect();
    assert_eq!(told, kept);
    assert_eq!(machine.calls(), ["DEL eth0 /run/netns/c3", "GC  "]);
    // What the original does: everything goes, living or not.
    machine.ok("gc net c1 --all");
    assert_eq!(cached(), [""; 0]);
    assert_eq!(machine.host_links(), 0);
}
