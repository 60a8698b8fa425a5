//! `runtimeConfig.portMappings`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU16;

use cni_firewall::portmap::{Mapping, Protocol, UnknownProtocol};
use cni_types::{ErrorCode, ToCniError};
use serde::Deserialize;

/// A mapping as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct MappingConf {
    host_port: i64,
    container_port: i64,
    protocol: String,
    #[serde(rename = "hostIP")]
    host_ip: String,
}

/// Why a mapping is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MappingError {
    #[error("runtimeConfig.portMappings[{at}].hostPort: Invalid host port number: {port}")]
    HostPort { at: usize, port: i64 },
    #[error(
        "runtimeConfig.portMappings[{at}].containerPort: Invalid container port number: {port}"
    )]
    ContainerPort { at: usize, port: i64 },
    #[error("runtimeConfig.portMappings[{at}].protocol: {error}")]
    Protocol { at: usize, error: UnknownProtocol },
    #[error("runtimeConfig.portMappings[{at}].hostIP: {text:?} is not an IP address")]
    HostIp { at: usize, text: String },
    #[error("runtimeConfig.portMappings[{at}].hostIP: ::1 cannot be mapped")]
    LoopbackV6 { at: usize },
    #[error(
        "runtimeConfig.portMappings[{at}]: maps the port of runtimeConfig.portMappings[{first}] to \
         another one"
    )]
    Twice { first: usize, at: usize },
}

impl ToCniError for MappingError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::LoopbackV6 { .. } => ErrorCode::UNSUPPORTED_FIELD,
            _ => ErrorCode::INVALID_CONFIG,
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::HostPort { .. } | Self::ContainerPort { .. } => Some("ports are 1 to 65535"),
            Self::Protocol { .. } => Some("tcp, udp and sctp have ports that can be mapped"),
            Self::LoopbackV6 { .. } => Some(
                "the kernel accepts packets for ::1 from lo alone, so that no container could \
                 answer; 127.0.0.1 can be mapped",
            ),
            _ => None,
        }
    }
}

/// The mappings, each of them valid, no two of them for the same port with different targets.
pub(super) fn mappings(confs: &[MappingConf]) -> Result<Vec<Mapping>, MappingError> {
    let mut mappings = Vec::with_capacity(confs.len());
    let mut taken: BTreeMap<_, (usize, NonZeroU16)> = BTreeMap::new();
    for (at, conf) in confs.iter().enumerate() {
        let mapping = mapping(at, conf)?;
        for v6 in [false, true] {
            if !mapping.is_for(v6) {
                continue;
            }
            let host = mapping.host_ip.filter(|host| !host.is_unspecified());
            let port = (v6, mapping.protocol, mapping.host_port, host);
            match taken.entry(port) {
                Entry::Vacant(free) => {
                    free.insert((at, mapping.container_port));
                }
                Entry::Occupied(other) => {
                    let (first, container_port) = *other.get();
                    if container_port != mapping.container_port {
                        return Err(MappingError::Twice { first, at });
                    }
                }
            }
        }
        mappings.push(mapping);
    }
    Ok(mappings)
}

fn mapping(at: usize, conf: &MappingConf) -> Result<Mapping, MappingError> {
    Ok(Mapping {
        container_port: port(conf.container_port).ok_or(MappingError::ContainerPort {
            at,
            port: conf.container_port,
        })?,
        host_port: port(conf.host_port).ok_or(MappingError::HostPort {
            at,
            port: conf.host_port,
        })?,
        protocol: conf
            .protocol
            .parse::<Protocol>()
            .map_err(|error| MappingError::Protocol { at, error })?,
        host_ip: host_ip(at, &conf.host_ip)?,
    })
}

fn port(number: i64) -> Option<NonZeroU16> {
    u16::try_from(number).ok().and_then(NonZeroU16::new)
}

fn host_ip(at: usize, text: &str) -> Result<Option<IpAddr>, MappingError> {
    if text.is_empty() {
        return Ok(None);
    }
    // An IPv4 address in the form of IPv6 is one of IPv4.
    let address = text.parse::<IpAddr>().map(|address| address.to_canonical());
    match address {
        Ok(IpAddr::V6(Ipv6Addr::LOCALHOST)) => Err(MappingError::LoopbackV6 { at }),
        Ok(address) => Ok(Some(address)),
        Err(_no_address) => Err(MappingError::HostIp {
            at,
            text: text.to_owned(),
        }),
    }
}
