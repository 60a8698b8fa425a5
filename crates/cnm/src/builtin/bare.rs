//! The network drivers `null` and `host`: endpoints without an interface of their own.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use cni_netlink::NetNs;
use cni_types::{CniError, ErrorCode};

use crate::driver::{NetworkDriver, Outcome};
use crate::error::{DriverError, Method};
use crate::wire::network;

/// Joins sandboxes to nothing (`null`) or to all that the host has (`host`): there is no interface
/// to be moved.
///
/// One network at a time, which is remembered as long as the driver lives: libnetwork does not
/// remember it longer either. Other than there it can be deleted: a controller that makes networks
/// as they are needed also deletes them.
#[derive(Debug)]
pub struct BareDriver {
    kind: Kind,
    network: Mutex<Option<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Host,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Host => "host",
        }
    }
}

impl BareDriver {
    /// The network driver `null`: sandboxes get nothing.
    #[must_use]
    pub const fn null() -> Self {
        Self::new(Kind::Null)
    }

    /// The network driver `host`: sandboxes are the host's own network namespace, the calling
    /// thread's, and [`join`](NetworkDriver::join) refuses any other.
    #[must_use]
    pub const fn host() -> Self {
        Self::new(Kind::Host)
    }

    const fn new(kind: Kind) -> Self {
        let network = Mutex::new(None);
        Self { kind, network }
    }

    /// Takes the one place, which the same network may do again.
    fn create(&self, network_id: &str) -> Result<(), CniError> {
        let mut taken = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.as_deref() {
            Some(other) if other != network_id => {
                let kind = self.kind.as_str();
                let text = format!("only one instance of {kind:?} network is allowed");
                let details = format!("there is network {other}");
                Err(CniError::new(ErrorCode::IN_USE, text).with_details(details))
            }
            _ => {
                *taken = Some(network_id.to_owned());
                Ok(())
            }
        }
    }

    fn delete(&self, network_id: &str) {
        let mut taken = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.as_deref() == Some(network_id) {
            *taken = None;
        }
    }

    fn failed(&self, method: Method) -> impl FnOnce(CniError) -> DriverError {
        let title = self.title();
        move |error| DriverError::failed(title, method, error)
    }
}

/// A sandbox of its own would get nothing at all, and the mistake would be hard to find.
fn expect_host(sandbox_key: &str) -> Result<(), CniError> {
    let (sandbox, host) = (NetNs::open(sandbox_key)?, NetNs::current()?);
    let same = sandbox.same_as(&host).map_err(|error| {
        CniError::new(ErrorCode::IO, "failed to compare network namespaces")
            .with_details(error.to_string())
    })?;
    if same {
        return Ok(());
    }
    let text = format!("sandbox {sandbox_key} is not the host's network namespace");
    Err(CniError::new(ErrorCode::INVALID_NETNS, text).with_details(
        "network driver host has no interface to give it; hint: run the container in the host's \
         network, or use driver bridge",
    ))
}

impl NetworkDriver for BareDriver {
    fn title(&self) -> String {
        format!("network driver {}", self.kind.as_str())
    }

    fn capabilities(&self, _deadline: Instant) -> Outcome<network::Capabilities> {
        Ok(super::local())
    }

    fn check_gateway_allocation(
        &self,
        _request: &network::GwAllocCheckRequest,
        _deadline: Instant,
    ) -> Outcome<network::GwAllocCheckReply> {
        Ok(network::GwAllocCheckReply {
            skip_ipv4: true,
            skip_ipv6: true,
        })
    }

    fn create_network(
        &self,
        request: &network::CreateNetworkRequest,
        _deadline: Instant,
    ) -> Outcome<()> {
        self.create(&request.network_id)
            .map_err(self.failed(Method::CreateNetwork))
    }

    fn delete_network(&self, request: &network::NetworkRequest, _deadline: Instant) -> Outcome<()> {
        self.delete(&request.network_id);
        Ok(())
    }

