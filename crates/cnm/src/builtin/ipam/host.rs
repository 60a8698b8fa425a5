//! What a new pool must not overlap on this host.

use std::fs;
use std::net::IpAddr;

use cni_netlink::{MAIN_TABLE, RouteFilter, Socket};
use cni_types::{CniError, IpCidr};

/// The destinations of the host's routes but the default ones, and its name servers, which a route
/// to the new pool would hide.
pub(super) fn subnets_in_use() -> Result<Vec<IpCidr>, CniError> {
    let socket = Socket::open()?;
    // The default pools are of IPv4.
    let routes = socket.routes(RouteFilter {
        ipv6: false,
        table: MAIN_TABLE,
        oif: None,
    })?;
    let destinations = routes.iter().map(|route| route.dst);
    let destinations = destinations.filter(|dst| dst.prefix() > 0);
    let servers = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    Ok(destinations.chain(name_servers(&servers)).collect())
}

fn name_servers(resolv_conf: &str) -> impl Iterator<Item = IpCidr> {
    resolv_conf.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let server: IpAddr = match words.next()? {
            "nameserver" => words.next()?.parse().ok()?,
            _ => return None,
        };
        Some(IpCidr::host(server))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read_as_the_resolver_reads_them() {
        let text = "# nameserver 1.1.1.1\nsearch nameserver 2.2.2.2\n nameserver\t172.17.0.2 # x\nnameserver ::1\nnameserver\n";
        let servers: Vec<String> = name_servers(text)
            .map(|server| server.to_string())
            .collect();
        assert_eq!(servers, ["172.17.0.2/32", "::1/128"]);
    }
}
