//! Words for what records say. Pure.

use std::fmt::{self, Write as _};

use cni_cnm::store::record::{Debts, Due, EndpointRecord, NetworkRecord};
use cni_types::{CniError, ToCniError};

use super::inventory::{KnownEndpoint, Life};

/// Adds a line.
pub(super) fn line(text: &mut String, line: fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _infallible = writeln!(text, "{line}");
}

/// An error in one line, with what to do about it.
pub(super) fn in_words(error: impl ToCniError) -> String {
    CniError::from(error).to_string()
}

/// An id as people know it: Docker's are cut to 12 digits, others are left as they are.
pub(super) fn id(id: &str) -> &str {
    let is_long = id.len() > 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_long {
        id.get(..12).unwrap_or(id)
    } else {
        id
    }
}

/// `eth0 of c1`
pub(super) fn attachment(record: &EndpointRecord) -> String {
    let attachment = &record.attachment;
    let container = id(attachment.container_id.as_str());
    format!("{} of {container}", attachment.ifname)
}

/// Whether an endpoint is as it should be.
pub(super) fn endpoint_state(endpoint: &KnownEndpoint) -> String {
    let record = &endpoint.record;
    let made = match (record.is_whole(), record.tries) {
        (true, _) => None,
        (false, 0) => Some("half made"),
        (false, _) => Some("half removed"),
    };
    let sandbox = match endpoint.sandbox {
        Life::There => None,
        Life::Gone => Some("namespace gone"),
        Life::Unknown => Some("namespace unknown"),
    };
    let said: Vec<_> = made.into_iter().chain(sandbox).collect();
    if said.is_empty() {
        "attached".to_owned()
    } else {
        said.join(", ")
    }
}

/// Whether a network is as it should be.
pub(super) fn network_state(record: &NetworkRecord) -> String {
    let mut said = vec![if record.ready { "ready" } else { "half done" }];
    said.extend(record.internal.then_some("internal"));
    said.extend(record.shared.then_some("shared"));
    said.join(", ")
}

/// What has to be called to pay a debt.
pub(super) fn due(due: &Due) -> String {
    match due {
        Due::Revoke => "RevokeExternalConnectivity".to_owned(),
        Due::Leave => "Leave".to_owned(),
        Due::Link => "take the link out".to_owned(),
        Due::Endpoint => "DeleteEndpoint".to_owned(),
        Due::Key => "remove the path that the driver was told".to_owned(),
        Due::Address { address, .. } if address.is_empty() => {
            "ReleaseAddress of an unknown address".to_owned()
        }
        Due::Address { address, .. } => format!("ReleaseAddress {address}"),
        Due::Pool { pool } => format!("ReleasePool {pool}"),
        Due::Network => "DeleteNetwork".to_owned(),
    }
}

/// What is owed, in the order of payment.
pub(super) fn dues(owed: &Debts) -> String {
    let all: Vec<_> = owed.iter().map(|debt| due(&debt.due)).collect();
    all.join(", ")
}

/// Why the first debt that was tried could not be paid.
pub(super) fn failure(owed: &Debts) -> String {
    let mut failures = owed.iter().filter_map(|debt| debt.failed.clone());
    failures.next().unwrap_or_default()
}

/// What stays where, if an endpoint is forgotten.
pub(super) fn left_of_endpoint(record: &EndpointRecord) -> Vec<String> {
    let calls = |of_ipam: bool| -> Vec<String> {
        let owed = record.owed.iter().map(|debt| &debt.due);
        owed.filter(|due| {
            !matches!(due, Due::Link | Due::Key) && matches!(due, Due::Address { .. }) == of_ipam
        })
        .map(due)
        .collect()
    };
    let mut left = Vec::new();
    let with_driver = calls(false);
    if !with_driver.is_empty() {
        left.push(format!(
            "network driver {} has endpoint {} still: {}",
            record.driver.name,
            record.id,
            with_driver.join(", ")
        ));
    }
    let with_ipam = calls(true);
    if let (Some(ipam), false) = (&record.ipam, with_ipam.is_empty()) {
        let calls = with_ipam.join(", ");
        left.push(format!(
            "IPAM driver {} still has addresses: {calls}",
            ipam.name
        ));
    }
    if let (Some(link), true) = (&record.link, record.owed.has(&Due::Link)) {
        let sandbox = record.sandbox.path.display();
        left.push(format!("{sandbox} still has interface {}", link.name));
    }
    left
}

/// What stays where, if a network is forgotten.
pub(super) fn left_of_network(record: &NetworkRecord) -> Vec<String> {
    let owed = record.owed.iter().map(|debt| &debt.due);
    let with_ipam: Vec<_> = owed.filter(|due| **due != Due::Network).map(due).collect();
    let mut left = Vec::new();
    if let (Some(ipam), false) = (&record.ipam, with_ipam.is_empty()) {
        let calls = with_ipam.join(", ");
        left.push(format!(
            "IPAM driver {} still has addresses: {calls}",
            ipam.name
        ));
    }
    if record.owed.has(&Due::Network) {
        let driver = &record.driver.name;
        left.push(format!(
            "network driver {driver} still has network {}",
            record.id
        ));
    }
    left
}

/// What nobody is asked for who removes an endpoint here: the config that names the plugin is the
/// runtime's.
pub(super) fn lease(record: &EndpointRecord) -> Option<String> {
    let addresses = record.addresses.join(", ");
    (record.ipam.is_none() && !addresses.is_empty()).then(|| {
        format!(
            "{addresses} came from a CNI IPAM plugin, which only the runtime's DEL or GC asks to take \
             it back"
        )
    })
}
