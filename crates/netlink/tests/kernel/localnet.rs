//! 127.0.0.0/8 on other interfaces than `lo`.

use cni_netlink::{delete_link, localnet, sysctl};

use crate::{Pair, bridge, ifname};

fn value(pair: &Pair) -> String {
    let read = || sysctl::read(&["net", "ipv4", "conf", "br0", "route_localnet"]).unwrap();
    pair.host_ns.run(read).unwrap()
}

#[test]
fn what_was_opened_is_closed_again() {
    let pair = Pair::new();
    let br0 = bridge(&pair.host, "br0");
    let name = ifname("br0");
    let run = |body: &dyn Fn()| pair.host_ns.run(body).unwrap();
    run(&|| {
        assert!(!localnet::is_open(&name));
        for _twice in 0..2 {
            localnet::open(&pair.host, &br0).unwrap();
            assert!(localnet::is_open(&name));
        }
    });
    assert_eq!(value(&pair), "2");
    run(&|| {
        for _twice in 0..2 {
            localnet::close(&pair.host, &name).unwrap();
            assert!(!localnet::is_open(&name));
        }
        pair.host.request(&delete_link(&br0)).unwrap();
        localnet::close(&pair.host, &name).unwrap();
    });
}

#[test]
fn what_somebody_else_opened_stays_open() {
    let pair = Pair::new();
    let br0 = bridge(&pair.host, "br0");
    let name = ifname("br0");
    let run = |body: &dyn Fn()| pair.host_ns.run(body).unwrap();
    run(&|| {
        sysctl::write(&["net", "ipv4", "conf", "br0", "route_localnet"], "1").unwrap();
        localnet::open(&pair.host, &br0).unwrap();
        localnet::close(&pair.host, &name).unwrap();
    });
    assert_eq!(value(&pair), "1");
    run(&|| {
        sysctl::write(&["net", "ipv4", "conf", "br0", "route_localnet"], "0").unwrap();
        assert!(!localnet::is_open(&name));
        sysctl::write(&["net", "ipv4", "conf", "all", "route_localnet"], "1").unwrap();
        assert!(localnet::is_open(&name));
    });
}

#[test]
fn what_is_opened_for_good_is_not_closed() {
    let pair = Pair::new();
    let br0 = bridge(&pair.host, "br0");
    let name = ifname("br0");
    pair.host_ns
        .run(|| {
            localnet::open(&pair.host, &br0).unwrap();
            localnet::open_for_good(&pair.host, &br0).unwrap();
            localnet::close(&pair.host, &name).unwrap();
            assert!(localnet::is_open(&name));
        })
        .unwrap();
    assert_eq!(value(&pair), "1");
}
