//! Subnets, addresses, ports: text to values.

use std::collections::BTreeMap;
use std::net::IpAddr;

use cni_cnm::controller::spec::FamilySpec;
use cni_cnm::wire::network::PortBinding;
use cni_types::IpCidr;

use super::error::ConfigError;
use super::raw::{IpRange, PortMapping};

/// The four keys of one family, by their names.
pub(super) struct FamilyKeys<'a> {
    pub(super) subnet: (&'static str, &'a str),
    pub(super) range: (&'static str, &'a str),
    pub(super) gateway: (&'static str, &'a str),
    pub(super) ipv6: bool,
}

impl FamilyKeys<'_> {
    /// The family as it is written.
    pub(super) fn read(&self) -> Result<FamilySpec, ConfigError> {
        let subnet = self.cidr(self.subnet)?.map(|subnet| subnet.subnet());
        let range = self.cidr(self.range)?.map(|range| range.subnet());
        let gateway = self.address(self.gateway)?;
        let Some(within) = subnet else {
            let alone = |key| ConfigError::Alone {
                key,
                needs: self.subnet.0,
            };
            if range.is_some() {
                return Err(alone(self.range.0));
            }
            if gateway.is_some() {
                return Err(alone(self.gateway.0));
            }
            return Ok(FamilySpec::default());
        };
        if let Some(range) = range
            && !(within.contains(range.network()) && within.contains(range.broadcast()))
        {
            return Err(outside(self.range, &within));
        }
        if gateway.is_some_and(|gateway| !within.contains(gateway)) {
            return Err(outside(self.gateway, &within));
        }
        Ok(FamilySpec {
            subnet,
            range,
            gateway,
            aux: BTreeMap::new(),
        })
    }

    fn cidr(&self, (key, text): (&'static str, &str)) -> Result<Option<IpCidr>, ConfigError> {
        if text.is_empty() {
            return Ok(None);
        }
        let wanted = if self.ipv6 {
            "an IPv6 subnet with its prefix length"
        } else {
            "an IPv4 subnet with its prefix length"
        };
        let cidr: Option<IpCidr> = text.parse().ok();
        let cidr = cidr.filter(|cidr| cidr.is_ipv6() == self.ipv6);
        cidr.map(Some)
            .ok_or_else(|| ConfigError::malformed(key, text, wanted))
    }

    fn address(&self, (key, text): (&'static str, &str)) -> Result<Option<IpAddr>, ConfigError> {
        if text.is_empty() {
            return Ok(None);
        }
        let wanted = if self.ipv6 {
            "an IPv6 address"
        } else {
            "an IPv4 address"
        };
        let address: Option<IpAddr> = text.parse().ok();
        let address = address.filter(|address| address.is_ipv6() == self.ipv6);
        address
            .map(Some)
            .ok_or_else(|| ConfigError::malformed(key, text, wanted))
    }
}

fn outside((key, value): (&'static str, &str), subnet: &IpCidr) -> ConfigError {
    ConfigError::NotInSubnet {
        key: key.to_owned(),
        value: value.to_owned(),
        subnet: subnet.to_string(),
    }
}

/// Puts reserved addresses to the family that they are of.
pub(super) fn add_aux(
    aux: &BTreeMap<String, String>,
    families: [&mut FamilySpec; 2],
) -> Result<(), ConfigError> {
    let [v4, v6] = families;
    for (name, text) in aux {
        let key = format!("auxAddresses.{name}");
        let address: IpAddr = text
            .parse()
            .map_err(|_why| ConfigError::malformed(key.clone(), text, "an IP address"))?;
        let family = if address.is_ipv6() {
            &mut *v6
        } else {
            &mut *v4
        };
        let within = family.subnet;
        if !within.is_some_and(|subnet| subnet.contains(address)) {
            return Err(ConfigError::NotInSubnet {
                key,
                value: text.clone(),
                subnet: within.map_or("any subnet of the network".into(), |it| it.to_string()),
            });
        }
        family.aux.insert(name.clone(), address);
    }
    Ok(())
}

/// What a runtime says of ranges replaces what the config says: the first range of each family.
pub(super) fn apply_ranges(
    ranges: &[Vec<IpRange>],
    v4: &mut FamilySpec,
    v6: &mut FamilySpec,
) -> Result<(), ConfigError> {
    let mut seen = [false, false];
    for range in ranges.iter().filter_map(|set| set.first()) {
        let ipv6 = range.subnet.contains(':');
        let [seen_v4, seen_v6] = &mut seen;
        let (family, seen) = if ipv6 {
            (&mut *v6, seen_v6)
        } else {
            (&mut *v4, seen_v4)
        };
        if std::mem::replace(seen, true) {
            continue;
        }
        let mut read = FamilyKeys {
            subnet: ("runtimeConfig.ipRanges.subnet", &range.subnet),
            range: ("runtimeConfig.ipRanges", ""),
            gateway: ("runtimeConfig.ipRanges.gateway", &range.gateway),
            ipv6,
        }
        .read()?;
        read.range = part(range)?;
        read.aux.clone_from(&family.aux);
        *family = read;
    }
    Ok(())
}

/// The part of a subnet from the first to the last address, if that is a subnet itself.
fn part(range: &IpRange) -> Result<Option<IpCidr>, ConfigError> {
    let (start, end) = (range.range_start.as_str(), range.range_end.as_str());
    if start.is_empty() && end.is_empty() {
        return Ok(None);
    }
    let no_subnet = || ConfigError::RangeNoSubnet {
        start: start.to_owned(),
        end: end.to_owned(),
    };
    let first: IpAddr = start.parse().map_err(|_why| no_subnet())?;
    let last: IpAddr = end.parse().map_err(|_why| no_subnet())?;
    let bits = IpCidr::host(first).bits();
    (0..=bits)
        .filter_map(|prefix| IpCidr::new(first, prefix).ok())
        .find(|cidr| cidr.network() == first && cidr.broadcast() == last)
        .map(Some)
        .ok_or_else(no_subnet)
}

/// Addresses that an attachment was asked to have, with or without prefix lengths.
pub(super) fn wanted(key: &str, texts: &[String]) -> Result<Vec<IpAddr>, ConfigError> {
    let read = |(at, text): (usize, &String)| {
        let cidr: Option<IpCidr> = text.parse().ok();
        let address = cidr.map(|cidr| cidr.addr()).or_else(|| text.parse().ok());
        address.ok_or_else(|| ConfigError::malformed(format!("{key}[{at}]"), text, "an IP address"))
    };
    texts.iter().enumerate().map(read).collect()
}

/// Ports to publish. A port of 0 on the host leaves the choice to the driver, in Docker as in CNI
/// it means "not published": such a mapping only exposes.
pub(super) fn ports(mappings: &[PortMapping]) -> Result<Vec<PortBinding>, ConfigError> {
    let all = mappings.iter().enumerate();
    all.filter(|(_, mapping)| mapping.host_port != 0)
        .map(|(at, mapping)| binding(at, mapping))
        .collect()
}

fn binding(at: usize, mapping: &PortMapping) -> Result<PortBinding, ConfigError> {
    let key = |name: &str| format!("runtimeConfig.portMappings[{at}].{name}");
    let port = |name: &str, value: i64| {
        u16::try_from(value)
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| {
                ConfigError::malformed(key(name), &value.to_string(), "a port from 1 to 65535")
            })
    };
    if !mapping.host_ip.is_empty() && mapping.host_ip.parse::<IpAddr>().is_err() {
        let wanted = "an IP address";
        return Err(ConfigError::malformed(
            key("hostIP"),
            &mapping.host_ip,
            wanted,
        ));
    }
    let host_port = port("hostPort", mapping.host_port)?;
    Ok(PortBinding {
        proto: protocol(&mapping.protocol).ok_or_else(|| {
            ConfigError::malformed(key("protocol"), &mapping.protocol, "tcp, udp or sctp")
        })?,
        ip: String::new(),
        port: port("containerPort", mapping.container_port)?,
        host_ip: mapping.host_ip.clone(),
        host_port,
        host_port_end: host_port,
    })
}

/// IP protocol numbers.
fn protocol(name: &str) -> Option<u8> {
    match name.to_ascii_lowercase().as_str() {
        "" | "tcp" => Some(6),
        "udp" => Some(17),
        "sctp" => Some(132),
        _ => None,
    }
}
