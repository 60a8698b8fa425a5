//! The lists: networks, endpoints, sandboxes, garbage. Each is drawn from an [`Inventory`], which is
//! pure.

use std::collections::BTreeMap;
use std::path::Path;

use cni_cnm::store::record::{DriverRef, EndpointRecord};
use serde_json::{Value, json};

use super::context::Context;
use super::inventory::{Inventory, KnownEndpoint, KnownNetwork, Life, Thing, Wanted};
use super::report::{Report, told};
use super::table::Table;
use super::words::{self, attachment, id};

type Outcome = anyhow::Result<Report>;

pub(super) fn networks(context: &Context) -> Outcome {
    list(context, draw_networks)
}

pub(super) fn endpoints(context: &Context, network: Option<&str>) -> Outcome {
    let mut inventory = load(context)?;
    if let Some(name) = network {
        let found = inventory.find(Wanted::Network, name)?;
        let ids: Vec<_> = found
            .iter()
            .filter_map(|thing| match thing {
                Thing::Network(network) => Some(network.record.id.clone()),
                _ => None,
            })
            .collect();
        inventory
            .networks
            .retain(|one| ids.contains(&one.record.id));
    }
    Ok(draw_endpoints(&inventory).with_failures(inventory.unreadable))
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

/// A sandbox is a namespace; that of one path may have been another one before.
type Sandboxes<'a> = BTreeMap<(&'a Path, u64), Vec<(&'a KnownNetwork, &'a KnownEndpoint)>>;

fn draw_sandboxes(inventory: &Inventory) -> Report {
    let mut sandboxes = Sandboxes::new();
    for (network, endpoint) in inventory.endpoints() {
        let sandbox = &endpoint.record.sandbox;
        let key = (sandbox.path.as_path(), sandbox.inode);
        sandboxes.entry(key).or_default().push((network, endpoint));
    }
    let mut table = Table::new(["NAMESPACE", "CONTAINER", "STATE", "ENDPOINTS"]);
    let mut all = Vec::new();
    for ((path, _inode), endpoints) in &sandboxes {
        let Some((_, first)) = endpoints.first() else {
            continue;
        };
        let state = match first.sandbox {
            Life::There => "there",
            Life::Gone => "gone",
            Life::Unknown => "unknown",
        };
        let container = &first.record.attachment.container_id;
        let inside: Vec<_> = endpoints.iter().map(|it| inside(*it)).collect();
        table.row([
            path.display().to_string(),
            id(container.as_str()).to_owned(),
            state.to_owned(),
            inside.join(", "),
        ]);
        let ids: Vec<_> = endpoints.iter().map(|(_, it)| &it.record.id).collect();
        all.push(json!({
            "netns": path, "containerId": container, "state": state, "endpoints": ids,
        }));
    }
    Report::new(table.text("no sandboxes"), json!(all))
}

fn inside((network, endpoint): (&KnownNetwork, &KnownEndpoint)) -> String {
    let ifname = &endpoint.record.attachment.ifname;
    format!("{ifname} on {}", network.record.name)
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
            attachment(garbage),
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
    use super::super::inventory::tests::{garbage_of, inventory, unready};
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
