//! All that is remembered, read at once, and found again by names and ids.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use cni_cnm::store::record::{AttachmentRecord, EndpointRecord, NetworkRecord, SandboxRecord};
use cni_cnm::store::{Store, StoreError};

use super::words::{id, in_words};
use crate::engine::{self, Connection};

/// All records that could be read.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    pub(super) networks: Vec<KnownNetwork>,
    /// Containers that Docker was asked to connect to its own networks.
    pub(super) connections: Vec<KnownConnection>,
    /// What could not, in words.
    pub(super) unreadable: Vec<String>,
}

/// A network with what is on it.
#[derive(Debug)]
pub(super) struct KnownNetwork {
    pub(super) record: NetworkRecord,
    pub(super) endpoints: Vec<KnownEndpoint>,
    pub(super) garbage: Vec<EndpointRecord>,
}

/// An endpoint, and what became of its sandbox.
#[derive(Debug)]
pub(super) struct KnownEndpoint {
    pub(super) record: EndpointRecord,
    pub(super) sandbox: Life,
}

/// A container on one of Docker's networks, and what became of its sandbox.
#[derive(Debug)]
pub(super) struct KnownConnection {
    pub(super) record: Connection,
    pub(super) sandbox: Life,
}

/// Whether a sandbox is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    There,
    /// Nothing is at its path, or another namespace.
    Gone,
    /// It cannot be told.
    Unknown,
}

/// Something that a name or an id leads to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Thing<'a> {
    Network(&'a KnownNetwork),
    Endpoint(&'a KnownNetwork, &'a KnownEndpoint),
    Garbage(&'a EndpointRecord),
    Connection(&'a KnownConnection),
}

/// Why a name leads to nothing in particular.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotFound {
    #[error("{wanted} {name:?} is not known; `cnm-shim {list}` lists what is")]
    Nothing {
        wanted: &'static str,
        name: String,
        list: &'static str,
    },
    #[error("{name:?} may be any of {}: write more of it", candidates.join(", "))]
    Ambiguous {
        name: String,
        candidates: Vec<String>,
    },
}

/// What may be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Anything,
    Network,
    Endpoint,
    Garbage,
}

impl Inventory {
    /// Reads all records, and looks after the sandboxes.
    pub(super) fn load(store: &Store) -> Result<Self, StoreError> {
        let mut unreadable = Vec::new();
        let mut networks = Vec::new();
        for record in store.networks()? {
            let Some(record) = readable(record, &mut unreadable) else {
                continue;
            };
            let mut known = KnownNetwork {
                endpoints: Vec::new(),
                garbage: Vec::new(),
                record,
            };
            for read in store.endpoints(&known.record.id)? {
                known
                    .endpoints
                    .extend(readable(read, &mut unreadable).map(|record| {
                        let sandbox = Life::of(&record.sandbox);
                        KnownEndpoint { record, sandbox }
                    }));
            }
            for read in store.garbage(&known.record.id)? {
                known.garbage.extend(readable(read, &mut unreadable));
            }
            known
                .endpoints
                .sort_by_key(|it| order(&it.record.attachment));
            known.garbage.sort_by_key(|it| order(&it.attachment));
            networks.push(known);
        }
        networks.sort_by(|a, b| a.record.name.cmp(&b.record.name));
        let mut connections = Vec::new();
        for read in engine::connections(store.dir())? {
            connections.extend(readable(read, &mut unreadable).map(|record| {
                let sandbox = Life::of(&record.sandbox);
                KnownConnection { record, sandbox }
            }));
        }
        connections.sort_by_key(|it| order(&it.record.attachment));
        Ok(Self {
            networks,
            connections,
            unreadable,
        })
    }

    pub(super) fn endpoints(&self) -> impl Iterator<Item = (&KnownNetwork, &KnownEndpoint)> {
        let networks = self.networks.iter();
        networks.flat_map(|network| network.endpoints.iter().map(move |it| (network, it)))
    }

    pub(super) fn garbage(&self) -> impl Iterator<Item = (&KnownNetwork, &EndpointRecord)> {
        let networks = self.networks.iter();
        networks.flat_map(|network| network.garbage.iter().map(move |it| (network, it)))
    }