    fn create_endpoint(
        &self,
        _request: &network::CreateEndpointRequest,
        _deadline: Instant,
    ) -> Outcome<network::CreateEndpointReply> {
        Ok(network::CreateEndpointReply::default())
    }

    fn endpoint_info(
        &self,
        _request: &network::EndpointRequest,
        _deadline: Instant,
    ) -> Outcome<network::EndpointInfoReply> {
        Ok(network::EndpointInfoReply::default())
    }

    fn delete_endpoint(
        &self,
        _request: &network::EndpointRequest,
        _deadline: Instant,
    ) -> Outcome<()> {
        Ok(())
    }

    fn join(
        &self,
        request: &network::JoinRequest,
        _deadline: Instant,
    ) -> Outcome<network::JoinReply> {
        if self.kind == Kind::Host {
            expect_host(&request.sandbox_key).map_err(self.failed(Method::Join))?;
        }
        // Nor is anything else to connect it with the world.
        Ok(network::JoinReply {
            disable_gateway_service: true,
            ..network::JoinReply::default()
        })
    }

    fn leave(&self, _request: &network::EndpointRequest, _deadline: Instant) -> Outcome<()> {
        Ok(())
    }

    fn program_external_connectivity(
        &self,
        _request: &network::ProgramRequest,
        _deadline: Instant,
    ) -> Outcome<()> {
        Ok(())
    }

    fn revoke_external_connectivity(
        &self,
        _request: &network::EndpointRequest,
        _deadline: Instant,
    ) -> Outcome<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Cause;

    #[test]
    fn a_sandbox_gets_nothing() {
        let (driver, now) = (BareDriver::null(), Instant::now());
        let network = network::CreateNetworkRequest {
            network_id: "n1".into(),
            ..network::CreateNetworkRequest::default()
        };
        driver.create_network(&network, now).unwrap();
        let endpoint = driver.create_endpoint(&network::CreateEndpointRequest::default(), now);
        assert_eq!(endpoint.unwrap(), network::CreateEndpointReply::default());
        let joined = driver.join(&network::JoinRequest::default(), now).unwrap();
        assert!(joined.interface_name.src_name.is_empty() && joined.disable_gateway_service);
    }

    #[test]
    fn there_is_one_network_at_a_time() {
        let (driver, now) = (BareDriver::null(), Instant::now());
        let create = |id: &str| {
            let network_id = id.to_owned();
            let request = network::CreateNetworkRequest {
                network_id,
                ..network::CreateNetworkRequest::default()
            };
            driver.create_network(&request, now)
        };
        let delete = |id: &str| {
            let network_id = id.to_owned();
            driver.delete_network(&network::NetworkRequest { network_id }, now)
        };
        create("n1").unwrap();
        create("n1").unwrap();
        let error = create("n2").unwrap_err();
        let Cause::Failed(cause) = &error.cause else {
            panic!("{error:?}");
        };
        assert_eq!(
            cause.to_string(),
            "only one instance of \"null\" network is allowed; there is network n1"
        );
        delete("n2").unwrap();
        assert!(create("n2").is_err());
        delete("n1").unwrap();
        delete("n1").unwrap();
        create("n2").unwrap();
    }

    fn join(sandbox_key: &str) -> Outcome<network::JoinReply> {
        let request = network::JoinRequest {
            sandbox_key: sandbox_key.into(),
            ..network::JoinRequest::default()
        };
        BareDriver::host().join(&request, Instant::now())
    }

    #[test]
    fn the_hosts_own_namespace_needs_no_interface() {
        let reply = join("/proc/self/ns/net").unwrap();
        assert!(reply.interface_name.src_name.is_empty() && reply.disable_gateway_service);
    }

    #[test]
    fn what_is_not_the_host_is_refused() {
        for (sandbox, words) in [
            ("/proc/self/ns/uts", "/proc/self/ns/uts"),
            ("/nonexistent", "/nonexistent"),
        ] {
            let error = join(sandbox).unwrap_err();
            let Cause::Failed(cause) = &error.cause else {
                panic!("{error:?}");
            };
            assert!(cause.to_string().contains(words), "{cause}");
        }
    }
}
