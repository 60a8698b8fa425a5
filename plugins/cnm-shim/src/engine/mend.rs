//! What people mend by hand: one connection at a time.

use std::path::Path;
use std::time::Duration;

use cni_cnm::engine::{Engine, EngineError, ServerVersion};
use cni_cnm::http::Patience;
use cni_cnm::store::StoreError;
use cni_types::{Attachment, CniError};

use super::record::{Connection, Connections};
use super::{open_at, remove};
use crate::config::Settings;

/// All connections that are remembered, and what could not be read.
pub(crate) fn connections(
    data_dir: &Path,
) -> Result<Vec<Result<Connection, StoreError>>, StoreError> {
    Connections::new(data_dir).all()
}

/// Disconnects a container that was looked at before. `false` if there is another connection by now,
/// or none: nothing is done then.
pub(crate) fn remove_seen(seen: &Connection, settings: &Settings) -> Result<bool, CniError> {
    let connections = Connections::new(&settings.data_dir);
    let attachment = Attachment::from(&seen.attachment);
    let lock = connections.lock(&attachment, settings.limits().total)?;
    if connections.load(&attachment)?.as_ref() != Some(seen) {
        return Ok(false);
    }
    remove::remove_locked(&connections, &attachment, settings, &lock)?;
    Ok(true)
}

/// Forgets a connection without asking Docker. `false` if there is another one by now, or none.
pub(crate) fn forget_seen(seen: &Connection, settings: &Settings) -> Result<bool, CniError> {
    let connections = Connections::new(&settings.data_dir);
    let attachment = Attachment::from(&seen.attachment);
    let _lock = connections.lock(&attachment, settings.limits().total)?;
    let is_still = connections.load(&attachment)?.as_ref() == Some(seen);
    if is_still {
        connections.forget(&attachment)?;
    }
    Ok(is_still)
}

/// Where Docker Engine listens, who it is, and how long it took to tell.
pub(crate) fn ping(
    settings: &Settings,
) -> Result<(String, Result<ServerVersion, EngineError>, Duration), EngineError> {
    let engine: Engine = open_at(settings.engine_socket.as_deref(), Patience::none())?;
    let start = std::time::Instant::now();
    let version = engine.server_version(settings.limits().call());
    Ok((engine.address().to_string(), version, start.elapsed()))
}
