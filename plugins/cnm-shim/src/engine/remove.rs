//! Taking back what is remembered: DEL, the undo of a failed ADD, and what GC does.

use cni_cnm::controller::spec::Limits;
use cni_cnm::engine::{Container, EndpointConfig, Engine, EngineError};
use cni_cnm::http::Patience;
use cni_cnm::sandbox::{Kernel, LeftInside, Sandboxes};
use cni_cnm::store::{Lock, StoreError};
use cni_plugin::DelRequest;
use cni_types::{Attachment, CniError, NetworkName};

use super::container::NONE;
use super::record::{Connection, Connections};
use super::{network, open_at};
use crate::config::Settings;
use crate::report;

/// Disconnects the container: by what is remembered of it, whatever the config says by now.
pub(crate) fn remove(request: &DelRequest, settings: &Settings) -> Result<(), CniError> {
    let connections = Connections::new(&settings.data_dir);
    if !connections.is_there() {
        return Ok(());
    }
    remove_one(&connections, &request.attachment, settings)
}

/// The same for any attachment.
pub(super) fn remove_one(
    connections: &Connections,
    attachment: &Attachment,
    settings: &Settings,
) -> Result<(), CniError> {
    let lock = connections.lock(attachment, settings.limits().total)?;
    remove_locked(connections, attachment, settings, &lock)
}

/// The same for whoever holds its lock.
pub(super) fn remove_locked(
    connections: &Connections,
    attachment: &Attachment,
    settings: &Settings,
    _lock: &Lock,
) -> Result<(), CniError> {
    let limits = settings.limits();
    let Some(mut connection) = load(connections, attachment)? else {
        return Ok(());
    };
    let _sandbox = connections.lock_sandbox(&connection.sandbox, limits.total)?;
    let removal = Removal::new(&connection, connections, limits)?;
    match removal.run(&mut connection) {
        Err(Unfinished::Down(down)) if settings.leak_when_down => {
            report::notes(&[format!("{}; GC tries again", CniError::from(down))]);
            return Ok(());
        }
        outcome => report::notes(&outcome?),
    }
    if settings.remove_network {
        removal.remove_network(&connection, &attachment.network)?;
    }
    Ok(())
}

/// The record of an attachment. One that cannot be read is put aside: it must not be in the way for
/// ever.
pub(super) fn load(
    connections: &Connections,
    attachment: &Attachment,
) -> Result<Option<Connection>, StoreError> {
    match connections.load(attachment) {
        Err(StoreError::Broken { path, why }) => {
            let aside = connections.set_aside(&path)?;
            let (path, aside) = (path.display(), aside.display());
            report::notes(&[format!(
                "{path} is not a record: {why}; it is kept as {aside}"
            )]);
            Ok(None)
        }
        read => read,
    }
}

/// Whether the namespace is the same that the container had.
pub(super) fn is_in_place(connection: &Connection) -> bool {
    let before = &connection.sandbox;
    let now = Kernel.identify(&before.path);
    now.is_ok_and(|now| (now.dev, now.inode) == (before.dev, before.inode))
}

/// Why something is still there.
#[derive(Debug)]
pub(super) enum Unfinished {
    /// Docker does not answer.
    Down(EngineError),
    /// Whatever else.
    Failed(CniError),
}

impl From<EngineError> for Unfinished {
    fn from(error: EngineError) -> Self {
        if error.is_down() {
            Self::Down(error)
        } else {
            Self::Failed(error.into())
        }
    }
}

impl From<Unfinished> for CniError {
    fn from(unfinished: Unfinished) -> Self {
        let error = match unfinished {
            Unfinished::Down(down) => Self::from(down),
            Unfinished::Failed(error) => error,
        };
        error.and("the next DEL of the attachment, or GC, tries again")
    }
}

/// Taking one connection back. Whoever does it holds the locks of its attachment and its sandbox.
pub(super) struct Removal<'a> {
    engine: Engine,
    connections: &'a Connections,
    limits: Limits,
}

impl<'a> Removal<'a> {
    /// Through the Docker that has made it.
    pub(super) fn new(
        connection: &Connection,
        connections: &'a Connections,
        limits: Limits,
    ) -> Result<Self, EngineError> {
        let engine = open_at(Some(&connection.engine), Patience::default())?;
        Ok(Self {
            engine,
            connections,
            limits,
        })
    }

