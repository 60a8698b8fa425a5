//! What can go wrong, as the runtime gets to read it.

use cni_types::{Attachment, ErrorCode, IfName, IpCidr, ToCniError};

/// Refusals of our own; those of the kernel, the packet filter and the delegates come as they are.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BridgeError {
    #[error("\"{0}\" already exists but is not a bridge")]
    NotABridge(IfName),
    #[error("container veth name provided ({0}) already exists")]
    ContainerNameTaken(IfName),
    #[error("another ADD of {0} is under way")]
    AddUnderWay(Attachment),
    #[error("no free name for the host end of the veth pair")]
    NoHostName,
    #[error("IPAM plugin returned missing IP config")]
    NoAddress,
    #[error("the address {0} has no gateway, and isGateway needs one")]
    NoGateway(IpCidr),
    #[error("bridge \"{bridge}\" already has an IP address different from {wanted}")]
    OtherAddress {
        bridge: IfName,
        wanted: IpCidr,
        found: IpCidr,
        hint: String,
    },
    #[error("the port {port} of bridge {bridge} did not come up: bridge port in error state")]
    PortDown { bridge: IfName, port: String },
    #[error(
        "vlan {vlan}: the gateway's interface would be {bridge}.{vlan}, and interface names have at most 15 bytes"
    )]
    VlanGatewayName { bridge: IfName, vlan: u16 },
    #[error("{key}: the kernel cannot do this")]
    Unsupported {
        key: &'static str,
        #[source]
        source: cni_netlink::NetlinkError,
    },
    #[error("Required prevResult missing")]
    NoPrevResult,
    #[error("check {what}: {found}")]
    Mismatch { what: String, found: String },
}

impl BridgeError {
    pub(crate) fn other_address(bridge: &IfName, wanted: IpCidr, found: IpCidr) -> Self {
        Self::OtherAddress {
            bridge: bridge.clone(),
            wanted,
            found,
            hint: format!(
                "it has {found}: \"forceAddress\": true replaces it, or delete it with \
                 `ip address delete {found} dev {bridge}`"
            ),
        }
    }

    pub(crate) fn mismatch(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Mismatch {
            what: what.into(),
            found: found.into(),
        }
    }
}

impl ToCniError for BridgeError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotABridge(_) => ErrorCode::WRONG_LINK,
            Self::ContainerNameTaken(_) | Self::OtherAddress { .. } => ErrorCode::IN_USE,
            Self::AddUnderWay(_) => ErrorCode::TRY_AGAIN,
            Self::NoHostName | Self::PortDown { .. } => ErrorCode::KERNEL,
            Self::NoAddress => ErrorCode::DELEGATE,
            Self::NoGateway(_) | Self::VlanGatewayName { .. } | Self::NoPrevResult => {
                ErrorCode::INVALID_CONFIG
            }
            Self::Unsupported { .. } => ErrorCode::UNSUPPORTED_FIELD,
            Self::Mismatch { .. } => ErrorCode::CHECK_FAILED,
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::NotABridge(_) => {
                Some("choose another \"bridge\" in the config, or delete that interface")
            }
            Self::ContainerNameTaken(_) => Some(
                "an earlier ADD may have been left without a DEL; a DEL for this container removes it",
            ),
            Self::OtherAddress { hint, .. } => Some(hint),
            Self::PortDown { .. } => Some("is something else setting the interfaces down?"),
            Self::Unsupported { source, .. } => source.hint(),
            Self::NoPrevResult => Some("the runtime has to pass the result of the ADD"),
            _ => None,
        }
    }
}
