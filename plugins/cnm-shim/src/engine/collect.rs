//! GC and STATUS.

use cni_cnm::http::Patience;
use cni_plugin::{GcRequest, Request};
use cni_types::{Attachment, CniError};

use super::error::JoinError;
use super::record::Connections;
use super::{network, open, remove};
use crate::config::{EngineConfig, Settings, means_engine};

/// Disconnects what is remembered of this CNI network and is no valid attachment, and removes the
/// networks that were made for it and are not used, if they are to go.
pub(crate) fn collect(request: &GcRequest, settings: &Settings) -> Result<(), CniError> {
    let connections = Connections::new(&settings.data_dir);
    let valid: Vec<Attachment> = request.valid_attachments().collect();
    let mut errors: Vec<CniError> = Vec::new();
    for read in connections.all()? {
        let connection = match read {
            Ok(connection) => connection,
            Err(error) => {
                errors.push(error.into());
                continue;
            }
        };
        let attachment = Attachment::from(&connection.attachment);
        if attachment.network != request.request.network || valid.contains(&attachment) {
            continue;
        }
        errors.extend(remove::remove_one(&connections, &attachment, settings).err());
    }
    // Who has nothing to do with Docker is not to wait for it.
    let is_engine = means_engine(&request.request.config);
    if is_engine && settings.remove_network && connections.is_there() {
        errors.extend(remove_networks(request, &connections, settings).err());
    }
    CniError::collect(errors)
}

fn remove_networks(
    request: &GcRequest,
    connections: &Connections,
    settings: &Settings,
) -> Result<(), CniError> {
    let limits = settings.limits();
    let engine = open(settings, Patience::default())?;
    let of = &request.request.network;
    let made = match network::made_for(&engine, of, limits.call()) {
        Err(error) if error.is_down() && settings.leak_when_down => return Ok(()),
        made => made?,
    };
    let remove = |id: &str, name: &str| -> Result<(), CniError> {
        let _lock = connections.lock_network(name, limits.total)?;
        Ok(network::remove_unused(
            &engine,
            id,
            (of, ""),
            limits.join(),
        )?)
    };
    let outcomes = made
        .iter()
        .map(|network| remove(&network.id, &network.name));
    CniError::collect(outcomes.filter_map(Result::err))
}

/// Whether Docker answers, and has the network or could make it.
pub(crate) fn status(
    _request: &Request,
    config: &EngineConfig,
    settings: &Settings,
) -> Result<(), CniError> {
    ready(config, settings).map_err(CniError::not_available)
}

fn ready(config: &EngineConfig, settings: &Settings) -> Result<(), CniError> {
    let limits = settings.status_limits();
    let engine = open(settings, Patience::none())?;
    match (
        network::find(&engine, &config.network, limits.call())?,
        &config.create,
    ) {
        (None, None) => Err(JoinError::NoNetwork(config.network.clone()).into()),
        (Some(found), Some(wanted)) => Ok(network::require_same(&found, wanted)?),
        _ => Ok(()),
    }
}
