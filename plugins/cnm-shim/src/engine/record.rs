//! What is remembered of containers that Docker was asked to connect.
//!
//! ```text
//! <data dir>/engine/<attachment key>.json    a Connection
//! ```
//!
//! Only what is in here is ever disconnected. A record is written before Docker is asked for
//! anything and removed when all has been taken back: whoever finds one, after a crash at whatever
//! point, asks Docker what there is and finishes.

use std::path::Path;
use std::time::Instant;

use cni_cnm::engine::{Container, Endpoint, EngineError};
use cni_cnm::store::record::{AttachmentRecord, LinkRecord, SandboxRecord};
use cni_cnm::store::{Lock, RecordDir, Store, StoreError, attachment_key};
use cni_types::Attachment;
use serde::{Deserialize, Serialize};

/// A container that was connected to a network, or is about to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Connection {
    pub(super) attachment: AttachmentRecord,
    /// Where Docker listens.
    pub(super) engine: String,
    /// Docker's id of the container.
    pub(super) container: String,
    /// How people know it.
    pub(super) container_name: String,
    /// Docker's id of the network.
    pub(super) network: String,
    pub(super) network_name: String,
    /// Whether the network was made for it, and goes with it if it is never whole.
    #[serde(default)]
    pub(super) made_network: bool,
    /// Whether the container was on `none`, to which it goes back.
    #[serde(default)]
    pub(super) was_on_none: bool,
    /// The container's namespace.
    #[serde(default)]
    pub(super) sandbox: SandboxRecord,
    /// Docker's id of the sandbox: another one is of another run of the container.
    #[serde(default)]
    pub(super) sandbox_id: String,
    /// Docker's id of the endpoint; empty until it has told.
    #[serde(default)]
    pub(super) endpoint: String,
    /// The link in the sandbox. Docker knows it by `srcName`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) link: Option<LinkRecord>,
    /// Whether Docker finds the link by an alternative name.
    #[serde(default)]
    pub(super) keeps_old_name: bool,
    #[serde(default)]
    pub(super) stage: Stage,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Stage {
    /// Docker is about to be asked, or a removal has begun.
    #[default]
    Partial,
    /// Docker was asked to connect and gave no answer: it may do it yet.
    Unanswered,
    /// It is as it should be.
    Whole,
}

impl Connection {
    /// How people know what is connected with what.
    pub(super) fn subject(&self) -> String {
        format!(
            "container {} and network {}",
            self.container_name, self.network_name
        )
    }

    /// An error of Docker's with the names.
    pub(super) fn named(&self, error: EngineError) -> EngineError {
        error.between(&self.container_name, &self.network_name)
    }

    /// The container's endpoint on the network, if it was this connection that brought it about.
    pub(super) fn endpoint_of<'a>(&self, container: &'a Container) -> Option<&'a Endpoint> {
        let endpoint = on_network(container, &self.network, &self.network_name)?;
        self.owns(container, endpoint).then_some(endpoint)
    }

    /// A container that was disconnected and connected again by somebody has another endpoint, but
    /// also one that was started again: Docker remembers where it was connected.
    fn owns(&self, container: &Container, endpoint: &Endpoint) -> bool {
        let same_run = container.network_settings.sandbox_id == self.sandbox_id;
        self.endpoint.is_empty()
            || endpoint.endpoint_id.is_empty()
            || endpoint.endpoint_id == self.endpoint
            || !same_run
    }
}

/// A container's endpoint on a network. One that does not run knows the network by its name only.
pub(super) fn on_network<'a>(
    container: &'a Container,
    id: &str,
    name: &str,
) -> Option<&'a Endpoint> {
    let mut all = container.network_settings.networks.iter();
    all.find(|(key, endpoint)| match endpoint.network_id.as_str() {
        "" => key.as_str() == name,
        known => known == id,
    })
    .map(|(_, endpoint)| endpoint)
}

/// The records below one directory, and the locks of what they are about.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    store: Store,
    dir: RecordDir,
}

impl Connections {
    pub(super) fn new(data_dir: &Path) -> Self {
        Self {
            store: Store::new(data_dir),
            dir: RecordDir::new(data_dir.join("engine")),
        }
    }

