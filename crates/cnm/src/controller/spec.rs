//! What whoever uses the controller wants.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cni_types::{Attachment, IpCidr, MacAddr};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::ids::{NetworkId, hex};
use crate::sandbox::plan::DefaultRoute;
use crate::store::record::DriverRef;
use crate::wire::network::PortBinding;

/// How long a driver may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// By when everything has to be done.
    pub total: Instant,
    /// How long one call may take.
    pub call: Duration,
    /// How long a Join may take, in which drivers do most of their work.
    pub join: Duration,
    /// How long taking back what failed may take, whatever time is left.
    pub undo: Duration,
}

impl Limits {
    /// The limits of a piece of work that may take `total`.
    #[must_use]
    pub fn within(total: Duration) -> Self {
        Self {
            total: Instant::now() + total,
            call: Duration::from_secs(10),
            join: Duration::from_secs(30),
            undo: total.min(Duration::from_secs(10)),
        }
    }

    /// The limits of taking back what failed.
    #[must_use]
    pub fn undo(&self) -> Self {
        Self {
            total: Instant::now() + self.undo,
            ..*self
        }
    }

    /// By when a call made now has to be answered.
    #[must_use]
    pub fn call(&self) -> Instant {
        self.total.min(Instant::now() + self.call)
    }

    /// By when a Join made now has to be answered.
    #[must_use]
    pub fn join(&self) -> Instant {
        self.total.min(Instant::now() + self.join)
    }
}

/// What to do if the driver says that a network exists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Another node has made it: use it, if the driver's scope is global.
    IfGlobal,
    /// Use it.
    Tolerate,
    /// Fail.
    Fail,
}

/// Where a network's addresses of one family come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FamilySpec {
    /// The subnet; the IPAM driver chooses one without it.
    pub subnet: Option<IpCidr>,
    /// The part of the subnet to give addresses from.
    pub range: Option<IpCidr>,
    /// The gateway's address.
    pub gateway: Option<IpAddr>,
    /// Addresses that are not to be given, by name.
    pub aux: BTreeMap<String, IpAddr>,
}

/// A network's IPAM driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IpamSpec {
    /// Which.
    pub driver: DriverRef,
    /// `docker network create --ipam-opt`.
    pub options: BTreeMap<String, String>,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSpec {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: DriverRef,
    /// Its IPAM driver; `None` where endpoints come with their addresses.
    pub ipam: Option<IpamSpec>,
    /// `docker network create -o`.
    pub options: BTreeMap<String, String>,
    /// Whether it has IPv6.
    pub enable_ipv6: bool,
    /// Whether it leads nowhere.
    pub internal: bool,
    /// IPv4 addresses.
    pub v4: FamilySpec,
    /// IPv6 addresses, if it has any.
    pub v6: FamilySpec,
    /// What to do if it exists.
    pub existing: Existing,
}

impl NetworkSpec {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> NetworkId {
        NetworkId::derive(&self.name)
    }

    /// A digest of what cannot be changed once the network is made. The subnets of endpoints that
    /// come with their addresses may differ.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        #[derive(Serialize)]
        struct Fixed<'a> {
            driver: &'a DriverRef,
            ipam: &'a Option<IpamSpec>,
            options: &'a BTreeMap<String, String>,
            enable_ipv6: bool,
            internal: bool,
            families: Option<(&'a FamilySpec, &'a FamilySpec)>,
        }
        let fixed = Fixed {
            driver: &self.driver,
            ipam: &self.ipam,
            options: &self.options,
            enable_ipv6: self.enable_ipv6,
            internal: self.internal,
            families: self.ipam.as_ref().map(|_| (&self.v4, &self.v6)),
        };
        // Strings and numbers only: this is always JSON.
        let text = serde_json::to_string(&fixed).unwrap_or_default();
        hex(&Sha256::digest(text))
    }
}

/// How endpoint ids are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointIds {
    /// Out of the names: the same attachment has the same id again.
    Derived,
    /// At random, as Docker's.
    Random,
}

/// The sandbox of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSpec {
    /// The path of its namespace.
    pub path: PathBuf,
    /// Device and inode of the namespace that must be there, if not any will do.
    pub id: Option<(u64, u64)>,
    /// The path that drivers are told, where it is another one.
    pub key: Option<PathBuf>,
}

/// An endpoint.
#[derive(Debug, Clone)]
pub struct EndpointSpec {
    /// For which attachment: its interface is what the link is called in the sandbox.
    pub attachment: Attachment,
    /// In which sandbox.
    pub sandbox: SandboxSpec,
    /// Its hardware address, if it matters.
    pub mac: Option<MacAddr>,
    /// Addresses to ask the IPAM driver for: of each family the first counts.
    pub wanted: Vec<IpAddr>,
    /// Addresses that it comes with, on networks without an IPAM driver.
    pub given: Vec<IpCidr>,
    /// Routes that it comes with.
    pub routes: Vec<(IpCidr, Option<IpAddr>)>,
    /// `docker network connect --driver-opt`.
    pub options: BTreeMap<String, String>,
    /// Ports to publish on the host.
    pub ports: Vec<PortBinding>,
    /// What becomes of its gateway.
    pub default_route: DefaultRoute,
    /// How its id is made.
    pub ids: EndpointIds,
}

impl EndpointSpec {
    /// The address wanted of a family.
    #[must_use]
    pub fn wanted(&self, ipv6: bool) -> Option<IpAddr> {
        self.wanted
            .iter()
            .copied()
            .find(|address| address.is_ipv6() == ipv6)
    }
}
