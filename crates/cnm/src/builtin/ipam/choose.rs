//! Which pool a request gets, given those that there are. Pure.

use cni_types::{CniError, IpCidr};

use super::error::IpamError;
use super::pool::{PoolId, Space};
use super::predefined;
use super::records::PoolRecord;
use crate::wire::ipam::RequestPoolRequest;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    This(PoolId),
    Any(Space),
}

/// The pool for a request. `host` tells what the host uses by itself, and is asked only where the
/// choice is ours, as libnetwork does: who names a subnet may know better.
pub(super) fn choose(
    request: &RequestPoolRequest,
    records: &[PoolRecord],
    host: impl FnOnce() -> Result<Vec<IpCidr>, CniError>,
) -> Result<PoolId, CniError> {
    match parse(request)? {
        Wanted::This(id) => {
            refuse_overlap(&id, records)?;
            Ok(id)
        }
        Wanted::Any(space) => {
            let mut in_use = host()?;
            in_use.extend(records.iter().map(|record| record.subnet));
            let subnet = predefined::first_free(space, &in_use).ok_or(IpamError::NoPredefined)?;
            let part = None;
            Ok(PoolId {
                space,
                subnet,
                part,
            })
        }
    }
}

fn parse(request: &RequestPoolRequest) -> Result<Wanted, IpamError> {
    let space: Space = request.address_space.parse()?;
    let sub_pool = || IpamError::SubPool {
        pool: request.pool.clone(),
        sub_pool: request.sub_pool.clone(),
    };
    if request.pool.is_empty() {
        return match (request.sub_pool.is_empty(), request.v6) {
            (false, _) => Err(sub_pool()),
            (true, true) => Err(IpamError::NoPredefinedIpv6),
            (true, false) => Ok(Wanted::Any(space)),
        };
    }
    let invalid = |why: String| IpamError::Pool {
        pool: request.pool.clone(),
        why,
    };
    let subnet: IpCidr = request
        .pool
        .parse()
        .map_err(|error| invalid(format!("{error}")))?;
    if subnet.is_ipv6() != request.v6 {
        let (is, wanted) = if request.v6 {
            ("IPv4", "IPv6")
        } else {
            ("IPv6", "IPv4")
        };
        return Err(invalid(format!(
            "it is of {is}, and one of {wanted} is asked for"
        )));
    }
    let subnet = subnet.subnet();
    let part = match request.sub_pool.as_str() {
        "" => None,
        text => Some(
            text.parse::<IpCidr>()
                .map_err(|_no_subnet| sub_pool())?
                .subnet(),
        ),
    };
    if part.is_some_and(|part| part.prefix() < subnet.prefix() || !subnet.contains(part.network()))
    {
        return Err(sub_pool());
    }
    Ok(Wanted::This(PoolId {
        space,
        subnet,
        part,
    }))
}

