//! Why a container is not joined.

use std::net::IpAddr;

use cni_cnm::engine::{ApiVersion, EngineError};
use cni_types::{Attachment, ErrorCode, IfName, ToCniError};

/// Refusals of our own; Docker's and the kernel's come as they are.
#[derive(Debug, thiserror::Error)]
pub(super) enum JoinError {
    #[error("container {container} is none of Docker's")]
    UnknownContainer {
        container: String,
        #[source]
        source: EngineError,
    },
    #[error("container {container} does not run: Docker says that it is {status:?}")]
    NotRunning { container: String, status: String },
    #[error(
        "container {container} was made with network mode {mode:?}: Docker joins it to nothing"
    )]
    Mode { container: String, mode: String },
    #[error(
        "{netns} is not the namespace of container {container}, whose process {pid} is in another"
    )]
    OtherNamespace {
        netns: String,
        container: String,
        pid: i32,
    },
    #[error("the container has an interface {name} already{also}")]
    NameTaken { name: IfName, also: String },
    #[error("Docker has no network {0:?}")]
    NoNetwork(String),
    #[error("network {network} is there, but {what} is {is} and not {wanted}")]
    OtherNetwork {
        network: String,
        what: &'static str,
        is: String,
        wanted: String,
    },
    #[error("runtimeConfig.ips: {address} is in no subnet of network {network} ({subnets})")]
    NotItsAddress {
        address: IpAddr,
        network: String,
        subnets: String,
    },
    #[error("runtimeConfig.ips: {address} of network {network} belongs to {owner}")]
    AddressTaken {
        address: IpAddr,
        network: String,
        owner: String,
    },
    #[error("container {container} is on network {network} already, and not by this attachment")]
    AlreadyThere { container: String, network: String },
    #[error("{0} is attached already")]
    AlreadyAttached(Attachment),
    #[error("Docker does not show container {container} on network {network}")]
    NotThere { container: String, network: String },
    #[error("Docker has connected the container to {network}, but {found} in it {what}")]
    NoLink {
        network: String,
        found: &'static str,
        what: String,
    },
    #[error("{key}: {wanted} was asked for, and Docker (API {version}) gave {given}")]
    Unheeded {
        key: &'static str,
        wanted: String,
        given: String,
        version: ApiVersion,
    },
}

impl ToCniError for JoinError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownContainer { .. } => ErrorCode::UNKNOWN_CONTAINER,
            Self::NotRunning { .. } => ErrorCode::TRY_AGAIN,
            Self::Mode { .. } | Self::NotThere { .. } | Self::NoLink { .. } => ErrorCode::DRIVER,
            Self::OtherNamespace { .. } => ErrorCode::INVALID_NETNS,
            Self::NameTaken { .. }
            | Self::AddressTaken { .. }
            | Self::AlreadyThere { .. }
            | Self::AlreadyAttached(_) => ErrorCode::IN_USE,
            Self::NoNetwork(_) | Self::OtherNetwork { .. } | Self::NotItsAddress { .. } => {
                ErrorCode::INVALID_CONFIG
            }
            Self::Unheeded { .. } => ErrorCode::UNSUPPORTED_FIELD,
        }
    }

    fn hint(&self) -> Option<&str> {
        Some(match self {
            Self::UnknownContainer { .. } => {
                "backend \"engine\" joins Docker's own containers only; pods of containerd or CRI-O \
                 are none, backend \"driver\" serves them. Where CNI_CONTAINERID is not Docker's id, \
                 args.docker.containerID has to be"
            }
            Self::NotRunning { .. } => "start it first; Docker connects it only then",
            Self::Mode { .. } => {
                "make it with another network mode, as `docker run --network none`; a container \
                 that shares another one's network is joined by joining that one"
            }
            Self::OtherNamespace { .. } => {
                "CNI_NETNS and the container have to belong together: is the engineSocket the one \
                 of the Docker whose container this is, and does it run on this machine?"
            }
            Self::NameTaken { .. } => {
                "set another CNI_IFNAME, as net1; Docker calls the interface of the container's \
                 first network eth0. An earlier ADD may have been left without a DEL"
            }
            Self::NoNetwork(_) => {
                "`docker network create` makes it; or give the config a `driver`, and it will be \
                 made when it is needed"
            }
            Self::OtherNetwork { .. } => {
                "remove the network, or give the config another one's name"
            }
            Self::AlreadyThere { .. } => {
                "whoever connected it may disconnect it: `docker network disconnect`"
            }
            Self::AlreadyAttached(_) => "a runtime has to call DEL before it calls ADD again",
            Self::Unheeded { key, .. } => unheeded(key),
            Self::NotItsAddress { .. }
            | Self::AddressTaken { .. }
            | Self::NotThere { .. }
            | Self::NoLink { .. } => return None,
        })
    }
}

fn unheeded(key: &str) -> &'static str {
    match key {
        "isDefaultGateway" => {
            "Docker before Engine 28 gives the default route to the network whose name comes first, \
             later ones to the one that was connected with it"
        }
        "runtimeConfig.mac" => {
            "Docker heeds it since API 1.54; `tuning` behind this plugin in the chain can set it"
        }
        _ => "the network has no such address to give: does it have that family, and a subnet?",
    }
}