    /// What is called so. A whole name counts for more than the beginning of an id.
    pub(super) fn find(&self, wanted: Wanted, name: &str) -> Result<Vec<Thing<'_>>, NotFound> {
        let all: Vec<_> = self.things().filter(|thing| wanted.is(thing)).collect();
        let matching = |is_so: &dyn Fn(&str) -> bool| -> Vec<Thing<'_>> {
            let mut found = all.clone();
            found.retain(|thing| wanted.names(thing).iter().any(|name| is_so(name)));
            found
        };
        let exactly = matching(&|known| known == name);
        if !exactly.is_empty() {
            return Ok(exactly);
        }
        let beginning = matching(&|known| !name.is_empty() && known.starts_with(name));
        let names: BTreeSet<&str> = beginning
            .iter()
            .flat_map(|thing| wanted.names(thing))
            .filter(|known| known.starts_with(name))
            .collect();
        match names.len() {
            0 => Err(wanted.nothing(name)),
            1 => Ok(beginning),
            _ => Err(NotFound::Ambiguous {
                name: name.to_owned(),
                candidates: names.into_iter().map(|name| id(name).to_owned()).collect(),
            }),
        }
    }

    fn things(&self) -> impl Iterator<Item = Thing<'_>> {
        let networks = self.networks.iter().map(Thing::Network);
        let endpoints = self.endpoints().map(|(on, it)| Thing::Endpoint(on, it));
        let garbage = self.garbage().map(|(_, it)| Thing::Garbage(it));
        let connections = self.connections.iter().map(Thing::Connection);
        networks.chain(endpoints).chain(garbage).chain(connections)
    }
}

/// Files are named by digests, which tell people nothing.
fn order(attachment: &AttachmentRecord) -> (String, String) {
    (
        attachment.container_id.to_string(),
        attachment.ifname.to_string(),
    )
}

fn readable<T>(read: Result<T, StoreError>, unreadable: &mut Vec<String>) -> Option<T> {
    read.map_err(|error| unreadable.push(in_words(error))).ok()
}

impl Wanted {
    fn is(self, thing: &Thing<'_>) -> bool {
        match self {
            Self::Anything => true,
            Self::Network => matches!(thing, Thing::Network(_)),
            Self::Endpoint => matches!(thing, Thing::Endpoint(..) | Thing::Connection(_)),
            Self::Garbage => matches!(thing, Thing::Garbage(_)),
        }
    }

    /// What a thing answers to. Containers are told of their endpoints when anything may be meant.
    fn names<'a>(self, thing: &Thing<'a>) -> Vec<&'a str> {
        match thing {
            Thing::Network(network) => vec![network.record.id.as_str(), &network.record.name],
            Thing::Endpoint(_, endpoint) => self.endpoint_names(&endpoint.record),
            Thing::Garbage(garbage) => self.endpoint_names(garbage),
            Thing::Connection(connection) => self.connection_names(&connection.record),
        }
    }

    fn endpoint_names(self, record: &EndpointRecord) -> Vec<&str> {
        let container = record.attachment.container_id.as_str();
        match self {
            Self::Anything => vec![record.id.as_str(), container],
            _ => vec![record.id.as_str()],
        }
    }

    /// A connection that Docker has not told its endpoint's id of yet has only its container.
    fn connection_names(self, record: &Connection) -> Vec<&str> {
        let endpoint = record.endpoint.as_str();
        let of_container = self == Self::Anything || endpoint.is_empty();
        let containers = [record.attachment.container_id.as_str(), &record.container];
        let mut names = vec![endpoint];
        names.extend(containers.into_iter().filter(|_| of_container));
        names.retain(|name| !name.is_empty());
        names.dedup();
        names
    }

    fn nothing(self, name: &str) -> NotFound {
        let (wanted, list) = match self {
            Self::Anything => ("network, endpoint or container", "endpoints"),
            Self::Network => ("network", "networks"),
            Self::Endpoint => ("endpoint", "endpoints"),
            Self::Garbage => ("garbage", "garbage"),
        };
        NotFound::Nothing {
            wanted,
            name: name.to_owned(),
            list,
        }
    }
}

impl Life {
    /// Looks whether the namespace is still the one at its path.
    pub(super) fn of(sandbox: &SandboxRecord) -> Self {
        match fs::metadata(&sandbox.path) {
            _ if sandbox.inode == 0 => Self::Unknown,
            Ok(file) if (file.dev(), file.ino()) == (sandbox.dev, sandbox.inode) => Self::There,
            Ok(_another) => Self::Gone,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::Gone,
            Err(_unknown) => Self::Unknown,
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
