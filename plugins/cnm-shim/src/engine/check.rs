//! CHECK: compares the container with the ADD's result, and asks Docker for the endpoint.

use cni_cnm::engine::EngineError;
use cni_cnm::http::Patience;
use cni_cnm::sandbox::{Kernel, Sandboxes};
use cni_netlink::NetNs;
use cni_plugin::AttachmentRequest;
use cni_types::{CniError, CniResult, IfName};

use super::record::{Connection, Connections, Stage};
use super::{open_at, remove};
use crate::compare::compare;
use crate::config::{EngineConfig, Settings};
use crate::error::ShimError;

/// Tells all that is missing or different.
pub(crate) fn check(
    request: &AttachmentRequest,
    config: &EngineConfig,
    settings: &Settings,
) -> Result<(), CniError> {
    let result = request.request.prev_result()?;
    let result = result.ok_or(ShimError::NoPrevResult)?;
    let attachment = &request.attachment;
    let connection = Connections::new(&settings.data_dir)
        .load(attachment)?
        .ok_or_else(|| ShimError::NoEndpoint(attachment.clone()))?;
    if connection.stage != Stage::Whole {
        return Err(ShimError::HalfDone(attachment.clone()).into());
    }
    let mut errors = compare_container(request, &result, &connection)?;
    if config.check_driver {
        errors.extend(match ask_docker(&connection, settings) {
            Ok(found) => found.map(CniError::from),
            Err(error) => Some(error.into()),
        });
    }
    CniError::collect(errors)
}

fn compare_container(
    request: &AttachmentRequest,
    result: &CniResult,
    connection: &Connection,
) -> Result<Vec<CniError>, CniError> {
    let name = &request.attachment.ifname;
    let mut errors = Vec::new();
    if !remove::is_in_place(connection) {
        let path = connection.sandbox.path.display().to_string();
        let found = "it leads to another namespace than at the time of the ADD";
        errors.push(ShimError::mismatch(path, found).into());
    }
    let what = || format!("interface {name}");
    match Kernel.look(&request.netns, name)? {
        None => errors.push(ShimError::mismatch(what(), "it is missing").into()),
        Some(seen) => errors.extend(compare(&seen, result, request).map(CniError::from)),
    }
    if let Some(old) = lost_name(request, connection)? {
        let found = format!("Docker does not find it any more, since it has lost the name {old}");
        errors.push(ShimError::mismatch(what(), found).into());
    }
    Ok(errors)
}

/// The name by which Docker knows the link, if it leads somewhere else.
fn lost_name(
    request: &AttachmentRequest,
    connection: &Connection,
) -> Result<Option<String>, CniError> {
    let Some(link) = connection
        .link
        .as_ref()
        .filter(|_| connection.keeps_old_name)
    else {
        return Ok(None);
    };
    let Ok(old) = link.src_name.parse::<IfName>() else {
        return Ok(None);
    };
    let inside = NetNs::open(&request.netns)?
        .only(request.netns_id)?
        .socket()?;
    let found = inside.find_link_by_any_name(&old)?;
    let is_ours = found.is_some_and(|found| found.index == link.index);
    Ok((!is_ours).then(|| link.src_name.clone()))
}

/// What Docker says of the endpoint, if it is not what it was.
fn ask_docker(
    connection: &Connection,
    settings: &Settings,
) -> Result<Option<ShimError>, EngineError> {
    let engine = open_at(Some(&connection.engine), Patience::default())?;
    let deadline = settings.limits().call();
    let what = format!("Docker's network {}", connection.network_name);
    let container = match engine.inspect_container(&connection.container, deadline) {
        Err(error) if error.is_not_found() => {
            let found = format!("container {} is gone", connection.container);
            return Ok(Some(ShimError::mismatch(what, found)));
        }
        found => found?,
    };
    let found = match connection.endpoint_of(&container) {
        None => "the container is not on it any more",
        Some(now) if now.endpoint_id != connection.endpoint => {
            "the container has another endpoint on it"
        }
        Some(_) => return Ok(None),
    };
    Ok(Some(ShimError::mismatch(what, found)))
}
