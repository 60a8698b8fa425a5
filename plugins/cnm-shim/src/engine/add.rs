//! ADD.

use std::rc::Rc;

use cni_cnm::controller::spec::Limits;
use cni_cnm::engine::{Container, Engine, EngineError, Network};
use cni_cnm::http::Patience;
use cni_cnm::sandbox::{Kernel, Sandboxes, Seen, rename};
use cni_cnm::store::Lock;
use cni_cnm::store::record::{LinkRecord, SandboxRecord};
use cni_netlink::{Link, NetNs, Socket};
use cni_plugin::{AttachmentRequest, Undo};
use cni_types::{Attachment, CniError, CniResult, IfName, SpecVersion};

use super::container::{self, NONE};
use super::error::JoinError;
use super::record::{Connection, Connections, on_network};
use super::remove::{self, Removal};
use super::result::{self, Attached};
use super::{endpoint, joined, link, network, open};
use crate::config::{EngineConfig, EngineNetwork, Settings};
use crate::report;

/// Has Docker connect its container.
pub(crate) fn add(
    request: &AttachmentRequest,
    config: &EngineConfig,
    settings: &Settings,
    undo: &mut Undo,
) -> Result<CniResult, CniError> {
    let adding = Adding {
        request,
        config,
        engine: Rc::new(open(settings, Patience::default())?),
        connections: Connections::new(&settings.data_dir),
        limits: settings.limits(),
    };
    let lock = adding
        .connections
        .lock(&request.attachment, adding.limits.total)?;
    adding.clear()?;
    let sandbox = Kernel.identify(&request.netns)?;
    let deadline = adding.limits.total;
    let locks = Rc::new([lock, adding.connections.lock_sandbox(&sandbox, deadline)?]);
    let (container, place) = adding.find_place()?;
    let (network, network_lock) = adding.ensure_network(undo)?;
    let mut connection = adding.intend(&container, &network, place.sandbox.clone())?;
    adding.push_undo(locks, undo);
    adding.connect(&connection, &network)?;
    drop(network_lock);
    let result = adding.take_over(&mut connection, &place)?;
    connection.whole = true;
    adding.connections.save(&connection)?;
    Ok(result)
}

struct Adding<'a> {
    request: &'a AttachmentRequest,
    config: &'a EngineConfig,
    engine: Rc<Engine>,
    connections: Connections,
    limits: Limits,
}

/// Where the link will be.
struct Place {
    sandbox: SandboxRecord,
    inside: Socket,
    /// The indices of the links that are there already.
    before: Vec<u32>,
}

