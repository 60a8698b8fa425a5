//! Why the bridge driver cannot do something.

use std::num::NonZeroU16;

use cni_types::{CidrError, ErrorCode, IfName, IpCidr, MacError, ToCniError};

/// Why the bridge driver cannot do something that it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum BridgeError {
    /// An id that cannot name a file.
    #[error("invalid {kind} id {id:?}: letters, digits, `_`, `.` and `-` are allowed")]
    Id {
        /// Of what.
        kind: &'static str,
        /// As it was given.
        id: String,
    },
    /// An option makes no sense.
    #[error("invalid value {value:?} of option {key}: {why}")]
    Option {
        /// Its name.
        key: &'static str,
        /// As it was given.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An option that libnetwork has, and this driver has not.
    #[error("option {key}={value} is not supported")]
    Unsupported {
        /// Its name.
        key: &'static str,
        /// As it was given.
        value: String,
    },
    /// What a request has under a key is not of the key's type.
    #[error("invalid {key}: {why}")]
    Malformed {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// An address or a subnet is not one.
    #[error("invalid {what}")]
    Address {
        /// Of what.
        what: &'static str,
        /// Why.
        #[source]
        source: CidrError,
    },
    /// A hardware address is not one.
    #[error("invalid MAC address of the endpoint")]
    Mac(#[source] MacError),
    /// The gateway of a subnet is of another one.
    #[error("gateway {gateway} is not in the network's subnet {subnet}")]
    Gateway {
        /// As it was given.
        gateway: String,
        /// The network's.
        subnet: IpCidr,
    },
    /// More than one subnet for one family.
    #[error("bridge driver doesn't support multiple subnets")]
    SeveralSubnets,
    /// Another network has the same bridge, or some of the same addresses.
    #[error("cannot create network {id} ({bridge}): conflicts with network {other}: {what}")]
    Conflict {
        /// The new one.
        id: String,
        /// Its bridge.
        bridge: IfName,
        /// The one that is there.
        other: String,
        /// What both have.
        what: String,
    },
    /// The same id with other options.
    #[error("network {0} exists already, with other options")]
    NetworkExists(String),
    /// The same id again.
    #[error("endpoint {0} exists already")]
    EndpointExists(String),
    /// No such network was made.
    #[error("network {0} does not exist")]
    NoNetwork(String),
    /// No such endpoint was made.
    #[error("endpoint {0} does not exist")]
    NoEndpoint(String),
    /// The name is that of a link of another kind.
    #[error("interface {0} exists already and is not a bridge")]
    NotABridge(IfName),
    /// A bridge that somebody else made is gone.
    #[error("bridge {0} is gone, and was not made by this network")]
    BridgeGone(IfName),
    /// A port cannot be published.
    #[error("cannot publish {binding}: {why}")]
    Ports {
        /// As it was asked for.
        binding: String,
        /// Why.
        why: &'static str,
    },
    /// Ports cannot be published for a network that the host has no way into.
    #[error("cannot publish ports: network {0} has no subnet that the host knows")]
    NoSubnet(String),
    /// An endpoint wants all ports of a range for other mappings of its own.
    #[error("all host ports from {0} on are mapped by this endpoint itself")]
    NoPort(NonZeroU16),
    /// All names that the endpoint's interfaces can have are taken.
    #[error("cannot name the interfaces of the endpoint")]
    NoName,
}

impl ToCniError for BridgeError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Unsupported { .. } => ErrorCode::UNSUPPORTED_FIELD,
            Self::Id { .. }
            | Self::Option { .. }
            | Self::Malformed { .. }
            | Self::Address { .. }
            | Self::Mac(_)
            | Self::Gateway { .. }
            | Self::Ports { .. }
            | Self::NoSubnet(_)
            | Self::NoPort(_)
            | Self::SeveralSubnets => ErrorCode::INVALID_CONFIG,
            Self::Conflict { .. }
            | Self::NetworkExists(_)
            | Self::EndpointExists(_)
            | Self::NoName => ErrorCode::IN_USE,
            Self::NoNetwork(_) | Self::NoEndpoint(_) => ErrorCode::DRIVER,
            Self::NotABridge(_) | Self::BridgeGone(_) => ErrorCode::WRONG_LINK,
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::Conflict { .. } => Some("give the network a bridge and a subnet of its own"),
            Self::NotABridge(_) => {
                Some("choose another name with option com.docker.network.bridge.name")
            }
            Self::BridgeGone(_) => Some("make it again, as it was made before the network"),
            _ => None,
        }
    }
}
