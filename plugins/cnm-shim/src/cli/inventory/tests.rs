use cni_cnm::store::record::{AttachmentRecord, Debts, DriverRef, Due, LinkRecord, PoolRecord};
use cni_cnm::wire::network::CreateNetworkRequest;
use cni_cnm::{EndpointId, NetworkId};
use cni_types::Attachment;

use super::*;

/// A container's id as Docker's are.
const LONG: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn network(name: &str, driver: DriverRef, ipam: Option<DriverRef>) -> KnownNetwork {
    let record = NetworkRecord {
        id: NetworkId::derive(name),
        name: name.into(),
        driver,
        ipam,
        scope: "local".into(),
        made_from: String::new(),
        request: CreateNetworkRequest::default(),
        pools: Vec::new(),
        internal: false,
        requires_mac: false,
        ready: true,
        shared: false,
        owed: Debts::default(),
        tries: 0,
    };
    KnownNetwork {
        record,
        endpoints: Vec::new(),
        garbage: Vec::new(),
    }
}

fn endpoint(
    network: &KnownNetwork,
    container: &str,
    ifname: &str,
    address: &str,
) -> EndpointRecord {
    let attachment = Attachment {
        network: "pods".parse().unwrap(),
        container_id: container.parse().unwrap(),
        ifname: ifname.parse().unwrap(),
    };
    EndpointRecord {
        id: EndpointId::derive(&network.record.name, &attachment, 0),
        network: network.record.id.clone(),
        driver: network.record.driver.clone(),
        ipam: network.record.ipam.clone(),
        generation: 0,
        attachment: AttachmentRecord::from(&attachment),
        sandbox: SandboxRecord {
            path: format!("/run/netns/{container}").into(),
            inode: 1,
            ..SandboxRecord::default()
        },
        mac: String::new(),
        addresses: vec![address.into()],
        join: None,
        link: Some(LinkRecord {
            src_name: "tmp0".into(),
            name: ifname.into(),
            ..LinkRecord::default()
        }),
        made_network: false,
        complete: true,
        leaving: false,
        owed: Debts::default(),
        tries: 0,
    }
}

/// Two networks; container c1 is on both, one whose namespace is gone on one of them.
pub(in crate::cli) fn inventory() -> Inventory {
    let default = DriverRef::named("default");
    let mut red = network("red", DriverRef::named("weave"), Some(default));
    red.record.pools.push(PoolRecord {
        subnet: "10.77.0.0/24".into(),
        ..PoolRecord::default()
    });
    let mut gone = endpoint(&red, LONG, "eth0", "10.77.0.3/24");
    gone.sandbox.path = "/run/netns/c2".into();
    (gone.leaving, gone.tries) = (true, 1);
    for due in [
        Due::Leave,
        Due::Link,
        Due::Endpoint,
        Due::Address {
            pool: "p".into(),
            address: "10.77.0.3".into(),
        },
    ] {
        gone.owed.incur(due);
    }
    red.endpoints = vec![
        known(endpoint(&red, "c1", "eth0", "10.77.0.2/24"), Life::There),
        known(gone, Life::Gone),
    ];
    let by_url = DriverRef {
        name: "driver".into(),
        url: Some("unix:///run/b.sock".into()),
    };
    let mut blue = network("blue", by_url, None);
    blue.record.internal = true;
    blue.endpoints = vec![known(
        endpoint(&blue, "c1", "net1", "10.9.0.2/24"),
        Life::There,
    )];
    Inventory {
        networks: vec![blue, red],
        connections: Vec::new(),
        unreadable: Vec::new(),
    }
}

fn known(record: EndpointRecord, sandbox: Life) -> KnownEndpoint {
    KnownEndpoint { record, sandbox }
}

fn named<'a>(inventory: &'a mut Inventory, name: &str) -> &'a mut KnownNetwork {
    let mut networks = inventory.networks.iter_mut();
    networks
        .find(|network| network.record.name == name)
        .unwrap()
}

/// Adds what is left of an endpoint of container c9.
pub(in crate::cli) fn garbage_of(inventory: &mut Inventory, name: &str) {
    let network = named(inventory, name);
    let mut garbage = endpoint(network, "c9", "eth0", "10.77.0.9/24");
    garbage.tries = 3;
    garbage.owed.incur(Due::Leave);
    garbage.owed.fail(&Due::Leave, "busy");
    garbage.owed.incur(Due::Address {
        pool: "p".into(),
        address: "10.77.0.9".into(),
    });
    network.garbage.push(garbage);
}

/// Makes a network one that could not be removed.
pub(in crate::cli) fn unready(inventory: &mut Inventory, name: &str) {
    let record = &mut named(inventory, name).record;
    record.ready = false;
    record.owed.incur(Due::Network);
}

