//! What the driver remembers.
//!
//! ```text
//! <directory>/                0700
//!     lock                    there while somebody makes or removes a network, who holds it
//!     <network id>.json       0600  what CreateNetwork was told, and what is the bridge's
//!     <network id>/
//!         <endpoint id>.json  0600  what has been made for an endpoint
//! ```
//!
//! Networks outlive a power loss, so that their files are synced; endpoints do not, and theirs are
//! not: a file that was lost or came back empty is of an endpoint that is gone. All that is needed
//! to remove an endpoint can be found without.

use std::path::{Path, PathBuf};
use std::time::Instant;

use cni_types::{IfName, IpCidr, MacAddr};
use serde::{Deserialize, Serialize};

use super::names::{Endpoint, Network};
use crate::store::{Lock, StoreError, file};
use crate::wire::network::{CreateNetworkRequest, PortBinding};

/// A network that has been made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct NetworkRecord {
    /// What it was asked to be.
    pub(super) request: CreateNetworkRequest,
    /// The hardware address of the bridge that is made for the network, by which it is recognised;
    /// none if the bridge is somebody else's.
    pub(super) mac: Option<MacAddr>,
    /// The addresses that somebody else's bridge has been given.
    #[serde(default)]
    pub(super) added: Vec<IpCidr>,
    /// Whether the bridge's `route_localnet` was off, and has been switched on.
    #[serde(default)]
    pub(super) localnet: bool,
}

/// An endpoint that has been made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EndpointRecord {
    /// The host's end of its veth pair.
    pub(super) host: IfName,
    /// The other end, until it is renamed in its sandbox.
    pub(super) container: IfName,
    /// The container's hardware address.
    pub(super) mac: MacAddr,
    /// Its addresses.
    pub(super) addresses: Vec<IpCidr>,
    /// The ports that are published for it, each with the host's port that was chosen.
    #[serde(default)]
    pub(super) ports: Vec<PortBinding>,
}

/// All networks and endpoints.
#[derive(Debug)]
pub(super) struct State {
    dir: PathBuf,
}

impl State {
    pub(super) fn new(dir: &Path) -> Self {
        let dir = dir.to_owned();
        Self { dir }
    }

    /// Keeps others from making, changing and removing networks.
    pub(super) fn lock(&self, deadline: Instant) -> Result<Lock, StoreError> {
        Lock::acquire(&self.dir.join("lock"), deadline)
    }

    /// Whoever holds the lock removes its file in the end.
    pub(super) fn sweep_lock(&self, deadline: Instant) -> Result<(), StoreError> {
        if self.dir.join("lock").exists() {
            drop(self.lock(deadline)?);
        }
        Ok(())
    }

    /// The ids of all networks.
    pub(super) fn networks(&self) -> Result<Vec<String>, StoreError> {
        file::list(&self.dir)
    }

    pub(super) fn network(&self, network: &Network) -> Result<Option<NetworkRecord>, StoreError> {
        file::read(&self.network_path(network))
    }

    /// Under the lock.
    pub(super) fn write_network(
        &self,
        network: &Network,
        record: &NetworkRecord,
    ) -> Result<(), StoreError> {
        // It stays as long as the network: endpoints come and go without a lock.
        let dir = self.endpoints_dir(network);
        file::make_dir(&dir).map_err(|source| StoreError::io("create", &dir, source))?;
        file::write(&self.network_path(network), record)
    }

    /// Under the lock.
    pub(super) fn remove_network(&self, network: &Network) -> Result<(), StoreError> {
        file::remove_tree(&self.endpoints_dir(network))?;
        file::remove_for_good(&self.network_path(network))
    }

    /// The ids of a network's endpoints.
    pub(super) fn endpoints(&self, network: &Network) -> Result<Vec<String>, StoreError> {
        file::list(&self.endpoints_dir(network))
    }

    /// `None` also if the file cannot be made sense of: then it is one that a power loss left.
    pub(super) fn endpoint(
        &self,
        endpoint: &Endpoint,
    ) -> Result<Option<EndpointRecord>, StoreError> {
        match file::read(&self.endpoint_path(endpoint)) {
            Err(StoreError::Broken { .. }) => Ok(None),
            read => read,
        }
    }

    pub(super) fn write_endpoint(
        &self,
        endpoint: &Endpoint,
        record: &EndpointRecord,
    ) -> Result<(), StoreError> {
        file::write_until_reboot(&self.endpoint_path(endpoint), record)
    }

    pub(super) fn remove_endpoint(&self, endpoint: &Endpoint) -> Result<(), StoreError> {
        file::remove(&self.endpoint_path(endpoint))
    }

    fn network_path(&self, network: &Network) -> PathBuf {
        self.dir.join(format!("{}.json", network.as_str()))
    }

    fn endpoints_dir(&self, network: &Network) -> PathBuf {
        self.dir.join(network.as_str())
    }

    fn endpoint_path(&self, endpoint: &Endpoint) -> PathBuf {
        let dir = self.endpoints_dir(&endpoint.network);
        dir.join(format!("{}.json", endpoint.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn networks_and_endpoints_come_back_as_they_were() {
        let data = tempfile::tempdir().unwrap();
        let state = State::new(&data.path().join("bridge"));
        let network = Network::new("n1").unwrap();
        let endpoint = network.endpoint("e1").unwrap();
        assert_eq!(state.network(&network).unwrap(), None);
        let record = NetworkRecord {
            request: CreateNetworkRequest {
                network_id: "n1".into(),
                ..CreateNetworkRequest::default()
            },
            mac: Some("02:00:00:00:00:01".parse().unwrap()),
            added: vec!["10.1.0.1/16".parse().unwrap()],
            localnet: true,
        };
        let of_endpoint = EndpointRecord {
            host: "veth1".parse().unwrap(),
            container: "veth2".parse().unwrap(),
            mac: "02:00:00:00:00:02".parse().unwrap(),
            addresses: vec!["10.1.0.2/16".parse().unwrap()],
            ports: vec![PortBinding::default()],
        };
        let _lock = state.lock(Instant::now()).unwrap();
        state.write_network(&network, &record).unwrap();
        state.write_endpoint(&endpoint, &of_endpoint).unwrap();
        assert_eq!(state.network(&network).unwrap(), Some(record));
        assert_eq!(state.endpoint(&endpoint).unwrap(), Some(of_endpoint));
        assert_eq!(state.networks().unwrap(), ["n1"]);
        assert_eq!(state.endpoints(&network).unwrap(), ["e1"]);
        fs::write(state.endpoint_path(&endpoint), "").unwrap();
        assert_eq!(state.endpoint(&endpoint).unwrap(), None);
        for _twice in 0..2 {
            state.remove_endpoint(&endpoint).unwrap();
            state.remove_network(&network).unwrap();
        }
        assert!(state.networks().unwrap().is_empty());
    }
}
