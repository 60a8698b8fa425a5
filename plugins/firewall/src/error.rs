//! What can go wrong, as the runtime gets to read it. Refusals of the packet filter come as they are.

use std::net::IpAddr;

use cni_firewall::forward::Lost;
use cni_types::{ErrorCode, IpCidr, ToCniError};

/// Refusals of firewalld, and what CHECK and STATUS find.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FirewallError {
    #[error("failed to reach firewalld")]
    Bus(#[source] zbus::Error),
    #[error("failed to add the address {} to {zone} zone", IpCidr::host(*.address))]
    AddSource {
        address: IpAddr,
        zone: String,
        #[source]
        source: zbus::Error,
    },
    #[error("failed to remove the address {} from firewalld", IpCidr::host(*.address))]
    RemoveSource {
        address: IpAddr,
        #[source]
        source: zbus::Error,
    },
    #[error("failed to find out whether the address {} is in {zone} zone", IpCidr::host(*.address))]
    QuerySource {
        address: IpAddr,
        zone: String,
        #[source]
        source: zbus::Error,
    },
    #[error("failed to find the address {} in {zone} zone", IpCidr::host(*.address))]
    NotInZone { address: IpAddr, zone: String },
    #[error("check forwarding: {0}")]
    Lost(Lost),
    #[error("backend {backend}: {what}")]
    Unavailable {
        backend: &'static str,
        what: &'static str,
    },
}

impl ToCniError for FirewallError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotInZone { .. } | Self::Lost(_) => ErrorCode::CHECK_FAILED,
            Self::Unavailable { .. } => ErrorCode::NOT_AVAILABLE,
            _ => ErrorCode::FIREWALL,
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::Bus(_) => Some("is D-Bus running? `backend` chooses another packet filter"),
            Self::AddSource { source, .. } if says(source, "ZONE_CONFLICT") => Some(
                "the address is in another zone: firewall-cmd --get-zone-of-source tells which",
            ),
            Self::AddSource { source, .. } if says(source, "INVALID_ZONE") => {
                Some("firewall-cmd --get-zones lists those that firewalldZone can name")
            }
            Self::NotInZone { .. } => Some("firewall-cmd --reload forgets the containers"),
            _ => None,
        }
    }
}

/// Whether firewalld gave this as its reason: its errors begin with a word for the kind.
pub(crate) fn says(error: &zbus::Error, kind: &str) -> bool {
    match error {
        zbus::Error::MethodError(_, Some(text), _) => text
            .split(':')
            .next()
            .is_some_and(|word| word.trim() == kind),
        _ => false,
    }
}
