//! firewalld, over D-Bus: sources of its zones.
//!
//! Nothing here is done, and no socket opened, unless firewalld is asked for or looked for.

use std::net::IpAddr;
use std::time::Duration;

use cni_types::IpCidr;
use serde::de::DeserializeOwned;
use zbus::{Connection, DynamicType, Type, block_on};

use crate::error::{FirewallError, says};

const NAME: &str = "org.fedoraproject.FirewallD1";
const PATH: &str = "/org/fedoraproject/FirewallD1";
const ZONE: &str = "org.fedoraproject.FirewallD1.zone";

/// How long firewalld may take for an answer. It loads its rules in one go, which may take seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// firewalld, or whoever would be.
#[derive(Debug)]
pub(crate) struct Firewalld(Connection);

impl Firewalld {
    /// Connects to the system's bus; firewalld need not be there.
    pub(crate) fn connect() -> Result<Self, FirewallError> {
        let connect = zbus::connection::Builder::system()
            .method_timeout(PATIENCE)
            .build();
        block_on(connect).map(Self).map_err(FirewallError::Bus)
    }

    /// firewalld, if there is a bus and its name is owned there: that is how the reference finds out
    /// whether this is a host of firewalld's.
    pub(crate) fn if_running() -> Option<Self> {
        let bus = Self::connect().ok()?;
        bus.is_running().unwrap_or_default().then_some(bus)
    }

    /// Whether firewalld is on the bus.
    pub(crate) fn is_running(&self) -> Result<bool, FirewallError> {
        let (name, path) = ("org.freedesktop.DBus", "/org/freedesktop/DBus");
        self.call((name, path, name), "NameHasOwner", &(NAME,))
            .map_err(FirewallError::Bus)
    }

    /// Puts an address into a zone. Answers whether it was not there before.
    pub(crate) fn add_source(&self, address: IpAddr, zone: &str) -> Result<bool, FirewallError> {
        let source = IpCidr::host(address).to_string();
        let added: Result<String, _> = self.zone("addSource", &(zone, source));
        match added {
            Ok(_zone) => Ok(true),
            Err(error) if says(&error, "ZONE_ALREADY_SET") => Ok(false),
            Err(source) => Err(FirewallError::AddSource {
                address,
                zone: zone.to_owned(),
                source,
            }),
        }
    }

    /// Takes an address out of a zone, or (`None`) out of the one that it is in. If it is in no zone,
    /// in another one, or firewalld is gone with all its zones, there is nothing to do.
    pub(crate) fn remove_source(
        &self,
        address: IpAddr,
        zone: Option<&str>,
    ) -> Result<(), FirewallError> {
        let source = IpCidr::host(address).to_string();
        let removed: Result<String, _> =
            self.zone("removeSource", &(zone.unwrap_or_default(), source));
        let is_gone = |error: &zbus::Error| {
            ["UNKNOWN_SOURCE", "ZONE_CONFLICT", "INVALID_ZONE"]
                .iter()
                .any(|kind| says(error, kind))
                || is_nobody(error)
        };
        match removed {
            Ok(_zone) => Ok(()),
            Err(error) if is_gone(&error) => Ok(()),
            Err(source) => Err(FirewallError::RemoveSource { address, source }),
        }
    }

    /// Whether an address is in a zone.
    pub(crate) fn has_source(&self, address: IpAddr, zone: &str) -> Result<bool, FirewallError> {
        let source = IpCidr::host(address).to_string();
        self.zone("querySource", &(zone, source))
            .map_err(|source| FirewallError::QuerySource {
                address,
                zone: zone.to_owned(),
                source,
            })
    }

    fn zone<B, T>(&self, method: &str, body: &B) -> zbus::Result<T>
    where
        B: serde::Serialize + DynamicType,
        T: DeserializeOwned + Type,
    {
        self.call((NAME, PATH, ZONE), method, body)
    }

    fn call<B, T>(
        &self,
        (name, path, interface): (&str, &str, &str),
        method: &str,
        body: &B,
    ) -> zbus::Result<T>
    where
        B: serde::Serialize + DynamicType,
        T: DeserializeOwned + Type,
    {
        let call = self
            .0
            .call_method(Some(name), path, Some(interface), method, body);
        block_on(call)?.body().deserialize()
    }
}

/// Whether nobody answers to firewalld's name.
fn is_nobody(error: &zbus::Error) -> bool {
    match error {
        zbus::Error::FDO(error) => matches!(
            **error,
            zbus::fdo::Error::ServiceUnknown(_) | zbus::fdo::Error::NameHasNoOwner(_)
        ),
        _ => false,
    }
}
