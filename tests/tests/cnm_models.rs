//! `cnm-shim` over drivers that behave as those that people use, each with the keys that
//! `plugins/cnm-shim/README.md` names for it.

use std::path::Path;

use cni_testkit::{Conf, Netns};
use serde_json::{Value, json};
use tenon_tests::cnm::driver::{Framing, Method, Model, ROUTED_GATEWAY, ROUTED_GATEWAY6};
use tenon_tests::cnm::shim::{Shim, dual_stack};
use tenon_tests::network::{Attached, route_to, routes};

/// Two containers of both families or one meet and leave no trace; `look` at the first one.
#[track_caller]
fn containers_meet(model: Model, keys: &Value, look: impl FnOnce(&Shim, &Netns, &Attached<'_>)) {
    let shim = Shim::like(model);
    let (c1, c2) = (shim.world.container("c1"), shim.world.container("c2"));
    let network = shim.network(keys.clone());
    let (one, two) = (network.add("c1", &c1), network.add("c2", &c2));
    assert!(!two.cidrs().is_empty());
    for address in two.cidrs() {
        assert!(c1.ping(&address), "{model:?}: {address}");
    }
    look(&shim, &c1, &one);
    for attached in [&one, &two] {
        attached.check_ok();
        attached.del_ok();
        attached.del_ok();
    }
    assert_eq!(c1.link_names(), ["lo"]);
    shim.assert_nothing_left();
}

/// Two networks of the driver in one container, which Docker cannot do with all of them.
#[track_caller]
fn one_container_has_two(model: Model, keys: &Value) {
    let shim = Shim::like(model);
    let c1 = shim.world.container("c1");
    let first = shim.network(keys.clone()).add("c1", &c1);
    let other = json!({"name": "other", "subnet": "10.78.0.0/24"});
    let second = shim.network(Conf(keys.clone()).with(other).0);
    let second = second.add_at("c1", &c1, "eth1");
    first.check_ok();
    second.check_ok();
    for attached in [first, second] {
        attached.del_ok();
    }
    shim.assert_nothing_left();
}

/// Whether one of the driver's endpoints has this hardware address.
fn has_mac(shim: &Shim, mac: &str) -> bool {
    let endpoints = shim.driver.endpoints();
    endpoints.iter().any(|endpoint| endpoint.mac == mac)
}

/// Whatever server the driver has been written on.
#[test]
fn replies_of_every_form() {
    let shim = Shim::new();
    let c1 = shim.world.container("c1");
    for framing in [
        Framing::KeepAlive,
        Framing::Close,
        Framing::Chunked,
        Framing::Http10,
    ] {
        for content_type in ["", "text/plain; charset=utf-8", "application/json"] {
            shim.driver.style(|style| {
                style.framing = framing;
                content_type.clone_into(&mut style.content_type);
            });
            let attached = shim.network(json!({})).add("c1", &c1);
            assert!(c1.ping("10.77.0.1"), "{framing:?} {content_type}");
            attached.check_ok();
            attached.del_ok();
            shim.assert_nothing_left();
        }
    }
}

/// Without IPv6, which Docker itself has not managed since 17.06.
#[test]
fn calico() {
    containers_meet(Model::Calico, &json!({}), |shim, c1, one| {
        assert_eq!(one.result["ips"][0]["address"], "10.77.0.1/32");
        assert_eq!(one.result["ips"][0]["gateway"], ROUTED_GATEWAY);
        assert_eq!(route_to(c1, "default", "")["gateway"], ROUTED_GATEWAY);
        assert_eq!(routes(c1, "default").len(), 1, "only of IPv4");
        assert_eq!(shim.driver.count(Method::CreateNetwork), 1);
    });
    one_container_has_two(Model::Calico, &json!({}));
}

#[test]
fn calico_with_both_families() {
    containers_meet(Model::Calico, &dual_stack(), |_, c1, one| {
        assert_eq!(one.result["ips"][1]["gateway"], ROUTED_GATEWAY6);
        assert_eq!(routes(c1, "default").len(), 2);
    });
}

/// What Calico refuses is told in its words.
#[test]
fn calico_takes_no_options_and_no_internal_networks() {
    let shim = Shim::like(Model::Calico);
    let c1 = shim.world.container("c1");
    let before = shim.state(&c1);
    for (keys, words) in [
        (
            json!({"options": {"mtu": 1400}}),
            "generic is not supported",
        ),
        (json!({"internal": true}), "internal is not supported"),
        (
            json!({"ipamOptions": {"a": "b"}}),
            "arbitrary options are not supported",
        ),
        (
            json!({"ipRange": "10.77.0.0/25"}),
            "sub-pools are not supported",
        ),
        (
            json!({"ipamDriver": "default"}),
            "non-Calico IPAM driver is used",
        ),
    ] {
        let error = shim.network(keys).try_add("c1", &c1).expect_error(140);
        assert!(error.to_string().contains(words), "{error}");
        before.assert_same(&shim.state(&c1), words);
        shim.assert_nothing_left();
    }
}

#[test]
fn cilium() {
    containers_meet(Model::Cilium, &dual_stack(), |_, c1, one| {
        // The IPv4 gateway is one of the static routes.
        assert_eq!(route_to(c1, "default", "")["gateway"], ROUTED_GATEWAY);
        assert_eq!(one.result["ips"][1]["gateway"], ROUTED_GATEWAY6);
    });
    let shim = Shim::like(Model::Cilium);
    let c1 = shim.world.container("c1");
    let error = shim.network(json!({})).try_add("c1", &c1).expect_error(140);
    assert!(
        error.to_string().contains("no IPv6 address provided"),
        "{error}"
    );
    shim.assert_nothing_left();
}

#[test]
fn contiv() {
    containers_meet(Model::Contiv, &json!({}), |shim, c1, one| {
        assert!(has_mac(shim, one.mac()));
        assert!(c1.ping("10.77.0.1"));
    });
    one_container_has_two(Model::Contiv, &json!({}));
}

#[test]
fn kuryr() {
    let keys = json!({"sandboxKeyStyle": "docker"});
    containers_meet(Model::Kuryr, &keys, |shim, c1, _| {
        let join = shim.driver.last(Method::Join).json();
        let key = join["SandboxKey"].as_str().unwrap_or_default().to_owned();
        assert!(key.starts_with("/var/run/docker/netns/"), "{key}");
        assert_eq!(
            std::fs::read_link(&key).unwrap(),
            Path::new("/run/netns/c2")
        );
        assert!(c1.ping("10.77.0.1"));
    });
    one_container_has_two(Model::Kuryr, &keys);
    let shim = Shim::like(Model::Kuryr);
    let c1 = shim.world.container("c1");
    let error = shim.network(json!({})).try_add("c1", &c1).expect_error(140);
    assert!(error.to_string().contains("SandboxKey"), "{error}");
    shim.assert_nothing_left();
}

/// It is only a network driver, and wants a gateway.
#[test]
fn ovn() {
    let keys = json!({"ipamDriver": "default"});
    containers_meet(Model::Ovn, &keys, |shim, c1, one| {
        assert!(
            shim.driver
                .calls()
                .iter()
                .all(|call| !call.starts_with("Ipam"))
        );
        assert!(has_mac(shim, one.mac()));
        // The gateway is the logical switch's business: OVN names none.
        assert_eq!(routes(c1, "default"), Vec::<Value>::new());
    });
    one_container_has_two(Model::Ovn, &keys);
    let shim = Shim::like(Model::Ovn);
    let c1 = shim.world.container("c1");
    let error = shim.network(json!({})).try_add("c1", &c1).expect_error(140);
    assert!(
        error
            .to_string()
            .contains("does not implement the requested driver"),
        "{error}"
    );
    shim.assert_nothing_left();
}

#[test]
fn weave() {
    containers_meet(Model::Weave, &json!({}), |_, c1, one| {
        assert_eq!(route_to(c1, "224.0.0.0/4", "")["dev"], "eth0");
        assert_eq!(one.result["routes"][0]["dst"], "224.0.0.0/4");
        assert_eq!(routes(c1, "default"), Vec::<Value>::new());
    });
    one_container_has_two(Model::Weave, &json!({}));
    // It chooses the hardware address, and nobody else.
    let shim = Shim::like(Model::Weave);
    let c1 = shim.world.container("c1");
    let wish = json!({"runtimeConfig": {"mac": "02:00:00:00:00:07"}});
    let error = shim.network(wish).try_add("c1", &c1).expect_error(140);
    assert!(error.to_string().contains("MAC address present"), "{error}");
    shim.assert_nothing_left();
}