    /// Takes it back and forgets it; returns what is worth telling. What could not be done keeps the
    /// record.
    pub(super) fn run(&self, connection: &mut Connection) -> Result<Vec<String>, Unfinished> {
        let undone = self.take_back(connection);
        let attachment = Attachment::from(&connection.attachment);
        let kept = match &undone {
            Ok(_) if connection.unanswered => {
                // Whoever comes next looks again, and then for good.
                connection.unanswered = false;
                self.connections.save(connection)
            }
            Ok(_) => self.connections.forget(&attachment),
            Err(_) => {
                connection.whole = false;
                self.connections.save(connection)
            }
        };
        kept.map_err(|error| Unfinished::Failed(error.into()))?;
        undone
    }

    fn take_back(&self, connection: &Connection) -> Result<Vec<String>, Unfinished> {
        let mut notes = Vec::new();
        let container = self.container(connection)?;
        if let Some(container) = &container
            && connection.endpoint_of(container).is_some()
        {
            self.disconnect(connection)?;
        }
        notes.extend(discard_link(connection)?);
        if container.is_some() && connection.was_on_none {
            notes.extend(self.put_back_on_none(connection)?);
        }
        Ok(notes)
    }

    /// The container; `None` if it is gone, and its endpoints with it.
    fn container(&self, connection: &Connection) -> Result<Option<Container>, EngineError> {
        let deadline = self.limits.call();
        match self
            .engine
            .inspect_container(&connection.container, deadline)
        {
            Err(error) if error.is_not_found() => Ok(None),
            found => found.map(Some),
        }
    }

    /// By force where it does not go otherwise. That it has happened meanwhile is fine.
    fn disconnect(&self, connection: &Connection) -> Result<(), EngineError> {
        let ask = |force| {
            let (network, container) = (&connection.network, &connection.container);
            let deadline = self.limits.join();
            match self.engine.disconnect(network, container, force, deadline) {
                Err(error) if error.is_not_connected() || error.is_not_found() => Ok(()),
                outcome => outcome,
            }
        };
        match ask(false) {
            Err(error) if !error.is_down() => ask(true),
            outcome => outcome,
        }
    }

    /// A container that is on nothing now, and was on `none`, has no network to begin with when it
    /// is started again unless it goes back.
    fn put_back_on_none(&self, connection: &Connection) -> Result<Option<String>, EngineError> {
        let Some(container) = self.container(connection)? else {
            return Ok(None);
        };
        if !container.network_settings.networks.is_empty() {
            return Ok(None);
        }
        let nothing = EndpointConfig::default();
        let deadline = self.limits.join();
        match self.engine.connect(NONE, &container.id, &nothing, deadline) {
            Err(error) if error.is_down() => Err(error),
            Err(error) => Ok(Some(CniError::from(error).to_string())),
            Ok(()) => Ok(None),
        }
    }

    /// Removes the network, if it was made for this CNI network and nobody is on it any more.
    pub(super) fn remove_network(
        &self,
        connection: &Connection,
        of: &NetworkName,
    ) -> Result<(), CniError> {
        let (name, id) = (&connection.network_name, &connection.network);
        let _lock = self.connections.lock_network(name, self.limits.total)?;
        let removed = network::remove_unused(&self.engine, id, of, self.limits.join());
        // The container is disconnected, which is what DEL is for. GC removes networks, too.
        if let Err(error) = removed {
            report::notes(&[CniError::from(error).to_string()]);
        }
        Ok(())
    }
}

/// Docker says nothing of a link that it does not find, and leaves it where it is.
fn discard_link(connection: &Connection) -> Result<Option<String>, Unfinished> {
    let Some(link) = &connection.link else {
        return Ok(None);
    };
    let left = Kernel.discard_inside(&connection.sandbox, link);
    let left = left.map_err(|error| Unfinished::Failed(error.into()))?;
    Ok(match left {
        LeftInside::Kept(name) => Some(format!(
            "Docker has left {name} in the container; it is hardware, and stays there"
        )),
        LeftInside::Nothing | LeftInside::Deleted => None,
    })
}
