//! ADD.

mod connect;

use std::rc::Rc;

use cni_cnm::controller::spec::Limits;
use cni_cnm::engine::{Container, Engine, Network};
use cni_cnm::http::Patience;
use cni_cnm::sandbox::{Kernel, Sandboxes};
use cni_cnm::store::Lock;
use cni_cnm::store::record::SandboxRecord;
use cni_netlink::{Link, NetNs, Socket};
use cni_plugin::{AttachmentRequest, Undo};
use cni_types::{Attachment, CniError, CniResult, IfName};

use super::container;
use super::error::JoinError;
use super::record::{Connection, Connections, Stage};
use super::remove::{self, Removal};
use super::{network, open};
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
    let ready = adding.ensure_network(undo)?;
    let network = &ready.network;
    adding.require_room(&container, network)?;
    let mut connection = adding.intend(&container, &ready, place.sandbox.clone())?;
    adding.push_undo(locks, undo);
    adding.leave_none(&container, &connection)?;
    adding.connect(&connection, network)?;
    drop(ready);
    let result = adding.take_over(&mut connection, &place)?;
    connection.stage = Stage::Whole;
    connection.made_network = false;
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

/// The network.
struct Ready {
    network: Network,
    /// Whether it was made just now.
    is_new: bool,
    /// Keeps others from removing it while nobody is on it.
    _lock: Option<Lock>,
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
        if earlier.stage == Stage::Whole && remove::is_in_place(&earlier) {
            return Err(JoinError::AlreadyAttached(self.attachment().clone()).into());
        }
        let deadline = self.limits.total;
        let _sandbox = self.connections.lock_sandbox(&earlier.sandbox, deadline)?;
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
        let inside = NetNs::open(netns)?.only(self.request.netns_id)?.socket()?;
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

    /// The network, made if need be.
    fn ensure_network(&self, undo: &mut Undo) -> Result<Ready, CniError> {
        let name = &self.config.network;
        let find = || network::find(&self.engine, name, self.limits.call());
        let none = || JoinError::NoNetwork(name.clone());
        let Some(wanted) = &self.config.create else {
            return Ok(Ready {
                network: find()?.ok_or_else(none)?,
                is_new: false,
                _lock: None,
            });
        };
        let lock = self.connections.lock_network(name, self.limits.total)?;
        let there = find()?;
        let is_new = there.is_none() && self.make_network(wanted, undo)?;
        let network = match there {
            Some(found) => found,
            None => find()?.ok_or_else(none)?,
        };
        network::require_same(&network, wanted)?;
        Ok(Ready {
            network,
            is_new,
            _lock: Some(lock),
        })
    }

    /// Makes the network; `false` if somebody else has made it in the meantime.
    fn make_network(&self, wanted: &EngineNetwork, undo: &mut Undo) -> Result<bool, CniError> {
        let name = self.config.network.clone();
        let of = self.attachment().network.clone();
        let request = network::request(&name, wanted, &of);
        let id = match self.engine.create_network(&request, self.limits.join()) {
            Ok(id) => id,
            Err(error) if error.is_conflict() => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let (engine, limits) = (Rc::clone(&self.engine), self.limits);
        let connections = self.connections.clone();
        undo.push(format!("remove network {name}"), move || {
            let deadline = limits.undo().call();
            let _lock = connections.lock_network(&name, deadline)?;
            Ok(network::remove_unused(&engine, &id, (&of, ""), deadline)?)
        });
        Ok(true)
    }

    fn require_room(&self, container: &Container, network: &Network) -> Result<(), JoinError> {
        if network.containers.contains_key(&container.id) {
            return Err(JoinError::AlreadyThere {
                container: container::name(container),
                network: network.name.clone(),
            });
        }
        network::require_free(network, &self.config.wishes.ips)
    }

    /// Writes down what is about to be asked for.
    fn intend(
        &self,
        container: &Container,
        ready: &Ready,
        sandbox: SandboxRecord,
    ) -> Result<Connection, CniError> {
        let connection = Connection {
            attachment: self.attachment().into(),
            engine: self.engine.address().to_string(),
            container: container.id.clone(),
            container_name: container::name(container),
            network: ready.network.id.clone(),
            network_name: ready.network.name.clone(),
            made_network: ready.is_new,
            was_on_none: container::belongs_on_none(container),
            sandbox,
            sandbox_id: container.network_settings.sandbox_id.clone(),
            endpoint: String::new(),
            link: None,
            keeps_old_name: false,
            stage: Stage::Partial,
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
            report::strictly(removal.undo(&mut connection)?)
        });
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
