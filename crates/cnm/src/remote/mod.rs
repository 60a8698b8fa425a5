//! Drivers that are programs and serve HTTP.
//!
//! A [`RemotePlugin`] is the program; what it implements, a network driver, an IPAM driver or both,
//! it tells when it is activated. That is done once per process and before anything else, as
//! Docker does once in its life: some drivers count on it.

mod interpret;
mod ipam;
mod network;
mod ping;

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use cni_types::Json;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::discovery::{self, Directories, PluginAddress};
use crate::error::{Cause, DriverError, Method};
use crate::http::text::excerpt;
use crate::http::{Attempt, Client, Patience, Request, Verb};
use crate::wire::{self, ActivateReply};

pub use interpret::interpret;
pub use ipam::RemoteIpamDriver;
pub use network::RemoteNetworkDriver;
pub use ping::{Ping, PingReport};

/// The host that requests are for, whatever the transport: Docker's clients say so.
const HOST: &str = "plugin.moby.localhost";

/// What a plugin can implement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subsystem {
    Network,
    Ipam,
}

impl Subsystem {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Network => "NetworkDriver",
            Self::Ipam => "IpamDriver",
        }
    }
}

/// One of a plugin's drivers, as it is talked to.
#[derive(Debug, Clone)]
struct Speaker {
    plugin: Arc<RemotePlugin>,
    subsystem: Subsystem,
}

impl Speaker {
    /// How errors name the driver.
    fn title(&self) -> String {
        let kind = match self.subsystem {
            Subsystem::Network => "network driver",
            Subsystem::Ipam => "IPAM driver",
        };
        format!("{kind} {}", self.plugin.name())
    }

    /// Once the plugin has said that it implements the driver.
    fn ready(&self, deadline: Instant) -> Result<&RemotePlugin, DriverError> {
        self.plugin
            .require(self.subsystem, deadline)
            .map_err(|cause| self.error(Method::Activate, cause))?;
        Ok(&self.plugin)
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        deadline: Instant,
    ) -> Result<T, DriverError> {
        self.ready(deadline)?
            .ask(method, deadline)
            .map_err(|cause| self.error(method, cause))
    }

    fn tell<T: DeserializeOwned>(
        &self,
        method: Method,
        request: &impl Serialize,
        deadline: Instant,
    ) -> Result<T, DriverError> {
        self.ready(deadline)?
            .tell(method, request, deadline)
            .map_err(|cause| self.error(method, cause))
    }

    fn error(&self, method: Method, cause: Cause) -> DriverError {
        DriverError {
            driver: self.title(),
            method,
            cause,
        }
    }
}

/// How the plugin is found.
#[derive(Debug)]
enum Place {
    /// By its name.
    Named(Directories),
    /// A configuration tells.
    At(PluginAddress),
}

/// A program that implements drivers.
#[derive(Debug)]
pub struct RemotePlugin {
    name: String,
    place: Place,
    patience: Patience,
    found: OnceLock<Found>,
    implements: OnceLock<Vec<String>>,
}

#[derive(Debug)]
struct Found {
    client: Client,
    notes: Vec<String>,
}

impl RemotePlugin {
    /// The plugin of that name. It is looked for at the first call, with patience.
    pub fn named(name: impl Into<String>, directories: Directories, patience: Patience) -> Self {
        Self::new(name.into(), Place::Named(directories), patience)
    }

    /// The plugin that listens there. Its name is for errors only.
    pub fn at(name: impl Into<String>, address: PluginAddress, patience: Patience) -> Self {
        Self::new(name.into(), Place::At(address), patience)
    }

    const fn new(name: String, place: Place, patience: Patience) -> Self {
        Self {
            name,
            place,
            patience,
            found: OnceLock::new(),
            implements: OnceLock::new(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the administrator should know about how it was found; nothing before the first call.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        self.found.get().map_or(&[], |found| &found.notes)
    }

    /// What it implements. Asked once, at the first call of any kind.
    ///
    /// # Errors
    /// It cannot be found, or the call failed.
    pub fn activate(&self, deadline: Instant) -> Result<&[String], Cause> {
        if let Some(implements) = self.implements.get() {
            return Ok(implements);
        }
        let reply: ActivateReply = self.ask(Method::Activate, deadline)?;
        Ok(self.implements.get_or_init(|| reply.implements))
    }

    fn require(&self, subsystem: Subsystem, deadline: Instant) -> Result<(), Cause> {
        let implements = self
            .activate(deadline)
            .map_err(|cause| cause.of_call_before(Method::Activate))?;
        if implements.iter().any(|name| name == subsystem.as_str()) {
            return Ok(());
        }
        Err(Cause::NoSubsystem {
            implements: implements.to_vec(),
        })
    }

    /// A call with arguments.
    fn tell<T: DeserializeOwned>(
        &self,
        method: Method,
        request: &impl Serialize,
        deadline: Instant,
    ) -> Result<T, Cause> {
        let body = serde_json::to_vec(request).map_err(|error| Cause::Failed(error.into()))?;
        understand(&self.call(method, &body, deadline)?)
    }

    /// A call without arguments: its body is empty.
    fn ask<T: DeserializeOwned>(&self, method: Method, deadline: Instant) -> Result<T, Cause> {
        understand(&self.call(method, b"", deadline)?)
    }

    fn call(&self, method: Method, body: &[u8], deadline: Instant) -> Result<Json, Cause> {
        let client = &self.found(deadline)?.client;
        let request = Request {
            verb: Verb::Post,
            path: &format!("/{method}"),
            headers: &[("Host", HOST), ("Accept", wire::MEDIA_TYPE)],
            body,
        };
        let reply = client.send(&request, &self.patience, deadline)?;
        interpret(method, reply.status, &reply.body)
    }

    /// Finds it, once. A plugin that is being started again may have no socket for a moment.
    fn found(&self, deadline: Instant) -> Result<&Found, Cause> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let address = match &self.place {
            Place::At(address) => address.clone(),
            Place::Named(directories) => self.patience.spend(deadline, || {
                discovery::find(&self.name, directories).map_err(|cause| match cause {
                    Cause::NotFound { .. } => Attempt::NotThere(cause),
                    _ => Attempt::Failed(cause),
                })
            })?,
        };
        let found = Found {
            client: Client::new(address.address)?,
            notes: address.notes,
        };
        Ok(self.found.get_or_init(|| found))
    }
}

fn understand<T: DeserializeOwned>(reply: &Json) -> Result<T, Cause> {
    reply
        .decode()
        .map_err(|error| Cause::Malformed(format!("{error}, in {}", excerpt(&reply.to_string()))))
}

/// What there is to know from the reply to a call that only does something.
fn nothing(_reply: serde::de::IgnoredAny) {}

#[cfg(test)]
mod tests;
