//! What single drivers refuse though others take it.

use serde_json::Value;

use super::body::Body;
use super::state::Failure;
use super::style::Accepts;

const GENERIC: &str = "com.docker.network.generic";
const ENABLE_IPV6: &str = "com.docker.network.enable_ipv6";
const SANDBOXES: &str = "/var/run/docker/netns/";

/// Whether an object has something in it.
fn is_filled(value: &Value) -> bool {
    value.as_object().is_some_and(|object| !object.is_empty())
}

/// `CreateNetwork`.
pub(super) fn network(accepts: Accepts, body: &Body) -> Result<(), Failure> {
    let gateway_of = |data: &[Body]| {
        data.first()
            .map(|first| first.optional("Gateway").to_owned())
    };
    let gateway = gateway_of(&body.objects("IPv4Data")?).unwrap_or_default();
    match accepts {
        Accepts::Calico => calico_options(body.get("Options"), &gateway),
        Accepts::Ovn if gateway.is_empty() => Err(Failure::new("no gateway_ip in IPv4Data")),
        Accepts::Kuryr => id(body, "NetworkID"),
        _ => Ok(()),
    }
}

fn calico_options(options: &Value, gateway: &str) -> Result<(), Failure> {
    for (key, value) in options.as_object().into_iter().flatten() {
        let known = key == ENABLE_IPV6 || (key == GENERIC && !is_filled(value));
        if !known {
            return Err(Failure::new(format!("option {key} is not supported")));
        }
    }
    if gateway != "0.0.0.0/0" {
        return Err(Failure::new("non-Calico IPAM driver is used"));
    }
    Ok(())
}

/// `CreateEndpoint`.
pub(super) fn endpoint(accepts: Accepts, body: &Body) -> Result<(), Failure> {
    match accepts {
        Accepts::Cilium if body.object("Interface")?.text("AddressIPv6")?.is_empty() => {
            Err(Failure::new("no IPv6 address provided (required)"))
        }
        Accepts::Kuryr => id(body, "NetworkID").and_then(|()| id(body, "EndpointID")),
        _ => Ok(()),
    }
}

/// `Join`.
pub(super) fn join(accepts: Accepts, body: &Body) -> Result<(), Failure> {
    let key = body.text("SandboxKey")?;
    let digits = key.strip_prefix(SANDBOXES).unwrap_or_default();
    if accepts == Accepts::Kuryr && !is_hex(digits, 12) {
        return Err(Failure::bad_request(format!("SandboxKey {key:?}")));
    }
    Ok(())
}

/// `RequestPool`.
pub(super) fn pool(accepts: Accepts, body: &Body) -> Result<(), Failure> {
    if accepts != Accepts::Calico {
        return Ok(());
    }
    if is_filled(body.get("Options")) {
        return Err(Failure::new("arbitrary options are not supported"));
    }
    if !body.text("SubPool")?.is_empty() {
        return Err(Failure::new("sub-pools are not supported"));
    }
    Ok(())
}

/// `RequestAddress`.
pub(super) fn address(accepts: Accepts, body: &Body) -> Result<(), Failure> {
    if accepts == Accepts::Calico && is_filled(body.get("Options")) {
        return Err(Failure::new("arbitrary options are not supported"));
    }
    Ok(())
}

fn id(body: &Body, key: &str) -> Result<(), Failure> {
    let id = body.text(key)?;
    let of_swarm = id.len() == 25
        && id
            .bytes()
            .all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
    if of_swarm || is_hex(id, 64) {
        return Ok(());
    }
    Err(Failure::bad_request(format!("{key} {id:?}")))
}

fn is_hex(text: &str, length: usize) -> bool {
    let lower_case = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == length && text.bytes().all(lower_case)
}
