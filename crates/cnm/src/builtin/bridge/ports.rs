//! Which ports are to be published: out of `com.docker.network.portmap`. Pure.

use std::net::IpAddr;
use std::num::NonZeroU16;

use cni_firewall::portmap::{Mapping, Protocol};
use cni_types::Json;

use super::config::NetworkConfig;
use super::error::BridgeError;
use crate::wire::network::PortBinding;
use crate::wire::{Options, label};

/// A port of the container, and the ports of the host that one is to be chosen of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// With the first of the host's ports.
    pub(super) mapping: Mapping,
    /// The last of them.
    last: NonZeroU16,
}

impl Wanted {
    /// Out of what a network's endpoint asks for.
    pub(super) fn of(config: &NetworkConfig, binding: &PortBinding) -> Result<Self, BridgeError> {
        let refuse = |why| BridgeError::Ports {
            binding: describe(binding),
            why,
        };
        let protocol = match binding.proto {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            132 => Protocol::Sctp,
            _other => return Err(refuse("it is of no protocol that has ports")),
        };
        let port = |port| NonZeroU16::new(port);
        let no_port = "the container's port is missing";
        // Docker holds a port that it chooses open; here nobody is left to do it.
        let no_host_port = "the host's port is missing: none is chosen here";
        let host_port = port(binding.host_port).ok_or_else(|| refuse(no_host_port))?;
        let last = port(binding.host_port_end).unwrap_or(host_port);
        if last < host_port {
            return Err(refuse("the host's ports end before they begin"));
        }
        let host_ip: Option<IpAddr> = match binding.host_ip.as_str() {
            "" => config.host_binding_ipv4.map(IpAddr::V4),
            text => Some(
                text.parse()
                    .map_err(|_no| refuse("the host's address is none"))?,
            ),
        };
        Ok(Self {
            mapping: Mapping {
                host_ip,
                host_port,
                container_port: port(binding.port).ok_or_else(|| refuse(no_port))?,
                protocol,
            },
            last,
        })
    }

    /// The same for each of the host's ports.
    pub(super) fn choices(self) -> impl Iterator<Item = Mapping> {
        let ports = self.mapping.host_port.get()..=self.last.get();
        ports
            .filter_map(NonZeroU16::new)
            .map(move |host_port| Mapping {
                host_port,
                ..self.mapping
            })
    }

    /// Whether there is anything to choose.
    pub(super) fn is_range(&self) -> bool {
        self.mapping.host_port < self.last
    }
}

/// Whether two mappings are of the same port of the host.
pub(super) fn clash(one: &Mapping, other: &Mapping) -> bool {
    let key = |mapping: &Mapping| (mapping.host_ip, mapping.host_port, mapping.protocol);
    key(one) == key(other)
}

/// What has been published, as it was asked for, with the host's port that was chosen.
pub(super) fn chosen(binding: &PortBinding, mapping: &Mapping) -> PortBinding {
    PortBinding {
        host_port: mapping.host_port.get(),
        host_port_end: mapping.host_port.get(),
        ..binding.clone()
    }
}

/// The mappings among the options of a call.
pub(super) fn bindings(options: &Options) -> Result<Vec<PortBinding>, BridgeError> {
    match options.get(label::PORT_MAP) {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(value) => value.decode().map_err(|error| BridgeError::Malformed {
            key: label::PORT_MAP,
            why: error.to_string(),
        }),
    }
}

/// Mappings as they are told.
pub(super) fn told(bindings: &[PortBinding]) -> Json {
    let text = serde_json::to_vec(bindings).unwrap_or_default();
    Json::parse(&text).unwrap_or_default()
}

