//! The lists: networks, endpoints, sandboxes, garbage. Each is drawn from an [`Inventory`], which is
//! pure.

use std::collections::BTreeMap;
use std::path::Path;

use cni_cnm::NetworkId;
use cni_cnm::store::record::{AttachmentRecord, DriverRef, EndpointRecord, SandboxRecord};
use serde_json::{Value, json};

use super::context::Context;
use super::inventory::{Inventory, KnownConnection, KnownNetwork, Life, NotFound, Thing, Wanted};
use super::report::{Report, told};
use super::table::Table;
use super::words::{self, attachment, id};
use crate::engine::Connection;

type Outcome = anyhow::Result<Report>;

pub(super) fn networks(context: &Context) -> Outcome {
    list(context, draw_networks)
}

pub(super) fn endpoints(context: &Context, network: Option<&str>) -> Outcome {
    let mut inventory = load(context)?;
    if let Some(name) = network {
        only_of(&mut inventory, name)?;
    }
    Ok(draw_endpoints(&inventory).with_failures(inventory.unreadable))
}

/// Leaves what is on one network, ours or Docker's.
fn only_of(inventory: &mut Inventory, name: &str) -> Result<(), NotFound> {
    let is_dockers = |it: &KnownConnection| {
        it.record.network_name == name || it.record.network.starts_with(name)
    };
    inventory.connections.retain(is_dockers);
    let ids: Vec<_> = match inventory.find(Wanted::Network, name) {
        Err(NotFound::Nothing { .. }) if !inventory.connections.is_empty() => Vec::new(),
        found => found?.iter().filter_map(network_id).cloned().collect(),
    };
    let networks = &mut inventory.networks;
    networks.retain(|one| ids.contains(&one.record.id));
    Ok(())
}

fn network_id<'a>(thing: &Thing<'a>) -> Option<&'a NetworkId> {
    match thing {
        Thing::Network(network) => Some(&network.record.id),
        _ => None,
    }
}

pub(super) fn sandboxes(context: &Context) -> Outcome {
    list(context, draw_sandboxes)
}

pub(super) fn garbage(context: &Context) -> Outcome {
    list(context, draw_garbage)
}

fn list(context: &Context, draw: fn(&Inventory) -> Report) -> Outcome {
    let inventory = load(context)?;
    Ok(draw(&inventory).with_failures(inventory.unreadable))
}

pub(super) fn load(context: &Context) -> anyhow::Result<Inventory> {
    Inventory::load(context.store()).map_err(told)
}

fn draw_networks(inventory: &Inventory) -> Report {
    let mut table = Table::new([
        "NETWORK ID",
        "NAME",
        "DRIVER",
        "IPAM",
        "SUBNETS",
        "ENDPOINTS",
        "STATE",
    ]);
    let mut all = Vec::new();
    for network in &inventory.networks {
        let record = &network.record;
        let subnets: Vec<_> = record
            .pools
            .iter()
            .map(|pool| pool.subnet.as_str())
            .collect();
        let state = words::network_state(record);
        table.row([
            record.id.short().to_owned(),
            record.name.clone(),
            driver(&record.driver),
            record.ipam.as_ref().map(driver).unwrap_or_default(),
            subnets.join(", "),
            network.endpoints.len().to_string(),
            state.clone(),
        ]);
        all.push(json!({
            "id": record.id, "name": record.name, "driver": record.driver, "ipam": record.ipam,
            "subnets": subnets, "endpoints": network.endpoints.len(), "state": state,
        }));
    }
    Report::new(table.text("no networks"), json!(all))
}

/// A driver that its name does not lead to has its address behind it.
fn driver(driver: &DriverRef) -> String {
    match &driver.url {
        None => driver.name.clone(),
        Some(url) => format!("{} ({url})", driver.name),
    }
}

fn draw_endpoints(inventory: &Inventory) -> Report {
    let mut table = Table::new([
        "ENDPOINT ID",
        "NETWORK",
        "CONTAINER",
        "INTERFACE",
        "ADDRESSES",
        "STATE",
    ]);
    let mut all = Vec::new();
    for (network, endpoint) in inventory.endpoints() {
        let record = &endpoint.record;
        let state = words::endpoint_state(endpoint);
        table.row([
            record.id.short().to_owned(),
            network.record.name.clone(),
            id(record.attachment.container_id.as_str()).to_owned(),
            record.attachment.ifname.to_string(),
            record.addresses.join(", "),
            state.clone(),
        ]);
        all.push(endpoint_json(network, record, &state));
    }
    for connection in &inventory.connections {
        let record = &connection.record;
        let state = words::connection_state(connection);
        table.row([
            id(&record.endpoint).to_owned(),
            dockers(&record.network_name),
            id(record.attachment.container_id.as_str()).to_owned(),
            record.attachment.ifname.to_string(),
            String::new(),
            state.clone(),
        ]);
        all.push(connection_json(record, &state));
    }
    Report::new(table.text("no endpoints"), json!(all))
}

