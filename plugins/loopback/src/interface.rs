//! The interface `lo`, and what the result tells of it.

use std::net::IpAddr;
use std::path::Path;

use cni_netlink::{Link, Socket};
use cni_types::{CniError, CniResult, ErrorCode, IfName, Interface, IpCidr, IpConfig, ToCniError};

/// The kernel's name for it, in every namespace.
const NAME: &str = "lo";

/// What is wrong with the interface.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoopbackError {
    #[error("the namespace has no interface lo")]
    Missing,
    #[error("interface lo is down")]
    Down,
    #[error("loopback interface found with non-loopback address {0}")]
    ForeignAddress(IpAddr),
}

impl ToCniError for LoopbackError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Missing | Self::ForeignAddress(_) => ErrorCode::WRONG_LINK,
            Self::Down => ErrorCode::CHECK_FAILED,
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::ForeignAddress(_) => {
                Some("give it to a dummy interface, or add it after the loopback plugin has run")
            }
            Self::Missing | Self::Down => None,
        }
    }
}

/// The interface.
pub(crate) fn find(inside: &Socket) -> Result<Link, CniError> {
    let name: IfName = NAME.parse().map_err(|_never| LoopbackError::Missing)?;
    Ok(inside.find_link(&name)?.ok_or(LoopbackError::Missing)?)
}

/// Its addresses, all of which have to be loopback addresses.
pub(crate) fn addresses(inside: &Socket) -> Result<Vec<IpCidr>, CniError> {
    let link = find(inside)?.id();
    let found: Vec<IpCidr> = inside
        .addresses(Some(&link))?
        .iter()
        .map(|found| found.cidr)
        .collect();
    match found.iter().find(|cidr| !cidr.addr().is_loopback()) {
        Some(foreign) => Err(LoopbackError::ForeignAddress(foreign.addr()).into()),
        None => Ok(found),
    }
}

/// The interface with its first address of each family.
pub(crate) fn report(netns: &Path, addresses: &[IpCidr]) -> CniResult {
    let first = |v6: bool| addresses.iter().find(|cidr| cidr.is_ipv6() == v6);
    let ip = |cidr: &IpCidr| IpConfig {
        interface: Some(0),
        address: *cidr,
        gateway: None,
    };
    CniResult {
        interfaces: vec![Interface {
            name: NAME.to_owned(),
            mac: "00:00:00:00:00:00".to_owned(),
            sandbox: netns.display().to_string(),
            ..Interface::default()
        }],
        ips: [first(false), first(true)]
            .into_iter()
            .flatten()
            .map(ip)
            .collect(),
        ..CniResult::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_has_the_first_address_of_each_family() {
        let cidr = |text: &str| text.parse::<IpCidr>().unwrap();
        let all = [cidr("127.0.0.1/8"), cidr("127.0.0.2/8"), cidr("::1/128")];
        let result = report(Path::new("/run/netns/x"), &all);
        assert_eq!(result.interfaces[0].sandbox, "/run/netns/x");
        let ips: Vec<String> = result.ips.iter().map(|ip| ip.address.to_string()).collect();
        assert_eq!(ips, ["127.0.0.1/8", "::1/128"]);
        assert!(report(Path::new("/x"), &[]).ips.is_empty());
    }
}
