//! Addresses and their announcement.

use std::time::Instant;

use cni_netlink::{
    Dad, Ipv4Conf, LinkId, Route, add_address, advertise, delete_address, gratuitous_arp,
    set_ipv4_conf, sysctl,
};

use crate::{Pair, cidr, get, ip, ip_tool, soon, words};

#[test]
fn extended_acknowledgements_reach_the_error() {
    let pair = Pair::new();
    let eth0 = pair.veth().container;
    let route = Route::new(cidr("10.9.0.0/16"), Some(ip("10.200.0.1")), eth0.index);
    let error = pair.container.request(&route.add()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "failed to add route 10.9.0.0/16 via 10.200.0.1 oif {}",
            eth0.index
        )
    );
    assert_eq!(
        words(&error),
        "Network is unreachable: Nexthop has invalid gateway"
    );
    assert!(error.hint().unwrap().contains("not reachable"));
}

#[test]
fn addresses_come_and_go() {
    let pair = Pair::new();
    let eth0 = pair.veth().container;
    let (v4, narrow, v6) = (cidr("10.1.2.3/24"), cidr("10.1.9.0/31"), cidr("fd00::3/64"));
    let adds = [v4, narrow, v6].map(|one| add_address(&eth0, one, Dad::Skip));
    pair.container.send_all(&adds).unwrap();

    let all = pair.container.addresses(Some(&eth0)).unwrap();
    let find = |cidr| all.iter().find(|one| one.cidr == cidr).unwrap();
    assert_eq!(find(v4).broadcast, Some(ip("10.1.2.255")));
    assert_eq!(find(v4).label.as_deref(), Some("eth0"));
    assert_eq!(find(narrow).broadcast, None);
    let six = find(v6);
    assert!(six.is_permanent() && !six.is_tentative() && !six.is_link_scope());
    assert!(all.iter().all(|one| one.index == eth0.index));

    let error = pair.container.request(&adds[0]).unwrap_err();
    assert!(error.is_exists());
    assert_eq!(
        error.to_string(),
        "failed to add address 10.1.2.3/24 dev eth0"
    );
    pair.container.request(&delete_address(&eth0, v4)).unwrap();
    let again = pair.container.request(&delete_address(&eth0, v4));
    assert!(again.unwrap_err().is_gone());
    let left = pair.container.addresses(None).unwrap();
    assert!(left.iter().all(|one| one.cidr != v4));

    let nobody = LinkId::new(4711, "gone0");
    assert_eq!(pair.container.addresses(Some(&nobody)).unwrap(), []);
}

#[test]
fn an_ipv6_address_on_a_link_without_ipv6_gets_a_hint() {
    let pair = Pair::new();
    let eth0 = pair.veth().container;
    pair.container_ns
        .run(|| sysctl::write(&["net", "ipv6", "conf", "eth0", "disable_ipv6"], "1"))
        .unwrap()
        .unwrap();
    let add = add_address(&eth0, cidr("fd00::1/64"), Dad::Skip);
    let error = pair.container.request(&add).unwrap_err();
    assert!(error.hint().unwrap().contains("disable_ipv6"), "{error:?}");
}

#[test]
fn an_announcement_replaces_what_the_neighbours_remember() {
    let pair = Pair::new();
    let made = pair.veth();
    let addresses = [("10.1.0.1/24", "10.1.0.2/24"), ("fd00::1/64", "fd00::2/64")];
    for (host, container) in addresses {
        pair.host
            .request(&add_address(&made.host, cidr(host), Dad::Skip))
            .unwrap();
        pair.container
            .request(&add_address(&made.container, cidr(container), Dad::Skip))
            .unwrap();
    }
    let mac = get(&pair.container, &made.container).mac.unwrap();
    let notify = set_ipv4_conf(&made.container, &[(Ipv4Conf::ArpNotify, 1)]);
    pair.container.request(&notify).unwrap();
    for (_, container) in addresses {
        let ip = cidr(container).addr();
        let stale = "lladdr 02:00:00:00:00:99 dev veth0 nud stale";
        ip_tool(&pair.host_ns, &format!("neigh replace {ip} {stale}"));
    }
    let ips = addresses.map(|(_, container)| cidr(container).addr());
    pair.container
        .request(&gratuitous_arp(&made.container, mac))
        .unwrap();
    let advertise = || advertise(&made.container, mac, &ips);
    pair.container_ns.run(advertise).unwrap().unwrap();
    for ip in ips {
        let deadline = soon();
        while !ip_tool(&pair.host_ns, &format!("neigh show {ip}")).contains(&mac.to_string()) {
            assert!(Instant::now() < deadline, "{ip} was not announced");
        }
    }
}
