//! Taking back what is remembered: DEL, the undo of a failed ADD, and what GC does.

use cni_cnm::controller::spec::Limits;
use cni_cnm::engine::{Container, EndpointConfig, Engine, EngineError};
use cni_cnm::http::Patience;
use cni_cnm::sandbox::{Kernel, LeftInside, Sandboxes};
use cni_cnm::store::StoreError;
use cni_plugin::DelRequest;
use cni_types::{Attachment, CniError, NetworkName};

use super::container::NONE;
use super::record::{Connection, Connections, Stage};
use super::{container, network, open_at};
use crate::config::Settings;
use crate::error::ShimError;
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
    let limits = settings.limits();
    let _lock = connections.lock(attachment, limits.total)?;
    let Some(mut connection) = load(connections, attachment)? else {
        return Ok(());
    };
    let _sandbox = connections.lock_sandbox(&connection.sandbox, limits.total)?;
    let removal = Removal::new(&connection, connections, limits)?;
    match removal.run(&mut connection) {
        Err(Unfinished::Down(down)) if settings.leak_when_down => {
            report::notes(&[CniError::from(down).to_string()]);
            Ok(())
        }
        outcome => {
            let notes = outcome?;
            report::notes(&notes);
            if settings.remove_network {
                removal.remove_network(&connection, &attachment.network)?;
            }
            refuse_notes(attachment, &notes, settings)
        }
    }
}

/// What was not as it should be fails a DEL only if the config says so.
fn refuse_notes(
    attachment: &Attachment,
    notes: &[String],
    settings: &Settings,
) -> Result<(), CniError> {
    if notes.is_empty() || !settings.strict_delete {
        return Ok(());
    }
    let refused = ShimError::Refused {
        attachment: attachment.clone(),
        notes: notes.join("; "),
    };
    Err(refused.into())
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

    /// Takes it back for good and forgets it; returns what is worth telling. What could not be done
    /// keeps the record.
    pub(super) fn run(&self, connection: &mut Connection) -> Result<Vec<String>, Unfinished> {
        self.end(connection, |_| true)
    }

    /// Takes back what a failed ADD has done, as far as that can be known: a call that was not
    /// answered may be carried out yet, so whoever comes next looks again.
    pub(super) fn undo(&self, connection: &mut Connection) -> Result<Vec<String>, Unfinished> {
        self.end(connection, |connection| {
            connection.stage != Stage::Unanswered
        })
    }

    fn end(
        &self,
        connection: &mut Connection,
        is_for_good: impl Fn(&Connection) -> bool,
    ) -> Result<Vec<String>, Unfinished> {
        let undone = self.take_back(connection);
        let attachment = Attachment::from(&connection.attachment);
        let kept = if undone.is_ok() && is_for_good(connection) {
            self.connections.forget(&attachment)
        } else {
            connection.stage = Stage::Partial;
            self.connections.save(connection)
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
        if connection.made_network {
            self.remove_made_network(connection)?;
        }
        if container.is_some() {
            notes.extend(self.tidy(connection)?);
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

    /// A network that was made for this connection alone. Only when it is gone can Docker be made to
    /// strike out a note of it.
    fn remove_made_network(&self, connection: &Connection) -> Result<(), Unfinished> {
        let (name, id) = (&connection.network_name, &connection.network);
        let lock = self.connections.lock_network(name, self.limits.total);
        let _lock = lock.map_err(|error| Unfinished::Failed(error.into()))?;
        let whose = (
            &connection.attachment.network,
            connection.container.as_str(),
        );
        network::remove_unused(&self.engine, id, whose, self.limits.join())?;
        Ok(self.ask(connection, name, true)?)
    }

    /// What there is to be done about the container when it is disconnected. One that was on `none`
    /// and is on nothing goes back, and what Docker has still noted is told.
    fn tidy(&self, connection: &Connection) -> Result<Option<String>, EngineError> {
        let Some(container) = self.container(connection)? else {
            return Ok(None);
        };
        let noted = connection.endpoint_of(&container).is_some();
        let but_for = if noted { &connection.network_name } else { "" };
        if connection.was_on_none && container::connected(&container, but_for).next().is_none() {
            let nothing = EndpointConfig::default();
            let deadline = self.limits.join();
            match self.engine.connect(NONE, &container.id, &nothing, deadline) {
                Err(error) if error.is_down() => return Err(error),
                Err(error) if !noted => {
                    let error = error.between(&connection.container_name, NONE);
                    return Ok(Some(CniError::from(error).to_string()));
                }
                // Beside a note of another network there can be no `none`.
                _back_or_in_the_way => {}
            }
        }
        Ok(noted.then(|| {
            format!(
                "Docker keeps a note of {}: it shows them as connected, and connects them when the \
                 container is started again",
                connection.subject()
            )
        }))
    }

    /// By force where it does not go otherwise.
    fn disconnect(&self, connection: &Connection) -> Result<(), EngineError> {
        match self.ask(connection, &connection.network, false) {
            Err(error) if !error.is_down() => self.ask(connection, &connection.network, true),
            outcome => outcome,
        }
    }

    /// Asks to disconnect; that it has happened meanwhile is fine.
    fn ask(&self, connection: &Connection, network: &str, force: bool) -> Result<(), EngineError> {
        let (container, deadline) = (&connection.container, self.limits.join());
        match self.engine.disconnect(network, container, force, deadline) {
            Err(error) if error.is_not_connected() || error.is_not_found() => Ok(()),
            outcome => outcome.map_err(|error| connection.named(error)),
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
        // The container is disconnected, which is what DEL is for. GC removes networks, too.
        if let Err(error) = network::remove_unused(&self.engine, id, (of, ""), self.limits.join()) {
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