/// Adds a container of Docker's on its network `frontend`; its namespace is gone.
pub(in crate::cli) fn connect(inventory: &mut Inventory) {
    let record = serde_json::json!({
        "attachment": {"network": "pods", "containerId": LONG, "ifname": "eth0"},
        "engine": "unix:///var/run/docker.sock", "container": LONG, "network": "fe7f",
        "networkName": "frontend", "endpoint": "77aa", "stage": "whole", "containerName": "c",
        "sandbox": {"path": "/proc/77/ns/net", "key": "", "dev": 4, "inode": 9},
    });
    inventory.connections.push(KnownConnection {
        record: serde_json::from_value(record).unwrap(),
        sandbox: Life::Gone,
    });
}

fn ids(found: &[Thing<'_>]) -> Vec<String> {
    let id = |thing: &Thing<'_>| match thing {
        Thing::Network(network) => format!("network {}", network.record.name),
        Thing::Endpoint(network, it) => {
            format!("{} on {}", it.record.attachment.ifname, network.record.name)
        }
        Thing::Connection(it) => format!("{} by Docker", it.record.attachment.container_id),
        Thing::Garbage(it) => format!("garbage of {}", it.attachment.container_id),
    };
    found.iter().map(id).collect()
}

#[test]
fn a_name_an_id_and_the_beginning_of_an_id_lead_to_the_same() {
    let inventory = inventory();
    let id = NetworkId::derive("red");
    for name in ["red", id.as_str(), id.short(), &id.as_str()[..4]] {
        let found = inventory.find(Wanted::Network, name).unwrap();
        assert_eq!(ids(&found), ["network red"], "{name}");
    }
}

#[test]
fn a_container_leads_to_all_its_endpoints() {
    let mut inventory = inventory();
    let found = inventory.find(Wanted::Anything, "c1").unwrap();
    assert_eq!(ids(&found), ["net1 on blue", "eth0 on red"]);
    let found = inventory.find(Wanted::Anything, "0123").unwrap();
    assert_eq!(ids(&found), ["eth0 on red"]);
    garbage_of(&mut inventory, "red");
    let found = inventory.find(Wanted::Anything, "c9").unwrap();
    assert_eq!(ids(&found), ["garbage of c9"]);
}

#[test]
fn what_is_not_known_and_what_may_be_several_is_told_apart() {
    let inventory = inventory();
    for (wanted, name, said) in [
        (
            Wanted::Network,
            "green",
            "network \"green\" is not known; `cnm-shim networks` lists what is",
        ),
        (
            Wanted::Endpoint,
            "c1",
            "endpoint \"c1\" is not known; `cnm-shim endpoints` lists what is",
        ),
        (
            Wanted::Garbage,
            "",
            "garbage \"\" is not known; `cnm-shim garbage` lists what is",
        ),
    ] {
        assert_eq!(inventory.find(wanted, name).unwrap_err().to_string(), said);
    }
}

#[test]
fn what_docker_connected_is_found_by_its_endpoint_and_its_container() {
    let mut inventory = inventory();
    connect(&mut inventory);
    let found = inventory.find(Wanted::Endpoint, "77a").unwrap();
    assert_eq!(ids(&found), [format!("{LONG} by Docker")]);
    assert_eq!(inventory.find(Wanted::Anything, LONG).unwrap().len(), 2);
    inventory.connections[0].record.endpoint.clear();
    let found = inventory.find(Wanted::Endpoint, "0123").unwrap();
    assert_eq!(found.len(), 1, "there is nothing else to call it by");
}

#[test]
fn the_beginning_of_several_names_is_refused_with_all_of_them() {
    let mut inventory = inventory();
    garbage_of(&mut inventory, "red");
    let error = inventory.find(Wanted::Anything, "c").unwrap_err();
    let NotFound::Ambiguous { candidates, .. } = &error else {
        panic!("{error}");
    };
    let has = |name: &str| candidates.iter().any(|candidate| candidate == name);
    assert!(has("c1") && has("c9"), "{error}");
}

#[test]
fn a_namespace_is_the_one_that_its_file_is_of() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("netns");
    let mut sandbox = SandboxRecord {
        path: path.clone(),
        inode: 1,
        ..SandboxRecord::default()
    };
    assert_eq!(Life::of(&sandbox), Life::Gone);
    fs::write(&path, "").unwrap();
    assert_eq!(Life::of(&sandbox), Life::Gone, "another one is there");
    let file = fs::metadata(&path).unwrap();
    (sandbox.dev, sandbox.inode) = (file.dev(), file.ino());
    assert_eq!(Life::of(&sandbox), Life::There);
    sandbox.path = path.join("below a file");
    assert_eq!(Life::of(&sandbox), Life::Unknown);
    assert_eq!(Life::of(&SandboxRecord::default()), Life::Unknown);
}
