//! The two driver interfaces.
//!
//! A driver is asked in the words of the wire, whether it is built in or a program that serves
//! HTTP, so that the controller is the same for both and a recorded conversation tests either. Each
//! call has a deadline of its own: what waits inside gives up by then.

use std::time::Instant;

use crate::error::DriverError;
use crate::wire::{ipam, network};

/// What a call gives.
pub type Outcome<T> = Result<T, DriverError>;

/// Who makes networks and endpoints.
///
/// The order of the calls is the controller's business. `delete_*`, `leave` and `revoke` may come
/// for what is not there (any more).
pub trait NetworkDriver {
    /// How errors name it, as in "network driver weave".
    fn title(&self) -> String;

    /// What it is and wants.
    ///
    /// # Errors
    /// It cannot be had, or does not implement network drivers.
    fn capabilities(&self, deadline: Instant) -> Outcome<network::Capabilities>;

    /// Whether a network with these options needs gateways out of its pools. Called only if its
    /// capabilities say so.
    ///
    /// # Errors
    /// The call failed.
    fn check_gateway_allocation(
        &self,
        request: &network::GwAllocCheckRequest,
        deadline: Instant,
    ) -> Outcome<network::GwAllocCheckReply>;

    /// Makes a network.
    ///
    /// # Errors
    /// The call failed.
    fn create_network(
        &self,
        request: &network::CreateNetworkRequest,
        deadline: Instant,
    ) -> Outcome<()>;

    /// Removes a network.
    ///
    /// # Errors
    /// The call failed.
    fn delete_network(&self, request: &network::NetworkRequest, deadline: Instant) -> Outcome<()>;

    /// Makes an endpoint.
    ///
    /// # Errors
    /// The call failed.
    fn create_endpoint(
        &self,
        request: &network::CreateEndpointRequest,
        deadline: Instant,
    ) -> Outcome<network::CreateEndpointReply>;

    /// What it has to tell of an endpoint.
    ///
    /// # Errors
    /// The call failed.
    fn endpoint_info(
        &self,
        request: &network::EndpointRequest,
        deadline: Instant,
    ) -> Outcome<network::EndpointInfoReply>;

    /// Whether it still has an endpoint, as far as it can tell. What it has to tell of one is its own
    /// business: one driver is known to answer for endpoints that it does not have.
    ///
    /// # Errors
    /// It does not answer, or with an error.
    fn check_endpoint(&self, request: &network::EndpointRequest, deadline: Instant) -> Outcome<()> {
        match self.endpoint_info(request, deadline) {
            Err(error) if !error.is_not_implemented() => Err(error),
            _answered => Ok(()),
        }
    }

    /// Removes what is left of a network's endpoints that are none of `valid`, if it can tell. What
    /// only it knows of is nobody else's to remove.
    ///
    /// # Errors
    /// Something could not be removed.
    fn collect(&self, _network_id: &str, _valid: &[String], _deadline: Instant) -> Outcome<()> {
        Ok(())
    }

    /// Removes an endpoint.
    ///
    /// # Errors
    /// The call failed.
    fn delete_endpoint(&self, request: &network::EndpointRequest, deadline: Instant)
    -> Outcome<()>;

    /// Joins an endpoint to a sandbox. Moving the link there is not the driver's business.
    ///
    /// # Errors
    /// The call failed.
    fn join(
        &self,
        request: &network::JoinRequest,
        deadline: Instant,
    ) -> Outcome<network::JoinReply>;

    /// Takes an endpoint out of its sandbox.
    ///
    /// # Errors
    /// The call failed.
    fn leave(&self, request: &network::EndpointRequest, deadline: Instant) -> Outcome<()>;

    /// Connects an endpoint that provides its sandbox's gateway with the world, and publishes ports.
    ///
    /// # Errors
    /// The call failed; [`DriverError::is_not_implemented`] is no failure.
    fn program_external_connectivity(
        &self,
        request: &network::ProgramRequest,
        deadline: Instant,
    ) -> Outcome<()>;

    /// Takes that back.
    ///
    /// # Errors
    /// The call failed; [`DriverError::is_not_implemented`] is no failure.
    fn revoke_external_connectivity(
        &self,
        request: &network::EndpointRequest,
        deadline: Instant,
    ) -> Outcome<()>;
}

/// Who gives addresses.
pub trait IpamDriver {
    /// How errors name it, as in "IPAM driver weavemesh".
    fn title(&self) -> String;

    /// What it wants. A driver that cannot tell wants nothing.
    ///
    /// # Errors
    /// It cannot be had, or does not implement IPAM drivers.
    fn capabilities(&self, deadline: Instant) -> Outcome<ipam::Capabilities>;

    /// The address spaces that networks are in unless they say otherwise.
    ///
    /// # Errors
    /// The call failed.
    fn default_address_spaces(&self, deadline: Instant) -> Outcome<ipam::AddressSpaces>;

    /// Gets a pool.
    ///
    /// # Errors
    /// The call failed.
    fn request_pool(
        &self,
        request: &ipam::RequestPoolRequest,
        deadline: Instant,
    ) -> Outcome<ipam::RequestPoolReply>;

    /// Gives a pool back.
    ///
    /// # Errors
    /// The call failed.
    fn release_pool(&self, request: &ipam::ReleasePoolRequest, deadline: Instant) -> Outcome<()>;

    /// Gets an address.
    ///
    /// # Errors
    /// The call failed.
    fn request_address(
        &self,
        request: &ipam::RequestAddressRequest,
        deadline: Instant,
    ) -> Outcome<ipam::RequestAddressReply>;

    /// Whether it has addresses at all. Docker's `null` has none: the network driver, or nobody,
    /// gives them.
    fn gives_addresses(&self) -> bool {
        true
    }

    /// Whether it wants to know for whom an address is requested
    /// ([`ENDPOINT_NAME`](crate::wire::label::ENDPOINT_NAME)), and so can give back what was
    /// requested by somebody who never heard the answer.
    fn knows_owners(&self) -> bool {
        false
    }

    /// Gives back what an owner has of a pool, whatever it is. Drivers that do not know owners have
    /// nothing to give.
    ///
    /// # Errors
    /// The call failed.
    fn release_owned(&self, _pool: &str, _owner: &str, _deadline: Instant) -> Outcome<()> {
        Ok(())
    }

    /// Gives an address back.
    ///
    /// # Errors
    /// The call failed.
    fn release_address(
        &self,
        request: &ipam::ReleaseAddressRequest,
        deadline: Instant,
    ) -> Outcome<()>;

    /// Gives an address back if it is the owner's still: whoever does it a second time, since nobody
    /// could write down the first, must not take it from who has been given it since. Drivers that do
    /// not know owners give it back.
    ///
    /// # Errors
    /// The call failed.
    fn release_address_of(
        &self,
        _owner: &str,
        request: &ipam::ReleaseAddressRequest,
        deadline: Instant,
    ) -> Outcome<()> {
        self.release_address(request, deadline)
    }
}
