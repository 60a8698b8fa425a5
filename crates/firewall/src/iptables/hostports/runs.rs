//! Ports in a row, and the rules of a container's chain for them.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use cni_types::IpCidr;

use super::HostPorts;
use crate::portmap::{Mapping, Masquerade};

/// From how many ports in a row on they share a rule. The reference has one rule for each, and its
/// CHECK wants to see them.
const LONG_RUN: usize = 16;

/// Mappings with ports in a row, at both ends alike.
pub(super) struct Run<'a> {
    pub(super) first: &'a Mapping,
    pub(super) host: RangeInclusive<u16>,
    container: RangeInclusive<u16>,
}

pub(super) fn runs<'a>(mappings: &[&'a Mapping]) -> Vec<Run<'a>> {
    let single = |mapping: &'a Mapping| Run {
        first: mapping,
        host: mapping.host_port.get()..=mapping.host_port.get(),
        container: mapping.container_port.get()..=mapping.container_port.get(),
    };
    let mut runs: Vec<Run<'a>> = Vec::new();
    for mapping in mappings {
        match runs.last_mut() {
            Some(run) if run.goes_on_with(mapping) => {
                run.host = *run.host.start()..=mapping.host_port.get();
                run.container = *run.container.start()..=mapping.container_port.get();
            }
            _ => runs.push(single(mapping)),
        }
    }
    let split = |run: Run<'a>| {
        if run.host.len() >= LONG_RUN {
            return vec![run];
        }
        let mappings = mappings.iter().copied();
        let of_run = mappings.filter(|mapping| run.has(mapping));
        of_run.map(single).collect()
    };
    runs.into_iter().flat_map(split).collect()
}

impl Run<'_> {
    fn is_alike(&self, mapping: &Mapping) -> bool {
        mapping.protocol == self.first.protocol && mapping.host_ip == self.first.host_ip
    }

    fn goes_on_with(&self, mapping: &Mapping) -> bool {
        let next =
            |range: &RangeInclusive<u16>, port: u16| range.end().checked_add(1) == Some(port);
        self.is_alike(mapping)
            && next(&self.host, mapping.host_port.get())
            && next(&self.container, mapping.container_port.get())
    }

    fn has(&self, mapping: &Mapping) -> bool {
        let offset = |range: &RangeInclusive<u16>, port: u16| {
            range.contains(&port).then(|| port - range.start())
        };
        let host = offset(&self.host, mapping.host_port.get());
        self.is_alike(mapping)
            && host.is_some()
            && host == offset(&self.container, mapping.container_port.get())
    }

    fn ports(&self) -> String {
        ports_text(&self.host)
    }

    /// The lines that mark, and then the one that translates.
    pub(super) fn rules(&self, chain: &str, ports: &HostPorts, container: IpCidr) -> Vec<String> {
        let Mapping { protocol, .. } = self.first;
        let destination = self
            .first
            .single_host()
            .map_or_else(String::new, |host| format!(" -d {}", IpCidr::host(host)));
        let rule = |source: &str, target: &str| {
            let dport = self.ports();
            format!(
                "-A {chain}{source}{destination} -p {protocol} -m {protocol} --dport {dport} \
                 -j {target}"
            )
        };
        let marker = ports.marker();
        let mut lines: Vec<String> = sources(ports.publication.masquerade, container)
            .iter()
            .map(|source| rule(source, &marker))
            .collect();
        let to = self.target(container.addr());
        lines.push(rule("", &format!("DNAT --to-destination {to}")));
        lines
    }

    fn target(&self, container: IpAddr) -> String {
        let address = match container {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let (first, last) = (self.container.start(), self.container.end());
        if first == last {
            format!("{address}:{first}")
        } else {
            // The last number is what the first port of the container is reached at.
            format!("{address}:{first}-{last}/{}", self.host.start())
        }
    }
}

/// Whose packets are marked, as the beginning of a match.
fn sources(masquerade: Masquerade, container: IpCidr) -> Vec<String> {
    match masquerade {
        Masquerade::Never => Vec::new(),
        Masquerade::Always => vec![String::new()],
        Masquerade::Needed => {
            let subnet = container.subnet();
            let subnet = if subnet.prefix() == 0 {
                String::new()
            } else {
                format!(" -s {subnet}")
            };
            let mut sources = vec![subnet];
            if !container.is_ipv6() {
                sources.push(" -s 127.0.0.1/32".to_owned());
            }
            sources
        }
    }
}

pub(super) fn ports_text(ports: &RangeInclusive<u16>) -> String {
    if ports.start() == ports.end() {
        ports.start().to_string()
    } else {
        format!("{}:{}", ports.start(), ports.end())
    }
}
