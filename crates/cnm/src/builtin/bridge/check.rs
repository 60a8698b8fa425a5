//! Whether an endpoint is as it was made.

use cni_netlink::{Link, LinkId, sysctl};
use cni_types::{CniError, ErrorCode};

use super::endpoint::find_host_end;
use super::external;
use super::filter;
use super::host::{Host, IPV4_FORWARDING, IPV6_FORWARDING, Made};
use super::names::Endpoint;
use super::state::State;

/// Looks at everything on the host that was made for the endpoint. What is in the sandbox is the
/// controller's to look at.
pub(super) fn check(host: &Host, state: &State, endpoint: &Endpoint) -> Result<(), CniError> {
    let made = Made::get(state, &endpoint.network)?;
    let mut problems = Vec::new();
    let bridge = check_bridge(host, &made, &mut problems)?;
    let end = find_host_end(host, state, endpoint)?;
    match &end {
        None => problems.push("the host's end of its veth pair is gone".to_owned()),
        Some((link, _other)) => check_port(&made, link, bridge.as_ref(), &mut problems),
    }
    check_forwarding(&made, &mut problems)?;
    match state.endpoint(endpoint)? {
        None => problems.push("nothing is remembered of it".to_owned()),
        Some(record) => {
            let hairpin = end.as_ref().is_some_and(|(link, _other)| is_hairpin(link));
            if external::publication(&made, &record)?.is_some() && !hairpin {
                problems.push("its port of the bridge sends nothing back by itself".to_owned());
            }
            problems.extend(filter::missing(host, &made, (endpoint, &record))?);
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    let text = format!("endpoint {} is not as it was made", endpoint.as_str());
    Err(CniError::new(ErrorCode::CHECK_FAILED, text).with_details(problems.join("; ")))
}

fn check_bridge(
    host: &Host,
    made: &Made,
    problems: &mut Vec<String>,
) -> Result<Option<LinkId>, CniError> {
    let name = &made.config.bridge;
    let Some(link) = host.find_bridge(name)? else {
        problems.push(format!("bridge {name} is gone"));
        return Ok(None);
    };
    if !link.is_up() {
        problems.push(format!("bridge {name} is down"));
    }
    let missing = host.missing_addresses(&made.config, &link.id())?;
    let missing = missing
        .iter()
        .map(|cidr| format!("bridge {name} has not address {cidr}"));
    problems.extend(missing);
    Ok(Some(link.id()))
}

fn check_port(made: &Made, port: &Link, bridge: Option<&LinkId>, problems: &mut Vec<String>) {
    let name = &port.name;
    if bridge.is_some_and(|bridge| port.master != Some(bridge.index)) {
        problems.push(format!(
            "{name} is not a port of bridge {}",
            made.config.bridge
        ));
    }
    if !port.is_up() {
        problems.push(format!("{name} is down"));
    }
    let isolated = port.port.as_ref().is_some_and(|port| port.flags.isolated);
    if !made.config.icc && !isolated {
        problems.push(format!("{name} is not isolated from other ports"));
    }
}

fn is_hairpin(port: &Link) -> bool {
    port.port.as_ref().is_some_and(|port| port.flags.hairpin)
}

fn check_forwarding(made: &Made, problems: &mut Vec<String>) -> Result<(), CniError> {
    let keys = [(false, &IPV4_FORWARDING[..]), (true, &IPV6_FORWARDING)];
    for (_v6, key) in keys
        .into_iter()
        .filter(|(v6, _key)| made.config.forwards(*v6))
    {
        let value = sysctl::read(key)?;
        if value != "1" {
            problems.push(format!("{} is {value}", key.join(".")));
        }
    }
    Ok(())
}
