//! Docker connects the container, and the link that it makes gets its name.

use cni_cnm::engine::{Container, EngineError, Network};
use cni_cnm::sandbox::{Kernel, Sandboxes, Seen, rename};
use cni_cnm::store::record::LinkRecord;
use cni_netlink::{Link, Socket};
use cni_types::{CniError, CniResult, IfName, SpecVersion};

use super::{Adding, Place};
use crate::engine::container::{self, NONE};
use crate::engine::error::JoinError;
use crate::engine::record::{Connection, Stage, on_network};
use crate::engine::result::{self, Attached};
use crate::engine::{endpoint, joined, link};
use crate::report;

/// How many numbers Docker is let to try for the name of its link.
const NUMBERS: u32 = 8;

impl Adding<'_> {
    /// There is no network beside `none`.
    pub(super) fn leave_none(
        &self,
        container: &Container,
        connection: &Connection,
    ) -> Result<(), CniError> {
        if !container::is_on_none(container) {
            return Ok(());
        }
        let deadline = self.limits.join();
        match self.engine.disconnect(NONE, &container.id, false, deadline) {
            Err(error) if error.is_not_connected() => Ok(()),
            outcome => outcome.map_err(|error| {
                let named = error.between(&connection.container_name, NONE);
                self.failed(connection, named)
            }),
        }
    }

    /// Has Docker connect the container.
    pub(super) fn connect(
        &self,
        connection: &Connection,
        network: &Network,
    ) -> Result<(), CniError> {
        let container = &connection.container;
        let version = self.engine.api_version(self.limits.call())?;
        let endpoint = endpoint::plan(&self.config.wishes, self.ifname(), network, version);
        let connect = || {
            let deadline = self.limits.join();
            self.engine
                .connect(&network.id, container, &endpoint, deadline)
        };
        let told = |error| self.failed(connection, connection.named(error));
        // Other plugins' interfaces are in the way of those that Docker numbers, and Docker counts on.
        for _taken in 1..NUMBERS {
            match connect() {
                Err(error) if error.is_interface_taken() => {}
                outcome => return outcome.map_err(told),
            }
        }
        connect().map_err(told)
    }

    /// A call without an answer may be carried out yet: what is remembered of it outlives the undo.
    fn failed(&self, connection: &Connection, error: EngineError) -> CniError {
        let saved = if error.is_down() {
            self.connections.save(&Connection {
                stage: Stage::Unanswered,
                ..connection.clone()
            })
        } else {
            Ok(())
        };
        let error = CniError::from(error);
        match saved {
            Ok(()) => error,
            Err(also) => error.and(CniError::from(also)),
        }
    }

    /// Finds the link that Docker has put into the container, and gives it its name.
    pub(super) fn take_over(
        &self,
        connection: &mut Connection,
        place: &Place,
    ) -> Result<CniResult, CniError> {
        let container = self
            .engine
            .inspect_container(&connection.container, self.limits.call())?;
        let found = on_network(&container, &connection.network, &connection.network_name);
        let endpoint = found.ok_or_else(|| JoinError::NotThere {
            container: container::name(&container),
            network: connection.network_name.clone(),
        })?;
        connection.endpoint.clone_from(&endpoint.endpoint_id);
        let sandbox_id = &container.network_settings.sandbox_id;
        connection.sandbox_id.clone_from(sandbox_id);
        let (links, addresses) = (place.inside.links()?, place.inside.addresses(None)?);
        let known = (place.before.as_slice(), connection.network_name.as_str());
        let link = link::choose(&links, &addresses, endpoint, known)?;
        self.rename(connection, &place.inside, link)?;
        let seen = self.look()?;
        let version = self.engine.api_version(self.limits.call())?;
        joined::require_heeded(&self.config.wishes, endpoint, &seen, version)?;
        Ok(result::plan(&Attached {
            name: self.ifname().as_str(),
            sandbox: &self.request.netns,
            endpoint,
            seen: &seen,
            dns: self.config.wishes.dns.as_ref(),
            // The key exists since 1.1.0.
            tells_mtu: self.request.request.version >= SpecVersion::V1_1_0,
        }))
    }

    /// Which link it is has to be known before anything is done to it.
    fn rename(
        &self,
        connection: &mut Connection,
        inside: &Socket,
        link: &Link,
    ) -> Result<(), CniError> {
        let name = self.ifname();
        connection.link = Some(LinkRecord {
            src_name: link.name.clone(),
            name: name.to_string(),
            index: link.index,
            mac: link.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        });
        self.connections.save(connection)?;
        if link.name == name.as_str() {
            return Ok(());
        }
        rename::rename(inside, link, name)?;
        if let Ok(old) = link.name.parse::<IfName>() {
            connection.keeps_old_name = rename::keep_old_name(inside, &link.id(), &old)?;
        }
        if !connection.keeps_old_name {
            let note = format!(
                "this kernel has no alternative names: Docker does not find {name} by {}, so \
                 `docker network disconnect` would leave it behind; DEL does not",
                link.name
            );
            report::notes(&[note]);
        }
        Ok(())
    }

    fn look(&self) -> Result<Seen, CniError> {
        let seen = Kernel.look(&self.request.netns, self.ifname())?;
        seen.ok_or_else(|| {
            let gone = JoinError::NoLink {
                network: self.config.network.clone(),
                found: "nothing",
                what: format!("is called {} any more", self.ifname()),
            };
            gone.into()
        })
    }
}
