//! What the machine has to have, waiting, and skipping aloud.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Which Debian package has a tool.
const PACKAGES: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("ping", "iputils-ping"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("iptables-restore", "iptables"),
    ("iptables-save", "iptables"),
    ("ip6tables-restore", "iptables"),
    ("ip6tables-save", "iptables"),
    ("busybox", "busybox-static"),
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("dockerd", "docker.io"),
    ("ovsdb-server", "openvswitch-switch"),
    ("ovsdb-tool", "openvswitch-switch"),
    ("ovs-vsctl", "openvswitch-switch"),
    ("ovs-vswitchd", "openvswitch-switch"),
    ("ovn-northd", "ovn-central"),
    ("ovn-nbctl", "ovn-central"),
    ("ovn-controller", "ovn-host"),
    ("ovn-docker-overlay-driver", "ovn-docker"),
    ("podman", "podman"),
    ("conmon", "conmon"),
    ("runc", "runc"),
    ("dbus-daemon", "dbus"),
    ("firewalld", "firewalld"),
    ("firewall-cmd", "firewalld"),
    ("jq", "jq"),
    ("strace", "strace"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("nsenter", "util-linux"),
    ("tar", "tar"),
];

/// The directories of a root shell; a user's PATH may miss the sbin ones.
const SEARCH: &[&str] = &[
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Panics, naming the package to install, when a tool is missing.
pub fn require(tool: &str) {
    if find(tool) {
        return;
    }
    let package = PACKAGES
        .iter()
        .find(|(name, _)| *name == tool)
        .map_or(tool, |(_, p)| p);
    panic!("{tool} is missing: run scripts/deps, or apt-get install {package}");
}

/// Whether a tool is on this machine.
pub(crate) fn find(tool: &str) -> bool {
    SEARCH.iter().any(|dir| Path::new(dir).join(tool).is_file())
}

/// Says aloud that a test, or a part of one, is not run, and why. With `TENON_SKIP_FILE` in the
/// environment the line is also kept there, for a script to show at its end.
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("SKIPPED: {}: {reason}\n", thread.name().unwrap_or("?"));
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os("TENON_SKIP_FILE") {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// Waits until `check` holds; panics naming `what` after `limit`.
#[expect(
    clippy::disallowed_methods,
    reason = "what other programs do has no event to wait for"
)]
pub fn wait_for(what: &str, limit: Duration, mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A command line for messages.
pub(crate) fn describe(program: &str, args: &[&str]) -> String {
    format!("`{program} {}`", args.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "apt-get install no-such-tool")]
    fn a_missing_tool_is_named() {
        require("no-such-tool");
    }

    #[test]
    #[should_panic(expected = "waited 30ms for godot")]
    fn waiting_ends() {
        wait_for("godot", Duration::from_millis(30), || false);
    }
}
