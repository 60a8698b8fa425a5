//! The IPAM driver `null`: a pool of everything, and never an address.

use std::collections::BTreeMap;
use std::time::Instant;

use cni_types::{CniError, IpCidr};

use super::error::IpamError;
use crate::driver::{IpamDriver, Outcome};
use crate::error::{DriverError, Method};
use crate::wire::ipam;

const TITLE: &str = "IPAM driver null";
/// Its only address space.
const SPACE: &str = "null";

/// Gives no addresses: those of its network are the network driver's business.
///
/// A request for an address is answered with none, which no driver on the wire may do.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullIpam;

fn refuse<T>(method: Method, error: IpamError) -> Outcome<T> {
    Err(DriverError::failed(TITLE, method, CniError::from(error)))
}

impl IpamDriver for NullIpam {
    fn title(&self) -> String {
        TITLE.to_owned()
    }

    fn capabilities(&self, _deadline: Instant) -> Outcome<ipam::Capabilities> {
        Ok(ipam::Capabilities::default())
    }

    fn default_address_spaces(&self, _deadline: Instant) -> Outcome<ipam::AddressSpaces> {
        Ok(ipam::AddressSpaces {
            local_default_address_space: SPACE.to_owned(),
            global_default_address_space: SPACE.to_owned(),
        })
    }

    fn request_pool(
        &self,
        request: &ipam::RequestPoolRequest,
        _deadline: Instant,
    ) -> Outcome<ipam::RequestPoolReply> {
        let refuse = |error| refuse(Method::RequestPool, error);
        if request.address_space != SPACE {
            return refuse(IpamError::AddressSpace {
                space: request.address_space.clone(),
                known: SPACE,
            });
        }
        if !request.pool.is_empty() {
            return refuse(IpamError::Null("specific address pool requests"));
        }
        if !request.sub_pool.is_empty() {
            return refuse(IpamError::Null("specific address subpool requests"));
        }
        let pool = IpCidr::default_route(request.v6);
        Ok(ipam::RequestPoolReply {
            pool_id: format!("{SPACE}/{pool}"),
            pool: pool.to_string(),
            data: BTreeMap::new(),
        })
    }

    fn gives_addresses(&self) -> bool {
        false
    }

    fn release_pool(&self, _request: &ipam::ReleasePoolRequest, _deadline: Instant) -> Outcome<()> {
        Ok(())
    }

    fn request_address(
        &self,
        request: &ipam::RequestAddressRequest,
        _deadline: Instant,
    ) -> Outcome<ipam::RequestAddressReply> {
        if !request.address.is_empty() {
            let error = IpamError::Null("requests for a specific address");
            return refuse(Method::RequestAddress, error);
        }
        Ok(ipam::RequestAddressReply::default())
    }

    fn release_address(
        &self,
        _request: &ipam::ReleaseAddressRequest,
        _deadline: Instant,
    ) -> Outcome<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn it_has_a_pool_of_everything_and_no_address() {
        let (ipam, now) = (NullIpam, Instant::now());
        let spaces = ipam.default_address_spaces(now).unwrap();
        for (v6, pool) in [(false, "0.0.0.0/0"), (true, "::/0")] {
            let request = ipam::RequestPoolRequest {
                address_space: spaces.local_default_address_space.clone(),
                v6,
                ..ipam::RequestPoolRequest::default()
            };
            let reply = ipam.request_pool(&request, now).unwrap();
            assert_eq!(reply.pool, pool);
            let pool_id = reply.pool_id;
            let address = ipam::RequestAddressRequest {
                pool_id: pool_id.clone(),
                ..ipam::RequestAddressRequest::default()
            };
            assert_eq!(ipam.request_address(&address, now).unwrap().address, "");
            let wanted = ipam::RequestAddressRequest {
                address: "10.0.0.1".into(),
                ..address
            };
            assert!(ipam.request_address(&wanted, now).is_err());
            ipam.release_pool(&ipam::ReleasePoolRequest { pool_id }, now)
                .unwrap();
        }
    }

    #[test]
    fn a_pool_of_ones_own_is_refused_by_name() {
        let request = ipam::RequestPoolRequest {
            address_space: SPACE.into(),
            pool: "10.0.0.0/8".into(),
            ..ipam::RequestPoolRequest::default()
        };
        let error = NullIpam.request_pool(&request, Instant::now()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "IPAM driver null failed in IpamDriver.RequestPool"
        );
        assert_eq!(
            error.source().unwrap().to_string(),
            "null IPAM driver does not handle specific address pool requests"
        );
    }
}
