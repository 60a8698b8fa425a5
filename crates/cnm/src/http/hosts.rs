//! Names of hosts.
//!
//! A static program must not ask the C library for them: what /etc/nsswitch.conf names would be
//! loaded from the machine's own C library, of another version. Drivers and Docker run on the
//! machine that they make networks for, so addresses and /etc/hosts are enough.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::error::HttpError;

const HOSTS: &str = "/etc/hosts";

/// The addresses of a host, of which there is at least one.
pub(super) fn resolve(host: &str) -> Result<Vec<IpAddr>, HttpError> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    // Whatever is wrong with the file: localhost is known without it.
    let hosts = std::fs::read(HOSTS).unwrap_or_default();
    let addresses = look_up(host, &String::from_utf8_lossy(&hosts));
    if addresses.is_empty() {
        return Err(HttpError::Address(format!(
            "host {host:?} is neither an IP address nor a name in {HOSTS}"
        )));
    }
    Ok(addresses)
}

fn look_up(host: &str, hosts: &str) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = hosts
        .lines()
        .filter_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words
                .any(|name| name.eq_ignore_ascii_case(host))
                .then_some(address)
        })
        .collect();
    if addresses.is_empty() && host.eq_ignore_ascii_case("localhost") {
        addresses = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "127.0.0.1 localhost # loop\n\
        ::1\tlocalhost ip6-localhost\n\
        # 10.9.9.9 gone\n\
        10.0.0.7  driver.example driver\n\
        nonsense driver\n";

    #[test]
    fn names_are_looked_up_in_the_file() {
        let found = |host: &str| -> Vec<String> {
            look_up(host, FILE)
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        assert_eq!(found("DRIVER"), ["10.0.0.7"]);
        assert_eq!(found("localhost"), ["127.0.0.1", "::1"]);
        assert!(found("gone").is_empty() && found("driver.exam").is_empty());
    }

    #[test]
    fn localhost_needs_no_file_and_addresses_none() {
        assert_eq!(look_up("localhost", "").len(), 2);
        assert_eq!(resolve("192.0.2.1").unwrap().len(), 1);
        assert_eq!(resolve("::1").unwrap().len(), 1);
        let error = resolve("no-such-host.invalid").unwrap_err();
        assert!(error.to_string().contains("/etc/hosts"), "{error}");
    }
}
