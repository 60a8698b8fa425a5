//! The driver's links, made by ip(8) in the namespace of the thread that started the driver: an
//! implementation that has nothing in common with the one under test.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use super::state::Failure;
use super::style::{ROUTED_GATEWAY, ROUTED_GATEWAY6};

/// The bridge of a network.
pub(super) fn bridge_name(network: &str) -> String {
    format!("tb{}", prefix(network, 10))
}

/// The ends of an endpoint's pair: the host's and the container's.
pub(super) fn pair_names(endpoint: &str) -> [String; 2] {
    let id = prefix(endpoint, 9);
    [format!("th{id}"), format!("tc{id}")]
}

fn prefix(id: &str, length: usize) -> &str {
    id.get(..length).unwrap_or(id)
}

/// Makes a bridge with the gateways' addresses, in CIDR form. One that is there is taken over.
pub(super) fn make_bridge(name: &str, gateways: &[Option<String>]) -> Result<(), Failure> {
    if !exists(name) {
        ip(&format!("link add {name} type bridge\n"))?;
    }
    let mut batch = format!("link set {name} up\n");
    // Calico's gateway is "0.0.0.0/0": no address of a bridge.
    let own = gateways.iter().flatten();
    for gateway in own.filter(|cidr| !cidr.ends_with("/0")) {
        // Not to be announced first: containers may use it at once.
        let flag = if gateway.contains(':') { " nodad" } else { "" };
        let _ = writeln!(batch, "addr replace {gateway} dev {name}{flag}");
    }
    ip(&batch)
}

/// Makes an endpoint's pair, both ends down.
pub(super) fn make_pair(endpoint: &str, mac: &str, mtu: Option<u64>) -> Result<(), Failure> {
    let [host, container] = pair_names(endpoint);
    let mtu = mtu.map_or_else(String::new, |mtu| format!(" mtu {mtu}"));
    ip(&format!(
        "link add {host}{mtu} type veth peer name {container} address {mac}{mtu}\n"
    ))
}

/// Connects an endpoint by a bridge.
pub(super) fn bridge_pair(endpoint: &str, bridge: &str) -> Result<(), Failure> {
    let [host, _] = pair_names(endpoint);
    ip(&format!("link set {host} master {bridge} up\n"))
}

/// Connects an endpoint by routes to its addresses, in CIDR form or empty.
pub(super) fn route_pair(endpoint: &str, addresses: [&str; 2]) -> Result<(), Failure> {
    let [host, _] = pair_names(endpoint);
    // The link-local address follows from the MAC address; it is added to be usable at once.
    let mut batch = format!(
        "link set {host} address ee:ee:ee:ee:ee:ee\n\
         addr add {ROUTED_GATEWAY}/32 dev {host}\n\
         addr add {ROUTED_GATEWAY6}/64 dev {host} nodad\n\
         link set {host} up\n"
    );
    for cidr in addresses.iter().filter(|cidr| !cidr.is_empty()) {
        let bare = cidr.split('/').next().unwrap_or_default();
        let _ = writeln!(batch, "route replace {bare} dev {host}");
    }
    ip(&batch)
}

/// Lets the host forward between endpoints that are routed.
pub(super) fn forward() -> Result<(), Failure> {
    for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        let path = format!("/proc/sys/net/{key}");
        std::fs::write(&path, "1").map_err(|error| Failure::new(format!("{path}: {error}")))?;
    }
    Ok(())
}

/// Removes a link, unless it is gone; the kernel may be about to take it away with a namespace.
pub(super) fn remove(name: &str) -> Result<(), Failure> {
    if !exists(name) {
        return Ok(());
    }
    ip(&format!("link del {name}\n")).or_else(
        |failure| {
            if exists(name) { Err(failure) } else { Ok(()) }
        },
    )
}

fn exists(name: &str) -> bool {
    let shown = Command::new("ip")
        .args(["link", "show", "dev", name])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    shown.is_ok_and(|status| status.success())
}

fn ip(batch: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("ip: {error}"));
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(batch.as_bytes()).map_err(failed)?;
    drop(stdin);
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("ip: {}", said.trim())))
}