/// The same subnet is the same pool; anything else that shares an address is refused.
fn refuse_overlap(id: &PoolId, records: &[PoolRecord]) -> Result<(), IpamError> {
    let of_space = records
        .iter()
        .filter(|record| record.address_space == id.space);
    let mut others = of_space.filter(|record| record.subnet != id.subnet);
    match others.find(|record| record.subnet.overlaps(&id.subnet)) {
        Some(record) => Err(IpamError::Overlap {
            pool: id.subnet,
            other: record.subnet,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(space: &str, pool: &str, sub_pool: &str, v6: bool) -> RequestPoolRequest {
        RequestPoolRequest {
            address_space: space.into(),
            pool: pool.into(),
            sub_pool: sub_pool.into(),
            v6,
            options: None,
        }
    }

    fn record(address_space: Space, subnet: &str) -> PoolRecord {
        PoolRecord {
            address_space,
            subnet: subnet.parse().unwrap(),
            references: [(String::new(), 1)].into(),
        }
    }

    fn chosen(request: &RequestPoolRequest, records: &[PoolRecord]) -> Result<String, String> {
        choose(request, records, || {
            Ok(vec!["172.18.0.0/16".parse().unwrap()])
        })
        .map(|id| id.to_string())
        .map_err(|error| error.msg)
    }

    #[test]
    fn a_subnet_is_taken_as_it_is_asked_for() {
        let there = [
            record(Space::Local, "10.1.0.0/16"),
            record(Space::Global, "10.2.0.0/16"),
        ];
        for (pool, part, v6, id) in [
            ("10.2.0.0/16", "", false, "LocalDefault/10.2.0.0/16"),
            (
                "10.2.3.4/16",
                "10.2.9.9/24",
                false,
                "LocalDefault/10.2.0.0/16/10.2.9.0/24",
            ),
            ("10.1.0.0/16", "", false, "LocalDefault/10.1.0.0/16"),
            (
                "10.1.0.0/16",
                "10.1.0.0/16",
                false,
                "LocalDefault/10.1.0.0/16/10.1.0.0/16",
            ),
            // Part of a pool of the other address space.
            ("10.2.5.0/24", "", false, "LocalDefault/10.2.5.0/24"),
            ("fd00::/64", "", true, "LocalDefault/fd00::/64"),
            // The host's own routes do not count where somebody has made up his mind.
            ("172.18.0.0/16", "", false, "LocalDefault/172.18.0.0/16"),
        ] {
            let request = request("LocalDefault", pool, part, v6);
            assert_eq!(chosen(&request, &there).as_deref(), Ok(id), "{pool} {part}");
        }
    }

    #[test]
    fn what_shares_an_address_is_refused() {
        let there = [record(Space::Local, "10.1.0.0/16")];
        for pool in ["10.1.2.0/24", "10.0.0.0/8"] {
            let error = chosen(&request("LocalDefault", pool, "", false), &there).unwrap_err();
            let words = "Pool overlaps with other one on this address space";
            assert_eq!(error, format!("{words}: {pool} with 10.1.0.0/16"));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_clear_words() {
        let refused = |request: RequestPoolRequest| chosen(&request, &[]).unwrap_err();
        assert_eq!(
            refused(request("mlocal", "", "", false)),
            "invalid address space \"mlocal\": there is LocalDefault and GlobalDefault"
        );
        for (pool, v6, why) in [
            ("10.1.0.0", false, "invalid CIDR address: 10.1.0.0"),
            (
                "10.2.0.0/16",
                true,
                "it is of IPv4, and one of IPv6 is asked for",
            ),
            (
                "fd00::/64",
                false,
                "it is of IPv6, and one of IPv4 is asked for",
            ),
        ] {
            let error = refused(request("LocalDefault", pool, "", v6));
            assert_eq!(error, format!("invalid address pool {pool:?}: {why}"));
        }
        for (pool, part) in [
            ("", "10.2.0.0/24"),
            ("10.2.0.0/16", "10.3.0.0/24"),
            ("10.2.0.0/16", "10.0.0.0/8"),
            ("10.2.0.0/16", "10.2.0.5"),
        ] {
            let error = refused(request("LocalDefault", pool, part, false));
            let words = "it is not a subnet inside the pool";
            assert_eq!(
                error,
                format!("invalid address subpool {part:?}: {words} {pool:?}")
            );
        }
        let error = refused(request("LocalDefault", "", "", true));
        assert!(
            error.contains("the network needs a subnet of its own"),
            "{error}"
        );
    }

    #[test]
    fn a_default_pool_keeps_clear_of_pools_and_routes() {
        let any = request("LocalDefault", "", "", false);
        assert_eq!(chosen(&any, &[]).unwrap(), "LocalDefault/172.17.0.0/16");
        let there = [
            record(Space::Local, "172.17.3.0/24"),
            record(Space::Global, "172.19.0.0/16"),
        ];
        assert_eq!(chosen(&any, &there).unwrap(), "LocalDefault/172.20.0.0/16");
        let all = [record(Space::Local, "0.0.0.0/0")];
        let error = choose(&any, &all, || Ok(Vec::new())).unwrap_err();
        assert_eq!(error.code, cni_types::ErrorCode::POOL_EXHAUSTED);
        let global = request("GlobalDefault", "", "", false);
        assert_eq!(chosen(&global, &[]).unwrap(), "GlobalDefault/10.0.0.0/24");
    }
}
