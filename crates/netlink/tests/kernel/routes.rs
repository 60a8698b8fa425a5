//! Routes.

use std::net::IpAddr;

use cni_netlink::{Dad, LinkId, MAIN_TABLE, Route, RouteFilter, SCOPE_LINK, add_address};
use cni_types::IpCidr;

use crate::{Pair, cidr, ip};

fn filter(ipv6: bool, table: u32, oif: Option<u32>) -> RouteFilter {
    RouteFilter { ipv6, table, oif }
}

/// The container's end with an address of each family.
fn addressed(pair: &Pair) -> LinkId {
    let eth0 = pair.veth().container;
    let add = [cidr("10.1.0.2/24"), cidr("fd00::2/64")].map(|c| add_address(&eth0, c, Dad::Skip));
    pair.container.send_all(&add).unwrap();
    eth0
}

#[test]
fn a_route_is_listed_with_all_that_it_was_added_with() {
    let pair = Pair::new();
    let eth0 = addressed(&pair);
    let gateway = Some(ip("10.1.0.1"));
    let full = Route {
        mtu: Some(1300),
        advmss: Some(1200),
        priority: Some(50),
        table: 1000,
        source: Some(ip("10.1.0.2")),
        ..Route::new(cidr("10.7.8.9/16"), gateway, eth0.index)
    };
    let onlink = Route {
        onlink: true,
        ..Route::new(cidr("10.6.0.0/16"), Some(ip("192.168.7.1")), eth0.index)
    };
    let straight = Route::new(cidr("10.5.0.0/16"), None, eth0.index);
    let add = [&full, &onlink, &straight].map(Route::add);
    pair.container.send_all(&add).unwrap();

    let list = |table| pair.container.routes(filter(false, table, None)).unwrap();
    let masked = Route {
        dst: cidr("10.7.0.0/16"),
        ..full
    };
    assert_eq!(list(1000), [masked]);
    assert!(list(MAIN_TABLE).contains(&onlink));
    assert!(list(MAIN_TABLE).contains(&straight));
    assert_eq!(straight.scope, SCOPE_LINK);
    assert_eq!(list(77), [], "no such table");
    let by_lo = filter(false, MAIN_TABLE, Some(1));
    assert_eq!(pair.container.routes(by_lo).unwrap(), []);
}

#[test]
fn routes_come_and_go() {
    let pair = Pair::new();
    let eth0 = addressed(&pair);
    for (dst, gateway) in [
        (IpCidr::default_route(false), "10.1.0.1"),
        (IpCidr::default_route(true), "fd00::1"),
        (cidr("10.9.0.0/16"), "10.1.0.1"),
        (cidr("fd09::/32"), "fd00::1"),
    ] {
        let route = Route::new(dst, Some(ip(gateway)), eth0.index);
        let find = || {
            let all = filter(dst.is_ipv6(), MAIN_TABLE, Some(eth0.index));
            let listed = pair.container.routes(all).unwrap();
            listed.into_iter().find(|one| one.dst == dst)
        };
        pair.container.request(&route.add()).unwrap();
        assert_eq!(find().unwrap().gateway, route.gateway);
        let again = pair.container.request(&route.add());
        assert!(again.unwrap_err().is_exists());
        pair.container.request(&route.delete()).unwrap();
        assert_eq!(find(), None);
        let again = pair.container.request(&route.delete());
        assert!(again.unwrap_err().is_gone());
    }
}

#[test]
fn a_second_way_to_the_same_destination_joins_the_first() {
    let pair = Pair::new();
    let eth0 = pair.veth().container;
    for (address, dst, gateways) in [
        (
            "10.1.0.2/24",
            IpCidr::default_route(false),
            ["10.1.0.1", "10.1.0.9"],
        ),
        (
            "fd00::2/64",
            IpCidr::default_route(true),
            ["fd00::1", "fd00::9"],
        ),
    ] {
        let add = add_address(&eth0, cidr(address), Dad::Skip);
        let ways = gateways.map(|gateway| Route::new(dst, Some(ip(gateway)), eth0.index).add());
        pair.container.request(&add).unwrap();
        pair.container.send_all(&ways).unwrap();
        let listed = pair
            .container
            .routes(filter(dst.is_ipv6(), MAIN_TABLE, None))
            .unwrap();
        let mut seen: Vec<IpAddr> = listed
            .iter()
            .filter(|one| one.dst == dst)
            .filter_map(|one| one.gateway)
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, gateways.map(ip));
    }
}

#[test]
fn the_way_to_an_address_is_found() {
    let pair = Pair::new();
    let eth0 = addressed(&pair);
    let gateway = Some(ip("10.1.0.1"));
    let far = Route::new(cidr("10.7.0.0/16"), gateway, eth0.index);
    pair.container.request(&far.add()).unwrap();
    let way = |address: &str| {
        let route = pair.container.route_to(ip(address)).unwrap();
        route.map(|route| (route.oif, route.gateway))
    };
    let by = Some(eth0.index);
    assert_eq!(way("10.1.0.9"), Some((by, None)));
    assert_eq!(way("10.7.0.9"), Some((by, gateway)));
    assert_eq!(way("fd00::9"), Some((by, None)));
    assert_eq!(way("10.1.0.2"), None, "its own");
    assert_eq!(way("192.0.2.1"), None, "no route");
    assert_eq!(way("2001:db8::1"), None, "no route");
}
