//! What can go wrong, as the runtime gets to read it.

use cni_netlink::NetlinkError;
use cni_types::{ErrorCode, IfName, ToCniError};

/// Refusals of our own; those of the kernel come as they are.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BandwidthError {
    #[error("must be called as chained plugin")]
    NotChained,
    #[error("must be called as a chained plugin")]
    NotChecked,
    #[error("no interfaces provided")]
    NoInterfaces,
    #[error("container interface {ifname} has no veth peer: {why}")]
    NoPeer { ifname: IfName, why: String },
    #[error("veth peer with index {0} is not in host ns")]
    PeerElsewhere(u32),
    #[error("no veth peer of container interface found in host ns: prevResult does not name {0}")]
    PeerNotNamed(String),
    #[error("{key}: {link} already has a qdisc: {found}")]
    QdiscTaken {
        key: &'static str,
        link: String,
        found: String,
        #[source]
        source: NetlinkError,
    },
    #[error("egressRate: the IFB {0} of this attachment already exists")]
    IfbExists(String),
    #[error("egressRate: no free name for the IFB")]
    NoIfbName(#[source] Option<NetlinkError>),
    #[error("{key}: the kernel cannot do this")]
    Unsupported {
        key: &'static str,
        #[source]
        source: NetlinkError,
    },
    #[error("{key}: the kernel cannot do this: it has no {missing}")]
    NotAvailable { key: &'static str, missing: String },
    #[error("check {what}: {found}")]
    Mismatch { what: String, found: String },
}

impl BandwidthError {
    pub(crate) fn mismatch(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Mismatch {
            what: what.into(),
            found: found.into(),
        }
    }
}

impl ToCniError for BandwidthError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotChained | Self::NotChecked | Self::NoInterfaces => ErrorCode::INVALID_CONFIG,
            Self::NoPeer { .. } | Self::PeerElsewhere(_) | Self::PeerNotNamed(_) => {
                ErrorCode::WRONG_LINK
            }
            Self::QdiscTaken { .. } | Self::IfbExists(_) | Self::NoIfbName(_) => ErrorCode::IN_USE,
            Self::Unsupported { .. } => ErrorCode::UNSUPPORTED_FIELD,
            Self::NotAvailable { .. } => ErrorCode::NOT_AVAILABLE,
            Self::Mismatch { .. } => ErrorCode::CHECK_FAILED,
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::NotChained | Self::NoInterfaces => Some(
                "bandwidth limits what an earlier plugin of the list has made: put it behind bridge \
                 or ptp",
            ),
            Self::NotChecked => Some("the runtime has to pass the result of the ADD"),
            Self::NoPeer { .. } | Self::PeerElsewhere(_) => Some(
                "only a veth pair whose other end is on the host can be limited: the result of \
                 bridge and ptp, not of macvlan or ipvlan",
            ),
            Self::QdiscTaken { .. } => Some(
                "nobody's qdisc is replaced: delete it with `tc qdisc del`, or leave this limit out",
            ),
            Self::IfbExists(_) => Some(
                "an earlier ADD may have been left without a DEL; a DEL for this container removes it",
            ),
            Self::NotAvailable { .. } => Some(
                "it needs CONFIG_NET_SCH_TBF, and for egressRate CONFIG_IFB, \
                 CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_U32 and CONFIG_NET_ACT_MIRRED, built in or \
                 as modules that can be loaded",
            ),
            Self::Unsupported { source, .. } => source.hint(),
            _ => None,
        }
    }
}