/// An endpoint in a list for programs; `inspect` tells the rest.
pub(super) fn endpoint_json(network: &KnownNetwork, record: &EndpointRecord, state: &str) -> Value {
    json!({
        "id": record.id, "network": network.record.name, "networkId": record.network,
        "containerId": record.attachment.container_id, "ifname": record.attachment.ifname,
        "addresses": record.addresses, "netns": record.sandbox.path, "state": state,
    })
}

/// A container on a network of Docker's, whose addresses are Docker's to tell.
pub(super) fn connection_json(record: &Connection, state: &str) -> Value {
    json!({
        "id": record.endpoint, "network": record.network_name, "networkId": record.network,
        "containerId": record.attachment.container_id, "ifname": record.attachment.ifname,
        "docker": record.engine, "netns": record.sandbox.path, "state": state,
    })
}

/// An endpoint or a connection, as one of those that are in a sandbox.
struct Resident<'a> {
    sandbox: &'a SandboxRecord,
    life: Life,
    attachment: &'a AttachmentRecord,
    network: String,
    endpoint: &'a str,
}

fn residents(inventory: &Inventory) -> impl Iterator<Item = Resident<'_>> {
    let endpoints = inventory.endpoints().map(|(network, it)| Resident {
        sandbox: &it.record.sandbox,
        life: it.sandbox,
        attachment: &it.record.attachment,
        network: network.record.name.clone(),
        endpoint: it.record.id.as_str(),
    });
    let connections = inventory.connections.iter().map(|it| Resident {
        sandbox: &it.record.sandbox,
        life: it.sandbox,
        attachment: &it.record.attachment,
        network: dockers(&it.record.network_name),
        endpoint: &it.record.endpoint,
    });
    endpoints.chain(connections)
}

fn dockers(network: &str) -> String {
    format!("{network} (Docker)")
}

/// By path and inode: the namespace of one path may have been another one before.
fn by_sandbox(inventory: &Inventory) -> BTreeMap<(&Path, u64), Vec<Resident<'_>>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for resident in residents(inventory) {
        let key = (resident.sandbox.path.as_path(), resident.sandbox.inode);
        all.entry(key).or_default().push(resident);
    }
    all
}

fn draw_sandboxes(inventory: &Inventory) -> Report {
    let mut table = Table::new(["NAMESPACE", "CONTAINER", "STATE", "ENDPOINTS"]);
    let mut all = Vec::new();
    for ((path, _inode), residents) in by_sandbox(inventory) {
        let Some(first) = residents.first() else {
            continue;
        };
        let state = match first.life {
            Life::There => "there",
            Life::Gone => "gone",
            Life::Unknown => "unknown",
        };
        let container = &first.attachment.container_id;
        let inside: Vec<_> = residents
            .iter()
            .map(|it| format!("{} on {}", it.attachment.ifname, it.network))
            .collect();
        table.row([
            path.display().to_string(),
            id(container.as_str()).to_owned(),
            state.to_owned(),
            inside.join(", "),
        ]);
        let endpoints: Vec<_> = residents.iter().map(|it| it.endpoint).collect();
        all.push(json!({
            "netns": path, "containerId": container, "state": state, "endpoints": endpoints,
        }));
    }
    Report::new(table.text("no sandboxes"), json!(all))
}

fn draw_garbage(inventory: &Inventory) -> Report {
    let mut table = Table::new(["KIND", "ID", "NETWORK", "OF", "TRIES", "OWED", "WHY"]);
    let mut all = Vec::new();
    for (network, garbage) in inventory.garbage() {
        let (owed, why) = (words::dues(&garbage.owed), words::failure(&garbage.owed));
        all.push(json!({
            "kind": "endpoint", "id": garbage.id, "network": network.record.name,
            "tries": garbage.tries, "owed": garbage.owed,
        }));
        table.row([
            "endpoint".to_owned(),
            garbage.id.short().to_owned(),
            network.record.name.clone(),
            attachment(&garbage.attachment),
            garbage.tries.to_string(),
            owed,
            why,
        ]);
    }
    for network in inventory.networks.iter().filter(|one| !one.record.ready) {
        let record = &network.record;
        all.push(json!({
            "kind": "network", "id": record.id, "network": record.name, "owed": record.owed,
        }));
        table.row([
            "network".to_owned(),
            record.id.short().to_owned(),
            record.name.clone(),
            String::new(),
            String::new(),
            words::dues(&record.owed),
            words::failure(&record.owed),
        ]);
    }
    Report::new(table.text("no garbage"), json!(all))
}

