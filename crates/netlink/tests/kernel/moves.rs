//! Links that change their namespace or their names.

use cni_netlink::{
    CreateVeth, LinkId, add_alt_name, delete_alt_name, move_link, rename_link, set_down, set_up,
};

use crate::{Pair, end, ifname};

/// A pair with both ends in the host's namespace.
fn local_pair(pair: &Pair) -> (LinkId, LinkId) {
    let wanted = CreateVeth {
        netns: None,
        container: end("tmp0"),
        ..pair.wanted()
    };
    let made = pair.host.create_veth(&wanted).unwrap();
    (made.host, made.container)
}

#[test]
fn a_link_moves_and_is_renamed() {
    let pair = Pair::new();
    let (_, end) = local_pair(&pair);
    pair.host.request(&set_up(&end)).unwrap();
    let eth0 = ifname("eth0");
    pair.host
        .request(&move_link(&end, &pair.container_ns, &eth0))
        .unwrap();
    assert_eq!(pair.host.find_link(&ifname("tmp0")).unwrap(), None);
    let moved = pair.container.find_link(&eth0).unwrap().unwrap();
    assert!(!moved.is_up(), "the kernel closes what it moves");
    pair.container
        .request(&move_link(&moved.id(), &pair.host_ns, &ifname("tmp0")))
        .unwrap();
    assert!(pair.host.find_link(&ifname("tmp0")).unwrap().is_some());
}

#[test]
fn a_link_that_meets_a_taken_name_has_moved_all_the_same() {
    let pair = Pair::new();
    let _taken = pair.veth(); // has eth0 inside
    let wanted = CreateVeth {
        host: end("veth1"),
        netns: None,
        container: end("tmp0"),
        ..pair.wanted()
    };
    let made = pair.host.create_veth(&wanted).unwrap();
    let error = pair
        .host
        .request(&move_link(
            &made.container,
            &pair.container_ns,
            &ifname("eth0"),
        ))
        .unwrap_err();
    assert!(error.is_exists(), "{error:?}");
    assert!(pair.container.find_link(&ifname("tmp0")).unwrap().is_some());
}

#[test]
fn a_renamed_link_is_found_by_its_alternative_name() {
    let pair = Pair::new();
    let made = pair.veth();
    let (eth0, net1) = (ifname("eth0"), ifname("net1"));
    let inside = &pair.container;
    inside.request(&set_down(&made.container)).unwrap();
    inside
        .request(&rename_link(&made.container, &net1))
        .unwrap();
    assert_eq!(inside.find_link_by_any_name(&eth0).unwrap(), None);
    inside
        .request(&add_alt_name(&made.container, &eth0))
        .unwrap();
    let found = inside.find_link_by_any_name(&eth0).unwrap().unwrap();
    assert_eq!(
        (found.name.as_str(), found.alt_names.as_slice()),
        ("net1", ["eth0".to_owned()].as_slice())
    );
    let twice = inside.request(&add_alt_name(&made.container, &eth0));
    assert!(twice.unwrap_err().is_exists());
    inside
        .request(&delete_alt_name(&made.container, &eth0))
        .unwrap();
    assert_eq!(inside.find_link_by_any_name(&eth0).unwrap(), None);
}