/// As `docker run -p` writes it: `192.0.2.1:8080-8090:80/6`.
fn describe(binding: &PortBinding) -> String {
    let PortBinding {
        proto,
        port,
        host_ip,
        host_port,
        host_port_end,
        ip: _,
    } = binding;
    let colon = if host_ip.is_empty() { "" } else { ":" };
    let end = match host_port_end {
        0 => String::new(),
        end if end == host_port => String::new(),
        end => format!("-{end}"),
    };
    format!("{host_ip}{colon}{host_port}{end}:{port}/{proto}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::network::CreateNetworkRequest;

    fn config(host_binding: &str) -> NetworkConfig {
        let key = "com.docker.network.bridge.host_binding_ipv4".to_owned();
        let generic = Json::Object(vec![(key, Json::String(host_binding.into()))]);
        let request = CreateNetworkRequest {
            network_id: "n1".into(),
            options: [(label::GENERIC.to_owned(), generic)].into(),
            ..CreateNetworkRequest::default()
        };
        NetworkConfig::parse(&request).unwrap()
    }

    fn binding(host_ip: &str, host_port: u16, host_port_end: u16) -> PortBinding {
        PortBinding {
            proto: 6,
            port: 80,
            host_ip: host_ip.into(),
            host_port,
            host_port_end,
            ..PortBinding::default()
        }
    }

    #[test]
    fn a_mapping_is_read_as_docker_sends_it() {
        let text = br#"{"com.docker.network.portmap": [{"Proto": 17, "IP": "", "Port": 53,
            "HostIP": "", "HostPort": 5353, "HostPortEnd": 5353}]}"#;
        let options: Options = serde_json::from_slice(text).unwrap();
        let bindings = bindings(&options).unwrap();
        let wanted = Wanted::of(&config(""), &bindings[0]).unwrap();
        assert!(!wanted.is_range());
        assert_eq!(wanted.mapping.protocol, Protocol::Udp);
        assert_eq!(wanted.mapping.host_ip, None);
        assert_eq!(wanted.choices().collect::<Vec<_>>(), [wanted.mapping]);
        assert_eq!(chosen(&bindings[0], &wanted.mapping), bindings[0]);
        assert!(super::bindings(&Options::new()).unwrap().is_empty());
        let broken: Options = serde_json::from_str(r#"{"com.docker.network.portmap": 7}"#).unwrap();
        let error = super::bindings(&broken).unwrap_err().to_string();
        assert!(
            error.starts_with("invalid com.docker.network.portmap: "),
            "{error}"
        );
    }

    #[test]
    fn the_hosts_address_is_the_mappings_or_else_the_networks() {
        for (network, own, host_ip) in [
            ("", "", None),
            ("192.0.2.1", "", Some("192.0.2.1")),
            ("192.0.2.1", "192.0.2.7", Some("192.0.2.7")),
            ("192.0.2.1", "::", Some("::")),
            ("0.0.0.0", "", None),
        ] {
            let wanted = Wanted::of(&config(network), &binding(own, 8080, 0)).unwrap();
            let expected: Option<IpAddr> = host_ip.map(|text| text.parse().unwrap());
            assert_eq!(wanted.mapping.host_ip, expected, "{network} {own}");
        }
    }

    #[test]
    fn a_range_is_a_choice() {
        let wanted = Wanted::of(&config(""), &binding("", 8080, 8082)).unwrap();
        assert!(wanted.is_range());
        let choices: Vec<Mapping> = wanted.choices().collect();
        let ports: Vec<u16> = choices
            .iter()
            .map(|choice| choice.host_port.get())
            .collect();
        assert_eq!(ports, [8080, 8081, 8082]);
        assert!(clash(&choices[1], &choices[1]) && !clash(&choices[0], &choices[1]));
        let one = chosen(&binding("", 8080, 8082), &choices[1]);
        assert_eq!((one.host_port, one.host_port_end), (8081, 8081));
    }

    #[test]
    fn what_cannot_be_published_is_refused_with_the_reason() {
        for (binding, text) in [
            (
                binding("", 0, 0),
                "0:80/6: the host's port is missing: none is chosen here",
            ),
            (
                binding("", 8080, 8000),
                "8080-8000:80/6: the host's ports end before they begin",
            ),
            (
                binding("host", 8080, 0),
                "host:8080:80/6: the host's address is none",
            ),
            (
                PortBinding {
                    proto: 1,
                    ..binding("", 8080, 0)
                },
                "8080:80/1: it is of no protocol that has ports",
            ),
            (
                PortBinding {
                    port: 0,
                    ..binding("", 8080, 0)
                },
                "8080:0/6: the container's port is missing",
            ),
        ] {
            let error = Wanted::of(&config(""), &binding).unwrap_err();
            assert_eq!(error.to_string(), format!("cannot publish {text}"));
        }
    }
}