#[cfg(test)]
mod tests {
    use super::super::inventory::tests::{connect, garbage_of, inventory, unready};
    use super::*;

    #[test]
    fn networks_with_their_drivers_and_subnets() {
        let report = draw_networks(&inventory());
        let expected = "\
NETWORK ID     NAME   DRIVER                        IPAM      SUBNETS        ENDPOINTS   STATE
3bc195d01a02   blue   driver (unix:///run/b.sock)   -         -              1           ready, internal
b984b19d26c9   red    weave                         default   10.77.0.0/24   2           ready
";
        assert_eq!(report.text, expected);
        assert_eq!(report.json[1]["name"], "red");
        assert_eq!(report.json[1]["id"].as_str().map(str::len), Some(64));
    }

    #[test]
    fn endpoints_with_what_became_of_their_namespaces() {
        let report = draw_endpoints(&inventory());
        let mut lines = report.text.lines();
        let head = "ENDPOINT ID    NETWORK   CONTAINER      INTERFACE   ADDRESSES      STATE";
        assert_eq!(lines.next(), Some(head));
        let ends: Vec<_> = lines.filter_map(|line| line.get(15..)).collect();
        let expected = [
            "blue      c1             net1        10.9.0.2/24    attached",
            "red       c1             eth0        10.77.0.2/24   attached",
            "red       0123456789ab   eth0        10.77.0.3/24   half removed, namespace gone",
        ];
        assert_eq!(ends, expected);
        assert_eq!(report.json[2]["netns"], "/run/netns/c2");
    }

    #[test]
    fn what_docker_connected_is_marked_so() {
        let mut inventory = inventory();
        connect(&mut inventory);
        let text = draw_endpoints(&inventory).text;
        let last = text.lines().last().unwrap();
        let cells: Vec<_> = last.split_whitespace().collect();
        let expected = [
            "77aa",
            "frontend",
            "(Docker)",
            "0123456789ab",
            "eth0",
            "-",
            "namespace",
            "gone",
        ];
        assert_eq!(cells, expected);
        let sandboxes = draw_sandboxes(&inventory).text;
        assert!(sandboxes.starts_with("NAMESPACE         CONTAINER"));
        assert!(
            sandboxes
                .contains("/proc/77/ns/net   0123456789ab   gone    eth0 on frontend (Docker)")
        );
    }

    #[test]
    fn what_is_on_one_network() {
        let on = |name: &str| {
            let mut inventory = inventory();
            connect(&mut inventory);
            only_of(&mut inventory, name).map(|()| draw_endpoints(&inventory).text.lines().count())
        };
        assert_eq!(on("red"), Ok(3));
        assert_eq!(on("frontend"), Ok(2));
        assert!(on("green").is_err());
    }

    #[test]
    fn sandboxes_with_all_that_is_in_them() {
        let report = draw_sandboxes(&inventory());
        let expected = "\
NAMESPACE       CONTAINER      STATE   ENDPOINTS
/run/netns/c1   c1             there   net1 on blue, eth0 on red
/run/netns/c2   0123456789ab   gone    eth0 on red
";
        assert_eq!(report.text, expected);
    }

    #[test]
    fn garbage_says_what_is_owed_and_why() {
        let mut inventory = inventory();
        assert_eq!(draw_garbage(&inventory).text, "no garbage\n");
        garbage_of(&mut inventory, "red");
        unready(&mut inventory, "blue");
        let report = draw_garbage(&inventory);
        let lines: Vec<_> = report.text.lines().collect();
        let cells = |line: &str| -> Vec<String> {
            line.split("   ")
                .map(|cell| cell.trim().to_owned())
                .filter(|it| !it.is_empty())
                .collect()
        };
        let endpoint = cells(lines[1]);
        assert_eq!(
            endpoint[2..],
            [
                "red",
                "eth0 of c9",
                "3",
                "Leave, ReleaseAddress 10.77.0.9",
                "busy"
            ]
        );
        let network = cells(lines[2]);
        assert_eq!(network[2..], ["blue", "-", "-", "DeleteNetwork", "-"]);
        assert_eq!(report.json[0]["owed"][0]["failed"], "busy");
    }
}
