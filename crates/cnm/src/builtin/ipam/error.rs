//! Why a pool or an address cannot be had.

use std::net::IpAddr;

use cni_ipam::StoreError;
use cni_types::{ErrorCode, IpCidr, ToCniError};

use super::pool::PoolId;
use crate::store;

/// Why a pool or an address cannot be had. Where libnetwork has words for it, they are in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum IpamError {
    /// There is no such address space.
    #[error("invalid address space {space:?}: there is {known}")]
    AddressSpace {
        /// As it was asked for.
        space: String,
        /// What there is.
        known: &'static str,
    },
    /// The pool is not a subnet, or one of the other family.
    #[error("invalid address pool {pool:?}: {why}")]
    Pool {
        /// As it was asked for.
        pool: String,
        /// What is wrong with it.
        why: String,
    },
    /// The part of the pool to give addresses from is not a part of it.
    #[error("invalid address subpool {sub_pool:?}: it is not a subnet inside the pool {pool:?}")]
    SubPool {
        /// As it was asked for.
        pool: String,
        /// As it was asked for.
        sub_pool: String,
    },
    /// Another pool has some of its addresses.
    #[error("Pool overlaps with other one on this address space: {pool} with {other}")]
    Overlap {
        /// As it was asked for.
        pool: IpCidr,
        /// The one that is there.
        other: IpCidr,
    },
    /// All default pools are taken, by other networks or by routes of the host.
    #[error(
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network"
    )]
    NoPredefined,
    /// There are no default pools for IPv6.
    #[error(
        "could not find an available IPv6 address pool: there are none among the defaults, so the network needs a subnet of its own"
    )]
    NoPredefinedIpv6,
    /// No such pool has been requested, or it has been released.
    #[error("no such address pool: {0:?}")]
    UnknownPool(String),
    /// The text is not an address.
    #[error("invalid address {0:?}")]
    Address(String),
    /// The address is of another subnet.
    #[error("requested address {address} is out of range: it is not in pool {subnet}")]
    OutOfRange {
        /// As it was asked for.
        address: IpAddr,
        /// The pool's subnet.
        subnet: IpCidr,
    },
    /// No host can have the address.
    #[error("requested address {address} is the network or broadcast address of pool {subnet}")]
    NotAHost {
        /// As it was asked for.
        address: IpAddr,
        /// The pool's subnet.
        subnet: IpCidr,
    },
    /// Somebody else has the address.
    #[error("address already in use: {address} of pool {subnet}")]
    InUse {
        /// As it was asked for.
        address: IpAddr,
        /// The pool's subnet.
        subnet: IpCidr,
    },
    /// All addresses are given.
    #[error("no available addresses on this network's address pool {0}")]
    Exhausted(PoolId),
    /// The name of who gets the address cannot be written down.
    #[error("invalid endpoint name {0:?}: letters, digits, `_`, `.` and `-` are allowed")]
    Owner(String),
    /// The addresses cannot be read or changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The pools cannot be read or changed.
    #[error(transparent)]
    Records(#[from] store::StoreError),
    /// Only the driver `null` has no addresses.
    #[error("null IPAM driver does not handle {0}")]
    Null(&'static str),
}

impl ToCniError for IpamError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::AddressSpace { .. }
            | Self::Pool { .. }
            | Self::SubPool { .. }
            | Self::NoPredefinedIpv6
            | Self::Address(_)
            | Self::OutOfRange { .. }
            | Self::NotAHost { .. }
            | Self::Owner(_)
            | Self::Null(_) => ErrorCode::INVALID_CONFIG,
            Self::Overlap { .. } | Self::InUse { .. } => ErrorCode::IN_USE,
            Self::NoPredefined | Self::Exhausted(_) => ErrorCode::POOL_EXHAUSTED,
            Self::UnknownPool(_) => ErrorCode::DRIVER,
            Self::Store(error) => error.code(),
            Self::Records(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::Overlap { .. } => {
                Some("choose another subnet, or remove the network that has it")
            }
            Self::NoPredefined => Some("give the network a subnet"),
            Self::Exhausted(_) => Some("use a larger subnet, or remove endpoints"),
            Self::Store(error) => error.hint(),
            Self::Records(error) => ToCniError::hint(error),
            _ => None,
        }
    }
}
