//! The driver's links, made by ip(8) in the namespace of the thread that started the driver: an
//! implementation that has nothing in common with the one under test.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use super::state::Failure;

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
pub(super) fn make_bridge(name: &str, gateways: &[&str]) -> Result<(), Failure> {
    if !exists(name) {
        ip(&format!("link add {name} type bridge\n"))?;
    }
    let mut batch = format!("link set {name} up\n");
    for gateway in gateways {
        // Not to be announced first: containers may use it at once.
        let flag = if gateway.contains(':') { " nodad" } else { "" };
        let _ = writeln!(batch, "addr replace {gateway} dev {name}{flag}");
    }
    ip(&batch)
}

/// Makes an endpoint's pair, the host's end on the bridge.
pub(super) fn make_pair(
    endpoint: &str,
    bridge: &str,
    mac: &str,
    mtu: Option<u64>,
) -> Result<(), Failure> {
    let [host, container] = pair_names(endpoint);
    let mtu = mtu.map_or_else(String::new, |mtu| format!(" mtu {mtu}"));
    ip(&format!(
        "link add {host}{mtu} type veth peer name {container} address {mac}{mtu}\n"
    ))?;
    ip(&format!("link set {host} master {bridge} up\n")).inspect_err(|_| {
        let _ = remove(&host);
    })
}

/// Removes a link, unless it is gone.
pub(super) fn remove(name: &str) -> Result<(), Failure> {
    if exists(name) {
        return ip(&format!("link del {name}\n"));
    }
    Ok(())
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