impl Adding<'_> {
    fn attachment(&self) -> &Attachment {
        &self.request.attachment
    }

    fn ifname(&self) -> &IfName {
        &self.attachment().ifname
    }

    /// Makes way: an earlier connection that is whole is in the way, what is left of one goes first.
    fn clear(&self) -> Result<(), CniError> {
        let Some(mut earlier) = remove::load(&self.connections, self.attachment())? else {
            return Ok(());
        };
        if earlier.whole && remove::is_in_place(&earlier) {
            return Err(JoinError::AlreadyAttached(self.attachment().clone()).into());
        }
        let removal = Removal::new(&earlier, &self.connections, self.limits)?;
        report::notes(&removal.run(&mut earlier)?);
        Ok(())
    }

    /// Nobody is asked to change anything before it is known that there is room.
    fn find_place(&self) -> Result<(Container, Place), CniError> {
        let named = self.config.container.as_deref();
        let asked = named.unwrap_or(self.attachment().container_id.as_str());
        let container = container::find(&self.engine, asked, self.limits.call())?;
        container::require_joinable(&container)?;
        let netns = &self.request.netns;
        let sandbox = container::require_namespace(&container, netns)?;
        let inside = NetNs::open(netns)?.socket()?;
        if let Some(taken) = inside.find_link_by_any_name(self.ifname())? {
            return Err(name_taken(self.ifname(), &taken).into());
        }
        let before = inside.links()?.iter().map(|link| link.index).collect();
        let place = Place {
            sandbox,
            inside,
            before,
        };
        Ok((container, place))
    }

    /// The network, made if need be. The lock keeps others from removing it while nobody is on it.
    fn ensure_network(&self, undo: &mut Undo) -> Result<(Network, Option<Lock>), CniError> {
        let name = &self.config.network;
        let Some(wanted) = &self.config.create else {
            let found = network::find(&self.engine, name, self.limits.call())?;
            let found = found.ok_or_else(|| JoinError::NoNetwork(name.clone()))?;
            return Ok((found, None));
        };
        let lock = self.connections.lock_network(name, self.limits.total)?;
        let found = match network::find(&self.engine, name, self.limits.call())? {
            Some(found) => found,
            None => self.make_network(wanted, undo)?,
        };
        network::require_same(&found, wanted)?;
        Ok((found, Some(lock)))
    }

    fn make_network(&self, wanted: &EngineNetwork, undo: &mut Undo) -> Result<Network, CniError> {
        let name = &self.config.network;
        let of = self.attachment().network.clone();
        let request = network::request(name, wanted, &of);
        match self.engine.create_network(&request, self.limits.join()) {
            Ok(id) => {
                let (engine, limits) = (Rc::clone(&self.engine), self.limits);
                let (connections, name) = (self.connections.clone(), name.clone());
                undo.push(format!("remove network {name}"), move || {
                    let deadline = limits.undo().call();
                    let _lock = connections.lock_network(&name, deadline)?;
                    Ok(network::remove_unused(&engine, &id, &of, deadline)?)
                });
            }
            // Somebody else has made it in the meantime.
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
        let made = network::find(&self.engine, name, self.limits.call())?;
        made.ok_or_else(|| JoinError::NoNetwork(name.clone()).into())
    }

    /// Writes down what is about to be asked for.
    fn intend(
        &self,
        container: &Container,
        network: &Network,
        sandbox: SandboxRecord,
    ) -> Result<Connection, CniError> {
        if on_network(container, &network.id, &network.name).is_some() {
            return Err(JoinError::AlreadyThere {
                container: container::name(container),
                network: network.name.clone(),
            }
            .into());
        }
        let connection = Connection {
            attachment: self.attachment().into(),
            engine: self.engine.address().to_string(),
            container: container.id.clone(),
            network: network.id.clone(),
            network_name: network.name.clone(),
            was_on_none: container::is_on_none(container),
            sandbox,
            sandbox_id: container.network_settings.sandbox_id.clone(),
            endpoint: String::new(),
            link: None,
            keeps_old_name: false,
            unanswered: false,
            whole: false,
        };
        self.connections.save(&connection)?;
        Ok(connection)
    }

    /// One way leads out of every failure, a panic too: the record says what there is to take back.
    fn push_undo(&self, locks: Rc<[Lock; 2]>, undo: &mut Undo) {
        let (connections, limits) = (self.connections.clone(), self.limits);
        let attachment = self.attachment().clone();
        undo.push("take the connection back", move || {
            let _held = locks;
            let Some(mut connection) = connections.load(&attachment)? else {
                return Ok(());
            };
            let removal = Removal::new(&connection, &connections, limits.undo())?;
            report::strictly(removal.run(&mut connection)?)
        });
    }

    fn connect(&self, connection: &Connection, network: &Network) -> Result<(), CniError> {
        let container = &connection.container;
        if connection.was_on_none {
            let left = self
                .engine
                .disconnect(NONE, container, false, self.limits.join());
            match left {
                Err(error) if !error.is_not_connected() => return Err(error.into()),
                _left => {}
            }
        }
        let version = self.engine.api_version(self.limits.call())?;
        let endpoint = endpoint::plan(&self.config.wishes, self.ifname(), network, version);
        let connected = self
            .engine
            .connect(&network.id, container, &endpoint, self.limits.join());
        connected.map_err(|error| self.not_connected(connection, error))
    }

    /// A call without an answer may be carried out yet: what is remembered of it outlives the undo.
    fn not_connected(&self, connection: &Connection, error: EngineError) -> CniError {
        let doubtful = Connection {
            unanswered: error.is_down(),
            ..connection.clone()
        };
        let saved = if doubtful.unanswered {
            self.connections.save(&doubtful)
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
    fn take_over(&self, connection: &mut Connection, place: &Place) -> Result<CniResult, CniError> {
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

fn name_taken(name: &IfName, by: &Link) -> JoinError {
    let also = if by.name == name.as_str() {
        String::new()
    } else {
        format!(": Docker knows {} by that name", by.name)
    };
    JoinError::NameTaken {
        name: name.clone(),
        also,
    }
}