    /// Whether there has ever been one.
    pub(super) fn is_there(&self) -> bool {
        self.dir.is_there()
    }

    /// Nobody else works on the attachment.
    pub(super) fn lock(&self, of: &Attachment, deadline: Instant) -> Result<Lock, StoreError> {
        self.store.lock_attachment(of, deadline)
    }

    /// Nobody else changes what the container is connected to. Taken after the attachment's.
    pub(super) fn lock_sandbox(
        &self,
        sandbox: &SandboxRecord,
        deadline: Instant,
    ) -> Result<Lock, StoreError> {
        let which = format!("{}:{}", sandbox.dev, sandbox.inode);
        self.store.lock_other("sandbox", &which, deadline)
    }

    /// Nobody else makes or removes the network. Taken last.
    pub(super) fn lock_network(&self, name: &str, deadline: Instant) -> Result<Lock, StoreError> {
        self.store.lock_other("docker network", name, deadline)
    }

    pub(super) fn load(&self, of: &Attachment) -> Result<Option<Connection>, StoreError> {
        self.dir.read(&attachment_key(of))
    }

    pub(super) fn save(&self, connection: &Connection) -> Result<(), StoreError> {
        let of = Attachment::from(&connection.attachment);
        self.dir.write(&attachment_key(&of), connection)
    }

    pub(super) fn forget(&self, of: &Attachment) -> Result<(), StoreError> {
        self.dir.remove(&attachment_key(of))
    }

    /// All that there are, and what could not be read.
    pub(super) fn all(&self) -> Result<Vec<Result<Connection, StoreError>>, StoreError> {
        let names = self.dir.names()?.into_iter();
        Ok(names
            .filter_map(|name| self.dir.read(&name).transpose())
            .collect())
    }

    /// An unreadable record must not be in the way for ever.
    pub(super) fn set_aside(&self, broken: &Path) -> Result<std::path::PathBuf, StoreError> {
        self.store.set_aside(broken)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn connection() -> Connection {
        let text = r#"{"attachment": {"network": "pods", "containerId": "c1", "ifname": "eth0"},
            "engine": "unix:///var/run/docker.sock", "container": "c", "containerName": "one", "network": "n",
            "networkName": "red", "sandboxId": "s", "endpoint": "e"}"#;
        serde_json::from_str(text).unwrap()
    }

    fn container(sandbox: &str, network: &str, endpoint: &str) -> Container {
        let endpoint = Endpoint {
            network_id: network.into(),
            endpoint_id: endpoint.into(),
            ..Endpoint::default()
        };
        let mut container = Container::default();
        container.network_settings.sandbox_id = sandbox.into();
        container.network_settings.networks = BTreeMap::from([("red".into(), endpoint)]);
        container
    }

    #[test]
    fn only_what_was_asked_for_is_ours() {
        let ours = connection();
        for (sandbox, network, endpoint, owned) in [
            ("s", "n", "e", true),
            // Somebody has disconnected it and connected it again.
            ("s", "n", "e2", false),
            // The container was started again.
            ("s2", "n", "e2", true),
            ("", "", "", true),
            // Another network, which is called as ours was.
            ("s", "n2", "e", false),
        ] {
            let container = container(sandbox, network, endpoint);
            let found = ours.endpoint_of(&container).is_some();
            assert_eq!(found, owned, "{sandbox} {network} {endpoint}");
        }
        let asked = Connection {
            endpoint: String::new(),
            ..connection()
        };
        let before_it_was_known = container("s", "n", "e3");
        assert!(asked.endpoint_of(&before_it_was_known).is_some());
    }

    #[test]
    fn records_come_back_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let connections = Connections::new(dir.path());
        let of = Attachment::from(&connection().attachment);
        assert!(!connections.is_there());
        assert_eq!(connections.load(&of).unwrap(), None);
        connections.save(&connection()).unwrap();
        assert_eq!(connections.load(&of).unwrap(), Some(connection()));
        let all: Vec<_> = connections.all().unwrap();
        assert_eq!(all.len(), 1);
        for _twice in 0..2 {
            connections.forget(&of).unwrap();
        }
        assert_eq!(connections.load(&of).unwrap(), None);
        assert!(connections.is_there());
    }
}
